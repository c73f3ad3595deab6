//! Judges nobody here wrote: images made by mke2fs and by us, written by us and by the kernel, checked by e2fsck
//! and read by the kernel's ext4 through a loop mount.
//!
//! A tool or privilege that is missing is said aloud; with `E4_REQUIRE_ORACLES=1` it is a failure.

mod differential;
mod indirect;
mod kernel;
mod matrix;
mod workload;
