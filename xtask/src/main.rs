//! Project tasks: `cargo xtask <name>`.
fn main() {}
