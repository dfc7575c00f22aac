//! The types that a key can have, each with the words for what it wants.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use toml::de::DeValue;

/// One value of the file.
pub(super) trait Value: Sized {
    /// What the manual calls it.
    fn kind() -> String;

    /// Reads it, or says what would be right. Must not quote the value: it may be a secret.
    fn parse(value: &DeValue<'_>) -> Result<Self, String>;

    /// Reads an environment variable's text.
    fn parse_text(text: &str) -> Result<Self, String> {
        Self::parse(&DeValue::String(text.into()))
    }

    /// What a key that is neither there nor has a default means. `None`: it is obligatory.
    fn absent() -> Option<Self> {
        None
    }
}

fn text<'v>(value: &'v DeValue<'_>, wanted: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| format!("must be {wanted}, not {}", article(value.type_str())))
}

fn article(kind: &str) -> String {
    let article = if kind.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {kind}")
}

impl Value for String {
    fn kind() -> String {
        "text".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value, "text in quotes")?;
        if text.trim().is_empty() { Err("must not be empty".into()) } else { Ok(text.to_owned()) }
    }
}

impl Value for bool {
    fn kind() -> String {
        "true or false".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| format!("must be true or false, not {}", article(value.type_str())))
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn kind() -> String {
                "whole number".into()
            }
            fn parse(value: &DeValue<'_>) -> Result<Self, String> {
                let integer = value.as_integer().ok_or_else(|| format!("must be a whole number, not {}", article(value.type_str())))?;
                <$type>::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| format!("must be a whole number from 0 to {}", <$type>::MAX))
            }
        }
    )*};
}
whole_number!(u16, u32, u64, usize);

impl Value for Duration {
    fn kind() -> String {
        "duration".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        const WANTED: &str = "a duration in quotes with its unit, like \"30s\", \"5m\" or \"7d\"";
        humantime::parse_duration(text(value, WANTED)?).map_err(|_| format!("must be {WANTED}"))
    }
}

/// A number of bytes, written `"4MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

impl Size {
    /// The bytes, for an interface that counts in `usize`.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The bytes, for an interface that counts in `u32`.
    pub fn bytes_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS.into_iter().find(|(_, shift)| self.0.trailing_zeros() >= *shift).unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl Value for Size {
    fn kind() -> String {
        "size".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        const WANTED: &str = "a size in quotes with its unit (B, KiB, MiB, GiB), like \"4MiB\"";
        let text = text(value, WANTED)?;
        UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim_end(), *shift)))
            .and_then(|(number, shift)| number.parse::<u64>().ok()?.checked_mul(1 << shift))
            .map(Self)
            .ok_or_else(|| format!("must be {WANTED}"))
    }
}

impl Value for SocketAddr {
    fn kind() -> String {
        "address and port".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        const WANTED: &str = "an IP address and port in quotes, like \"0.0.0.0:7443\" or \"[::]:7443\"";
        text(value, WANTED)?.parse().map_err(|_| format!("must be {WANTED}"))
    }
}

impl Value for PathBuf {
    fn kind() -> String {
        "path".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value, "a path in quotes")?;
        if text.is_empty() { Err("must not be empty".into()) } else { Ok(text.into()) }
    }
}

/// A text that no log, no error and no `Debug` shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Value for Secret {
    fn kind() -> String {
        "secret text".into()
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        let text = text(value, "text in quotes")?;
        if text.is_empty() { Err("must not be empty".into()) } else { Ok(Self(text.to_owned())) }
    }
}

/// Text that is parsed by the type's own rule, which the error repeats.
macro_rules! parsed {
    ($($type:ty: $kind:literal),* $(,)?) => {$(
        impl Value for $type {
            fn kind() -> String {
                $kind.into()
            }
            fn parse(value: &DeValue<'_>) -> Result<Self, String> {
                text(value, concat!($kind, " in quotes"))?.parse().map_err(|error| format!("{error}"))
            }
        }
    )*};
}
parsed! {
    crate::exchange::model::DepartmentAlias: "department alias",
    crate::exchange::model::SourceId: "system or person",
}

impl<T: Value> Value for Option<T> {
    fn kind() -> String {
        format!("{}, optional", T::kind())
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        T::parse(value).map(Some)
    }
    fn parse_text(text: &str) -> Result<Self, String> {
        T::parse_text(text).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: Value> Value for Vec<T> {
    fn kind() -> String {
        format!("list of {}", T::kind())
    }
    fn parse(value: &DeValue<'_>) -> Result<Self, String> {
        let list =
            value.as_array().ok_or_else(|| format!("must be a list in brackets, not {}", article(value.type_str())))?;
        gather(list.iter().map(|item| T::parse(item.get_ref())))
    }
    /// A variable holds a list as text with commas.
    fn parse_text(text: &str) -> Result<Self, String> {
        gather(text.split(',').map(|item| T::parse_text(item.trim())))
    }
}

/// All items, or everything that is wrong with them. What is wrong with several in the same way is said once, with their numbers.
fn gather<T>(items: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let mut good = Vec::new();
    let mut wrong: Vec<(String, Vec<String>)> = Vec::new();
    for (number, item) in (1_usize..).zip(items) {
        match item {
            Ok(item) => good.push(item),
            Err(message) => match wrong.iter_mut().find(|(known, _)| *known == message) {
                Some((_, numbers)) => numbers.push(number.to_string()),
                None => wrong.push((message, vec![number.to_string()])),
            },
        }
    }
    if wrong.is_empty() {
        return Ok(good);
    }
    let told = wrong.iter().map(|(message, numbers)| {
        let items = if numbers.len() == 1 { "item" } else { "items" };
        format!("{items} {}: {message}", numbers.join(", "))
    });
    Err(told.collect::<Vec<_>>().join("; "))
}

/// An enum whose values are words.
macro_rules! choice {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $crate::config::value::Value for $name {
            fn kind() -> String {
                [$(concat!("`", $word, "`")),*].join(" or ")
            }
            fn parse(value: &toml::de::DeValue<'_>) -> Result<Self, String> {
                match value.as_str() {
                    $(Some($word) => Ok(Self::$variant),)*
                    _ => Err(format!("must be {}", [$(concat!("\"", $word, "\"")),*].join(" or "))),
                }
            }
        }
    };
}
pub(super) use choice;
