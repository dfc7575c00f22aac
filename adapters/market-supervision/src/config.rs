//! `[market-supervision]`: where the registry is, a file or a table, and which of its columns is which field.

use std::{path::PathBuf, time::Duration};

use serde::Deserialize;
use shuqiao_adapter_sdk::{
    AdapterError,
    config::{Secret, duration, secret_of},
    text::LegacyEncoding,
};

use crate::mapping::Field;

/// `[market-supervision]`: exactly one of `file` and `database`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The registry exports a CSV file.
    pub file: Option<FileConfig>,
    /// The registry is a table of MySQL or MariaDB.
    pub database: Option<DatabaseConfig>,
    /// What the registry calls its columns.
    #[serde(default)]
    pub columns: Columns,
}

/// `[market-supervision.file]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The file. Replace it by a rename, so that nobody ever reads half of one.
    pub path: PathBuf,
    /// `gb18030` (which covers GBK and GB 2312) or `utf-8`. Never guessed: without it, the file must begin with a byte order mark.
    pub encoding: Option<LegacyEncoding>,
    /// One ASCII character between fields. Default `,`.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// How often a run that follows looks whether the file is another one. Default 30 s.
    #[serde(default = "thirty_seconds", deserialize_with = "duration")]
    pub poll: Duration,
}

/// `[market-supervision.database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `mysql://user:password@host/database`. Or `url_file`. A user with `SELECT` on the table suffices.
    pub url: Option<Secret>,
    /// A file that holds the URL and nothing else: keeps the password out of the configuration.
    pub url_file: Option<PathBuf>,
    /// The table (or view), in the URL's database.
    pub table: String,
    /// The column in whose order the table is read: unique, never null, an integer or text. Its primary key.
    pub key: String,
    /// The `DATETIME` or `TIMESTAMP` column that moves whenever a row changes.
    pub updated: String,
    /// Where a row says that it no longer counts. Rows that vanish from the table are not noticed.
    pub deleted: Option<Deleted>,
    /// Only where the columns hold bytes of another character set than they declare (GBK in a `latin1` column): the bytes are then
    /// decoded here. Without it, the server converts from what it declares (gbk, utf8mb4, ...).
    pub encoding: Option<LegacyEncoding>,
    /// Rows read at once; 1-5,000. Default 500.
    #[serde(default = "five_hundred")]
    pub page: u32,
    /// How often a run that follows asks for changes. Default 5 s.
    #[serde(default = "five_seconds", deserialize_with = "duration")]
    pub poll: Duration,
    /// How far behind the newest change reading begins again each time: longer than the registry's longest transaction and than the
    /// differences between its clocks. What is read twice is recognised. Default 30 s.
    #[serde(default = "thirty_seconds", deserialize_with = "duration")]
    pub overlap: Duration,
}

/// `[market-supervision.database.deleted]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deleted {
    /// The column that says it.
    pub column: String,
    /// The values that mean that the row is deleted.
    pub values: Vec<String>,
}

/// MySQL's bound.
const IDENTIFIER_CHARACTERS_MAX: usize = 64;

fn comma() -> char {
    ','
}

fn five_hundred() -> u32 {
    500
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

macro_rules! columns {
    ($($(#[$doc:meta])* $field:ident $variant:ident $default:literal;)+) => {
        /// `[market-supervision.columns]`: the registry's name of the column for each field of the record. An empty name: it has none. The
        /// defaults are those of a registry's usual export.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Columns { $($(#[$doc])* pub $field: String,)+ }

        impl Default for Columns {
            fn default() -> Self {
                Self { $($field: $default.into(),)+ }
            }
        }

        impl Columns {
            /// Each field that the registry has, with its column's name.
            pub(crate) fn named(&self) -> Vec<(Field, &str)> {
                let all = [$((Field::$variant, self.$field.as_str()),)+];
                all.into_iter().filter(|(_, name)| !name.is_empty()).collect()
            }
        }
    };
}

columns! {
    /// Unified social credit code.
    unified_social_credit_code Code "统一社会信用代码";
    /// Name.
    name Name "企业名称";
    /// Registration number from before the credit code, where it has a column of its own.
    registration_number RegistrationNumber "";
    /// Type in words.
    enterprise_type EnterpriseType "企业类型";
    /// Name of the legal representative.
    legal_representative LegalRepresentative "法人代表";
    /// Capital as text, with unit and currency.
    registered_capital RegisteredCapital "注册资金";
    /// Date of establishment.
    established_on EstablishedOn "注册日期";
    /// Date of approval.
    approved_on ApprovedOn "";
    /// Code of the status.
    status Status "";
    /// Business term from.
    valid_from ValidFrom "";
    /// Business term until; `长期`, 2099-12-31 and 9999-12-31 mean that it has no end.
    valid_to ValidTo "";
    /// Province in words.
    province Province "所在省份";
    /// City or county in words.
    city City "地区";
    /// Registered address.
    registered_address RegisteredAddress "注册地址";
    /// Business scope.
    business_scope BusinessScope "经营范围";
}

impl Config {
    /// A CSV file, with the defaults.
    pub fn of_file(path: impl Into<PathBuf>, encoding: Option<LegacyEncoding>) -> Self {
        let file = FileConfig { path: path.into(), encoding, delimiter: comma(), poll: thirty_seconds() };
        Self { file: Some(file), database: None, columns: Columns::default() }
    }

    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match (&self.file, &self.database) {
            (Some(file), None) => file.mistakes(&mut mistakes),
            (None, Some(database)) => database.mistakes(&mut mistakes),
            (Some(_), Some(_)) => mistakes.push("file, database: give one of them, not both".into()),
            (None, None) => mistakes.push("file, database: give one of them".into()),
        }
        for (field, name) in
            [("unified_social_credit_code", &self.columns.unified_social_credit_code), ("name", &self.columns.name)]
        {
            if name.is_empty() {
                mistakes.push(format!("columns.{field}: the record needs it, so it needs a column"));
            }
        }
        mistakes
    }
}

impl FileConfig {
    fn mistakes(&self, mistakes: &mut Vec<String>) {
        if self.path.as_os_str().is_empty() {
            mistakes.push("file.path: empty".into());
        }
        if !self.delimiter.is_ascii() || self.delimiter.is_ascii_alphanumeric() || "\"\r\n".contains(self.delimiter) {
            mistakes.push(
                "file.delimiter: must be one ASCII character, neither a letter, a digit, a quote nor a line end".into(),
            );
        }
        if self.poll.is_zero() {
            mistakes.push("file.poll: must be longer than 0s".into());
        }
    }

    /// Checked by [`FileConfig::mistakes`] to be ASCII.
    pub(crate) fn delimiter_byte(&self) -> u8 {
        u8::try_from(self.delimiter).unwrap_or(b',')
    }
}

impl DatabaseConfig {
    fn mistakes(&self, mistakes: &mut Vec<String>) {
        match (&self.url, &self.url_file) {
            (Some(url), None) if !is_mysql(url.reveal()) => {
                mistakes.push("database.url: must begin with mysql://".into());
            }
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => mistakes.push("database.url, database.url_file: give one of them, not both".into()),
            (None, None) => mistakes.push("database.url: missing (or give database.url_file)".into()),
        }
        let deleted = self.deleted.as_ref().map(|deleted| ("deleted.column", &deleted.column));
        let names = [("table", &self.table), ("key", &self.key), ("updated", &self.updated)];
        for (field, name) in names.into_iter().chain(deleted) {
            if name.is_empty() || name.chars().count() > IDENTIFIER_CHARACTERS_MAX || name.contains('\0') {
                mistakes.push(format!("database.{field}: must have 1-{IDENTIFIER_CHARACTERS_MAX} characters"));
            }
        }
        if self.deleted.as_ref().is_some_and(|deleted| deleted.values.is_empty()) {
            mistakes.push("database.deleted.values: name at least one value".into());
        }
        if !(1..=5_000).contains(&self.page) {
            mistakes.push("database.page: must be 1-5000".into());
        }
        if self.poll.is_zero() {
            mistakes.push("database.poll: must be longer than 0s".into());
        }
        if self.overlap > Duration::from_secs(24 * 3_600) {
            mistakes.push("database.overlap: must be at most 1day".into());
        }
    }

    /// The URL, from wherever it is kept.
    pub(crate) async fn resolve(&self) -> Result<Secret, AdapterError> {
        let url = secret_of("database.url", self.url.as_ref(), self.url_file.as_deref()).await?;
        if is_mysql(url.reveal()) {
            Ok(url)
        } else {
            Err(AdapterError::configuration("database.url: must begin with mysql://"))
        }
    }
}

fn is_mysql(url: &str) -> bool {
    url.starts_with("mysql://") || url.starts_with("mariadb://")
}
