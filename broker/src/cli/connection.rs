//! How a command reaches a node: flags, then the environment, then a profile.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Deserialize;
use tonic::transport::{Channel, Endpoint};

use super::error::Error;
use crate::tls::{ClientFiles, Connector};

/// A message of the node, at most: a page of a query is 4 MiB and its framing.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The node, and who you are to it.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Connection {
    /// A profile with endpoint, authorities, certificate, key and server_name [default: ~/.config/shuqiao/client.toml].
    #[arg(long, env = "SHUQIAO_PROFILE", value_name = "FILE", help_heading = "Connection")]
    profile: Option<PathBuf>,
    /// The node: https://HOST:PORT.
    #[arg(long, env = "SHUQIAO_ENDPOINT", value_name = "URL", help_heading = "Connection")]
    endpoint: Option<String>,
    /// The authorities that issue nodes' certificates, PEM.
    #[arg(long, env = "SHUQIAO_AUTHORITIES", value_name = "FILE", help_heading = "Connection")]
    authorities: Option<PathBuf>,
    /// Your certificate, PEM.
    #[arg(long, env = "SHUQIAO_CERTIFICATE", value_name = "FILE", help_heading = "Connection")]
    certificate: Option<PathBuf>,
    /// The key of your certificate, PEM.
    #[arg(id = "client_key", long = "key", env = "SHUQIAO_KEY", value_name = "FILE", help_heading = "Connection")]
    key: Option<PathBuf>,
    /// The name in the node's certificate, where it is not the endpoint's host.
    #[arg(long, env = "SHUQIAO_SERVER_NAME", value_name = "NAME", help_heading = "Connection")]
    server_name: Option<String>,
    /// How long an answer may take.
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration, help_heading = "Connection")]
    timeout: Duration,
}

/// What a profile may say.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    endpoint: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

impl Profile {
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { what: format!("the profile {}", path.display()), source })?;
        toml::from_str(&text).map_err(|source| Error::Profile { path: path.to_path_buf(), source: Box::new(source) })
    }
}

/// Everything that is needed, from wherever it came.
#[derive(Debug, PartialEq, Eq)]
struct Resolved {
    endpoint: String,
    authorities: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    server_name: Option<String>,
}

impl Connection {
    /// Connects.
    pub(super) async fn open(&self) -> Result<Channel, Error> {
        let profile = match (&self.profile, default_profile()) {
            (Some(path), _) => Profile::read(path)?,
            (None, Some(path)) if path.exists() => Profile::read(&path)?,
            _ => Profile::default(),
        };
        let resolved = self.resolve(profile)?;
        let files =
            ClientFiles { authorities: resolved.authorities, identity: Some((resolved.certificate, resolved.key)) };
        let connector = Connector::open(&files, resolved.server_name.as_deref()).await?;
        let endpoint = Endpoint::from_shared(resolved.endpoint.clone())
            .map_err(|_| Error::Usage(format!("{:?} is no endpoint: write https://HOST:PORT", resolved.endpoint)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(self.timeout);
        endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|source| Error::Connect { endpoint: resolved.endpoint, source })
    }

    fn resolve(&self, profile: Profile) -> Result<Resolved, Error> {
        let missing = std::cell::RefCell::new(Vec::new());
        let need = |name: &'static str, present: bool| {
            if !present {
                missing.borrow_mut().push(name);
            }
        };
        let endpoint = self.endpoint.clone().or(profile.endpoint);
        let authorities = self.authorities.clone().or(profile.authorities);
        let certificate = self.certificate.clone().or(profile.certificate);
        let key = self.key.clone().or(profile.key);
        need("--endpoint", endpoint.is_some());
        need("--authorities", authorities.is_some());
        need("--certificate", certificate.is_some());
        need("--key", key.is_some());
        match (endpoint, authorities, certificate, key) {
            (Some(endpoint), Some(authorities), Some(certificate), Some(key)) => Ok(Resolved {
                endpoint: if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") },
                authorities,
                certificate,
                key,
                server_name: self.server_name.clone().or(profile.server_name),
            }),
            _ => Err(Error::Usage(format!(
                "which node, and who are you? Missing: {}. Give them as flags, or write a profile (deploy/config/client.toml is one) and name it with \
                 --profile or SHUQIAO_PROFILE; in the sandbox: --profile target/sandbox/clients/taxation.toml",
                missing.into_inner().join(", ")
            ))),
        }
    }
}

/// `$XDG_CONFIG_HOME/shuqiao/client.toml`, else in `~/.config`.
fn default_profile() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")))?;
    Some(base.join("shuqiao/client.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Profile {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/client.toml");
        Profile::read(Path::new(path)).expect("the sample profile is good")
    }

    #[test]
    fn flags_win_over_the_profile() {
        let flags = Connection { endpoint: Some("localhost:1".into()), ..Connection::default() };
        let resolved = flags.resolve(sample()).expect("complete");
        assert_eq!(resolved.endpoint, "https://localhost:1");
        assert_eq!(resolved.authorities, PathBuf::from("/etc/shuqiao/tls/ca.pem"));
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let flags = Connection { key: Some("k".into()), ..Connection::default() };
        let error = flags.resolve(Profile::default()).expect_err("incomplete").to_string();
        assert!(error.contains("Missing: --endpoint, --authorities, --certificate."), "{error}");
    }

    #[test]
    fn a_profile_with_an_unknown_key_is_refused() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join("client.toml");
        std::fs::write(&path, "endpont = \"x\"").expect("write");
        assert!(matches!(Profile::read(&path), Err(Error::Profile { .. })));
    }
}
