//! Amounts of money as registries write them: `158(万元人民币)`, `50万人民币`, `30(万美元)`, `N/A`.
//!
//! Exact: an amount is a whole number of hundredths (分), never a float. The scale and the currency must be written; `158` alone is refused, because
//! one registry means 万元 by it and the next 元.

use super::width::fold_width;

/// A currency that registries name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Currency {
    /// 人民币
    Cny,
    /// 美元
    Usd,
    /// 港元
    Hkd,
    /// 日元
    Jpy,
    /// 欧元
    Eur,
    /// 英镑
    Gbp,
    /// 澳门元
    Mop,
    /// 新台币
    Twd,
    /// 新加坡元
    Sgd,
    /// 澳大利亚元
    Aud,
    /// 加拿大元
    Cad,
    /// 韩元
    Krw,
    /// 瑞士法郎
    Chf,
    /// 德国马克, before 2002.
    Dem,
}

impl Currency {
    /// The ISO 4217 code (historic for 马克).
    pub fn code(self) -> &'static str {
        match self {
            Self::Cny => "CNY",
            Self::Usd => "USD",
            Self::Hkd => "HKD",
            Self::Jpy => "JPY",
            Self::Eur => "EUR",
            Self::Gbp => "GBP",
            Self::Mop => "MOP",
            Self::Twd => "TWD",
            Self::Sgd => "SGD",
            Self::Aud => "AUD",
            Self::Cad => "CAD",
            Self::Krw => "KRW",
            Self::Chf => "CHF",
            Self::Dem => "DEM",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "元" | "人民币" | "人民币元" | "元人民币" | "圆" | "CNY" | "RMB" => Self::Cny,
            "美元" | "美金" | "元美元" | "USD" => Self::Usd,
            "港元" | "港币" | "香港元" | "元港币" | "元港元" | "HKD" => Self::Hkd,
            "日元" | "日圆" | "元日元" | "JPY" => Self::Jpy,
            "欧元" | "元欧元" | "EUR" => Self::Eur,
            "英镑" | "元英镑" | "GBP" => Self::Gbp,
            "澳门元" | "MOP" => Self::Mop,
            "新台币" | "台币" | "新台币元" | "TWD" => Self::Twd,
            "新加坡元" | "新元" | "元新加坡元" | "SGD" => Self::Sgd,
            "澳大利亚元" | "澳元" | "AUD" => Self::Aud,
            "加拿大元" | "加元" | "CAD" => Self::Cad,
            "韩元" | "韩圆" | "韩国元" | "KRW" => Self::Krw,
            "瑞士法郎" | "CHF" => Self::Chf,
            "德国马克" | "马克" | "DEM" => Self::Dem,
            _ => return None,
        })
    }
}

/// An exact amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    /// Hundredths of the currency's unit (分).
    pub hundredths: u64,
    /// Of which currency.
    pub currency: Currency,
}

impl Money {
    /// The amount in units (元), as the shortest exact decimal: "1580000", "0.5".
    pub fn units(self) -> String {
        decimal(self.hundredths, 2)
    }

    /// The amount in ten thousands (万元), as the shortest exact decimal: "158", "0.00005".
    pub fn ten_thousands(self) -> String {
        decimal(self.hundredths, 6)
    }
}

/// Why a text is no amount. Quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// No number at the beginning, or a malformed one.
    #[error("the amount does not begin with a number")]
    NoNumber,
    /// A number without scale and currency.
    #[error("the amount names neither 元 nor 万元")]
    NoUnit,
    /// A currency or unit that is not known.
    #[error("the amount's unit or currency is not known")]
    UnknownUnit,
    /// Finer than a hundredth of the unit, or larger than 2^64 hundredths.
    #[error("the amount is finer than a hundredth of its unit, or too large")]
    NotExact,
}

impl MoneyError {
    /// Stable rule name, for a violation.
    pub fn rule(self) -> &'static str {
        match self {
            Self::NoNumber => "MONEY_NO_NUMBER",
            Self::NoUnit => "MONEY_NO_UNIT",
            Self::UnknownUnit => "MONEY_UNIT_UNKNOWN",
            Self::NotExact => "MONEY_NOT_EXACT",
        }
    }

    /// For a person, Chinese.
    pub fn message_zh(self) -> &'static str {
        match self {
            Self::NoNumber => "金额不以数字开头",
            Self::NoUnit => "金额未注明单位（元或万元）",
            Self::UnknownUnit => "金额的单位或币种无法识别",
            Self::NotExact => "金额精度超过分，或数值过大",
        }
    }
}

/// Parses an amount. `None`: the registry says that it has none (`N/A`, `-`, `无`, empty).
///
/// # Errors
/// [`MoneyError`].
pub fn money(text: &str) -> Result<Option<Money>, MoneyError> {
    let text = fold_width(text);
    if text.is_empty() || matches!(text.as_ref(), "N/A" | "n/a" | "-" | "--" | "无" | "NULL" | "null") {
        return Ok(None);
    }
    let end = text.find(|character: char| !matches!(character, '0'..='9' | '.' | ',')).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let unit: String = rest.chars().filter(|character| !matches!(character, '(' | ')' | ' ')).collect();
    let (scale, name) =
        match unit.strip_prefix('万').map(|name| (4, name)).or(unit.strip_prefix('亿').map(|name| (8, name))) {
            Some(scaled) => scaled,
            None => (0, unit.as_str()),
        };
    let hundredths = hundredths(number, scale)?;
    if name.is_empty() {
        return Err(MoneyError::NoUnit);
    }
    let currency = Currency::named(name).ok_or(MoneyError::UnknownUnit)?;
    Ok(Some(Money { hundredths, currency }))
}

/// `number` times 10^(scale + 2), exactly.
fn hundredths(number: &str, scale: usize) -> Result<u64, MoneyError> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains(['.', ',']) || !grouped(whole) {
        return Err(MoneyError::NoNumber);
    }
    let fraction = fraction.trim_end_matches('0');
    let places = scale + 2;
    if fraction.len() > places {
        return Err(MoneyError::NotExact);
    }
    let mut digits: String = whole.chars().filter(char::is_ascii_digit).collect();
    digits.push_str(fraction);
    digits.extend(std::iter::repeat_n('0', places - fraction.len()));
    digits.parse().map_err(|_| MoneyError::NotExact)
}

/// Commas only between groups of three.
fn grouped(whole: &str) -> bool {
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    !first.is_empty() && (!whole.contains(',') || first.len() <= 3) && groups.all(|group| group.len() == 3)
}

fn decimal(value: u64, places: u32) -> String {
    let unit = 10_u64.pow(places);
    let (whole, fraction) = (value / unit, value % unit);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = places as usize;
    format!("{whole}.{fraction:0width$}").trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_form_is_read_exactly() {
        for (text, units, ten_thousands, code) in [
            ("158(万元人民币)", "1580000", "158", "CNY"),
            ("158（万元人民币）", "1580000", "158", "CNY"),
            ("50万人民币", "500000", "50", "CNY"),
            ("30(万美元)", "300000", "30", "USD"),
            ("30万美元", "300000", "30", "USD"),
            ("0.5万元", "5000", "0.5", "CNY"),
            ("1,234.56万元", "12345600", "1234.56", "CNY"),
            ("12.345678万元", "123456.78", "12.345678", "CNY"),
            ("1.5亿元", "150000000", "15000", "CNY"),
            ("500元", "500", "0.05", "CNY"),
            ("0.50元", "0.5", "0.00005", "CNY"),
            ("100 万港币", "1000000", "100", "HKD"),
            ("8000(万日元)", "80000000", "8000", "JPY"),
            ("50.000000万人民币", "500000", "50", "CNY"),
        ] {
            let money = money(text).expect(text).expect(text);
            assert_eq!((money.units().as_str(), money.ten_thousands().as_str()), (units, ten_thousands), "{text}");
            assert_eq!(money.currency.code(), code, "{text}");
        }
    }

    #[test]
    fn no_amount_is_none_and_never_zero() {
        for text in ["N/A", "", " ", "-", "无"] {
            assert_eq!(money(text), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_not_written_is_not_guessed() {
        for (text, error) in [
            ("158", MoneyError::NoUnit),
            ("158万", MoneyError::NoUnit),
            ("万元", MoneyError::NoNumber),
            ("-5万元", MoneyError::NoNumber),
            ("1.2.3万元", MoneyError::NoNumber),
            ("12,34万元", MoneyError::NoNumber),
            ("叁拾万元", MoneyError::NoNumber),
            ("30万卢布", MoneyError::UnknownUnit),
            ("1.58E+6元", MoneyError::UnknownUnit),
            ("0.0000001万元", MoneyError::NotExact),
            ("0.001元", MoneyError::NotExact),
            ("99999999999999999999万元", MoneyError::NotExact),
        ] {
            assert_eq!(money(text), Err(error), "{text}");
        }
    }
}
