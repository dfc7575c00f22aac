//! Taxation 税务: subscribes to enterprise/v1 and fills an inbox table of its own.
//!
//! The inbox is one table in the department's PostgreSQL (or SQLite, for small sites and the sandbox), one row a key: the newest state, with where it
//! comes from. The department's own programs read it; nothing else of the database is touched.
//!
//! Promises: each record takes effect once, an older source version never overwrites a newer one, a delete is a row that says so, a delivery is one
//! transaction, and payload bytes are kept exactly. Refuses: creating its table unless it is told to.

mod config;
mod error;
mod postgres;
mod sink;
mod sqlite;
mod table;

use shuqiao_adapter_sdk::{Adapter, AdapterError, CheckReport, Context, Descriptor, Roles, async_trait};

pub use config::{Config, Database};
pub use sink::Inbox;

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Taxation;

#[async_trait]
impl Adapter for Taxation {
    type Config = Config;

    fn descriptor() -> Descriptor {
        Descriptor {
            name: "taxation",
            title_en: "Taxation: takes enterprises into an inbox table of PostgreSQL or SQLite",
            title_zh: "税务：订阅市场主体数据，写入本部门的收件表（PostgreSQL 或 SQLite）",
            source: false,
            sink: true,
            record_types: &["enterprise/v1"],
            example: include_str!("../config.example.toml"),
        }
    }

    fn mistakes(config: &Config) -> Vec<String> {
        config.mistakes()
    }

    async fn check(config: &Config) -> CheckReport {
        let mut report = CheckReport::default();
        sink::check(config, &mut report).await;
        report
    }

    async fn open(config: Config, _context: Context) -> Result<Roles, AdapterError> {
        Ok(Roles::sink(Inbox::open(&config).await?))
    }
}
