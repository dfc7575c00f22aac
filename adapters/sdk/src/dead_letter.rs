//! What an operator does with dead letters: lists them, looks at the raw bytes, and replays them once the mapping, the standard or the inbox
//! has been mended. Works beside a running adapter.

use tokio_util::sync::CancellationToken;

use crate::{
    AdapterError, Context, ErasedAdapter, ErrorClass, Outcome,
    config::Config,
    state,
    state::{DeadLetter, Direction, LetterState, Replay, State, record_of},
};

/// Why a letter could not even be tried.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state file.
    #[error("the state")]
    State(#[from] state::Error),
    /// The adapter's mapping or sink.
    #[error("the adapter")]
    Adapter(#[from] AdapterError),
    /// No such letter.
    #[error("there is no dead letter {0}")]
    Unknown(i64),
}

impl Error {
    /// What trying again could do.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::State(error) => error.class(),
            Self::Adapter(error) => error.class(),
            Self::Unknown(_) => ErrorClass::Configuration,
        }
    }
}

/// How many letters are looked at together.
const PAGE: u32 = 500;

/// Every open letter, or every letter, without raw bytes, in order of their number; at most `limit`.
///
/// # Errors
/// [`Error`].
pub async fn list(config: &Config, open_only: bool, limit: u32) -> Result<Vec<DeadLetter>, Error> {
    let state = State::open_beside(&config.state.path).await?;
    Ok(state.dead_letters(open_only, 0, limit).await?)
}

/// One letter with its raw bytes.
///
/// # Errors
/// [`Error::Unknown`], or the state.
pub async fn show(config: &Config, id: i64) -> Result<DeadLetter, Error> {
    let state = State::open_beside(&config.state.path).await?;
    state.dead_letter(id).await?.ok_or(Error::Unknown(id))
}

/// Replays one letter. A source's is mapped again and put into the outbox, from which the running (or the next) run sends it; a sink's is
/// delivered again at once.
///
/// # Errors
/// [`Error`]; the letter is then as it was.
pub async fn replay(adapter: &dyn ErasedAdapter, config: &Config, id: i64) -> Result<Replay, Error> {
    let state = State::open_beside(&config.state.path).await?;
    replay_in(&state, adapter, config, id).await
}

/// Replays every open letter; returns each with what it came to.
///
/// # Errors
/// [`Error`]; the letters before it are replayed.
pub async fn replay_all(adapter: &dyn ErasedAdapter, config: &Config) -> Result<Vec<(i64, Replay)>, Error> {
    let state = State::open_beside(&config.state.path).await?;
    let mut results = Vec::new();
    let mut after = 0;
    loop {
        let letters = state.dead_letters(true, after, PAGE).await?;
        let Some(last) = letters.last() else { return Ok(results) };
        after = last.id;
        for letter in &letters {
            results.push((letter.id, replay_in(&state, adapter, config, letter.id).await?));
        }
    }
}

async fn replay_in(state: &State, adapter: &dyn ErasedAdapter, config: &Config, id: i64) -> Result<Replay, Error> {
    let letter = state.dead_letter(id).await?.ok_or(Error::Unknown(id))?;
    if letter.state != LetterState::Open {
        return Ok(Replay::NotOpen);
    }
    match letter.direction {
        Direction::Source => match adapter.remap_with(&config.table, &letter.raw).await? {
            Ok(record) => Ok(state.replay(id, &record).await?),
            Err(error) => {
                state.still_bad(id, &error.violations).await?;
                Ok(Replay::StillBad)
            }
        },
        Direction::Sink => {
            let record = record_of(letter.record.as_deref().unwrap_or_default(), letter.raw)?;
            let context = Context::new(None, true, config.state.directory(), CancellationToken::new());
            let roles = adapter.open_with(&config.table, context).await?;
            let sink = roles.sink.ok_or_else(|| AdapterError::configuration("the adapter opens no sink"))?;
            match sink.deliver(&[record]).await?.pop() {
                Some(Outcome::Accepted) => {
                    state.letter_taken(id).await?;
                    Ok(Replay::Queued)
                }
                Some(Outcome::Rejected { reason }) => {
                    state.still_bad(id, &[reason]).await?;
                    Ok(Replay::StillBad)
                }
                Some(Outcome::Deferred { .. }) => Err(AdapterError::transient("the sink asks to wait").into()),
                None => Err(AdapterError::protocol("the sink said nothing of the record").into()),
            }
        }
    }
}
