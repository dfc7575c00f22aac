//! What the sandbox can be told.

use std::path::PathBuf;

use clap::Parser;

/// Most rows of a registry: codes are numbered with six digits.
pub const ROWS_MAX: u32 = 999_999;

/// A whole small city on one machine: an exchange, a registry that publishes, a tax office that subscribes. It stays up until Ctrl-C.
/// 一台机器上的小城市：数据交换平台、发布数据的市场监管部门、订阅数据的税务部门。按 Ctrl-C 结束。
///
/// Nothing leaves this machine, and every enterprise in it is invented. A second start goes on where the last one ended, however that was.
#[derive(Clone, Debug, Parser)]
#[command(name = "shuqiao-sandbox", version)]
pub struct Options {
    /// End after reconciliation; 3 is the exit code if anything is unaccounted for. 对账后退出。
    #[arg(long)]
    pub once: bool,
    /// Where the city lies. `cargo clean` takes the default along.
    #[arg(long, default_value = "target/sandbox", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,
    /// Rows of the registry [default: 3000, or as many as it has]. A registry can grow: what it had is recognised.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(ROWS_MAX)))]
    pub rows: Option<u32>,
    /// Which enterprises are invented [default: 7, or as it was].
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where the exchange listens; 0 takes a free port [default: 7443, or a free port if that is taken].
    #[arg(long)]
    pub port: Option<u16>,
    /// Forget the city in the directory and begin with nothing. 清空后重新开始。
    #[arg(long)]
    pub fresh: bool,
}
