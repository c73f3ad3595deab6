//! Judges that nobody here wrote: e2fsprogs and the kernel's own ext4, for tests.
//!
//! ```text
//!   tool.rs   programs: found, run, their output            fsck.rs   e2fsck's verdict
//!   image.rs  scratch space, empty and mke2fs' images       mount.rs  the kernel's loop mount, undone on drop
//! ```
//!
//! **Invariant: nothing is skipped silently.** A judge that is missing is named as SKIPPED; with `E4_REQUIRE_ORACLES` set
//! (as in CI) it is a failure instead. The decision is made in [`skipped`] alone.
//!
//! Everything here panics on failure: it runs inside tests. No product crate depends on it.

mod fsck;
mod image;
mod mount;
mod tool;

pub use fsck::{fsck, fsck_silent};
pub use image::{mke2fs, scratch, sparse_file};
pub use mount::LoopMount;
pub use tool::{have, is_root, must_run, output, run, tool};

/// Says that something did not run.
///
/// # Panics
/// If the environment demands that everything runs.
pub fn skipped(what: &str, why: impl std::fmt::Display) {
    assert!(
        std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
        "{what} is required and did not run: {why}"
    );
    eprintln!("SKIPPED: {what}: {why}");
}
