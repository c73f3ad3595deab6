//! The lab at scale: what `cargo xtask lab` runs.
//!
//! - [`campaign`]: crash states of ever new workloads on all cores, until a number or a time is reached; a failure
//!   is shortened and printed with the command that repeats it.
//! - [`hunt`]: the checkers that run in this process, against the bug it carries ([`e4_planted`]).
//!
//! Decision: one process carries one bug, so that bugs that hang, panic or corrupt memory cannot disturb another's hunt;
//! `cargo xtask lab` starts them and keeps the table.

pub mod campaign;
pub mod hunt;
