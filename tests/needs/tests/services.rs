//! The servers are found by a user who is not root, whose path Debian leaves them out of.

use std::process::Command;

#[test]
fn servers_are_found_where_a_users_path_does_not_lead() {
    let (Some(_), Some(_)) = (shuqiao_test_needs::mariadb(), shuqiao_test_needs::postgres()) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    for service in ["mariadb", "postgres"] {
        let script = format!("{}/../services/{service}", env!("CARGO_MANIFEST_DIR"));
        // To stop what does not run is done at once, by who has found the server's programs.
        let command = Command::new(script).arg("stop").arg(directory.path()).env("PATH", "/usr/bin:/bin").output();
        let output = command.expect("the script runs");
        assert!(output.status.success(), "{service}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
