//! The types that configuration values have, and the defaults that need a function.

use std::{fmt, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de::Error as _};

/// A password, a key, an address with a password in it: its `Debug` is blank.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps `value` out of logs.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself: for the one call that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// `30s`, `2m`, `500ms`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| D::Error::custom("not a duration; write it as `30s` or `2m`"))
}

pub(super) fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

pub(super) fn sixty_seconds() -> Duration {
    Duration::from_secs(60)
}

pub(super) fn batch_records() -> usize {
    500
}

pub(super) fn batch_bytes() -> ByteSize {
    ByteSize::mib(2)
}

pub(super) fn outbox_bytes() -> ByteSize {
    ByteSize::mib(64)
}

pub(super) fn window() -> u32 {
    2_000
}
