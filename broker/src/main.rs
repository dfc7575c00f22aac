//! The `shuqiao` binary: a node of the exchange and the command line, see [`shuqiao_broker::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    shuqiao_broker::cli::main()
}
