//! Currencies, ISO 4217 (GB/T 12406): by three letters or three digits, both of which are seen in registers.
//!
//! The list holds the currencies in which enterprises of this country register and trade; a well-formed code outside it is a
//! warning. `RMB` is no code of ISO 4217 and is answered with a suggestion of `CNY`.

use super::reason::{Exact, Reason};

/// A currency code, by letters or by number as it was written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

super::text::text_traits!(Currency, debug: shown);

/// Letters and number. The search is from the front, so the frequent ones stand there.
const TABLE: [(&[u8; 3], &[u8; 3]); 58] = [
    (b"CNY", b"156"),
    (b"USD", b"840"),
    (b"HKD", b"344"),
    (b"EUR", b"978"),
    (b"JPY", b"392"),
    (b"GBP", b"826"),
    (b"TWD", b"901"),
    (b"KRW", b"410"),
    (b"SGD", b"702"),
    (b"MOP", b"446"),
    (b"AUD", b"036"),
    (b"CAD", b"124"),
    (b"CHF", b"756"),
    (b"SEK", b"752"),
    (b"NOK", b"578"),
    (b"DKK", b"208"),
    (b"NZD", b"554"),
    (b"RUB", b"643"),
    (b"INR", b"356"),
    (b"THB", b"764"),
    (b"MYR", b"458"),
    (b"IDR", b"360"),
    (b"PHP", b"608"),
    (b"VND", b"704"),
    (b"BRL", b"986"),
    (b"ZAR", b"710"),
    (b"MXN", b"484"),
    (b"AED", b"784"),
    (b"SAR", b"682"),
    (b"TRY", b"949"),
    (b"PLN", b"985"),
    (b"CZK", b"203"),
    (b"HUF", b"348"),
    (b"ILS", b"376"),
    (b"EGP", b"818"),
    (b"KZT", b"398"),
    (b"MNT", b"496"),
    (b"LAK", b"418"),
    (b"MMK", b"104"),
    (b"KHR", b"116"),
    (b"PKR", b"586"),
    (b"BDT", b"050"),
    (b"LKR", b"144"),
    (b"NPR", b"524"),
    (b"UAH", b"980"),
    (b"QAR", b"634"),
    (b"KWD", b"414"),
    (b"ARS", b"032"),
    (b"CLP", b"152"),
    (b"COP", b"170"),
    (b"PEN", b"604"),
    (b"NGN", b"566"),
    (b"KES", b"404"),
    (b"BND", b"096"),
    (b"IRR", b"364"),
    (b"IQD", b"368"),
    (b"UZS", b"860"),
    (b"RON", b"946"),
];

impl Currency {
    /// Takes three upper-case letters or three digits exactly as they are.
    ///
    /// # Errors
    /// Wrong length or characters, or `RMB`.
    pub fn parse(text: &str) -> Result<Self, Reason> {
        exact(text.as_bytes())?;
        text.as_bytes().try_into().map(Currency).map_err(|_| Reason::WrongLength)
    }

    /// The value as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Made by a check that admits ASCII only.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The three letters, if the table knows the currency.
    #[must_use]
    pub fn alpha(&self) -> Option<&'static str> {
        entry(&self.0).and_then(|(alpha, _)| std::str::from_utf8(alpha).ok())
    }

    /// The three digits, if the table knows the currency.
    #[must_use]
    pub fn numeric(&self) -> Option<&'static str> {
        entry(&self.0).and_then(|(_, numeric)| std::str::from_utf8(numeric).ok())
    }
}

fn entry(code: &[u8; 3]) -> Option<(&'static [u8; 3], &'static [u8; 3])> {
    TABLE.into_iter().find(|(alpha, numeric)| *alpha == code || *numeric == code)
}

pub(super) fn exact(bytes: &[u8]) -> Exact {
    if bytes.is_empty() {
        return Err(Reason::Empty);
    }
    let code: &[u8; 3] = bytes.try_into().map_err(|_| Reason::WrongLength)?;
    if !code.iter().all(u8::is_ascii_uppercase) && !code.iter().all(u8::is_ascii_digit) {
        return Err(Reason::WrongCharacter);
    }
    if code == b"RMB" {
        return Err(Reason::UnknownCode);
    }
    Ok(entry(code).is_none().then_some(Reason::UnknownCurrency))
}
