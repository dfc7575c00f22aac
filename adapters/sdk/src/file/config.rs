//! `[{adapter}.file]`: which file, and how it is written.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{config::duration, text::LegacyEncoding};

/// `[{adapter}.file]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file. Replace it by a rename, so that nobody ever reads half of one.
    pub path: PathBuf,
    /// `gb18030` (which covers GBK and GB 2312) or `utf-8`. Never guessed: without it, the file must begin with a byte order mark.
    pub encoding: Option<LegacyEncoding>,
    /// One ASCII character between fields. Default `,`.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// How often a run that follows looks whether the file is another one. Default 30 s.
    #[serde(default = "thirty_seconds", deserialize_with = "duration")]
    pub poll: Duration,
}

fn comma() -> char {
    ','
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

impl FileConfig {
    /// What the type cannot express, for [`crate::Adapter::mistakes`] of a configuration that calls it `file`.
    pub fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        if self.path.as_os_str().is_empty() {
            mistakes.push("file.path: must name a file".into());
        }
        if !self.delimiter.is_ascii() || self.delimiter.is_ascii_alphanumeric() || "\"\r\n".contains(self.delimiter) {
            mistakes.push(
                "file.delimiter: must be one ASCII character, neither a letter, a digit, a quote nor a line end".into(),
            );
        }
        if self.poll.is_zero() {
            mistakes.push("file.poll: must be longer than 0s".into());
        }
        mistakes
    }

    /// Checked by [`FileConfig::mistakes`] to be ASCII.
    pub(super) fn delimiter_byte(&self) -> u8 {
        u8::try_from(self.delimiter).unwrap_or(b',')
    }
}
