//! What stands where a credit code should stand.
//!
//! A registry's column is called 统一社会信用代码 and holds, besides these, numbers from before 2015, bare organisation codes, and what a spreadsheet
//! left of a code. No arithmetic leads from one of them to a credit code, so each is set aside by the name of what it is.

use std::borrow::Cow;

use shuqiao_adapter_sdk::Violation;
use shuqiao_schemas::identifier::{Kind, Reason, Severity, check, detect, normalise};

const PATH: &str = "/unified_social_credit_code";

/// The code in normal form, with a warning where it was not written so; or what stands there instead.
pub(crate) fn credit_code(text: &str) -> Result<(String, Option<Violation>), Violation> {
    let verdict = check(Kind::Uscc, text);
    if verdict.is_accepted() {
        let repaired = (!verdict.changes.is_empty()).then(|| {
            Violation::new(
                PATH,
                "CODE_NORMALISED",
                format!("the code was not written in normal form ({})", verdict.changes),
                format!("代码书写不规范，已规范化（{}）", verdict.changes),
            )
        });
        return Ok((verdict.normal.into_owned(), repaired));
    }
    Err(instead(text, verdict.reason.unwrap_or(Reason::NoKindFits)))
}

/// A number in normal form, whatever it is: the standard judges it.
pub(crate) fn normal(text: &str) -> String {
    normalise(text).0.into_owned()
}

fn instead(text: &str, reason: Reason) -> Violation {
    if matches!(reason, Reason::Empty | Reason::ExcelScientificNotation | Reason::InputTooLong) {
        return because(reason);
    }
    let found = detect(text);
    let right = found.severity != Severity::Error;
    let (rule, what, what_zh): (Cow<'static, str>, &str, &str) = match (found.kind, found.reason) {
        (Kind::Uscc, Some(reason)) => return because(reason),
        (Kind::Unknown, _) => return because(reason),
        (Kind::RegistrationNumber, Some(Reason::ThirteenDigits)) => (
            "OLD_REGISTRATION_NUMBER_INSTEAD".into(),
            "13-digit business registration number from before 2007",
            "2007 年以前的 13 位工商注册号",
        ),
        (Kind::RegistrationNumber, _) => {
            ("REGISTRATION_NUMBER_INSTEAD".into(), "15-digit business registration number", "15 位工商注册号")
        }
        (kind, _) => (format!("{}_INSTEAD", kind.name().to_ascii_uppercase()).into(), kind.title_en(), kind.title_zh()),
    };
    let (doubt, doubt_zh) =
        if right { ("", "") } else { (" (and it is wrong as such)", "（且其校验不正确）") };
    // A number among Chinese characters stands free.
    let gap = if what_zh.starts_with(|first: char| first.is_ascii_alphanumeric()) { " " } else { "" };
    Violation::new(
        PATH,
        rule,
        format!("a {what} stands where the unified social credit code should be{doubt}"),
        format!("统一社会信用代码栏内填写的是{gap}{what_zh}{doubt_zh}"),
    )
}

fn because(reason: Reason) -> Violation {
    Violation::new(PATH, reason.code(), reason.message_en(), reason.message_zh())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_instead_is_named_and_never_quoted() {
        for (text, rule) in [
            ("", "EMPTY"),
            ("9.1E+17", "EXCEL_SCIENTIFIC_NOTATION"),
            ("13830295-X", "ORGANISATION_CODE_INSTEAD"),
            ("3206811100123", "OLD_REGISTRATION_NUMBER_INSTEAD"),
            ("330106000012340", "REGISTRATION_NUMBER_INSTEAD"),
            ("330106199003070014", "RESIDENT_ID_INSTEAD"),
            ("91330106MA2XY0K38B", "CHECK_CHARACTER_MISMATCH"),
            ("9133O106MA2XY0K38A", "WRONG_CHARACTER"),
            ("南通示例纺织厂", "WRONG_CHARACTER"),
        ] {
            let violation = credit_code(text).expect_err(text);
            assert_eq!(violation.rule, rule, "{text}");
            assert!(!violation.message_en.is_empty() && !violation.message_zh.is_empty(), "{text}");
            if !text.is_empty() {
                assert!(!format!("{violation:?}").contains(text), "{text}");
            }
        }
    }

    #[test]
    fn a_number_stands_free_among_chinese_characters() {
        for (text, words) in
            [("330106000012340", "的是 15 位"), ("3206811100123", "的是 2007 年"), ("13830295-X", "的是组织")]
        {
            let violation = credit_code(text).expect_err(text);
            assert!(violation.message_zh.contains(words), "{}", violation.message_zh);
        }
    }

    #[test]
    fn a_right_code_in_other_clothes_is_repaired_and_told() {
        let code = "91330106MA2XY0K38A";
        assert_eq!(credit_code(code).map(|(code, warning)| (code, warning.is_some())), Ok((code.to_owned(), false)));
        for text in ["９１３３０１０６ＭＡ２ＸＹ０Ｋ３８Ａ", "'91330106ma2xy0k38a", " 91330106-MA2XY0K38-A "]
        {
            let (repaired, warning) = credit_code(text).expect(text);
            assert_eq!((repaired.as_str(), warning.map(|w| w.rule)), (code, Some("CODE_NORMALISED".into())), "{text}");
        }
    }
}
