//! What to try next: commands that work by copy and paste from the repository's root.

use crate::{
    directory::Directory,
    identities::{ADMINISTRATOR, Member, STEWARD, TAX_OFFICER, WELFARE_OFFICER},
    registry::Generator,
    resources::{DATASET, PURPOSE, PURPOSE_NOT_GRANTED},
};

/// Built like this binary, so that nothing but the command itself is compiled; and not quietly, because that takes a minute or two the first time.
fn cargo(binary: &str) -> String {
    let release = if cfg!(debug_assertions) { "" } else { " --release" };
    format!("cargo run{release} --bin {binary} --")
}

/// What has taxation delivered everything once more, at the next start.
pub(crate) fn refresh(directory: &Directory) -> String {
    format!("{} refresh --config {}", cargo("shuqiao-adapter"), quoted(&directory.shown("taxation.toml")))
}

/// Three commands, and what else there is.
pub(crate) fn to_try(directory: &Directory) -> String {
    let profile = |member: Member| format!("--profile {}", quoted(&directory.shown(member.profile())));
    // A clean row's code is a record's key.
    let clean = Generator::new(directory.city.seed).take(directory.city.rows as usize).find(|row| row.dirt.is_none());
    let code = clean.map(|row| row.columns[1].clone()).unwrap_or_default();
    let (shuqiao, adapter) = (cargo("shuqiao"), cargo("shuqiao-adapter"));
    let letters = quoted(&directory.shown("market-supervision.toml"));
    format!(
        "Three commands to try, in another terminal (the first compiles the command line) 试一试（另开终端；首次运行需编译）\n\
         \n  # 1. Taxation has a grant: it sees the record. 税务已获授权，可查询。\n  \
         {shuqiao} query get {DATASET} {code} --purpose {PURPOSE} {}\n\
         \n  # 2. Civil affairs has none: it is refused. 民政未获授权，被拒绝。\n  \
         {shuqiao} query get {DATASET} {code} --purpose {PURPOSE_NOT_GRANTED} {}\n\
         \n  # 3. Both are on record. 两次访问均已留痕。\n  \
         {shuqiao} audit list --last 4 {}\n\
         \nAnd then 此外\n  \
         {shuqiao} view digest {DATASET} --purpose 对账 {}\n  \
         {adapter} dead-letters list --config {letters}",
        profile(TAX_OFFICER),
        profile(WELFARE_OFFICER),
        profile(ADMINISTRATOR),
        profile(STEWARD),
    )
}

/// For a shell: quoted where it must be.
fn quoted(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if path.bytes().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reaches_its_command_as_one_word() {
        assert_eq!(quoted("target/sandbox/clients/taxation.toml"), "target/sandbox/clients/taxation.toml");
        assert_eq!(quoted("my city/it's.toml"), r"'my city/it'\''s.toml'");
    }
}
