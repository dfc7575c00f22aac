//! The loop around an adapter: it reads, keeps, publishes and settles; or it is delivered to, writes and acknowledges. It owns retry, deadlines,
//! back-pressure, checkpoints, dead letters, metrics and shutdown, so that an adapter does each thing once.
//!
//! A run ends when a finite source has ended and everything is acknowledged (`once`), when it is told to stop (what is on its way is settled
//! within the grace period, the rest waits in the state file), or with an error that waiting cannot mend.

mod publish;
mod receipt;
mod source;
mod subscribe;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    AdapterError, Context, ErasedAdapter, ErrorClass, Roles, chain,
    config::Config,
    exchange,
    metrics::Metrics,
    plural,
    retry::Backoff,
    state,
    state::{Counts, State},
};

/// Why a run ended before its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The adapter.
    #[error("the adapter {verb}")]
    Adapter {
        /// "opens", "reads", ...
        verb: &'static str,
        /// What it says.
        #[source]
        cause: AdapterError,
    },
    /// The exchange.
    #[error("the exchange")]
    Exchange(#[from] exchange::Error),
    /// The state file.
    #[error("the state")]
    State(#[from] state::Error),
    /// The adapter opens a role that the configuration does not have, or the other way round.
    #[error("the adapter and the configuration do not both have a {0}")]
    RoleMissing(&'static str),
    /// The inbox does not hold any more what was acknowledged.
    #[error(
        "the inbox has lost what was acknowledged: {0}. Bring it back; or have everything delivered to it once more: `shuqiao-adapter refresh`, then start \
         the adapter again 收件库已不再持有曾确认的数据（{1}）：请恢复该库；或执行 shuqiao-adapter refresh 后重新启动，由枢桥重新交付全部数据"
    )]
    InboxLost(String, String),
    /// With `once`: the same verb failed too often.
    #[error("gave up after {attempts} {} in a row", plural((*attempts).into(), "attempt"))]
    GaveUp {
        /// How many.
        attempts: u32,
        /// The last one.
        #[source]
        cause: Box<Error>,
    },
}

impl Error {
    /// What trying again could do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Adapter { cause, .. } => cause.class(),
            Self::Exchange(error) => error.class(),
            Self::State(error) => error.class(),
            Self::RoleMissing(_) => ErrorClass::Configuration,
            Self::InboxLost(..) => ErrorClass::Protocol,
            Self::GaveUp { .. } => ErrorClass::Transient,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Exchange(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// How a run is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// End when there is no more, instead of following.
    pub once: bool,
    /// Where to count.
    pub metrics: Metrics,
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// In this run.
    pub run: Counts,
    /// Since the state file was made.
    pub total: Counts,
    /// Open dead letters by the rule that they break, most first.
    pub reasons: Vec<(String, u64)>,
    /// Records published with something repaired or left out, by rule, most first.
    pub warnings: Vec<(String, u64)>,
}

/// Runs one adapter until it ends. `token` tells it to stop; dropping the future is a crash, and loses nothing either.
///
/// # Errors
/// [`Error`]: only what waiting cannot mend, or (`once`) did not.
pub async fn run(
    adapter: &dyn ErasedAdapter,
    config: &Config,
    options: &Options,
    token: CancellationToken,
) -> Result<Report, Error> {
    let state = State::open(&config.state.path).await?;
    let before = state.counts().await?;
    let runner = Runner { config, options, state: &state, token: &token, has_connected: AtomicBool::new(false) };
    let outcome = runner.roles(adapter).await;
    let total = state.counts().await?;
    let report = Report {
        run: total.since(&before),
        total,
        reasons: state.dead_letter_reasons().await?,
        warnings: state.warnings().await?,
    };
    state.close().await;
    outcome.map(|()| report)
}

/// Has everything published once more by the next run: see [`State::begin_anew`]. Not beside a run.
///
/// # Errors
/// [`Error::RoleMissing`] where nothing is published; [`Error::State`].
pub async fn resync(config: &Config) -> Result<state::Anew, Error> {
    if config.publish.is_none() {
        return Err(Error::RoleMissing("source"));
    }
    let state = alone(config).await?;
    let anew = state.begin_anew().await;
    state.close().await;
    Ok(anew?)
}

/// Has the exchange deliver everything once more to the next run: see [`State::ask_anew`]. Not beside a run.
///
/// # Errors
/// [`Error::RoleMissing`] where nothing is subscribed; [`Error::State`].
pub async fn refresh(config: &Config) -> Result<(), Error> {
    if config.subscribe.is_none() {
        return Err(Error::RoleMissing("sink"));
    }
    let state = alone(config).await?;
    let asked = state.ask_anew().await;
    state.close().await;
    Ok(asked?)
}

/// The state of an adapter that has run and does not run now.
async fn alone(config: &Config) -> Result<State, state::Error> {
    if !config.state.path.is_file() {
        return Err(state::Error::Missing(config.state.path.clone()));
    }
    State::open(&config.state.path).await
}

struct Runner<'a> {
    config: &'a Config,
    options: &'a Options,
    state: &'a State,
    token: &'a CancellationToken,
    /// The exchange has opened a stream to us in this run.
    has_connected: AtomicBool,
}

impl Runner<'_> {
    async fn roles(&self, adapter: &dyn ErasedAdapter) -> Result<(), Error> {
        let Some(roles) = self.open(adapter).await? else { return Ok(()) };
        let publish = async {
            match &self.config.publish {
                Some(publish) => {
                    let source = roles.source.ok_or(Error::RoleMissing("source"))?;
                    source::run(self, publish, source).await
                }
                None => Ok(()),
            }
        };
        let subscribe = async {
            match &self.config.subscribe {
                Some(subscribe) => {
                    let sink = roles.sink.ok_or(Error::RoleMissing("sink"))?;
                    subscribe::run(self, subscribe, sink.as_ref()).await
                }
                None => Ok(()),
            }
        };
        tokio::try_join!(Box::pin(publish), Box::pin(subscribe))?;
        Ok(())
    }

    /// `None`: told to stop before the adapter opened.
    async fn open(&self, adapter: &dyn ErasedAdapter) -> Result<Option<Roles>, Error> {
        let directory = self.config.state.directory();
        let timeout = self.config.run.source_timeout;
        let mut backoff = Backoff::default();
        loop {
            let position = self.state.checkpoint().await?;
            let context = Context::new(position, self.options.once, directory.clone(), self.token.clone());
            let opened = tokio::select! {
                opened = tokio::time::timeout(timeout, adapter.open_with(&self.config.table, context)) => opened
                    .unwrap_or_else(|_| Err(AdapterError::transient("opening took longer than run.source_timeout"))),
                () = self.token.cancelled() => return Ok(None),
            };
            match opened {
                Ok(roles) => return Ok(Some(roles)),
                Err(cause) => {
                    if !self.wait(&mut backoff, "open", Error::Adapter { verb: "opens", cause }).await? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Notes that a session with the exchange has opened.
    fn connected(&self) {
        self.has_connected.store(true, Ordering::Relaxed);
        self.options.metrics.sessions.inc();
    }

    /// What waiting can do about a failure. Files that served before and do not now are being replaced, the certificate a moment before its key:
    /// that passes, while files that never served need a person.
    fn class(&self, failure: &Error) -> ErrorClass {
        match failure {
            Error::Exchange(exchange::Error::Credentials { .. }) if self.has_connected.load(Ordering::Relaxed) => {
                ErrorClass::Transient
            }
            failure => failure.class(),
        }
    }

    /// After a failure: waits and answers whether to try again (no: told to stop).
    ///
    /// # Errors
    /// The failure itself where waiting cannot mend it, or has not.
    async fn wait(&self, backoff: &mut Backoff, verb: &'static str, failure: Error) -> Result<bool, Error> {
        let class = self.class(&failure);
        self.options.metrics.failed(verb, class);
        if class != ErrorClass::Transient {
            return Err(failure);
        }
        let wait = backoff.next(failure.retry_after());
        if self.options.once && backoff.failures() >= self.config.run.once_attempts {
            return Err(Error::GaveUp { attempts: backoff.failures(), cause: Box::new(failure) });
        }
        tracing::warn!(verb, error = %chain(&failure), ?wait, "trying again");
        Ok(tokio::select! {
            () = tokio::time::sleep(wait) => true,
            () = self.token.cancelled() => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_certificate_whose_key_is_still_on_its_way_is_waited_for_but_not_one_that_never_served() {
        let directory = tempfile::tempdir().expect("directory");
        let state = State::open(&directory.path().join("state.db")).await.expect("opens");
        let config = Config::of_nobody(directory.path().join("state.db"));
        let (options, token) = (Options::default(), CancellationToken::new());
        let runner = Runner {
            config: &config,
            options: &options,
            state: &state,
            token: &token,
            has_connected: AtomicBool::new(false),
        };
        let failure = || {
            let cause = "the key is another certificate's".into();
            Error::from(exchange::Error::Credentials { what: "certificate", path: "system.pem".into(), cause })
        };
        let mut backoff = Backoff::default();
        let ended = runner.wait(&mut backoff, "publish", failure()).await.expect_err("needs a person");
        assert_eq!(ended.class(), ErrorClass::Configuration);
        runner.connected();
        assert!(runner.wait(&mut backoff, "publish", failure()).await.expect("waits"));
        // What the exchange itself refuses is no file that is on its way.
        let refused = exchange::Error::Refused { reason: "GRANT_REVOKED".into(), message: String::new() };
        assert!(runner.wait(&mut backoff, "subscribe", refused.into()).await.is_err());
    }
}
