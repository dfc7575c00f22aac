//! Dates and times as GB/T 7408.1 writes them in extended form, and decimals as text.
//!
//! Everything here looks at bytes and allocates nothing. Only what the calendar knows is a date; only seconds precision with the
//! offset `+08:00` is a time, so that texts sort as the moments they name.

/// The text that stands for "no end" where a schema says `x-long-term`.
pub(crate) const LONG_TERM: &str = "长期";

/// Dates that legacy systems write when they mean [`LONG_TERM`].
const PLACEHOLDERS: [&[u8]; 2] = [b"2099-12-31", b"9999-12-31"];

/// Whether the date stands for "no end" in a legacy system.
pub(crate) fn is_placeholder(text: &[u8]) -> bool {
    PLACEHOLDERS.contains(&text)
}

/// `YYYY-MM-DD`, a day that the Gregorian calendar has.
pub(crate) fn is_date(text: &[u8]) -> bool {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else {
        return false;
    };
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    let (y1, y2, y3, y4) = (digit(y1), digit(y2), digit(y3), digit(y4));
    let (m1, m2, d1, d2) = (digit(m1), digit(m2), digit(d1), digit(d2));
    let (month, day) = (m1 * 10 + m2, d1 * 10 + d2);
    let digits = y1.max(y2).max(y3).max(y4).max(m1).max(m2).max(d1).max(d2) <= 9;
    // Every month has 28 days; only what is beyond them needs the calendar.
    digits
        && (1..=12).contains(&month)
        && day >= 1
        && (day <= 28 || day <= days_in(y1 * 1000 + y2 * 100 + y3 * 10 + y4, month))
}

/// `YYYY-MM-DDThh:mm:ss+08:00`.
pub(crate) fn is_date_time(text: &[u8]) -> bool {
    let Some((date, time)) = text.split_at_checked(10) else {
        return false;
    };
    let &[b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'+', b'0', b'8', b':', b'0', b'0'] = time else {
        return false;
    };
    let (Some(hour), Some(minute), Some(second)) = (two(h1, h2), two(m1, m2), two(s1, s2)) else {
        return false;
    };
    is_date(date) && hour < 24 && minute < 60 && second < 60
}

/// Whether `later` is not before `earlier`, for two texts that are valid dates or times of one offset: they sort as text. A date
/// against a time is compared by the day.
pub(crate) fn not_before(later: &str, earlier: &str) -> bool {
    if later == LONG_TERM {
        return true;
    }
    if earlier == LONG_TERM {
        return false;
    }
    let common = later.len().min(earlier.len());
    later.as_bytes().get(..common) >= earlier.as_bytes().get(..common)
}

fn two(tens: u8, ones: u8) -> Option<u32> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| u32::from(tens - b'0') * 10 + u32::from(ones - b'0'))
}

fn days_in(year: u32, month: u32) -> u32 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 0,
    }
}

/// What a decimal text may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// At most this many digits before the point.
    pub(crate) integer_digits: usize,
    /// At most this many digits after the point.
    pub(crate) fraction_digits: usize,
    /// A leading minus is allowed.
    pub(crate) negative: bool,
}

impl Decimal {
    /// Plain decimal notation: no sign but a permitted minus, no leading zero, no exponent, no bare point, no negative zero.
    pub(crate) fn accepts(self, text: &[u8]) -> bool {
        let unsigned = text.strip_prefix(b"-").filter(|_| self.negative).unwrap_or(text);
        let mut parts = unsigned.splitn(2, |&byte| byte == b'.');
        let whole = parts.next().unwrap_or_default();
        let fraction = parts.next();
        let digits =
            |part: &[u8], most: usize| !part.is_empty() && part.len() <= most && part.iter().all(u8::is_ascii_digit);
        let zero = unsigned.iter().all(|&byte| byte == b'0' || byte == b'.');
        digits(whole, self.integer_digits)
            && (whole.len() == 1 || whole.first() != Some(&b'0'))
            && fraction.is_none_or(|fraction| digits(fraction, self.fraction_digits))
            && !(zero && unsigned.len() != text.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_a_day_the_calendar_has() {
        for good in ["2024-02-29", "2000-02-29", "2023-12-31", "1949-10-01", "2100-02-28"] {
            assert!(is_date(good.as_bytes()), "{good}");
        }
        for bad in [
            "2023-02-29",
            "1900-02-29",
            "2100-02-29",
            "2023-00-10",
            "2023-13-01",
            "2023-04-31",
            "2023-01-00",
            "2023-1-1",
            "20230101",
            "2023/01/01",
            "2023-01-01 ",
            "２０２３-01-01",
            "",
            "长期",
            "2023-0a-01",
        ] {
            assert!(!is_date(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_time_has_seconds_and_the_offset_of_china() {
        assert!(is_date_time(b"2024-02-29T23:59:59+08:00"));
        for bad in [
            "2024-02-30T00:00:00+08:00",
            "2024-02-29T24:00:00+08:00",
            "2024-02-29T00:60:00+08:00",
            "2024-02-29T00:00:60+08:00",
            "2024-02-29T00:00:00Z",
            "2024-02-29T00:00:00+00:00",
            "2024-02-29T00:00:00",
            "2024-02-29 00:00:00+08:00",
            "2024-02-29T00:00:00.1+08:00",
            "2024-02-29",
            "",
            "二〇二四-02",
        ] {
            assert!(!is_date_time(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_decimal_is_written_in_one_way() {
        let money = Decimal { integer_digits: 4, fraction_digits: 2, negative: false };
        for good in ["0", "0.5", "0.50", "9999.99", "10"] {
            assert!(money.accepts(good.as_bytes()), "{good}");
        }
        for bad in ["", "-1", "+1", "00", "01", "1.", ".5", "1.234", "12345", "1e3", "1,000", " 1", "1.2.3", "１", "."]
        {
            assert!(!money.accepts(bad.as_bytes()), "{bad}");
        }
        let signed = Decimal { negative: true, ..money };
        assert!(signed.accepts(b"-1.5"));
        assert!(
            !signed.accepts(b"-0") && !signed.accepts(b"-0.00") && !signed.accepts(b"--1") && !signed.accepts(b"-")
        );
        assert!(!Decimal { fraction_digits: 0, ..money }.accepts(b"1.0"));
    }
}
