//! The loop around an adapter: it reads, keeps, publishes and settles; or it is delivered to, writes and acknowledges. It owns retry, deadlines,
//! back-pressure, checkpoints, dead letters, metrics and shutdown, so that an adapter does each thing once.
//!
//! A run ends when a finite source has ended and everything is acknowledged (`once`), when it is told to stop (what is on its way is settled
//! within the grace period, the rest waits in the state file), or with an error that waiting cannot mend.

mod publish;
mod receipt;
mod source;
mod subscribe;

use std::{path::Path, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    AdapterError, Context, ErasedAdapter, ErrorClass, Roles, chain,
    config::Config,
    exchange,
    metrics::Metrics,
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
    /// The adapter opened other roles than the configuration asks for.
    #[error("the adapter opens no {0}, but the configuration asks for one")]
    RoleMissing(&'static str),
    /// With `once`: the same verb failed too often.
    #[error("gave up after {attempts} attempts in a row")]
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
    let runner = Runner { config, options, state: &state, token: &token };
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

struct Runner<'a> {
    config: &'a Config,
    options: &'a Options,
    state: &'a State,
    token: &'a CancellationToken,
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
        let directory = self.config.state.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new(".")).to_owned();
        let mut backoff = Backoff::default();
        loop {
            let position = self.state.checkpoint().await?;
            let context = Context::new(position, self.options.once, directory.clone(), self.token.clone());
            let opened = tokio::select! {
                opened = adapter.open_with(&self.config.table, context) => opened,
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

    /// After a failure: waits and answers whether to try again (no: told to stop).
    ///
    /// # Errors
    /// The failure itself where waiting cannot mend it, or has not.
    async fn wait(&self, backoff: &mut Backoff, verb: &'static str, failure: Error) -> Result<bool, Error> {
        let class = failure.class();
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
