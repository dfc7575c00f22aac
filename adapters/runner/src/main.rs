//! `shuqiao-adapter`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    shuqiao_adapter_runner::main()
}
