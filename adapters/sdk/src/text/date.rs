//! Dates as legacy systems write them.
//!
//! Forms (domain facts, section 8): `YYYY-MM-DD`, `YYYY/MM/DD`, `YYYY.MM.DD`, `YYYYMMDD`, `YYYY年M月D日`, each alone or followed by midnight. An end of
//! validity may also be `长期`, `2099-12-31` or `9999-12-31`, which all mean that there is no end.

use jiff::civil::Date;

use super::width::fold_width;

/// Why a text is no date. Quotes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    /// Empty, or only blanks.
    #[error("the date is empty")]
    Empty,
    /// None of the known forms: an Excel serial number, a range, a word.
    #[error("the text has none of the known date forms")]
    UnknownForm,
    /// A known form, but no such day: 2021-02-29.
    #[error("there is no such day")]
    NoSuchDay,
    /// `长期` where one day is asked for.
    #[error("an unlimited period stands where one day is asked for")]
    Unlimited,
}

impl DateError {
    /// Stable rule name, for a violation.
    pub fn rule(self) -> &'static str {
        match self {
            Self::Empty => "DATE_EMPTY",
            Self::UnknownForm => "DATE_FORM_UNKNOWN",
            Self::NoSuchDay => "DATE_NO_SUCH_DAY",
            Self::Unlimited => "DATE_UNLIMITED",
        }
    }

    /// For a person, Chinese.
    pub fn message_zh(self) -> &'static str {
        match self {
            Self::Empty => "日期为空",
            Self::UnknownForm => "日期格式无法识别",
            Self::NoSuchDay => "日期不存在",
            Self::Unlimited => "此处应为具体日期，不能为“长期”",
        }
    }
}

/// The end of a validity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The last day.
    Day(Date),
    /// `长期`: no end.
    Unlimited,
}

/// One day.
///
/// # Errors
/// [`DateError`].
pub fn date(text: &str) -> Result<Date, DateError> {
    let text = fold_width(text);
    if text.is_empty() {
        return Err(DateError::Empty);
    }
    if is_unlimited(&text) {
        return Err(DateError::Unlimited);
    }
    let (year, month, day) = split(without_midnight(&text)).ok_or(DateError::UnknownForm)?;
    Date::new(year, month, day).map_err(|_| DateError::NoSuchDay)
}

/// An end of validity: a day, or no end.
///
/// # Errors
/// [`DateError`].
pub fn until(text: &str) -> Result<Until, DateError> {
    match date(text) {
        Ok(day) if matches!(day.year(), 2099 | 9999) && day.month() == 12 && day.day() == 31 => Ok(Until::Unlimited),
        Ok(day) => Ok(Until::Day(day)),
        Err(DateError::Unlimited) => Ok(Until::Unlimited),
        Err(error) => Err(error),
    }
}

fn is_unlimited(text: &str) -> bool {
    matches!(text, "长期" | "长期有效" | "永久" | "永久有效")
}

/// A time of day says nothing if it is midnight; any other is not a date's.
fn without_midnight(text: &str) -> &str {
    [" 00:00:00.000", " 00:00:00.0", " 00:00:00", "T00:00:00", " 00:00", " 0:00:00", " 0:00"]
        .iter()
        .find_map(|suffix| text.strip_suffix(suffix))
        .unwrap_or(text)
}

fn split(text: &str) -> Option<(i16, i8, i8)> {
    let parts: Vec<&str> = if text.contains('年') {
        let (year, rest) = text.split_once('年')?;
        let (month, day) = rest.split_once('月')?;
        vec![year, month, day.strip_suffix('日')?]
    } else if let Some(separator) = ['-', '/', '.'].into_iter().find(|separator| text.contains(*separator)) {
        text.split(separator).collect()
    } else if text.len() == 8 {
        vec![text.get(..4)?, text.get(4..6)?, text.get(6..)?]
    } else {
        return None;
    };
    let [year, month, day] = parts.as_slice() else { return None };
    if year.len() != 4 || !year.starts_with(|first: char| matches!(first, '1'..='9')) {
        return None;
    }
    let small = |part: &str| -> Option<i8> {
        let digits = matches!(part.len(), 1 | 2) && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse().ok()).flatten()
    };
    let year = year.bytes().all(|byte| byte.is_ascii_digit()).then(|| year.parse().ok()).flatten()?;
    Some((year, small(month)?, small(day)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_form_is_the_same_day() {
        for text in [
            "2019-03-01",
            "2019/03/01",
            "2019/3/1",
            "2019.03.01",
            "20190301",
            "2019年3月1日",
            "2019年03月01日",
            "２０１９－０３－０１",
            " 2019-03-01 ",
            "2019-03-01 00:00:00",
            "2019-03-01T00:00:00",
            "2019/3/1 0:00",
        ] {
            assert_eq!(date(text).map(|day| day.to_string()).as_deref(), Ok("2019-03-01"), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_refused_by_name() {
        for (text, error) in [
            ("", DateError::Empty),
            ("　", DateError::Empty),
            ("N/A", DateError::UnknownForm),
            ("43525", DateError::UnknownForm),
            ("2019", DateError::UnknownForm),
            ("01-03-2019", DateError::UnknownForm),
            ("2019-03-01 08:30:00", DateError::UnknownForm),
            ("2019-03-01至2029-03-01", DateError::UnknownForm),
            ("0000-00-00", DateError::UnknownForm),
            ("2019-3", DateError::UnknownForm),
            ("2019年3月", DateError::UnknownForm),
            ("+019-03-01", DateError::UnknownForm),
            ("2021-02-29", DateError::NoSuchDay),
            ("2021-00-01", DateError::NoSuchDay),
            ("20211301", DateError::NoSuchDay),
            ("长期", DateError::Unlimited),
        ] {
            assert_eq!(date(text), Err(error), "{text}");
        }
    }

    #[test]
    fn no_end_is_told_from_a_last_day() {
        for text in ["长期", "长期有效", "2099-12-31", "2099/12/31", "20991231", "9999-12-31", "9999年12月31日"]
        {
            assert_eq!(until(text), Ok(Until::Unlimited), "{text}");
        }
        assert_eq!(until("2099-12-30").map(|end| matches!(end, Until::Day(_))), Ok(true));
        assert_eq!(until(""), Err(DateError::Empty));
    }
}
