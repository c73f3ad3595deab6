//! What the caller chooses when a store is opened, and the calls a store makes back.
//!
//! Decisions: no environment, no globals. The clock that stamps commit records is a function, so
//! that a simulated run is reproducible; without a commit interval no thread is started at all.

use core::time::Duration;

use e4_format::{FormatError, FsBlock, Tid};

use crate::error::JournalError;
use crate::handle::Handle;

/// Which checksums the log carries. Changing the kind is only possible while the log is empty,
/// which [`crate::MetaStore::open`] insists on anyway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LogChecksum {
    /// What the journal superblock says.
    #[default]
    AsIs,
    /// None.
    None,
    /// Version 2: 16 bits of crc32c per block.
    V2,
    /// Version 3: 32 bits of crc32c per block. What belongs to `metadata_csum`.
    V3,
}

/// Choices for one [`crate::MetaStore`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of clean blocks the cache keeps. Blocks that belong to a transaction or wait for
    /// their checkpoint come on top; the size of the log bounds them.
    pub cache_bytes: usize,
    /// Credits set aside in every transaction for [`CommitHooks::record`]. Capped at half a
    /// transaction; [`crate::MetaStore::limits`] tells what it came to.
    pub record_credits: u32,
    /// How long a change may stay uncommitted. `None` starts no thread: nothing is committed or
    /// checkpointed but by the callers.
    pub commit_interval: Option<Duration>,
    /// Checksums of the log.
    pub checksum: LogChecksum,
    /// Write 64-bit block numbers into the log even if the journal superblock does not ask for it
    /// (what belongs to the `64bit` feature). Implied when the filesystem needs it.
    pub wide: bool,
    /// Largest transaction without a journal, in blocks; with one, the log sets the limit.
    pub unjournaled_transaction: u32,
    /// Wall-clock time since the epoch, for commit records.
    pub clock: fn() -> Duration,
    /// The bug to build in.
    #[cfg(test)]
    pub(crate) planted: crate::planted::Planted,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cache_bytes: 64 << 20,
            record_credits: 0,
            commit_interval: Some(Duration::from_secs(5)),
            checksum: LogChecksum::AsIs,
            wide: false,
            unjournaled_transaction: 8192,
            clock: wall_clock,
            #[cfg(test)]
            planted: crate::planted::Planted::Nothing,
        }
    }
}

fn wall_clock() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// What the store asks of the filesystem while committing. Called without any lock of this crate.
pub trait CommitHooks: Send + Sync + 'static {
    /// Changes that must go into the transaction that is closing. Runs once per commit, after the
    /// transaction admits no new handle and all its handles are closed, and before it is written.
    /// `handle` owns [`Options::record_credits`] and nothing else; it cannot be restarted.
    ///
    /// # Errors
    /// Any error aborts the journal: what was acknowledged cannot be made durable any more.
    fn record(&self, handle: &mut Handle) -> Result<(), JournalError>;

    /// True if [`Self::record`] would have something to do, so that a commit is needed although no
    /// transaction runs.
    fn has_unrecorded(&self) -> bool;

    /// True if what is published is still so much that it is worth recording before anybody has to wait for it. Asked before
    /// a commit that [`crate::MetaStore::record_soon`] has asked for.
    fn wants_record(&self) -> bool {
        self.has_unrecorded()
    }

    /// The transaction is durable: blocks freed in it may be reused and discarded. Called before any waiter
    /// wakes; must not start, commit or checkpoint.
    fn committed(&self, tid: Tid);

    /// The journal has failed; nothing will be written any more, reads go on. Called once, perhaps
    /// with locks of the caller held, so it may only note the fact and wake waiters.
    fn aborted(&self, cause: &JournalError);
}

/// Hooks that do nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHooks;

impl CommitHooks for NoHooks {
    fn record(&self, _handle: &mut Handle) -> Result<(), JournalError> {
        Ok(())
    }

    fn has_unrecorded(&self) -> bool {
        false
    }

    fn committed(&self, _tid: Tid) {}

    fn aborted(&self, _cause: &JournalError) {}
}

/// Names a kind of verification, so that it runs once per load and not once per read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct VerifyTag(u16);

impl VerifyTag {
    /// No verification wanted or done.
    pub const NONE: Self = Self(0);

    /// A kind of verification; the numbers are the caller's.
    #[must_use]
    pub const fn new(kind: u16) -> Self {
        Self(kind)
    }

    pub(crate) const fn raw(self) -> u16 {
        self.0
    }
}

/// Tells whether the bytes of a block are what the caller expects.
pub type Check<'a> = dyn Fn(FsBlock, &[u8]) -> Result<(), FormatError> + 'a;

/// A check to run when a block is loaded, or was last checked as something else.
#[derive(Clone, Copy)]
pub struct Verify<'a> {
    /// Which kind of block the caller expects.
    pub tag: VerifyTag,
    /// The check. Runs under the block's lock: it may compute, not read other blocks.
    pub check: &'a Check<'a>,
}

impl<'a> Verify<'a> {
    /// No check.
    pub const NONE: Verify<'static> = Verify {
        tag: VerifyTag::NONE,
        check: &|_, _| Ok(()),
    };

    /// A check under a tag.
    pub fn new(tag: VerifyTag, check: &'a Check<'a>) -> Self {
        Self { tag, check }
    }
}
