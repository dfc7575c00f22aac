//! The one error that an adapter's verbs return: what went wrong, and what the runner may do about it.
//!
//! A refused record is an outcome, never an error; a broken connection is an error, never an outcome. `Display` says only its own
//! layer, [`std::error::Error::source`] carries the rest, and neither quotes a record's content.

use std::{error::Error as StdError, fmt};

/// What the runner does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// It may pass by itself (a database that restarts, a lock, a network): the runner backs off and tries again.
    Transient,
    /// Somebody has to change a setting, a permission or a table first: the runner stops and says so.
    Configuration,
    /// The other side does not keep what it promised (a column missing, a file that changed under the reader): the runner stops.
    Protocol,
}

impl ErrorClass {
    /// Stable name, for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Configuration => "configuration",
            Self::Protocol => "protocol",
        }
    }
}

/// What an adapter's verb failed with.
#[derive(Debug)]
pub struct AdapterError {
    class: ErrorClass,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl AdapterError {
    /// An error of `class`. The message begins in lower case, has no full stop, and quotes no record.
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        Self { class, message: message.into(), source: None }
    }

    /// It may pass by itself.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, message)
    }

    /// Somebody has to change something first.
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Configuration, message)
    }

    /// The other side does not keep what it promised.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Protocol, message)
    }

    /// Adds the cause below this layer.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(cause.into());
        self
    }

    /// What the runner may do about it.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// The whole chain on one line, outermost first: for logs and for people at a terminal.
    pub fn chain(&self) -> String {
        chain(self)
    }
}

impl fmt::Display for AdapterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for AdapterError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.source {
            Some(cause) => Some(cause.as_ref()),
            None => None,
        }
    }
}

/// An error and its causes on one line, outermost first; a cause with which its effect has ended already is left out.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

/// A database's error of which only the number is told: its words may quote a value.
#[derive(Debug, thiserror::Error)]
#[error("error {0}; its words are left out, since they may quote a value")]
struct Wordless(String);

/// An error of a database as a cause. `speaks`: whether the words of the error with this code are about tables, access and the server, never about a value.
pub(crate) fn without_values(cause: sqlx::Error, speaks: impl Fn(&str) -> bool) -> Box<dyn StdError + Send + Sync> {
    let sqlx::Error::Database(told) = &cause else { return Box::new(cause) };
    // MySQL's numbers stand beside the standard's five characters.
    let number = told.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(|error| error.number().to_string());
    let code = number.or_else(|| told.code().map(|code| code.into_owned())).unwrap_or_default();
    if speaks(&code) { Box::new(cause) } else { Box::new(Wordless(code)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_of_a_database_quotes_no_value() {
        use sqlx::Connection as _;
        let mut database = sqlx::SqliteConnection::connect("sqlite::memory:").await.expect("opens");
        let refused = || sqlx::query("SELECT no_such_column");
        let cause = refused().execute(&mut database).await.expect_err("refused");
        let told = AdapterError::protocol("reading").because(without_values(cause, |_| false));
        assert_eq!(told.chain(), "reading: error 1; its words are left out, since they may quote a value");
        assert!(!format!("{told:?}").contains("no_such_column"));
        let cause = refused().execute(&mut database).await.expect_err("refused");
        let told = AdapterError::configuration("reading").because(without_values(cause, |code| code == "1"));
        assert!(told.chain().contains("no_such_column"), "{}", told.chain());
    }

    #[test]
    fn a_chain_names_every_layer_once() {
        let cause = std::io::Error::other("connection refused");
        let error = AdapterError::transient("the registry is not reachable").because(cause);
        assert_eq!(error.to_string(), "the registry is not reachable");
        assert_eq!(error.chain(), "the registry is not reachable: connection refused");
        assert_eq!(error.class(), ErrorClass::Transient);
        // As hyper has it: the layer's words end with the cause's.
        let told = AdapterError::transient("not connected: refused").because(std::io::Error::other("refused"));
        assert_eq!(told.chain(), "not connected: refused");
    }
}
