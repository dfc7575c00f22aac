//! A node itself: running it, asking how it stands, and its view.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use shuqiao_proto::v1::{self, node_service_client::NodeServiceClient};

use super::{
    connection::Connection,
    error::Error,
    exit::Exit,
    manifest::Time,
    output::{self, Format},
    query,
};
use crate::{
    config::{Config, Mistake},
    exchange::{clock::Clock, model::DatasetId},
    node::{Looked, Lost, Rebuilt},
};

/// `shuqiao serve`.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// The node's configuration.
    #[arg(long, env = "SHUQIAO_CONFIG", value_name = "FILE")]
    config: PathBuf,
}

impl Serve {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let (config, warnings) = load(&self.config).await?;
        crate::node::serve(config, &warnings).await?;
        Ok(Exit::Success)
    }
}

/// A node's configuration, where nothing in it and nothing that it names keeps a node from starting; and what should be looked after nevertheless.
pub(super) async fn load(file: &Path) -> Result<(Config, Vec<Mistake>), Error> {
    let mut draft = Config::draft(file)?;
    let looked = match &draft.config {
        Some(config) => crate::node::look(config, &Clock::system()).await,
        None => Looked::default(),
    };
    // Where a key is malformed its default stands in its place: what that names says nothing.
    let malformed: Vec<_> = draft.mistakes.iter().map(|mistake| mistake.path.clone()).collect();
    draft.mistakes.extend(looked.mistakes.into_iter().filter(|mistake| !malformed.contains(&mistake.path)));
    Ok((draft.finish()?, looked.warnings))
}

/// `shuqiao status`.
#[derive(Args, Debug)]
pub(super) struct Status {
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

impl Status {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        let channel = self.connection.open().await?;
        let status = NodeServiceClient::new(channel).get_node_status(v1::GetNodeStatusRequest {}).await?.into_inner();
        let offsets = |positions: &[v1::Position]| {
            positions.iter().map(|at| format!("{}:{}", at.partition, at.offset)).collect::<Vec<_>>().join(" ")
        };
        let value = serde_json::json!({
            "node": status.node,
            "version": status.version,
            "log_home": status.log_home,
            "ready": status.ready,
            "not_ready_reasons": status.not_ready_reasons,
            "receipt_public_key": hex::encode(&status.receipt_public_key),
            "start_time": status.start_time.as_ref().and_then(Time::from_wire),
            "datasets": status.datasets.iter().map(|dataset| serde_json::json!({
                "dataset": dataset.dataset,
                "log_end": offsets(&dataset.log_end),
                "view_applied": offsets(&dataset.view_applied),
            })).collect::<Vec<_>>(),
        });
        output::print(&match self.output {
            Format::Json => output::json(&value)?,
            Format::Yaml => output::yaml(&value)?,
            Format::Table => {
                let ready = if status.ready { "ready".to_owned() } else { status.not_ready_reasons.join("; ") };
                let node = vec![status.node.clone(), status.version.clone(), status.log_home.clone(), ready];
                let datasets = status.datasets.iter().map(|dataset| {
                    vec![dataset.dataset.clone(), offsets(&dataset.log_end), offsets(&dataset.view_applied)]
                });
                let mut text = output::table(["node", "version", "log", "state"], [node]);
                if !status.datasets.is_empty() {
                    text.push_str("\n\n");
                    text.push_str(&output::table(["dataset", "log end", "view"], datasets));
                }
                text
            }
        })?;
        Ok(if status.ready { Exit::Success } else { Exit::Unavailable })
    }
}

/// `shuqiao view …`.
#[derive(Debug, Subcommand)]
pub(super) enum View {
    /// Show count and digest of a dataset in a running node's view.
    Digest(query::Digest),
    /// Build a stopped node's view anew from its log, and print its digests. Where the log has lost records, this accepts it: what the rows held beyond
    /// the log is given up, and told.
    Rebuild {
        /// The node's configuration.
        #[arg(long, env = "SHUQIAO_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// Only this dataset.
        dataset: Option<DatasetId>,
    },
}

impl View {
    pub(super) async fn run(self) -> Result<Exit, Error> {
        match self {
            Self::Digest(digest) => digest.run().await,
            Self::Rebuild { config, dataset } => {
                let rebuilt = crate::node::rebuild_view(Config::load(&config)?, dataset).await?;
                let rows = rebuilt.iter().map(|rebuilt| {
                    let before = if rebuilt.equal { "equal" } else { "DIFFERENT" };
                    vec![
                        rebuilt.dataset.to_string(),
                        rebuilt.count.to_string(),
                        hex::encode(rebuilt.digest),
                        before.to_owned(),
                    ]
                });
                output::print(&output::table(["dataset", "count", "digest", "rows before"], rows))?;
                for Rebuilt { dataset, count, lost, .. } in &rebuilt {
                    let Some(Lost { ahead, records }) = lost else { continue };
                    let before = output::count(records, "record");
                    output::print(&format!("{dataset}: {ahead}; {before} before, {count} now"))?;
                }
                Ok(Exit::Success)
            }
        }
    }
}
