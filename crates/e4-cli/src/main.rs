//! The `e4` command. Everything is in the library beside it, so that the benchmarks and the tests
//! can call it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    e4_cli::main()
}
