//! Taxation 税务: subscribes to enterprise/v1 and fills an inbox table of its own.
//!
//! The inbox is the SDK's: one table in the department's PostgreSQL (or SQLite, for small sites and the sandbox). The department's own programs read it.

use shuqiao_adapter_sdk::{
    Adapter, AdapterError, CheckReport, Context, Descriptor, Roles, async_trait,
    inbox::{self, Inbox, InboxConfig},
};

/// The adapter.
#[derive(Clone, Copy, Debug)]
pub struct Taxation;

#[async_trait]
impl Adapter for Taxation {
    type Config = InboxConfig;

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

    fn mistakes(config: &InboxConfig) -> Vec<String> {
        config.mistakes()
    }

    async fn check(config: &InboxConfig) -> CheckReport {
        let mut report = CheckReport::default();
        inbox::check(config, &mut report).await;
        report
    }

    async fn open(config: InboxConfig, _context: Context) -> Result<Roles, AdapterError> {
        Ok(Roles::sink(Inbox::open(&config).await?))
    }
}
