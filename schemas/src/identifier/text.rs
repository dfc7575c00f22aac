//! What every identifier type shares: made only by a check, shown as text, equal and ordered as text.

/// Defines a fixed-width ASCII identifier whose only way in is `$check`.
macro_rules! fixed_text {
    ($(#[$doc:meta])* $name:ident, $len:literal, $kind:expr, $check:path, debug: $debug:tt) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $len]);

        impl $name {
            /// Takes `text` exactly as it is; normalise first if a person or a spreadsheet wrote it.
            ///
            /// # Errors
            /// The [`Reason`](super::Reason) for which it is not such a value. A warning is no obstacle.
            pub fn parse(text: &str) -> Result<Self, super::Reason> {
                $check(text.as_bytes())?;
                let bytes = text.as_bytes().try_into().map_err(|_| super::Reason::WrongLength)?;
                Ok($name(bytes))
            }

            /// The value as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                // Every check admits ASCII only, so the fallback is never taken; it is here because a panic is worse.
                std::str::from_utf8(&self.0).unwrap_or_default()
            }
        }

        super::text::text_traits!($name, debug: $debug);
    };
}

/// `Display`, `Debug`, `AsRef<str>`, `FromStr`, `TryFrom<&str>` and serde for a type with `parse` and `as_str`.
macro_rules! text_traits {
    ($name:ident, debug: $debug:tt) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                super::text::text_traits!(@debug $debug, self, f, $name)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl std::str::FromStr for $name {
            type Err = super::Reason;

            fn from_str(text: &str) -> Result<Self, super::Reason> {
                $name::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = super::Reason;

            fn try_from(text: &str) -> Result<Self, super::Reason> {
                $name::parse(text)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                $name::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
    (@debug shown, $self:ident, $f:ident, $name:ident) => {
        write!($f, concat!(stringify!($name), "({})"), $self.as_str())
    };
    // Personal: what reaches a log by accident must not name a person.
    (@debug hidden, $self:ident, $f:ident, $name:ident) => {
        $f.write_str(concat!(stringify!($name), "(***)"))
    };
}

pub(super) use {fixed_text, text_traits};
