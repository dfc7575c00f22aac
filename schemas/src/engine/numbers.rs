//! Numbers that survive.
//!
//! A reader in Java, SQL or JavaScript turns a JSON number into a 64-bit integer or an IEEE double. A literal is accepted only if
//! nothing is lost on that way: a plain integer fits `i64`, anything else is the decimal that its double prints as. What would lose
//! digits (an account number of 20) belongs in a string.

use std::cmp::Ordering;
use std::io::Write;

/// Longest literal worth looking at; no double needs more digits than this to be told from its neighbours.
const MAX_LITERAL_BYTES: usize = 64;
/// Digits of the longest decimal that a schema can ask for, 38 before the point and 38 after, or of the longest literal.
const MAX_DIGITS: usize = 76;
/// Exponents are counted up to here: far beyond any that a double has, and far from overflow.
const EXPONENT_MAX: i64 = 1 << 40;

/// The value of a number literal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Value {
    /// A whole number.
    Integer(i64),
    /// A finite double that is not whole, or is beyond `i64`.
    Double(f64),
}

/// A double as `i64`, if it is a whole number in range.
pub(crate) fn whole(value: f64) -> Option<i64> {
    // 2^63 is the first double beyond i64; -2^63 is exact.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() == 0.0 && (-LIMIT..LIMIT).contains(&value) {
        #[expect(clippy::cast_possible_truncation, reason = "whole and in range, tested in the line above")]
        return Some(value as i64);
    }
    None
}

/// The value of `literal`, or nothing if digits would be lost.
pub(crate) fn exact(literal: &str, plain: bool) -> Option<Value> {
    if literal.len() > MAX_LITERAL_BYTES {
        return None;
    }
    if plain {
        return literal.parse().ok().map(Value::Integer);
    }
    let double: f64 = literal.parse().ok()?;
    if !double.is_finite() || !survives(literal, double) {
        return None;
    }
    Some(whole(double).map_or(Value::Double(double), Value::Integer))
}

fn survives(literal: &str, double: f64) -> bool {
    let mut buffer = [0u8; 40];
    let mut rest = buffer.as_mut_slice();
    // `{:e}` prints the shortest decimal that reads back as this double: at most 17 digits, a sign, a point and an exponent.
    if write!(rest, "{double:e}").is_err() {
        return false;
    }
    let unused = rest.len();
    let used = buffer.len() - unused;
    let printed = buffer.get(..used).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    Decimal::of(literal) == Decimal::of(printed)
}

/// Compares two decimals by value, whatever they are longer than: JSON numbers or decimal texts that were found valid.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let (left, right) = (Decimal::of(one), Decimal::of(other));
    let sign = |decimal: &Decimal, text: &str| match (decimal.is_zero(), text.starts_with('-')) {
        (true, _) => 0,
        (false, negative) => 1 - 2 * i8::from(negative),
    };
    let (left_sign, right_sign) = (sign(&left, one), sign(&right, other));
    let magnitudes = || (left.power, left.digits).cmp(&(right.power, right.digits));
    left_sign.cmp(&right_sign).then_with(|| match left_sign {
        1 => magnitudes(),
        -1 => magnitudes().reverse(),
        _ => Ordering::Equal,
    })
}

/// A literal's significant digits and the power of ten of the first one: equal for literals of equal value.
#[derive(PartialEq)]
struct Decimal {
    digits: [u8; MAX_DIGITS],
    power: i64,
}

impl Decimal {
    fn is_zero(&self) -> bool {
        self.digits.first() == Some(&0)
    }

    fn of(literal: &str) -> Decimal {
        let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
        let mut digits = [0u8; MAX_DIGITS];
        let mut count = 0;
        // What is beyond any number is as good as the bound, which leaves room to count.
        let mut power = exponent.parse::<i64>().unwrap_or(EXPONENT_MAX).clamp(-EXPONENT_MAX, EXPONENT_MAX) - 1;
        let mut after_point = false;
        for byte in mantissa.bytes() {
            match byte {
                b'.' => after_point = true,
                b'0' if count == 0 => power -= i64::from(after_point),
                b'0'..=b'9' => {
                    if let Some(slot) = digits.get_mut(count) {
                        *slot = byte - b'0';
                    }
                    count += 1;
                    power += i64::from(!after_point);
                }
                _ => {}
            }
        }
        if count == 0 {
            power = 0;
        }
        Decimal { digits, power }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(literal: &str) -> Option<Value> {
        exact(literal, !literal.contains(['.', 'e', 'E']))
    }

    #[test]
    fn what_a_double_or_an_i64_holds_survives() {
        assert_eq!(value("0"), Some(Value::Integer(0)));
        assert_eq!(value("-9223372036854775808"), Some(Value::Integer(i64::MIN)));
        assert_eq!(value("1.0"), Some(Value::Integer(1)));
        assert_eq!(value("100e-2"), Some(Value::Integer(1)));
        assert_eq!(value("0.1"), Some(Value::Double(0.1)));
        assert_eq!(value("0.10"), Some(Value::Double(0.1)));
        assert_eq!(value("-0.0025e3"), Some(Value::Double(-2.5)));
        assert_eq!(value("0.0"), Some(Value::Integer(0)));
        assert_eq!(value("1.7976931348623157e308"), Some(Value::Double(f64::MAX)));
        assert_eq!(value("5e-324"), Some(Value::Double(5e-324)));
    }

    #[test]
    fn decimals_compare_by_value_however_they_are_written() {
        let long = format!("{}.{}", "9".repeat(38), "9".repeat(38));
        let shorter = format!("{}.{}8", "9".repeat(38), "9".repeat(37));
        let rising =
            ["-1e3", "-10.5", "-10", "-0.01", "0", "0.001", "0.01", "9.99", "10", "1e2", "12345", &shorter, &long];
        for (left, one) in rising.iter().enumerate() {
            for (right, other) in rising.iter().enumerate() {
                assert_eq!(compare(one, other), left.cmp(&right), "{one} {other}");
            }
        }
        for (one, other) in
            [("0", "-0.0"), ("0e9", "0"), ("1.50", "1.5"), ("100", "1e2"), ("-2.0", "-2"), ("500.000000", "5e2")]
        {
            assert_eq!(compare(one, other), Ordering::Equal, "{one} {other}");
        }
    }

    #[test]
    fn what_loses_digits_is_refused() {
        let ten_thousand = "1".repeat(10_000);
        for literal in [
            "9223372036854775808",
            "0.1234567890123456789",
            "1e400",
            "-1e400",
            "1e-400",
            "1e-9223372036854775808",
            "1e9223372036854775807",
            "4e-324",
            "9007199254740993.0",
            &ten_thousand,
        ] {
            assert_eq!(value(literal), None, "{}", literal.get(..30).unwrap_or(literal));
        }
    }
}
