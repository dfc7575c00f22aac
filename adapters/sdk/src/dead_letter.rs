//! What an operator does with dead letters: lists them, looks at the raw bytes, and replays them once the mapping, the standard or the inbox
//! has been mended. Works beside a running adapter.

use crate::{
    AdapterError, ErasedAdapter, ErrorClass, Outcome,
    adapter::open_sink,
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

/// How many letters are looked at together. Each may hold 4 MiB.
const PAGE: u32 = 100;

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
    let letter = state.dead_letter(id).await?.ok_or(Error::Unknown(id))?;
    if letter.state != LetterState::Open {
        return Ok(Replay::NotOpen);
    }
    let mut replayed = replay_together(&state, adapter, config, vec![letter]).await?;
    Ok(replayed.pop().map_or(Replay::NotOpen, |(_, result)| result))
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
        let listed = state.dead_letters(true, after, PAGE).await?;
        let Some(last) = listed.last() else { return Ok(results) };
        after = last.id;
        let mut letters = Vec::new();
        for letter in &listed {
            letters.extend(state.dead_letter(letter.id).await?);
        }
        results.extend(replay_together(&state, adapter, config, letters).await?);
    }
}

/// Replays open letters with one opening of the system behind them, however many they are. In order of their number within each direction.
async fn replay_together(
    state: &State,
    adapter: &dyn ErasedAdapter,
    config: &Config,
    letters: Vec<DeadLetter>,
) -> Result<Vec<(i64, Replay)>, Error> {
    let (sources, sinks): (Vec<_>, Vec<_>) =
        letters.into_iter().partition(|letter| letter.direction == Direction::Source);
    let mut results = Vec::new();
    if !sources.is_empty() {
        let raws: Vec<&[u8]> = sources.iter().map(|letter| letter.raw.as_slice()).collect();
        let mapped = adapter.remap_with(&config.table, &raws).await?;
        if mapped.len() != sources.len() {
            return Err(AdapterError::protocol("the mapping returned another number of answers than letters").into());
        }
        for (letter, mapped) in sources.iter().zip(mapped) {
            let result = match mapped {
                Ok(record) => state.replay(letter.id, &record).await?,
                Err(error) => {
                    state.still_bad(letter.id, &error.violations).await?;
                    Replay::StillBad
                }
            };
            results.push((letter.id, result));
        }
    }
    if !sinks.is_empty() {
        results.extend(deliver_again(state, adapter, config, sinks).await?);
    }
    results.sort_by_key(|(id, _)| *id);
    Ok(results)
}

async fn deliver_again(
    state: &State,
    adapter: &dyn ErasedAdapter,
    config: &Config,
    letters: Vec<DeadLetter>,
) -> Result<Vec<(i64, Replay)>, Error> {
    let sink = open_sink(adapter, config).await?;
    let mut ids = Vec::new();
    let mut records = Vec::new();
    for letter in letters {
        ids.push(letter.id);
        records.push(record_of(letter.record.as_deref().unwrap_or_default(), letter.raw)?);
    }
    let outcomes = sink.deliver(&records).await?;
    if outcomes.len() != records.len() {
        return Err(AdapterError::protocol("the sink returned another number of outcomes than records").into());
    }
    let mut results = Vec::new();
    let mut is_deferred = false;
    for (id, outcome) in ids.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Accepted => {
                state.letter_taken(id).await?;
                results.push((id, Replay::Queued));
            }
            Outcome::Rejected { reason } => {
                state.still_bad(id, &[reason]).await?;
                results.push((id, Replay::StillBad));
            }
            // What the others came to is noted before this is told.
            Outcome::Deferred { .. } => is_deferred = true,
        }
    }
    if is_deferred {
        return Err(AdapterError::transient("the sink asks to wait").into());
    }
    Ok(results)
}
