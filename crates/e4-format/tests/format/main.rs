//! Tests of the format against images made by e2fsprogs, against damage, and against arbitrary bytes.
//!
//! e2fsprogs runs as separate programs. Without them the tests that need them say so and pass, unless
//! `E4_REQUIRE_ORACLES=1`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // a panic is how a test fails

mod compare;
mod edit;
mod flip;
mod hostile;
mod image;
mod journal;
mod oracle;
mod sample;
mod walk;
