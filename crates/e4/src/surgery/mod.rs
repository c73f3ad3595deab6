//! Whole-file operations on images: what the command's verbs do, as one call each.
//!
//! ```text
//!   put.rs        a file appears, or takes another's place, complete
//!   copy.rs       bytes into a file, several requests at once
//!   identity.rs   label and UUID
//! ```
//!
//! Decisions:
//! - A file that is put is written without a name and gets it last, in one handle. The commit that carries the name carries
//!   the contents (rule 1 of the engine), so nobody ever sees a part, and no flush of its own is needed.
//! - Nothing here waits for durability: [`crate::Filesystem::sync`] or [`crate::Filesystem::unmount`] does, once for many.
//! - A crash before that leaves the old file. The unnamed one is an orphan, which the next open frees.

mod copy;
mod identity;
mod put;

use core::ops::ControlFlow;

pub use identity::UuidChange;
pub use put::{PutOptions, PutOutcome};

/// Hears how many bytes each step has added; [`ControlFlow::Break`] stops the operation, which then leaves nothing behind.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> ControlFlow<()>;
