//! What can go wrong in the metadata store and the journal, one variant per place it is noticed.
//!
//! Decisions: cloneable, because one failure reaches every waiter (I-35, I-36). A failure that ended the
//! journal comes back as [`JournalError::Aborted`] around the first cause, for ever.

use std::error::Error as StdError;

use e4_device::DeviceError;
use e4_format::jbd2::JournalIncompat;
use e4_format::{FormatError, FsBlock, Tid};
use e4_sync::Arc;

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// A metadata block could not be read.
    #[error("cannot read metadata block {block}: {source}")]
    Read {
        /// The block.
        block: FsBlock,
        /// What the device said.
        source: DeviceError,
    },
    /// A metadata block is not what it should be.
    #[error("metadata block {block}: {source}")]
    Verify {
        /// The block.
        block: FsBlock,
        /// Which check failed.
        source: FormatError,
    },
    /// A block number beyond the filesystem.
    #[error("block {block} lies beyond the {blocks} blocks of the filesystem")]
    OutOfRange {
        /// The block.
        block: FsBlock,
        /// Size of the filesystem.
        blocks: u64,
    },
    /// A block whose byte position does not fit 64 bits.
    #[error("block {block} lies beyond what can be addressed")]
    BlockBeyondDevice {
        /// The block.
        block: FsBlock,
    },
    /// Somebody wants to use a block of the journal itself as metadata.
    #[error("block {block} belongs to the journal")]
    InsideJournal {
        /// The block.
        block: FsBlock,
    },
    /// A write through a [`crate::Block`] that was forgotten (freed) meanwhile.
    #[error("block {block} was freed and can no longer be modified")]
    Forgotten {
        /// The block.
        block: FsBlock,
    },
    /// A handle wants to change more than it has reserved.
    #[error("transaction {tid}: no credit left for block {block} (the handle reserved {reserved})")]
    NoCredits {
        /// The transaction.
        tid: Tid,
        /// The block that was one too many.
        block: FsBlock,
        /// What the handle had reserved altogether.
        reserved: u32,
    },
    /// A handle larger than any transaction.
    #[error("{asked} credits asked, a transaction holds at most {max}")]
    TooManyCredits {
        /// What was asked.
        asked: u32,
        /// The limit.
        max: u32,
    },
    /// A handle whose restart failed is used again.
    #[error("the handle is closed")]
    HandleClosed,
    /// Only ordinary handles can be restarted.
    #[error("transaction {tid}: the handle of the record hook cannot be restarted")]
    RecordRestart {
        /// The transaction.
        tid: Tid,
    },
    /// The store was opened on a read-only device.
    #[error("{device} is read-only")]
    ReadOnly {
        /// The device's name.
        device: String,
    },
    /// The store was shut down.
    #[error("the metadata store is shut down")]
    Closed,
    /// The journal has failed earlier.
    #[error("the journal was aborted: {cause}")]
    Aborted {
        /// The first failure.
        #[source]
        cause: Arc<JournalError>,
    },
    /// The filesystem asked for an abort, or its record hook failed.
    #[error("the filesystem gave up: {source}")]
    Filesystem {
        /// Why.
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// A panic while a transaction was being committed.
    #[error("the commit of transaction {tid} did not finish")]
    CommitUnwound {
        /// The transaction.
        tid: Tid,
    },
    /// Blocks of the log could not be written.
    #[error("transaction {tid}: cannot write the log: {source}")]
    WriteLog {
        /// The transaction.
        tid: Tid,
        /// What the device said.
        source: DeviceError,
    },
    /// The blocks of a transaction could not be built. A bug of ours.
    #[error("transaction {tid}: {source}")]
    Encode {
        /// The transaction.
        tid: Tid,
        /// Which block.
        source: FormatError,
    },
    /// A metadata block could not be written to its place.
    #[error("cannot write metadata block {block}: {source}")]
    WriteHome {
        /// First block of the failed write.
        block: FsBlock,
        /// What the device said.
        source: DeviceError,
    },
    /// A flush failed. Never retried: what is durable is unknown.
    #[error("flush failed: {source}")]
    Flush {
        /// What the device said.
        source: DeviceError,
    },
    /// The journal superblock could not be written.
    #[error("cannot write the journal superblock: {source}")]
    WriteSuperblock {
        /// What the device said.
        source: DeviceError,
    },
    /// The accounting is wrong: a transaction does not fit. A bug of ours.
    #[error("transaction {tid} needs {needed} log blocks, {reserved} were set aside")]
    LogOverflow {
        /// The transaction.
        tid: Tid,
        /// Log blocks needed.
        needed: u32,
        /// Log blocks set aside.
        reserved: u32,
    },
    /// The journal's block map has a hole, an overlap, or leaves the filesystem.
    #[error("journal block {logical}: {fault}")]
    Layout {
        /// First journal block of the bad piece.
        logical: u32,
        /// Which rule is broken.
        fault: LayoutFault,
    },
    /// The journal superblock cannot be read.
    #[error("cannot read the journal superblock: {source}")]
    ReadSuperblock {
        /// What the device said.
        source: DeviceError,
    },
    /// The journal superblock contradicts itself.
    #[error("journal superblock: {source}")]
    Superblock {
        /// Which check failed.
        source: FormatError,
    },
    /// The journal superblock names more blocks than its inode has.
    #[error("the journal superblock says {claimed} blocks, the journal has {mapped}")]
    JournalTooLong {
        /// By the journal superblock.
        claimed: u32,
        /// By the block map.
        mapped: u32,
    },
    /// The log is too small to hold two transactions.
    #[error("the log has {blocks} usable blocks, at least {minimum} are needed")]
    JournalTooShort {
        /// Usable blocks.
        blocks: u32,
        /// The least.
        minimum: u32,
    },
    /// The log holds transactions; recover first.
    #[error("the journal needs recovery (transaction {sequence} at block {start})")]
    NeedsRecovery {
        /// First transaction.
        sequence: Tid,
        /// Where.
        start: u32,
    },
    /// Features of the journal this version does not know.
    #[error("the journal uses unsupported features: {names}")]
    UnsupportedFeatures {
        /// The features; `Display` gives their names.
        names: JournalIncompat,
    },
    /// A block of the log cannot be read.
    #[error("cannot read journal block {logical}: {source}")]
    ReadLog {
        /// The journal block.
        logical: u32,
        /// What the device said.
        source: DeviceError,
    },
    /// A journal block number beyond the journal.
    #[error("journal block {logical} lies beyond the {blocks} blocks of the journal")]
    OutsideLog {
        /// The journal block.
        logical: u32,
        /// Blocks of the journal.
        blocks: u32,
    },
    /// The log would write outside the filesystem.
    #[error(
        "transaction {tid} wants to write block {block}, beyond the {blocks} blocks of the filesystem"
    )]
    ReplayOutside {
        /// The transaction.
        tid: Tid,
        /// The block.
        block: FsBlock,
        /// Size of the filesystem.
        blocks: u64,
    },
    /// The log would overwrite itself.
    #[error("transaction {tid} wants to write block {block}, which belongs to the journal")]
    ReplayOntoJournal {
        /// The transaction.
        tid: Tid,
        /// The block.
        block: FsBlock,
    },
    /// A damaged transaction is followed by a valid one.
    #[error(
        "transaction {tid} is damaged at journal block {at}, but transaction {later} after it is complete"
    )]
    CorruptBeforeCommit {
        /// The damaged transaction.
        tid: Tid,
        /// Where the damage shows.
        at: u32,
        /// A later, complete transaction.
        later: Tid,
    },
    /// The fast-commit area holds commits that plain recovery would lose.
    #[error(
        "the journal holds fast commits on top of transaction {tid}, which this version cannot replay; let e2fsck or the kernel recover it"
    )]
    FastCommits {
        /// The transaction they extend.
        tid: Tid,
    },
}

/// What is wrong with the journal's block map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutFault {
    /// The pieces do not follow one another without gaps.
    #[error("a hole in the journal's block map")]
    Hole,
    /// A piece leaves the filesystem.
    #[error("mapped beyond the filesystem")]
    Outside,
    /// Two pieces share a block.
    #[error("mapped twice")]
    Overlap,
    /// There is no piece at all, or an empty one.
    #[error("mapped to nothing")]
    Empty,
}

impl JournalError {
    /// The failure behind an abort, or the error itself.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::Aborted { cause } => cause.root(),
            other => other,
        }
    }

    /// Wraps a failure of the filesystem, for [`crate::MetaStore::abort`] and the record hook.
    pub fn filesystem(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::Filesystem {
            source: Arc::new(source),
        }
    }
}
