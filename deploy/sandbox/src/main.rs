//! A whole small city on one machine: `cargo run --release`.

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;
use shuqiao_adapter_sdk::chain;
use shuqiao_sandbox::{Options, Outcome, run};

/// 0: every row is accounted for. 1: an error, or stopped before the account. 2: the command line makes no sense (clap). 3: something is unaccounted for.
fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.to_string()),
    };
    match runtime.block_on(Box::pin(run(&options))) {
        Ok(Outcome::Accounted) => ExitCode::SUCCESS,
        Ok(Outcome::Unaccounted) => ExitCode::from(3),
        Ok(Outcome::Interrupted) => {
            complain("stopped before the account; a second start goes on 已中断，再次启动将继续")
        }
        Err(error) => complain(&chain(&error)),
    }
}

fn complain(text: &str) -> ExitCode {
    // One that cannot be written is lost: there is nowhere left to complain.
    drop(writeln!(std::io::stderr().lock(), "sandbox: {text}"));
    ExitCode::FAILURE
}
