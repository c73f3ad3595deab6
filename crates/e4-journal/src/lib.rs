//! e4-journal: metadata blocks in memory, and jbd2.
//!
//! Metadata reaches the device only through a transaction: there is no other way to get at a block's bytes mutably than a
//! [`Handle`]. The life of a change:
//!
//! ```text
//!   start(credits) -> Handle -> modify(block) -> drop the handle        state.rs, handle.rs, buffer.rs
//!        commit(tid): lock, record, seal, log, flush, record, flush     commit.rs, log_image.rs
//!             checkpoint: home, flush, tail, flush                      checkpoint.rs, home.rs, log.rs
//!        after a crash: recovery::recover                               recovery/
//! ```
//!
//! - [`MetaStore`] is the whole: a cache (`cache.rs`) with or without a journal behind the same calls.
//! - Accounting that proves that a transaction fits: `transaction.rs`. Flushes, shared: `flush.rs`. The background
//!   thread: `timer.rs`.
//! - The filesystem's side of a commit is [`CommitHooks`].
//!
//! Locks: ranks 100 to 115 of the order in `e4_sync::rank`; no I/O under 100, 105 (but for the journal superblock) or 110.

mod buffer;
mod cache;
mod checkpoint;
mod commit;
mod error;
mod flush;
mod handle;
mod home;
mod layout;
mod log;
mod log_image;
mod options;
mod planted;
pub mod recovery;
mod state;
mod store;
mod timer;
mod transaction;

#[cfg(test)]
mod tests;

pub use buffer::{Block, BlockData, BlockMut};
pub use error::{JournalError, LayoutFault};
pub use handle::Handle;
pub use layout::{JournalLayout, LogExtent};
pub use options::{Check, CommitHooks, LogChecksum, NoHooks, Options, Verify, VerifyTag};
#[cfg(test)]
pub(crate) use planted::{ALL as ALL_PLANTED, Planted};
pub use store::{JournalMode, MetaStore, StoreLimits, StoreStatus};
