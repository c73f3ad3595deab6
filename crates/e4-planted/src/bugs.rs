//! The closed list.

use std::sync::OnceLock;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])+ $name:ident in $place:literal,)+) => {
        /// One deliberate mistake.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
        pub enum Bug {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Bug {
            /// Every bug, in the order of the list.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)+];

            /// Its name, as [`Bug::named`] understands it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Bug::$name => stringify!($name),)+ }
            }

            /// What is wrong, in a sentence.
            #[must_use]
            pub fn story(self) -> &'static str {
                match self { $(Bug::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// The crate or module it sits in.
            #[must_use]
            pub fn place(self) -> &'static str {
                match self { $(Bug::$name => $place,)+ }
            }
        }
    };
}

bugs! {
    // The journal.
    /// No flush between the blocks of a transaction (and the data they refer to) and its commit record.
    SkipFlushBeforeRecord in "e4-journal commit",
    /// No flush after the commit record: a commit is acknowledged before it is durable.
    SkipFlushAfterRecord in "e4-journal commit",
    /// Revoke records are collected but not written.
    DropRevokes in "e4-journal commit",
    /// Modified blocks go home when the transaction is sealed, before it is committed.
    HomeBeforeCommit in "e4-journal commit",
    /// Blocks that look like journal blocks are logged as they are.
    SkipEscape in "e4-journal commit",
    /// A freed block stays on the checkpoint list.
    CheckpointFreed in "e4-journal commit",
    /// A commit that freed a block does not wait for the checkpoint that is writing it.
    SkipInFlightWait in "e4-journal commit",
    /// The journal's superblock is not told where the first transaction begins.
    SkipLogStart in "e4-journal commit",
    /// A failed flush is retried, and its success believed.
    RetryFailedFlush in "e4-journal flush",
    /// The tail advances before the blocks written home are durable.
    TailBeforeHomeFlush in "e4-journal checkpoint",
    /// Log space is reused before the advanced tail is durable.
    ReuseBeforeTailFlush in "e4-journal checkpoint",
    /// The checkpoint writes the current content of a buffer instead of the committed one.
    CheckpointCurrent in "e4-journal checkpoint",
    /// A revoke is not cancelled when the block becomes metadata again in the same transaction.
    KeepRevoke in "e4-journal handle",

    // Recovery.
    /// The last complete transaction of the log is not replayed.
    SkipLastTransaction in "e4-journal recovery",
    /// A transaction without a commit record is replayed.
    ReplayUncommitted in "e4-journal recovery",
    /// Revoke records are not looked at.
    IgnoreRevokes in "e4-journal recovery",
    /// A revoke record strikes out later copies of its block too.
    RevokeLaterCopies in "e4-journal recovery",
    /// The log is marked empty before what was replayed is durable.
    RecoverWithoutFlush in "e4-journal recovery",
    /// The superblock stops asking for recovery before the recovery.
    ClearNeedsRecoveryEarly in "e4 mount",
    /// Unmounting marks the image clean before the journal is empty.
    CleanBeforeShutdown in "e4 mount",
    /// Orphans are not finished at mount.
    SkipOrphans in "e4 inode/orphan",

    /// An inode that loses its last name while it is open is not noted as orphan.
    OrphanNotNoted in "e4 inode/orphan",
    /// A finished orphan stays noted.
    OrphanNotRemoved in "e4 data/truncate",
    /// The bit of a deleted inode stays set.
    LeakInode in "e4 data/truncate",

    // Names.
    /// Removing one of several names leaves the link count.
    LinksNotCounted in "e4 dir/remove",
    /// The new name is committed before the old one goes.
    RenameInTwoSteps in "e4 dir/rename",

    // The engine.
    /// S02: the barrier returns when the list is empty, though a drainer holds its contents (V4).
    V4Flush in "e4-completion machine",
    /// S05, S08: the in-flight count is dropped when the item is taken for conversion.
    EndEarly in "e4-completion machine",
    /// S11: the watermark passes before delivery.
    SettleBeforeAck in "e4-completion machine",
    /// S19: a failed write is converted.
    ConvertAfterFailure in "e4-completion machine",
    /// S21: a conversion's error reaches nobody but the caller.
    SwallowError in "e4-completion machine",
    /// I-11: the drainer that leaves does not look again.
    LostWakeUp in "e4-completion machine",
    /// S07: the I/O barrier covers only what has completed.
    CompletedOnly in "e4-completion machine",
    /// S09: newcomers are not held off while a drain waits.
    NoHoldOff in "e4-completion machine",
    /// I-38: the submitter holds no reference.
    NoSubmitterReference in "e4-completion machine",

    // The data path.
    /// S44: the conversion is published when the write is submitted.
    PublishBeforeData in "e4 data/write",
    /// S38: a partly written new block keeps what the device held in its other bytes.
    PartialBlockNotZeroed in "e4 data/write",
    /// I-32: the error of a failed overwrite reaches nobody but the caller.
    OverwriteErrorLost in "e4 data/inflight",
    /// Ranges are merged across what lies between them, failed or never written.
    PublishAcrossGaps in "e4 data/converter",
    /// H2, S03: a commit leaves out what was published and not yet recorded.
    CommitWithoutPublished in "e4 data/record",
    /// S33: a recording forgets the size.
    RecordWithoutSize in "e4 data/record",
    /// Rule 5: the overlay is cleared before the tree says written.
    ClearOverlayBeforeTree in "e4 data/record",
    /// S36: a conversion is not counted as what fdatasync promises.
    ConversionNotDatasync in "e4 inode/store",
    /// I-27: `O_DSYNC` writes are acknowledged when they are readable.
    DsyncWithoutCommit in "e4 data/context",
    /// S21: fsync asks nobody for errors.
    FsyncWithoutErrors in "e4 data/sync",
    /// I-43: the charge of a failed write is not given back.
    LeakCharge in "e4 data/converter",
    /// Promised tree blocks are never given back.
    LeakPromise in "e4 data/charge",
    /// I-8: writes are admitted without a charge for their recording.
    AdmitWithoutCharge in "e4 data/charge",
    /// CVE-2026-45858: extents are marked written without having been zeroed.
    ZeroOutWithoutZeros in "e4 data/zero_out",
    /// H1, S07: punching a hole does not wait for what is in flight.
    PunchWithoutDrain in "e4 file",
    /// H1, S07: truncation does not wait for what is in flight.
    TruncateWithoutDrain in "e4 file",
    /// The rest of the last block survives a truncation, and comes back when the file grows.
    TruncateKeepsTail in "e4 data/truncate",
    /// I-9: a size published before a truncation is recorded after it.
    SizeComesBack in "e4 data/truncate",
    /// Published ranges of blocks that were unmapped stay published.
    ForgetOverlayClear in "e4 data/truncate",
    /// Zero range leaves what was published and not yet recorded readable.
    ZeroRangeKeepsPublished in "e4 data/zero",
    /// A block is overwritten under its new number before that is durable.
    ShiftNotDurable in "e4 data/shift",
    /// Collapse and insert range move blocks whose data is published under the old numbers only.
    ShiftWithoutRecording in "e4 data/shift",
    /// The bits of unmapped blocks stay set.
    LeakBlocks in "e4 data/truncate",
    /// S17: an insertion reserves too few journal credits.
    WrongCredits in "e4 data/fallocate",
    /// S37: new blocks are inserted as written.
    AllocateWritten in "e4 data/fallocate",
    /// The sectors an inode uses are not counted.
    SectorsNotCounted in "e4 data/fallocate",

    // The page cache.
    /// S04, I-25: writeback ends when the request is sent, not when its conversion is published.
    EndWritebackBeforeConversion in "e4 cache/writeback",
    /// I-9: the size on disk rises with the write into the cache, before its data.
    SizeBeforeData in "e4 cache/write",
    /// A direct write leaves the pages it overlaps.
    KeepPageAfterDirectWrite in "e4 cache/coherence",
    /// A page whose writeback failed counts as written.
    LoseWritebackError in "e4 cache/writeback",
    /// Rule 8: a file takes another's place while its pages are dirty.
    RenameWithoutWriteback in "e4 dir/rename",
    /// What dropped pages had set aside is not given back.
    ReservationLeak in "e4 cache/reserve",

    // The allocator and the trees.
    /// A freed block is handed out before the transaction that freed it has committed.
    ReuseBeforeCommit in "e4 alloc",
    /// Damage that is met leaves no trace.
    DamageNotNoted in "e4 mount/damage",
    /// Freed blocks are discarded before the transaction that freed them has committed.
    DiscardBeforeCommit in "e4 alloc/trim",
    /// A group's free count does not follow its bitmap.
    GroupCountNotStored in "e4 alloc",
    /// A bitmap's checksum is not brought up to date.
    StaleBitmapChecksum in "e4 alloc",
    /// Freed blocks do not count in the superblock.
    TotalsNotCounted in "e4 alloc",
    /// A node of an extent tree is written with its old checksum.
    StaleNodeChecksum in "e4 extent/store",
    /// A freed node of an extent tree is not revoked.
    ForgetRevoke in "e4 extent/store",
    /// CVE-2026-45892: the cached extents survive a change of the tree.
    StaleStatusCache in "e4 extent/status",
    /// S16: the whole extent becomes written, not the range.
    ConvertWholeExtent in "e4-extent entries",
    /// A split keeps one block too few in front of the converted range.
    SplitOffByOne in "e4-extent entries",
    /// Extents merge whatever their state.
    MergeAcrossStates in "e4-extent entries",
    /// Extents merge although their blocks are not neighbours.
    MergeDistantBlocks in "e4-extent entries",
    /// What lies behind a removed range goes with it.
    RemoveLosesTail in "e4-extent entries",
}

impl Bug {
    /// The bug of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Bug> {
        Bug::ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

static SELECTED: OnceLock<Option<Bug>> = OnceLock::new();

/// Decides which bug this process carries, if nobody has asked yet; what holds from now on.
pub fn select(bug: Option<Bug>) -> Option<Bug> {
    *SELECTED.get_or_init(|| bug)
}

/// The bug this process carries.
///
/// # Panics
/// If `E4_PLANTED` names no bug.
#[must_use]
#[inline]
pub fn selected() -> Option<Bug> {
    *SELECTED.get_or_init(|| {
        let name = std::env::var("E4_PLANTED").ok()?;
        Some(Bug::named(&name).unwrap_or_else(|| panic!("E4_PLANTED names no bug: {name}")))
    })
}

/// Whether the process carries this bug.
#[must_use]
#[inline]
pub fn is(bug: Bug) -> bool {
    selected() == Some(bug)
}

static PAUSE: OnceLock<Box<dyn Fn() + Send + Sync>> = OnceLock::new();

/// In the window that a planted bug opens: lets whoever has registered act.
pub fn pause() {
    if let Some(act) = PAUSE.get() {
        act();
    }
}

/// Registers what happens in the windows that planted bugs open; the first registration of a process holds.
pub fn on_pause(act: impl Fn() + Send + Sync + 'static) {
    PAUSE.get_or_init(|| Box::new(act));
}
