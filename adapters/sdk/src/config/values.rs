//! The types that configuration values have, and the defaults that need a function.

use std::{fmt, path::Path, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::AdapterError;

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

/// A secret that stands in the configuration, or alone in a file that the configuration names. `key` is what the error calls it.
///
/// # Errors
/// Configuration: the file cannot be read, or neither is given.
pub async fn secret_of(key: &str, value: Option<&Secret>, file: Option<&Path>) -> Result<Secret, AdapterError> {
    match (value, file) {
        (Some(value), _) => Ok(value.clone()),
        (None, Some(path)) => {
            let text = tokio::fs::read_to_string(path).await.map_err(|cause| {
                AdapterError::configuration(format!("{key}_file {} cannot be read", path.display())).because(cause)
            })?;
            Ok(Secret::new(text.trim()))
        }
        (None, None) => Err(AdapterError::configuration(format!("{key}: is missing"))),
    }
}

/// `30s`, `2m`, `500ms`: for `#[serde(deserialize_with)]`.
///
/// # Errors
/// The deserializer's.
pub fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer).ok();
    let parsed = text.and_then(|text| humantime::parse_duration(&text).ok());
    parsed.ok_or_else(|| D::Error::custom("must be a duration, like \"30s\" or \"2m\""))
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
