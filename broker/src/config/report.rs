//! Mistakes, gathered instead of stopped at.

use std::{fmt, ops::Range, path::PathBuf};

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Dotted path of the key: `limits.message_bytes_max`. Empty where the file as a whole is meant.
    pub path: String,
    /// Line in the file, from 1. None for what is missing, and for environment variables.
    pub line: Option<usize>,
    /// What is wrong and what would be right. Never quotes a secret.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any configuration.
    #[error("the configuration {} is larger than {limit} bytes", .path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file is in another encoding.
    #[error("the configuration {} is not UTF-8: line {line}, byte {offset} of the file", .path.display())]
    NotText {
        /// Which file.
        path: PathBuf,
        /// The line with the first byte that is none, from 1.
        line: usize,
        /// Where that byte is in the file, from 0.
        offset: usize,
    },
    /// The file has mistakes: all of them.
    #[error("the configuration has {}:\n{}", counted(.0.len()), lines(.0))]
    Mistakes(Vec<Mistake>),
}

impl Error {
    /// The mistakes, where it is about these.
    pub fn mistakes(&self) -> &[Mistake] {
        match self {
            Self::Mistakes(mistakes) => mistakes,
            Self::Read { .. } | Self::TooLarge { .. } | Self::NotText { .. } => &[],
        }
    }
}

fn counted(mistakes: usize) -> String {
    if mistakes == 1 { "1 mistake".into() } else { format!("{mistakes} mistakes") }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("  {mistake}")).collect::<Vec<_>>().join("\n")
}

/// What reading one file gathers.
pub(super) struct Report<'a> {
    text: &'a str,
    environment: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<Mistake>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { text, environment, mistakes: Vec::new() }
    }

    pub(super) fn environment(&self, name: &str) -> Option<String> {
        (self.environment)(name)
    }

    pub(super) fn mistake(&mut self, path: impl Into<String>, span: Option<Range<usize>>, message: impl Into<String>) {
        let line = span.map(|span| {
            let before = self.text.as_bytes().iter().take(span.start);
            before.filter(|byte| **byte == b'\n').count() + 1
        });
        self.mistakes.push(Mistake { path: path.into(), line, message: message.into() });
    }

    /// Everything gathered, in the order of the file; what has no line comes last.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        self.mistakes.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        self.mistakes
    }
}
