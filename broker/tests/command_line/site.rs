//! A node with everything that it needs, in a directory of its own, and commands that talk to it.

use std::{
    io::Write,
    net::TcpListener,
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

const SHUQIAO: &str = env!("CARGO_BIN_EXE_shuqiao");
const EXCHANGE: &str = "city.example";
pub(crate) const DATASET: &str = "market-supervision.enterprise";
pub(crate) const CODE: &str = "91330100MA00000740";
/// A debug build on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const ADMINISTRATOR: &str = "department/data-bureau/person/first";
pub(crate) const OWNER: &str = "department/market-supervision/system/registry";
pub(crate) const TAXATION: &str = "department/taxation/system/inbox";
pub(crate) const BYSTANDER: &str = "department/civil-affairs/system/any";

pub(crate) const DEPARTMENTS: &str = "
kind: department
name: market-supervision
unified_social_credit_code: 11320600014149957J
display_name: 市场监督管理局
---
kind: department
name: taxation
unified_social_credit_code: 11320600014149965D
display_name: 税务局
roles: [auditor]
---
kind: department
name: civil-affairs
unified_social_credit_code: '113206000141499738'
display_name: 民政局
";

pub(crate) const SHARED: &str = r#"[
  {"kind": "grant", "name": "market-supervision.taxation-enterprise", "dataset": "market-supervision.enterprise", "grantee": "taxation",
   "fields": [{"path": "", "treatment": "clear"}], "purpose": "税务登记", "legal_basis": "税收征收管理法第六条",
   "end_time": "2099-01-01T00:00:00.0001+08:00"},
  {"kind": "dataset", "name": "market-supervision.enterprise", "record_type": "enterprise/v1", "title": "企业登记信息",
   "sharing_class": "conditional", "partitions": 2, "listed": true}
]"#;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Said {
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// A failure with this exit code whose text holds `what` and says what to do next.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, what: &str) {
        assert!(self.code == code && self.err.contains(what) && self.err.contains("next: "), "{code} {what}: {self:?}");
    }

    #[track_caller]
    pub(crate) fn code_is(self, code: i32) {
        assert_eq!(self.code, code, "{self:?}");
    }
}

/// A command that needs no node.
pub(crate) fn alone(arguments: &[&str], input: &str) -> Said {
    run(Command::new(SHUQIAO).args(arguments).env_clear(), input)
}

fn run(command: &mut Command, input: &str) -> Said {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends").into()
}

/// A payload that the dataset's record type accepts.
pub(crate) fn record() -> String {
    format!(r#"{{"unified_social_credit_code": "{CODE}", "name": "杭州最小示例有限公司"}}"#)
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A node's authority, certificates, configuration and data, and nothing that runs.
pub(crate) struct Site {
    pub(crate) directory: tempfile::TempDir,
    endpoint: String,
}

impl Site {
    pub(crate) fn lay_out() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let pki = directory.path().join("pki");
        let at = |name: &str| pki.join(name).display().to_string();
        let authority = ["--directory", &pki.display().to_string()].map(ToOwned::to_owned);
        let issue = |what: &[&str]| {
            let arguments: Vec<_> = what.iter().copied().chain(authority.iter().map(String::as_str)).collect();
            alone(&arguments, "").ok()
        };
        issue(&["pki", "init", EXCHANGE]);
        issue(&["pki", "issue", "server", "localhost"]);
        for caller in [ADMINISTRATOR, OWNER, TAXATION, BYSTANDER] {
            let [_, department, kind, name] = caller.split('/').collect::<Vec<_>>()[..] else { panic!("{caller}") };
            issue(&["pki", "issue", kind, department, name]);
        }
        // Both are free now; whoever takes one in between makes the start fail, and the test with it.
        let ports = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback"));
        let [port, metrics_port] = ports.map(|listener| listener.local_addr().expect("bound").port());
        let configuration = format!(
            "[node]\nname = \"node-1\"\nexchange = \"{EXCHANGE}\"\ndata_dir = \"{}\"\nlisten = \"127.0.0.1:{port}\"\n\
             metrics_listen = \"127.0.0.1:{metrics_port}\"\nadministrators = [\"{ADMINISTRATOR}\"]\nlog_level = \"warn\"\n\
             [tls]\ncertificate = \"{}\"\nkey = \"{}\"\nauthorities = \"{}\"\nrevocation_lists = \"{}\"\n\
             [log.embedded]\nfree_bytes_min = \"16MiB\"\n",
            directory.path().join("data").display(),
            at("issued/server-localhost.pem"),
            at("issued/server-localhost.key.pem"),
            at("ca.pem"),
            at("crl.pem"),
        );
        let site = Self { endpoint: format!("https://localhost:{port}"), directory };
        site.file("node.toml", &configuration);
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of the site's, with this content from now on.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("in the directory")).expect("made");
        std::fs::write(&path, content).expect("written");
        path
    }

    /// The configuration with something else in it.
    pub(crate) fn configured(&self, from: &str, to: &str) {
        let configuration = std::fs::read_to_string(self.path("node.toml")).expect("readable");
        assert!(configuration.contains(from), "{from}: {configuration}");
        self.file("node.toml", &configuration.replace(from, to));
    }

    /// A command on the node's own machine that reads its configuration and ends: `config check`, a `serve` that is refused.
    pub(crate) fn here(&self, arguments: &[&str]) -> Said {
        run(Command::new(SHUQIAO).args(arguments).env_clear().env("SHUQIAO_CONFIG", self.path("node.toml")), "")
    }

    /// A command of this caller's.
    pub(crate) fn ask(&self, caller: &str, arguments: &[&str], input: &str) -> Said {
        run(&mut self.command(caller, arguments), input)
    }

    pub(crate) fn command(&self, caller: &str, arguments: &[&str]) -> Command {
        let pki = self.path("pki");
        let name = caller.replace('/', "-");
        let mut command = Command::new(SHUQIAO);
        command
            .args(arguments)
            .env_clear()
            .env("SHUQIAO_ENDPOINT", &self.endpoint)
            .env("SHUQIAO_AUTHORITIES", pki.join("ca.pem"))
            .env("SHUQIAO_CERTIFICATE", pki.join(format!("issued/{name}.pem")))
            .env("SHUQIAO_KEY", pki.join(format!("issued/{name}.key.pem")));
        command
    }

    fn serve(self) -> Node {
        let process =
            Command::new(SHUQIAO).arg("serve").arg("--config").arg(self.path("node.toml")).spawn().expect("it starts");
        Node { site: self, process: Running(process) }
    }

    /// Starts the node and takes its power away so soon.
    pub(crate) fn start_and_kill(self, after: Duration) -> Self {
        let node = self.serve();
        std::thread::sleep(after);
        node.kill()
    }

    /// Starts the node and waits until it is ready.
    pub(crate) fn start(self) -> Node {
        let node = self.serve();
        let begin = std::time::SystemTime::now();
        while node.ask(ADMINISTRATOR, &["status"], "").code != 0 {
            assert!(begin.elapsed().expect("the clock goes on") < PATIENCE, "the node is not ready");
            std::thread::sleep(Duration::from_millis(100));
        }
        node
    }
}

/// A site whose node runs.
pub(crate) struct Node {
    site: Site,
    process: Running,
}

/// Killed where a test gives it up.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that was stopped has nothing left to kill.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Deref for Node {
    type Target = Site;
    fn deref(&self) -> &Site {
        &self.site
    }
}

impl Node {
    /// A node with nothing in its catalogue.
    pub(crate) fn start() -> Self {
        Site::lay_out().start()
    }

    /// A node whose departments are enrolled, with a dataset and a grant on it.
    pub(crate) fn founded() -> Self {
        let node = Self::start();
        let files = [node.file("d.yaml", DEPARTMENTS), node.file("s.json", SHARED)];
        node.ask(ADMINISTRATOR, &["apply", "-f", text(&files[0]), text(&files[1])], "").ok();
        node
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// Stops it as a service manager does.
    pub(crate) fn stop(mut self) -> Site {
        self.signal("-TERM");
        assert!(self.process.0.wait().expect("it ends").success(), "a drained node ends well");
        self.site
    }

    /// Takes its power away.
    pub(crate) fn kill(mut self) -> Site {
        self.process.0.kill().expect("killed");
        self.process.0.wait().expect("it ends");
        self.site
    }
}
