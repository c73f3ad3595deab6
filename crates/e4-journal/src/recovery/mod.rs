//! Recovery: bringing home what the log holds after a crash.
//!
//! Two steps, so that nothing is written before everything was understood:
//! [`examine`] reads the whole log and makes a [`Plan`], which is then carried out; [`recover`] does both under a policy.
//!
//! Decisions:
//! - How the log ends is a value, [`RecoveryEnd`], not an absence: an orderly end, a torn last transaction
//!   (normal after a crash: it was never acknowledged), or damage in the middle, behind which complete
//!   transactions lie (never normal: acknowledged changes would be lost). The last is refused unless asked otherwise.
//! - All checksums of a transaction are verified before it counts, its data blocks included.
//! - Only the newest copy of a block is written, and only if no revoke record is as new or newer. So the order of
//!   the log need not be followed, and blocks are written in ascending order, adjacent ones at once.
//! - A hostile log costs memory in proportion to its own size at most, visits each block a bounded number of times, and can write
//!   neither outside the filesystem nor onto the journal: one such tag and the whole log is refused.
//!
//! Ordering for the caller: [`recover`] returns after the blocks are home, flushed, and the log is marked empty, flushed. Only
//! then may `needs_recovery` be cleared in the filesystem's superblock. Until that is durable a crash just repeats the recovery.

mod apply;
mod fast_commit;
mod reader;
mod scan;

use e4_device::Device;
use e4_format::{FormatError, FsBlock, Tid};

use crate::error::JournalError;
use crate::layout::JournalLayout;

/// What to do about damage in the middle of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CorruptPolicy {
    /// Refuse, touching nothing.
    #[default]
    Refuse,
    /// Replay what precedes the damage and give up what follows it.
    ReplayUpTo,
}

/// Why a transaction does not count.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// It was begun, but a block of it is not there.
    #[error("a block of it is missing")]
    Missing,
    /// A block of it contradicts itself or its checksum.
    #[error("{0}")]
    Format(FormatError),
    /// The checksum over the whole transaction (version 1) differs.
    #[error("checksum of the transaction {found:#010x}, computed {expected:#010x}")]
    Checksum {
        /// Computed.
        expected: u32,
        /// In the commit record.
        found: u32,
    },
    /// It is longer than the log.
    #[error("it does not end within the log")]
    Endless,
}

/// How the log ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecoveryEnd {
    /// After a complete transaction; nothing of another one follows.
    Clean,
    /// In an incomplete or damaged transaction, and nothing complete follows it.
    TornTail {
        /// The transaction, which does not count.
        tid: Tid,
        /// The journal block that shows it.
        at: u32,
        /// What is wrong.
        damage: Damage,
    },
    /// In a damaged transaction, though a complete one follows it.
    CorruptBeforeCommit {
        /// The transaction, which does not count.
        tid: Tid,
        /// The journal block that shows it.
        at: u32,
        /// What is wrong.
        damage: Damage,
        /// The newest complete transaction found behind it.
        later: Tid,
    },
}

/// What a recovery found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecoveryReport {
    /// How the log ended.
    pub end: RecoveryEnd,
    /// First transaction of the log.
    pub first: Tid,
    /// Complete transactions.
    pub transactions: u32,
    /// Blocks to write home; written, after [`recover`].
    pub blocks: u64,
    /// Blocks with a copy in the log that was revoked.
    pub revoked: u64,
    /// The error an aborted journal left behind; 0 for none. It stays until [`clear_errno`].
    pub errno: i32,
}

/// A block to be written home.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReplayCopy {
    /// The block.
    pub block: FsBlock,
    /// The journal block that holds its newest copy.
    pub log: u32,
    /// The copy is escaped: its first four bytes are the journal's magic number.
    pub escaped: bool,
    /// The transaction of the copy.
    pub tid: Tid,
}

/// What a recovery would do.
#[derive(Clone, Debug)]
pub struct Plan {
    report: RecoveryReport,
    /// By block.
    copies: Vec<ReplayCopy>,
    /// The number after everything found in the log.
    next: Tid,
    /// The log is marked as empty: nothing to do at all.
    empty: bool,
}

impl Plan {
    /// What was found.
    #[must_use]
    pub fn report(&self) -> &RecoveryReport {
        &self.report
    }

    /// The blocks to be written, ascending; for readers of an image that must not be written.
    #[must_use]
    pub fn copies(&self) -> &[ReplayCopy] {
        &self.copies
    }
}

/// Reads the log and plans its recovery. Writes nothing.
///
/// # Errors
/// The device; a log that would write where it must not; fast commits, which only the kernel and e2fsck can replay.
pub fn examine(device: &dyn Device, layout: &JournalLayout) -> Result<Plan, JournalError> {
    scan::examine(device, layout)
}

/// Examines the log and brings it home; see the module documentation for what the caller does afterwards. `layout` is brought
/// up to date.
///
/// # Errors
/// As [`examine`]; damage in the middle of the log, unless the policy allows it; a failed write or flush.
pub fn recover(
    device: &dyn Device,
    layout: &mut JournalLayout,
    policy: CorruptPolicy,
) -> Result<RecoveryReport, JournalError> {
    let plan = examine(device, layout)?;
    if let (CorruptPolicy::Refuse, &RecoveryEnd::CorruptBeforeCommit { tid, at, later, .. }) =
        (policy, &plan.report.end)
    {
        return Err(JournalError::CorruptBeforeCommit { tid, at, later });
    }
    apply::apply(device, layout, &plan)?;
    Ok(plan.report)
}

/// Clears the error of an aborted journal, after the filesystem has noted it in its own superblock. Flushed.
///
/// # Errors
/// A failed write or flush.
pub fn clear_errno(device: &dyn Device, layout: &mut JournalLayout) -> Result<(), JournalError> {
    apply::rewrite_superblock(device, layout, |superblock| {
        superblock.set_errno(0);
        Ok(())
    })
}
