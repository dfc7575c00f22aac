//! Legacy text, shared by departments: pure functions that decode, measure and normalise, and say exactly what they cannot.
//!
//! Nothing here guesses. A byte that is not GB18030 is an error with its offset, never U+FFFD; a date or an amount of an unknown form is an error
//! with a rule name, never a default.

mod date;
mod encoding;
mod money;
mod width;

pub use date::{DateError, Until, date, until};
pub use encoding::{BadByte, LegacyEncoding, decode, decode_gb18030, gb18030_length};
pub use money::{Currency, Money, MoneyError, money};
pub use width::fold_width;
