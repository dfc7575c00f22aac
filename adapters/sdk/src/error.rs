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

/// An error and its causes on one line, outermost first.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_names_every_layer_once() {
        let cause = std::io::Error::other("connection refused");
        let error = AdapterError::transient("the registry is not reachable").because(cause);
        assert_eq!(error.to_string(), "the registry is not reachable");
        assert_eq!(error.chain(), "the registry is not reachable: connection refused");
        assert_eq!(error.class(), ErrorClass::Transient);
    }
}
