//! Bugs that can be built in on purpose, so that the crash oracle can show that it sees them.
//!
//! Two ways in: per store, for this crate's own tests; per process, through [`e4_planted`], for the lab. The product has
//! neither: there the question is a constant `false`.

/// One deliberate violation of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
#[cfg(test)]
pub(crate) enum Planted {
    /// The correct protocol.
    #[default]
    Nothing,
    /// No flush between the blocks of a transaction (and the data it refers to) and its commit record.
    SkipFlushBeforeRecord,
    /// No flush after the commit record: a commit is acknowledged before it is durable.
    SkipFlushAfterRecord,
    /// Revoke records are collected but not written.
    DropRevokes,
    /// Modified blocks go home when the transaction is sealed, before it is committed.
    HomeBeforeCommit,
    /// The tail advances before the blocks written home are durable.
    TailBeforeHomeFlush,
    /// Log space is reused before the advanced tail is durable.
    ReuseBeforeTailFlush,
    /// Blocks that look like journal blocks are logged as they are.
    SkipEscape,
    /// A freed block stays on the checkpoint list.
    CheckpointFreed,
    /// A revoke is not cancelled when the block becomes metadata again in the same transaction.
    KeepRevoke,
    /// The checkpoint writes the current content of a buffer instead of the committed one.
    CheckpointCurrent,
    /// A commit that freed a block does not wait for the checkpoint that is writing it. Needs two threads.
    SkipInFlightWait,
}

/// Whether a store (or the process) carries a bug.
macro_rules! bug {
    ($core:expr, $name:ident) => {
        e4_planted::planted!($name) || {
            #[cfg(test)]
            let here = $core.options.planted == crate::planted::Planted::$name;
            #[cfg(not(test))]
            let here = false;
            here
        }
    };
}
pub(crate) use bug;

/// Every planted bug that one thread can show.
#[cfg(test)]
pub(crate) const ALL: &[Planted] = &[
    Planted::SkipFlushBeforeRecord,
    Planted::SkipFlushAfterRecord,
    Planted::DropRevokes,
    Planted::HomeBeforeCommit,
    Planted::TailBeforeHomeFlush,
    Planted::ReuseBeforeTailFlush,
    Planted::SkipEscape,
    Planted::CheckpointFreed,
    Planted::KeepRevoke,
    Planted::CheckpointCurrent,
];
