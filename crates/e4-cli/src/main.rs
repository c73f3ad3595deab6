//! The `e4` command. Everything is in the library beside it, so that the benchmarks and the tests
//! can call it too.

use std::process::ExitCode;

// The lab's deliberate bugs must not be selectable here, whatever features a build unifies.
const _: () = assert!(
    !e4_planted::COMPILED_IN,
    "the command is never built with planted bugs"
);

fn main() -> ExitCode {
    e4_cli::main()
}
