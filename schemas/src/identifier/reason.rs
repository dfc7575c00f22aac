//! Why a value is refused, or accepted with a reserve.
//!
//! A reason is stable: programs compare [`Reason::code`], people read the message. Its severity belongs to it, so that one reason
//! never means "refused" here and "accepted" there. No message quotes the value: it may be personal.

use std::fmt;

/// How a value was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// By every rule that we know.
    Ok,
    /// Acceptable, but a rule that is not certain (a table that grows, a check nobody can compute) was not met.
    Warning,
    /// Not a value of that kind.
    Error,
}

impl Severity {
    /// `ok`, `warning` or `error`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $severity:ident $variant:ident => $code:literal, $en:literal, $zh:literal;)+) => {
        /// A stable reason for an error or a warning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* #[doc = concat!("\n\n", $en, ".")] $variant,)+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The stable UPPER_SNAKE_CASE code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Reason::$variant => $code,)+ }
            }

            /// Error or warning; a reason is always one of the two.
            #[must_use]
            pub const fn severity(self) -> Severity {
                match self { $(Reason::$variant => Severity::$severity,)+ }
            }

            /// One sentence for a person who reads English.
            #[must_use]
            pub const fn message_en(self) -> &'static str {
                match self { $(Reason::$variant => $en,)+ }
            }

            /// One sentence for a person who reads Chinese.
            #[must_use]
            pub const fn message_zh(self) -> &'static str {
                match self { $(Reason::$variant => $zh,)+ }
            }
        }
    };
}

reasons! {
    /// Refused.
    Error Empty => "EMPTY", "there is no value", "值为空";
    /// Refused.
    Error NotUtf8 => "NOT_UTF8", "the bytes are not UTF-8", "字节不是 UTF-8 编码";
    /// Refused; the limit keeps memory bounded.
    Error InputTooLong => "INPUT_TOO_LONG", "the input is longer than any identifier and was not examined", "输入过长，未作检查";
    /// Refused.
    Error NoKindFits => "NO_KIND_FITS", "the value has the form of no known identifier", "不符合任何已知标识的格式";
    /// Refused.
    Error WrongLength => "WRONG_LENGTH", "the number of characters is wrong", "长度不正确";
    /// Refused. GB 32100 has no I, O, S, V, Z; a wrong O is never silently read as 0.
    Error WrongCharacter => "WRONG_CHARACTER", "a character is not allowed at its place", "含有不允许的字符";
    /// Refused where exact bytes are demanded; normalise first.
    Error NotNormalForm => "NOT_NORMAL_FORM", "the value is right but not written in normal form", "值正确但书写形式不规范";
    /// Refused: the digits are gone and cannot be had back.
    Error ExcelScientificNotation => "EXCEL_SCIENTIFIC_NOTATION",
        "a spreadsheet turned the code into scientific notation and its digits are lost", "电子表格已将代码转为科学计数法，数字丢失";
    /// Refused.
    Error CheckCharacterMismatch => "CHECK_CHARACTER_MISMATCH", "the check character is wrong", "校验码不正确";
    /// Refused. GB 11714 inside GB 32100, with the 36-letter value table.
    Error InnerCheckMismatch => "INNER_CHECK_MISMATCH",
        "the organisation code inside the credit code fails its own check", "统一社会信用代码内的组织机构代码校验码不正确";
    /// Refused unless an authoritative register confirms the code: early codes of Fujian carry such a check character.
    Error LegacySuspect => "LEGACY_SUSPECT",
        "the check character is wrong in the way of early Fujian codes; accept only if the register confirms it",
        "校验码不符，属福建早期代码特征，须经登记机关数据确认方可采用";
    /// Refused: right as a resident id, and passing the credit code's check by chance only.
    Error ResidentIdNotUscc => "RESIDENT_ID_NOT_USCC",
        "this is a resident identity number, not a credit code", "这是公民身份号码，不是统一社会信用代码";
    /// Refused between systems: GB 11714 reserves PDY00001 to PDY99999 for private use.
    Error SelfDefinedZone => "SELF_DEFINED_ZONE",
        "the organisation code is from the self-defined zone, which says nothing between systems", "组织机构代码属自定义区，不得用于系统间交换";
    /// Refused.
    Error ImpossibleDate => "IMPOSSIBLE_DATE", "the date inside the number does not exist", "号码中的日期不存在";
    /// Refused; only asked when the caller passes the present day.
    Error DateInFuture => "DATE_IN_FUTURE", "the date inside the number lies in the future", "号码中的日期晚于当前日期";
    /// Refused.
    Error EmbeddedCodeInvalid => "EMBEDDED_CODE_INVALID", "a code inside the identifier is itself wrong", "标识内含的代码不正确";
    /// Refused.
    Error WrongRoot => "WRONG_ROOT", "the identifier does not begin with 1.2.156.3005.2", "标识不以 1.2.156.3005.2 开头";
    /// Refused.
    Error WrongStructure => "WRONG_STRUCTURE", "the parts of the identifier are not those of its standard", "标识的组成部分不符合标准";
    /// Refused.
    Error UnknownCode => "UNKNOWN_CODE", "the code is not in its table", "代码不在代码表中";
    /// Refused.
    Error SectionMismatch => "SECTION_MISMATCH", "the industry's section letter does not hold its division", "行业门类与大类不一致";

    /// Accepted with a reserve: the table of GB 32100 grows by amendments.
    Warning UnknownAuthority => "UNKNOWN_AUTHORITY",
        "the pair of registering department and category is not in the table of GB 32100", "登记管理部门与机构类别代码组合不在代码表中";
    /// Accepted with a reserve: the table of GB/T 2260 grows, and registries use zones of their own.
    Warning UnknownRegion => "UNKNOWN_REGION", "the administrative division is not in the dated table", "行政区划代码不在代码表中";
    /// Accepted with a reserve: right in an old number, wrong in a new address.
    Warning RevokedRegion => "REVOKED_REGION", "the administrative division has been abolished", "行政区划代码已撤销";
    /// Accepted with a reserve: nothing in it can be checked.
    Warning ThirteenDigits => "THIRTEEN_DIGITS",
        "a registration number from before 2007, which has no check digit", "2007 年以前的 13 位注册号，无校验码";
    /// Accepted with a reserve: its holder has had the longer number for many years.
    Warning UpgradedFromFifteen => "UPGRADED_FROM_FIFTEEN",
        "a 15-digit identity number was upgraded to 18", "15 位身份号码已升为 18 位";
    /// Accepted with a reserve: 996 to 999 were kept for people born before 1900.
    Warning CenturyUncertain => "CENTURY_UNCERTAIN",
        "a 15-digit identity number was upgraded, but its sequence number may mean the century before", "15 位身份号码已升位，但顺序码可能表示上一世纪出生";
    /// Accepted with a reserve: no public rule for the check character is certain.
    Warning CheckNotVerified => "CHECK_NOT_VERIFIED", "the check character of this old form is not verified", "旧式号码的校验码未作校验";
    /// Accepted with a reserve: some provincial systems give letters their value plus one.
    Warning DialectA11 => "DIALECT_A11",
        "the check character follows the dialect in which A counts 11, not the standard", "校验位按 A=11 的地方实现计算，与标准不符";
    /// Accepted with a reserve: a deviation of GB/T 36904 seen in the field.
    Warning IssuerIsRegion => "ISSUER_IS_REGION",
        "the issuer is given as a region, not as a credit code", "颁发机构以行政区划代码表示，而非统一社会信用代码";
    /// Accepted with a reserve: a deviation of GB/T 36904 seen in the field.
    Warning SerialUnderscore => "SERIAL_UNDERSCORE", "the serial number holds an underscore", "流水号含下划线";
    /// Accepted with a reserve: a deviation of GB/T 36904 seen in the field.
    Warning OldTypeCode => "OLD_TYPE_CODE", "the certificate type is an old six-digit code", "证照类型为旧式 6 位代码";
    /// Accepted with a reserve: two kinds fit, so the kind must travel with the value.
    Warning AmbiguousKind => "AMBIGUOUS_KIND",
        "the value is valid as another kind too; carry the kind with the value", "该值同时符合另一种标识，应随值注明类型";
    /// Accepted with a reserve: the guide's three classes may have been extended locally.
    Warning UnknownClass => "UNKNOWN_CLASS", "the resource class is not one of the guide's three", "信息资源分类的类不在指南三类之内";
    /// Accepted with a reserve: well formed, but not in our list of currencies.
    Warning UnknownCurrency => "UNKNOWN_CURRENCY", "the currency is not in the table", "货币代码不在代码表中";
    /// Accepted with a reserve: well formed, but no such division in GB/T 4754-2017.
    Warning UnknownIndustry => "UNKNOWN_INDUSTRY", "the industry is not in GB/T 4754-2017", "行业代码不在 GB/T 4754-2017 中";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.message_en())
    }
}

impl std::error::Error for Reason {}

/// What an exact check answers: right, right with a reserve, or wrong.
///
/// The `Ok` side only ever holds a warning and the `Err` side only ever an error; see [`Reason::severity`].
pub type Exact = Result<Option<Reason>, Reason>;
