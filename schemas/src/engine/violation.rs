//! What is wrong with a record, told in two languages and without its values.
//!
//! A message names the rule and its bound, never what stood in the record: violations travel into acknowledgements, logs and dead
//! letters, where personal data has no business. The place is a JSON Pointer; a member's name that no schema knows is shown only if
//! it looks like a name.

use super::profile::is_member_name;
use crate::identifier;

/// Most violations that one record is told; one more says that there were more.
pub const MAX_VIOLATIONS: usize = 100;

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $code:literal $en:literal $zh:literal)*) => {
        /// A rule that a record can break. Codes are stable: programs may match them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule { $($(#[$doc])* $name,)* }

        impl Rule {
            /// Every rule, for documents and tests.
            pub const ALL: &'static [Rule] = &[$(Rule::$name,)*];

            /// The stable code, `UPPER_SNAKE_CASE`.
            pub fn code(self) -> &'static str {
                match self { $(Rule::$name => $code,)* }
            }

            /// Both texts; `{}` stands for the detail.
            fn texts(self) -> (&'static str, &'static str) {
                match self { $(Rule::$name => ($en, $zh),)* }
            }
        }
    };
}

rules! {
    /// Larger than the limit.
    PayloadTooLarge "PAYLOAD_TOO_LARGE" "the record is larger than {} bytes" "记录超过 {} 字节"
    /// Not UTF-8 (overlong forms and encoded surrogates included).
    NotUtf8 "NOT_UTF8" "not UTF-8 at byte {}" "第 {} 字节处不是合法的 UTF-8"
    /// A byte order mark before the record.
    ByteOrderMark "BYTE_ORDER_MARK" "a byte order mark stands before the record" "记录前有字节顺序标记（BOM）"
    /// Not JSON (RFC 8259).
    Syntax "SYNTAX" "not JSON at byte {}" "第 {} 字节处不符合 JSON 语法"
    /// Nested too deep.
    TooDeep "TOO_DEEP" "nested deeper than {} levels" "嵌套超过 {} 层"
    /// Something after the record.
    TrailingBytes "TRAILING_BYTES" "bytes after the end of the record" "记录结束后还有多余内容"
    /// A member twice in one object, escapes resolved.
    DuplicateKey "DUPLICATE_KEY" "the member appears more than once" "字段重复出现"
    /// Half of a surrogate pair.
    LoneSurrogate "LONE_SURROGATE" "half of a surrogate pair is no character" "含有不成对的代理项，不是字符"
    /// U+0000 in a text.
    NulCharacter "NUL_CHARACTER" "a NUL character is not allowed" "不得含有空字符（NUL）"
    /// A control character in a text that no list, form or identifier closes.
    ControlCharacter "CONTROL_CHARACTER" "a control character is not allowed here" "此处不得含有控制字符"
    /// A number that a 64-bit reader would change.
    NumberNotExact "NUMBER_NOT_EXACT" "the number does not survive as a 64-bit integer or double; write it as text" "数值超出 64 位整数或双精度的精确范围，应以文本书写"
    /// A value of another type.
    WrongType "WRONG_TYPE" "must be of type {}" "类型应为 {}"
    /// A required member is missing.
    Required "REQUIRED" "required" "必填"
    /// A member that the record type does not have.
    UnknownProperty "UNKNOWN_PROPERTY" "the record type has no such member" "记录标准中没有该字段"
    /// Too few characters.
    TooShort "TOO_SHORT" "must have at least {} characters" "至少 {} 个字符"
    /// Too many characters.
    TooLong "TOO_LONG" "must have at most {} characters" "最多 {} 个字符"
    /// Too many bytes in GB18030.
    TooManyBytes "TOO_MANY_BYTES" "must take at most {} bytes in GB18030" "按 GB18030 编码最多 {} 字节"
    /// Does not match its pattern.
    Pattern "PATTERN" "does not match the pattern {}" "不符合格式 {}"
    /// Not in the enumeration.
    NotAllowed "NOT_ALLOWED" "not one of the allowed values" "不在允许的取值之内"
    /// Not in the code table.
    UnknownCode "UNKNOWN_CODE" "not a code of the table {}" "不是代码表 {} 中的代码"
    /// Not a day of the calendar.
    Date "DATE" "must be a calendar date YYYY-MM-DD" "应为真实存在的日期 YYYY-MM-DD"
    /// A legacy placeholder for "no end".
    PlaceholderDate "PLACEHOLDER_DATE" "a placeholder date; a term without end is written 长期" "占位日期；无截止期限应写作“长期”"
    /// Not a time with seconds and +08:00.
    DateTime "DATE_TIME" "must be a time YYYY-MM-DDThh:mm:ss+08:00" "应为时间 YYYY-MM-DDThh:mm:ss+08:00"
    /// Not a decimal text of the declared size.
    Decimal "DECIMAL" "must be a decimal with at most {} digits before and after the point" "应为十进制数，整数位和小数位最多 {} 位"
    /// An identifier that fails its standard.
    Identifier "IDENTIFIER" "{}" "{}"
    /// An identifier that is suspect but may be right.
    IdentifierWarning "IDENTIFIER_WARNING" "{}" "{}"
    /// Below the minimum.
    TooSmall "TOO_SMALL" "must be at least {}" "不得小于 {}"
    /// Above the maximum.
    TooGreat "TOO_GREAT" "must be at most {}" "不得大于 {}"
    /// Too few elements.
    TooFewItems "TOO_FEW_ITEMS" "must have at least {} elements" "至少 {} 项"
    /// Too many elements.
    TooManyItems "TOO_MANY_ITEMS" "must have at most {} elements" "最多 {} 项"
    /// A key part without content, or with the separator of parts.
    KeyPart "KEY_PART" "a key part must not be empty, nor contain | where the key has several parts" "主键不得为空；主键由多项组成时不得含有“|”"
    /// A type of document written with escapes.
    SubjectKind "SUBJECT_KIND" "a document type that is no known identifier must be written without escapes" "非已知标识类型的证件类型代码不得使用转义书写"
    /// The end is before the start.
    NotBefore "NOT_BEFORE" "must not be before {}" "不得早于 {}"
    /// Two fields differ that must not.
    Equal "EQUAL" "must equal {}" "应与 {} 一致"
    /// A field that another one calls for.
    RequiredBy "REQUIRED_BY" "required because of {}" "因 {} 而必填"
    /// None of several fields is there.
    OneOfPresent "ONE_OF_PRESENT" "at least one of {} must be present" "{} 至少填写一项"
    /// A quantity is above the one that bounds it.
    NotAbove "NOT_ABOVE" "must not be greater than {}" "不得大于 {}"
    /// A text is not the part of another one that it must be.
    PartOf "PART_OF" "must equal its part of {}" "应与 {} 中的相应部分一致"
    /// A value that does not go together with another field's.
    NotAllowedWith "NOT_ALLOWED_WITH" "not one of the values that go with {}" "与 {} 的取值不相符"
    /// There were more violations.
    TooManyViolations "TOO_MANY_VIOLATIONS" "more than {} violations; the rest is not told" "违规超过 {} 项，其余不再列出"
}

/// One rule broken at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer (RFC 6901) to the place; empty for the whole record.
    pub path: String,
    /// The rule.
    pub rule: Rule,
    /// For people, in English. Holds no value of the record.
    pub message_en: String,
    /// For people, in Chinese. Holds no value of the record.
    pub message_zh: String,
    /// The declared name of a cross-field rule, or the stable reason of an identifier check.
    pub name: Option<String>,
}

/// What a message says beyond its rule.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Detail<'a> {
    None,
    Count(usize),
    Text(&'a str),
    Reason(identifier::Reason),
}

impl Violation {
    pub(crate) fn new(path: String, rule: Rule, detail: Detail<'_>) -> Violation {
        let (en, zh) = rule.texts();
        let (message_en, message_zh) = match detail {
            Detail::None => (en.to_owned(), zh.to_owned()),
            Detail::Count(count) => (en.replace("{}", &count.to_string()), zh.replace("{}", &count.to_string())),
            Detail::Text(text) => (en.replace("{}", text), zh.replace("{}", text)),
            Detail::Reason(reason) => (reason.message_en().to_owned(), reason.message_zh().to_owned()),
        };
        let name = match detail {
            Detail::Reason(reason) => Some(reason.code().to_owned()),
            _ => None,
        };
        Violation { path, rule, message_en, message_zh, name }
    }

    /// The most exact stable code: the reason of an identifier, which says more than the rule that it was checked by, or else the rule's.
    pub fn code(&self) -> &str {
        match (self.rule, &self.name) {
            (Rule::Identifier | Rule::IdentifierWarning, Some(reason)) => reason,
            (rule, _) => rule.code(),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {} ({})",
            if self.path.is_empty() { "(record)" } else { &self.path },
            self.message_en,
            self.rule.code()
        )
    }
}

/// Every violation of one record, in the order of its bytes, cross-field rules last. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Violations(pub(crate) Vec<Violation>);

impl std::fmt::Display for Violations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, violation) in self.0.iter().enumerate() {
            write!(f, "{}{violation}", if index > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

impl std::ops::Deref for Violations {
    type Target = [Violation];
    fn deref(&self) -> &[Violation] {
        &self.0
    }
}

impl IntoIterator for Violations {
    type Item = Violation;
    type IntoIter = std::vec::IntoIter<Violation>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The way from the root to a place, kept on the stack and written out only for a violation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path<'a> {
    Root,
    Member(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>, usize),
}

impl Path<'_> {
    pub(crate) fn pointer(&self) -> String {
        let mut pointer = String::new();
        self.write(&mut pointer);
        pointer
    }

    /// The pointer to a member that no schema knows: with its name if that looks like one, else to the object it stands in.
    pub(crate) fn unknown_member(&self, name: &str) -> String {
        let mut pointer = self.pointer();
        if is_member_name(name) {
            pointer.push('/');
            pointer.push_str(name);
        }
        pointer
    }

    fn write(&self, out: &mut String) {
        match self {
            Path::Root => {}
            Path::Member(parent, name) => {
                parent.write(out);
                out.push('/');
                out.push_str(name);
            }
            Path::Element(parent, index) => {
                parent.write(out);
                out.push('/');
                out.push_str(&index.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_upper_snake_case_and_both_texts_take_the_same_detail() {
        let codes: std::collections::HashSet<_> = Rule::ALL.iter().map(|rule| rule.code()).collect();
        assert_eq!(codes.len(), Rule::ALL.len());
        for rule in Rule::ALL {
            assert!(rule.code().bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'));
            let (en, zh) = rule.texts();
            assert_eq!(en.contains("{}"), zh.contains("{}"), "{rule:?}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_not_shown() {
        let record = Path::Member(&Path::Root, "holder");
        assert_eq!(record.unknown_member("phone"), "/holder/phone");
        assert_eq!(record.unknown_member("张三 330106199003070014"), "/holder");
    }
}
