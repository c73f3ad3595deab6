//! The `e4` command.
fn main() {}
