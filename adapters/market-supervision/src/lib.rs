//! Market supervision 市场监管: reads its registry and publishes enterprise/v1.
//!
//! The registry is a CSV file that is exported now and then, or a table of MySQL or MariaDB. Either is only read.
//!
//! Promises: every row becomes a record under its unified social credit code, says what is known already, or is set aside with its bytes and every
//! reason, in English and Chinese; reading goes on where it was after any crash; reading the same again publishes nothing.
//! Refuses: replacing a character that it cannot decode, repairing a letter into a digit, and filling in what is not written.

mod code;
mod config;
mod mapping;

use std::sync::Arc;

use shuqiao_adapter_sdk::{
    Adapter, AdapterError, CheckReport, Context, Descriptor, MappingError, Roles, SourceRecord, async_trait,
    database::{self, DatabaseSource},
    file::{self, FileSource},
};

pub use config::{Columns, Config};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct MarketSupervision;

#[async_trait]
impl Adapter for MarketSupervision {
    type Config = Config;

    fn descriptor() -> Descriptor {
        Descriptor {
            name: "market-supervision",
            title_en: "Market supervision: publishes enterprises from a registry's CSV file or MySQL table",
            title_zh: "市场监管：发布市场主体登记数据（CSV 导出文件，或 MySQL/MariaDB 数据表）",
            source: true,
            sink: false,
            record_types: &[mapping::RECORD_TYPE],
            example: include_str!("../config.example.toml"),
        }
    }

    fn mistakes(config: &Config) -> Vec<String> {
        config.mistakes()
    }

    async fn check(config: &Config) -> CheckReport {
        let mut report = CheckReport::default();
        if let Some(file) = &config.file {
            file::check(Self::descriptor().name, file, &config.columns, &mut report);
        }
        if let Some(database) = &config.database {
            database::check(Self::descriptor().name, database, Arc::new(config.columns.clone()), &mut report).await;
        }
        report
    }

    async fn open(config: Config, context: Context) -> Result<Roles, AdapterError> {
        let columns = Arc::new(config.columns);
        match (config.file, config.database) {
            (Some(file), _) => Ok(Roles::source(FileSource::open(file, columns, &context)?)),
            (None, Some(database)) => Ok(Roles::source(DatabaseSource::open(database, columns, &context).await?)),
            (None, None) => Err(AdapterError::configuration("file, database: give one of them")),
        }
    }

    async fn remap(config: &Config, raws: &[&[u8]]) -> Result<Vec<Result<SourceRecord, MappingError>>, AdapterError> {
        match (&config.file, &config.database) {
            (Some(file), _) => file::remap(file, &config.columns, raws),
            (None, Some(database)) => database::remap(database, Arc::new(config.columns.clone()), raws),
            (None, None) => Err(AdapterError::configuration("file, database: give one of them")),
        }
    }
}
