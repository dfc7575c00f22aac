//! What a configuration names on this machine, looked at before anything is opened or made: `serve` and `config check` do it, and both say all of it at once.
//!
//! A mistake keeps a node from starting; a warning is what it starts with nevertheless.

use std::path::Path;

use crate::{
    chain::chain,
    config::{Config, LogHome, Mistake, Size},
    exchange::clock::Clock,
    pki::{self, ExchangeSecret},
    tls,
};

/// The key of the directory under which everything lies that has no key of its own.
const DATA: &str = "node.data_dir";

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// What keeps a node from starting.
    pub mistakes: Vec<Mistake>,
    /// What somebody should look after.
    pub warnings: Vec<Mistake>,
}

/// Looks at certificates, keys, revocation lists, secrets and directories, and makes none of them.
pub async fn look(config: &Config, clock: &Clock) -> Looked {
    let mut looked = Looked::default();
    let tls = config.tls_options();
    looked.findings("tls", tls::check(&tls.files, tls.crl_expiry, clock.now_ms()).await);
    if config.log.home == LogHome::Kafka
        && let Some(files) = &config.kafka_log_options().security.tls
    {
        let identity = files.identity.as_ref().map(|(certificate, key)| (&**certificate, &**key));
        let passphrase = files.key_password.is_some();
        let found = tls::check_client(&files.authorities, identity, passphrase, clock.now_ms()).await;
        looked.findings("log.kafka.security", found);
    }
    looked.directory(DATA, &config.node.data_dir);
    if config.log.home == LogHome::Embedded {
        let key = if config.log.embedded.path.is_some() { "log.embedded.path" } else { DATA };
        looked.directory(key, &config.embedded_log_path());
        looked.room(&config.embedded_log_path(), config.log.embedded.free_bytes_min);
    }
    looked.directory(if config.view.path.is_some() { "view.path" } else { DATA }, &config.view_path());
    let secret = config.exchange_secret_path();
    // One that is not there is made at the start.
    if secret.exists() {
        looked.result("node.exchange_secret", ExchangeSecret::load(&secret));
    } else if let Some(parent) = secret.parent().filter(|_| config.node.exchange_secret.is_some()) {
        looked.directory("node.exchange_secret", parent);
    }
    let receipts = config.receipt_key_path();
    if receipts.exists() {
        looked.result(DATA, pki::receipt_key(&receipts));
    }
    looked
}

impl Looked {
    fn findings(&mut self, section: &str, findings: Vec<tls::Finding>) {
        for tls::Finding { key, what } in findings {
            let path = format!("{section}.{key}");
            match what {
                tls::What::Mistake(error) => self.mistake(path, chain(&error)),
                tls::What::Concern(concern) => {
                    self.warnings.push(Mistake { path, line: None, message: concern.to_string() });
                }
            }
        }
    }

    fn result<T>(&mut self, key: &str, result: Result<T, pki::Error>) {
        if let Err(error) = result {
            self.mistake(key, chain(&error));
        }
    }

    /// Once: a directory that is missing is missing for all that would lie in it.
    fn mistake(&mut self, path: impl Into<String>, message: String) {
        let mistake = Mistake { path: path.into(), line: None, message };
        if !self.mistakes.contains(&mistake) {
            self.mistakes.push(mistake);
        }
    }

    /// Whether the log will take anything.
    fn room(&mut self, path: &Path, needed: Size) {
        let existing = existing(path);
        let Ok(disk) = rustix::fs::statvfs(existing) else { return };
        let free = Size(disk.f_bavail.saturating_mul(disk.f_frsize) >> 20 << 20);
        if free < needed {
            let message = format!(
                "{free} are free on the disk of {}, and the log takes nothing below {needed}: make room",
                existing.display()
            );
            self.warnings.push(Mistake { path: "log.embedded.free_bytes_min".into(), line: None, message });
        }
    }

    /// Whether files can be made there, or the directory itself where there is none yet.
    fn directory(&mut self, key: &str, path: &Path) {
        let existing = existing(path);
        let shown = existing.display();
        if !existing.is_dir() {
            self.mistake(key, format!("{shown} is no directory"));
        } else if let Err(error) = rustix::fs::accessat(
            rustix::fs::CWD,
            existing,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
            rustix::fs::AtFlags::EACCESS,
        ) {
            let cause = std::io::Error::from(error);
            self.mistake(key, format!("this user cannot write into {shown}: {cause}"));
        }
    }
}

/// The directory, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Authority, NewAuthority, Request, Subject};

    fn configured(directory: &Path, further: &str) -> Config {
        let at = directory.display();
        let text = format!(
            "[node]\nname = \"n\"\nexchange = \"city.example\"\ndata_dir = \"{at}/data/below\"\n\
             [tls]\ncertificate = \"{at}/pki/s.pem\"\nkey = \"{at}/pki/s.key.pem\"\nauthorities = \"{at}/pki/ca.pem\"\n{further}"
        );
        Config::parse(&text, &|_| None).unwrap_or_else(|error| panic!("{error}"))
    }

    fn paths(mistakes: &[Mistake]) -> Vec<&str> {
        mistakes.iter().map(|mistake| mistake.path.as_str()).collect()
    }

    #[tokio::test]
    async fn files_to_kafka_are_looked_at_where_tls_is_spoken_and_called_by_their_keys() {
        let directory = tempfile::tempdir().expect("tempdir");
        let at = directory.path();
        let new = NewAuthority { exchange: "city.example".into(), valid_days: 365 };
        let authority = Authority::create(&at.join("pki"), &new, Clock::system()).expect("fresh");
        let request = |subject| Request { subject, valid_days: 30, directory: None };
        let server = authority.issue(&request(Subject::Server(vec!["localhost".into()]))).expect("issued");
        let client = Subject::Client("department/exchange/system/node".parse().expect("a source"));
        let client = authority.issue(&request(client)).expect("issued");
        std::fs::rename(&server.certificate, at.join("pki/s.pem")).expect("moved");
        std::fs::rename(&server.key, at.join("pki/s.key.pem")).expect("moved");

        let kafka = |protocol: &str, key: &Path, further: &str| {
            let text = format!(
                "[log]\nhome = \"kafka\"\n[log.kafka]\nbrokers = [\"k:9092\"]\n[log.kafka.security]\nprotocol = \"{protocol}\"\n\
                 authorities = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n{further}",
                authority.certificate_path().display(),
                client.certificate.display(),
                key.display(),
            );
            configured(at, &text)
        };
        let clock = Clock::system();
        let good = look(&kafka("ssl", &client.key, ""), &clock).await;
        assert_eq!(good, Looked::default());
        let another = look(&kafka("ssl", &at.join("pki/s.key.pem"), ""), &clock).await;
        assert_eq!(paths(&another.mistakes), ["log.kafka.security.key"]);
        // With a passphrase the key is not opened; without TLS it is not used.
        let locked = at.join("locked.pem");
        std::fs::write(&locked, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
            .expect("written");
        assert_eq!(look(&kafka("ssl", &locked, "key_password = \"p\""), &clock).await, Looked::default());
        assert_eq!(paths(&look(&kafka("ssl", &locked, ""), &clock).await.mistakes), ["log.kafka.security.key"]);
        assert_eq!(look(&kafka("plaintext", Path::new("/nowhere"), ""), &clock).await, Looked::default());
    }

    #[tokio::test]
    async fn a_disk_with_less_room_than_the_log_keeps_free_is_a_warning() {
        let Some(disk) = crate::exchange::fixtures::Disk::mount(8) else { return };
        let tight = "[log.embedded]\nfree_bytes_min = \"16MiB\"\n";
        let looked = look(&configured(disk.path(), tight), &Clock::system()).await;
        assert_eq!(paths(&looked.warnings), ["log.embedded.free_bytes_min"]);
        assert!(looked.warnings[0].message.starts_with("8MiB are free on the disk of "), "{looked:?}");
        let kafka = "[log]\nhome = \"kafka\"\n[log.kafka]\nbrokers = [\"k:9092\"]\n";
        assert_eq!(look(&configured(disk.path(), kafka), &Clock::system()).await.warnings, []);
    }

    #[tokio::test]
    async fn directories_and_secrets_are_looked_at_and_none_is_made() {
        let directory = tempfile::tempdir().expect("tempdir");
        let at = directory.path();
        let clock = Clock::system();
        let beside_tls = |looked: Looked| {
            let mut others = looked.mistakes;
            others.retain(|mistake| !mistake.path.starts_with("tls."));
            others
        };
        assert_eq!(beside_tls(look(&configured(at, ""), &clock).await), []);
        assert!(!at.join("data").exists(), "looked at, not made");

        std::fs::write(at.join("data"), "a file").expect("written");
        let told = beside_tls(look(&configured(at, "[view]\npath = \"/proc/version/view\"\n"), &clock).await);
        assert_eq!(paths(&told), ["node.data_dir", "view.path"]);
        assert!(told[0].message.ends_with("data is no directory"), "{told:?}");

        std::fs::remove_file(at.join("data")).expect("removed");
        std::fs::create_dir_all(at.join("data/below")).expect("made");
        for name in ["exchange.secret", "receipt.key.pem"] {
            std::fs::write(at.join("data/below").join(name), "scribble").expect("written");
            let path = at.join("data/below").join(name);
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("private");
        }
        let told = beside_tls(look(&configured(at, ""), &clock).await);
        assert_eq!(paths(&told), ["node.exchange_secret", "node.data_dir"]);
        assert!(told[0].message.ends_with("exchange.secret is not 64 hexadecimal digits"), "{told:?}");
    }
}
