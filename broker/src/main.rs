//! The `shuqiao` binary: a node of the exchange and the command line, see [`shuqiao_broker::cli`].

use std::process::ExitCode;

/// A record's way is many small allocations on one thread that another one frees, which is what this allocator is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    shuqiao_broker::cli::main()
}
