//! From a registry's row to `enterprise/v1`: pure, and total. A row becomes a record, or every reason why it does not.
//!
//! - What a registry writes for "nothing" (`N/A`, `-`, empty, `0000-00-00`) is absent, never a value.
//! - A capital whose currency or unit is not written is left out and counted: `50(万)` is an amount of nobody knows what, and the enterprise is
//!   right without it. Anything else that cannot be read sets the row aside.
//! - The record is judged by the standard itself before it leaves, so that the exchange finds nothing that a person here does not hear of.

use serde::Serialize;
use shuqiao_adapter_sdk::{
    MappingError, Operation, SourceRecord, Violation,
    rows::{Mapped, RowMapping},
    text::{DateError, MoneyError, Until, date, fold_width, money, until},
};
use shuqiao_schemas::{engine::Scratch, registry::Registry};

use crate::{code, config::Columns};

/// The record type that this maps to.
pub(crate) const RECORD_TYPE: &str = "enterprise/v1";

/// A field that a registry may have a column for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Code,
    Name,
    RegistrationNumber,
    EnterpriseType,
    LegalRepresentative,
    RegisteredCapital,
    EstablishedOn,
    ApprovedOn,
    Status,
    ValidFrom,
    ValidTo,
    Province,
    City,
    RegisteredAddress,
    BusinessScope,
}

const FIELDS: usize = Field::BusinessScope as usize + 1;

/// A row's texts by field. What the registry has no column for, or holds nothing in, is absent.
#[derive(Default)]
struct Fields<'a>([Option<&'a str>; FIELDS]);

impl<'a> Fields<'a> {
    fn set(&mut self, field: Field, text: &'a str) {
        self.0[field as usize] = (!says_nothing(text)).then_some(text);
    }

    fn get(&self, field: Field) -> Option<&'a str> {
        self.0[field as usize].map(str::trim)
    }
}

impl RowMapping for Columns {
    fn columns(&self) -> Vec<&str> {
        self.named().into_iter().map(|(_, name)| name).collect()
    }

    fn upsert(&self, texts: &[Option<&str>]) -> Result<Mapped, MappingError> {
        map(&self.fields(texts))
    }

    fn delete(&self, texts: &[Option<&str>]) -> Result<Mapped, MappingError> {
        map_deleted(&self.fields(texts))
    }
}

impl Columns {
    /// What stands in the columns, by field.
    fn fields<'a>(&self, texts: &[Option<&'a str>]) -> Fields<'a> {
        let mut fields = Fields::default();
        for ((field, _), text) in self.named().into_iter().zip(texts) {
            fields.set(field, text.unwrap_or_default());
        }
        fields
    }
}

/// What registries write where they have nothing to say. `0000-00-00` is MySQL's.
fn says_nothing(text: &str) -> bool {
    let text = fold_width(text);
    matches!(
        text.as_ref(),
        "" | "N/A"
            | "n/a"
            | "NULL"
            | "null"
            | "\\N"
            | "-"
            | "--"
            | "/"
            | "—"
            | "无"
            | "0000-00-00"
            | "0000-00-00 00:00:00"
    )
}

/// In the order of the standard. A field that is `None` is not written.
#[derive(Default, Serialize)]
struct Enterprise<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    unified_social_credit_code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enterprise_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legal_representative: Option<Person<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_capital: Option<Capital>,
    #[serde(skip_serializing_if = "Option::is_none")]
    established_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_on: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    province: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    business_scope: Option<&'a str>,
}

#[derive(Serialize)]
struct Person<'a> {
    name: &'a str,
}

#[derive(Serialize)]
struct Capital {
    amount: String,
    unit: &'static str,
    currency: &'static str,
}

/// Maps a row. The record's key is its credit code; the runner counts its versions.
fn map(fields: &Fields<'_>) -> Result<Mapped, MappingError> {
    let mut violations = Vec::new();
    let mut warnings = Vec::new();
    let code = credit_code(fields, &mut violations, &mut warnings);
    let mut day = |field, path| match fields.get(field).map(date) {
        None => None,
        Some(Ok(day)) => Some(day.to_string()),
        Some(Err(error)) => {
            violations.push(unreadable_date(path, error));
            None
        }
    };
    let established_on = day(Field::EstablishedOn, "/established_on");
    let approved_on = day(Field::ApprovedOn, "/approved_on");
    let valid_from = day(Field::ValidFrom, "/valid_from");
    let valid_to = match fields.get(Field::ValidTo).map(until) {
        None => None,
        Some(Ok(Until::Unlimited)) => Some("长期".to_owned()),
        Some(Ok(Until::Day(day))) => Some(day.to_string()),
        Some(Err(error)) => {
            violations.push(unreadable_date("/valid_to", error));
            None
        }
    };
    let registered_capital = match fields.get(Field::RegisteredCapital).map(capital) {
        None | Some(Ok(None)) => None,
        Some(Ok(Some(capital))) => Some(capital),
        Some(Err(Unread::Incomplete(warning))) => {
            warnings.push(warning);
            None
        }
        Some(Err(Unread::Unreadable(violation))) => {
            violations.push(violation);
            None
        }
    };
    let registration_number = fields.get(Field::RegistrationNumber).map(code::normal);
    let enterprise = Enterprise {
        unified_social_credit_code: code.as_deref(),
        registration_number: registration_number.as_deref(),
        name: fields.get(Field::Name),
        enterprise_type: fields.get(Field::EnterpriseType),
        legal_representative: fields.get(Field::LegalRepresentative).map(|name| Person { name }),
        registered_capital,
        established_on,
        approved_on,
        status: fields.get(Field::Status),
        valid_from,
        valid_to,
        province: fields.get(Field::Province),
        city: fields.get(Field::City),
        registered_address: fields.get(Field::RegisteredAddress),
        business_scope: fields.get(Field::BusinessScope),
    };
    // Texts only: this cannot fail.
    let payload = serde_json::to_vec(&enterprise).unwrap_or_default();
    match judge(&payload) {
        Ok(told) => warnings.extend(told),
        // What could not be read is not in the payload, and the reason for that says more than that it is missing.
        Err(mut told) => {
            told.retain(|one| violations.iter().all(|known| known.path != one.path));
            violations.append(&mut told);
        }
    }
    let (Some(key), true) = (code, violations.is_empty()) else { return Err(MappingError { violations }) };
    let record = SourceRecord { key, operation: Operation::Upsert, source_version: None, payload: payload.into() };
    Ok(Mapped { record, warnings })
}

/// A row that says that it no longer counts: only its code matters.
fn map_deleted(fields: &Fields<'_>) -> Result<Mapped, MappingError> {
    let (mut violations, mut warnings) = (Vec::new(), Vec::new());
    match credit_code(fields, &mut violations, &mut warnings) {
        Some(key) => {
            let payload = shuqiao_adapter_sdk::Bytes::new();
            let record = SourceRecord { key, operation: Operation::Delete, source_version: None, payload };
            Ok(Mapped { record, warnings })
        }
        None => Err(MappingError { violations }),
    }
}

fn credit_code(fields: &Fields<'_>, violations: &mut Vec<Violation>, warnings: &mut Vec<Violation>) -> Option<String> {
    match code::credit_code(fields.get(Field::Code).unwrap_or_default()) {
        Ok((code, warning)) => {
            warnings.extend(warning);
            Some(code)
        }
        Err(violation) => {
            violations.push(violation);
            None
        }
    }
}

/// What the standard says of the payload: its warnings, or why it is none.
fn judge(payload: &[u8]) -> Result<Vec<Violation>, Vec<Violation>> {
    let Some(record_type) = Registry::builtin().get(RECORD_TYPE) else { return Ok(Vec::new()) };
    let mut scratch = Scratch::new();
    match record_type.validate(payload, &mut scratch) {
        Ok(facts) => Ok(facts.warnings().iter().map(told).collect()),
        Err(violations) => Err(violations.iter().map(told).collect()),
    }
}

/// In the words of the exchange.
fn told(violation: &shuqiao_schemas::engine::Violation) -> Violation {
    Violation::new(&*violation.path, violation.code(), &*violation.message_en, &*violation.message_zh)
}

fn unreadable_date(path: &str, error: DateError) -> Violation {
    Violation::new(path, error.rule(), error.to_string(), error.message_zh())
}

/// Why a capital is not in the record.
enum Unread {
    /// Its unit or its currency is not written: left out.
    Incomplete(Violation),
    /// Not understood at all: a person must look.
    Unreadable(Violation),
}

const CAPITAL: &str = "/registered_capital";

fn capital(text: &str) -> Result<Option<Capital>, Unread> {
    if !names_currency(text) {
        return Err(Unread::Incomplete(Violation::new(
            CAPITAL,
            "CAPITAL_WITHOUT_CURRENCY",
            "the capital names no currency, so it is left out",
            "注册资金未注明币种，不予填写",
        )));
    }
    let amount = match money(text) {
        Ok(None) => return Ok(None),
        Ok(Some(amount)) => amount,
        Err(error) => {
            let violation = Violation::new(CAPITAL, error.rule(), error.to_string(), error.message_zh());
            return Err(match error {
                MoneyError::NoUnit => Unread::Incomplete(violation),
                MoneyError::NoNumber | MoneyError::UnknownUnit | MoneyError::NotExact => Unread::Unreadable(violation),
            });
        }
    };
    let currency = amount.currency.code();
    Ok(Some(if text.contains(['万', '亿']) {
        Capital { amount: amount.ten_thousands(), unit: "万元", currency }
    } else {
        Capital { amount: amount.units(), unit: "元", currency }
    }))
}

/// Whether anything beyond number and unit is written. In a registry that writes 万元人民币 and 万美元, 万元 alone names no currency.
fn names_currency(text: &str) -> bool {
    let text = fold_width(text);
    let rest: String = text.chars().filter(|c| !matches!(c, '0'..='9' | '.' | ',' | '(' | ')' | ' ')).collect();
    !matches!(rest.as_str(), "" | "元" | "圆" | "万" | "万元" | "万圆" | "亿" | "亿元")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "913206001380000116";

    fn row<'a>(texts: &[(Field, &'a str)]) -> Fields<'a> {
        let mut fields = Fields::default();
        fields.set(Field::Code, CODE);
        fields.set(Field::Name, "南通示例纺织厂");
        for (field, text) in texts {
            fields.set(*field, text);
        }
        fields
    }

    fn payload(fields: &Fields<'_>) -> serde_json::Value {
        serde_json::from_slice(&map(fields).expect("maps").record.payload).expect("JSON")
    }

    #[test]
    fn a_control_character_is_taken_in_no_name_and_a_line_end_only_where_text_has_lines() {
        for name in ["示例\u{1b}[31m厂", "示例\n厂", "示例\u{85}厂"] {
            assert_eq!(rules(&row(&[(Field::Name, name)])), ["/name CONTROL_CHARACTER"], "{name:?}");
        }
        assert_eq!(rules(&row(&[(Field::BusinessScope, "销售\u{1b}")])), ["/business_scope CONTROL_CHARACTER"]);
        assert_eq!(payload(&row(&[(Field::BusinessScope, "制造\r\n销售")]))["business_scope"], "制造\r\n销售");
    }

    fn rules(fields: &Fields<'_>) -> Vec<String> {
        let error = map(fields).expect_err("does not map");
        error.violations.into_iter().map(|violation| format!("{} {}", violation.path, violation.rule)).collect()
    }

    #[test]
    fn a_whole_row_becomes_a_whole_record() {
        let fields = row(&[
            (Field::RegistrationNumber, "320600000000018"),
            (Field::EnterpriseType, "集体所有制"),
            (Field::LegalRepresentative, "顾某某"),
            (Field::RegisteredCapital, "158(万元人民币)"),
            (Field::EstablishedOn, "1985/6/1"),
            (Field::Status, "1"),
            (Field::ValidTo, "9999-12-31"),
            (Field::Province, "江苏"),
            (Field::City, "南通"),
            (Field::RegisteredAddress, "示例镇人民路 8 号"),
            (Field::BusinessScope, "许可经营项目：无 一般经营项目：纺织品制造、销售。"),
        ]);
        let mapped = map(&fields);
        let expected = serde_json::json!({
            "unified_social_credit_code": CODE, "registration_number": "320600000000018", "name": "南通示例纺织厂",
            "enterprise_type": "集体所有制", "legal_representative": {"name": "顾某某"},
            "registered_capital": {"amount": "158", "unit": "万元", "currency": "CNY"}, "established_on": "1985-06-01",
            "status": "1", "valid_to": "长期", "province": "江苏", "city": "南通", "registered_address": "示例镇人民路 8 号",
            "business_scope": "许可经营项目：无 一般经营项目：纺织品制造、销售。",
        });
        // The registration number's check digit decides whether the standard takes it.
        match mapped {
            Ok(mapped) => {
                assert_eq!(mapped.record.key, CODE);
                assert_eq!(
                    serde_json::from_slice::<serde_json::Value>(&mapped.record.payload).expect("JSON"),
                    expected
                );
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn nothing_is_absent_and_never_a_placeholder() {
        for nothing in ["", " ", "　", "N/A", "-", "无", "NULL", "0000-00-00"] {
            let fields = row(&[
                (Field::EnterpriseType, nothing),
                (Field::LegalRepresentative, nothing),
                (Field::RegisteredCapital, nothing),
                (Field::EstablishedOn, nothing),
                (Field::BusinessScope, nothing),
                (Field::RegisteredAddress, nothing),
            ]);
            let expected = serde_json::json!({"unified_social_credit_code": CODE, "name": "南通示例纺织厂"});
            assert_eq!(payload(&fields), expected, "{nothing:?}");
        }
    }

    #[test]
    fn capital_is_exact_and_a_currency_is_never_guessed() {
        for (text, expected) in [
            ("158(万元人民币)", Some(("158", "万元", "CNY"))),
            ("50万人民币", Some(("50", "万元", "CNY"))),
            ("30(万美元)", Some(("30", "万元", "USD"))),
            ("5,049.1800(万元人民币)", Some(("5049.18", "万元", "CNY"))),
            ("8000(万日元)", Some(("8000", "万元", "JPY"))),
            ("500元人民币", Some(("500", "元", "CNY"))),
            ("50(万)", None),
            ("3(万元)", None),
            ("３（万元）", None),
            ("158", None),
        ] {
            let fields = row(&[(Field::RegisteredCapital, text)]);
            let expected = match expected {
                Some((amount, unit, currency)) => {
                    serde_json::json!({"amount": amount, "unit": unit, "currency": currency})
                }
                None => serde_json::Value::Null,
            };
            assert_eq!(payload(&fields)["registered_capital"], expected, "{text}");
            let told: Vec<_> = map(&fields).expect("maps").warnings.into_iter().map(|warning| warning.rule).collect();
            assert_eq!(told.contains(&"CAPITAL_WITHOUT_CURRENCY".to_owned()), expected.is_null(), "{text}: {told:?}");
        }
        for (text, rule) in [("叁拾万元人民币", "MONEY_NO_NUMBER"), ("30万卢布", "MONEY_UNIT_UNKNOWN")] {
            assert_eq!(rules(&row(&[(Field::RegisteredCapital, text)])), [format!("/registered_capital {rule}")]);
        }
    }

    #[test]
    fn every_reason_is_told_at_once_and_none_quotes_a_value() {
        let mut fields = row(&[
            (Field::Code, "330106199003070014"),
            (Field::EstablishedOn, "2021-02-29"),
            (Field::RegisteredCapital, "若干卢布"),
        ]);
        fields.set(Field::Name, "N/A");
        let expected = [
            "/unified_social_credit_code RESIDENT_ID_INSTEAD",
            "/established_on DATE_NO_SUCH_DAY",
            "/registered_capital MONEY_NO_NUMBER",
            "/name REQUIRED",
        ];
        assert_eq!(rules(&fields), expected);
        let told = format!("{:?}", map(&fields).expect_err("does not map"));
        assert!(!told.contains("330106199003070014") && !told.contains("卢布"), "{told}");
    }

    #[test]
    fn what_the_standard_refuses_is_told_here_in_its_words() {
        let long = "长".repeat(201);
        let fields = row(&[(Field::RegisteredAddress, &long), (Field::Status, "在业")]);
        assert_eq!(
            rules(&fields),
            ["/status UNKNOWN_CODE", "/registered_address TOO_LONG", "/registered_address TOO_MANY_BYTES"]
        );
    }

    #[test]
    fn a_deleted_row_needs_nothing_but_its_code() {
        let mut fields = Fields::default();
        fields.set(Field::Code, CODE);
        let record = map_deleted(&fields).expect("maps").record;
        assert_eq!((record.key.as_str(), record.operation, record.payload.len()), (CODE, Operation::Delete, 0));
        assert!(map_deleted(&Fields::default()).is_err());
    }
}
