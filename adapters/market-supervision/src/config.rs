//! `[market-supervision]`: where the registry is, a file or a table, and which of its columns is which field.

use serde::Deserialize;
use shuqiao_adapter_sdk::{database::DatabaseConfig, file::FileConfig};

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
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match (&self.file, &self.database) {
            (Some(_), None) | (None, Some(_)) => {}
            (Some(_), Some(_)) => mistakes.push("file, database: give one of them, not both".into()),
            (None, None) => mistakes.push("file, database: one of them must be there".into()),
        }
        mistakes.extend(self.file.iter().flat_map(FileConfig::mistakes));
        mistakes.extend(self.database.iter().flat_map(DatabaseConfig::mistakes));
        for (field, name) in
            [("unified_social_credit_code", &self.columns.unified_social_credit_code), ("name", &self.columns.name)]
        {
            if name.is_empty() {
                mistakes.push(format!("columns.{field}: must name a column: no record is without it"));
            }
        }
        mistakes
    }
}
