//! The log: what is in it, where the next transaction goes, what has to be written home before it may be
//! overwritten.
//!
//! ```text
//!   first            tail                         head             end
//!     |---- free ----|== oldest ==|...|= newest ==|---- free ------|   (a ring)
//! ```
//!
//! Invariants, under the lists lock (rank 105):
//! - `free` counts blocks that are neither logged nor reserved. One block always stays unused, so that head and tail
//!   differ while anything is logged.
//! - A transaction reserves `Limits::max_blocks` when it opens and gives back what it did not use when it is
//!   written. Two reservations fit into any log (checked when it is opened), so after a full checkpoint there is room for
//!   the running transaction beside the committing one: opening never waits for a commit.
//! - `newest` has an entry for every block with a copy in the log that a recovery would replay, under the newest transaction
//!   that holds it; with the copy itself while that is not home yet. A revoked block has none.
//! - `logged` holds consecutive transactions, oldest first; `live` counts the entries that still have a copy. The
//!   oldest leaves when its count is 0; its blocks of log are free when the new tail is durable, not before.

use std::collections::VecDeque;

use e4_device::{AlignedBuf, Device, DeviceError};
use e4_format::jbd2::{JournalCompat, JournalFormat, JournalIncompat, JournalSuperblock};
use e4_format::{FsBlock, Tid};
use e4_sync::{Arc, Condvar, Mutex, Rank};
use hashbrown::{HashMap, HashSet};

use crate::buffer::Buffer;
use crate::error::JournalError;
use crate::layout::JournalLayout;
use crate::options::{LogChecksum, Options};

/// The least number of usable blocks a log may have. The kernel refuses journals below 1024 anyway.
const MIN_LOG: u32 = 32;
/// Blocks of log enough for what waits for its checkpoint, besides two transactions.
const WAITING: u32 = 1024;
/// Bytes of the largest transaction.
const MAX_TRANSACTION: u32 = 64 << 20;
/// What an aborted journal says in its superblock, for whoever mounts it next (`EIO`).
const ABORT_ERRNO: i32 = -5;

/// A transaction in the log.
pub(crate) struct Logged {
    pub(crate) tid: Tid,
    /// First block of log.
    pub(crate) start: u32,
    /// Blocks of log.
    pub(crate) len: u32,
    /// Every block of the filesystem it holds a copy of.
    pub(crate) blocks: Vec<FsBlock>,
    /// How many of those are the newest copy and not home yet.
    pub(crate) live: usize,
}

/// A committed version that is not home yet. Holding the buffer keeps it in the cache: a reader must not load the old
/// version from the device.
pub(crate) struct Copy {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) data: Arc<[u8]>,
}

/// The newest copy of a block in the log.
pub(crate) struct Newest {
    pub(crate) tid: Tid,
    /// `None`: it is home.
    pub(crate) copy: Option<Copy>,
}

/// See the module documentation.
pub(crate) struct Lists {
    pub(crate) head: u32,
    /// The transaction that will be written at `head`.
    pub(crate) head_tid: Tid,
    pub(crate) free: u32,
    pub(crate) logged: VecDeque<Logged>,
    pub(crate) newest: HashMap<FsBlock, Newest>,
    /// Copies in `newest` that are not home yet.
    pub(crate) live: usize,
    /// Written to the log, not committed yet.
    pub(crate) pending: Option<(u32, Tid)>,
    /// A checkpoint is at work.
    pub(crate) checkpointing: bool,
    /// What it is writing home right now.
    pub(crate) in_flight: HashSet<FsBlock>,
    /// The superblock on the device says that the log is empty.
    pub(crate) clean: bool,
}

struct Superblock {
    fields: JournalSuperblock,
    /// The whole block, so that what lies behind the fields survives.
    block: AlignedBuf,
}

/// One journal.
pub(crate) struct Log {
    pub(crate) layout: JournalLayout,
    pub(crate) format: JournalFormat,
    first: u32,
    end: u32,
    place: u64,
    pub(crate) lists: Mutex<Lists>,
    /// A checkpoint finished.
    pub(crate) checkpointed: Condvar,
    superblock: Mutex<Superblock>,
}

impl Log {
    /// Takes over an empty log.
    pub(crate) fn open(
        device: &dyn Device,
        layout: JournalLayout,
        options: &Options,
    ) -> Result<Self, JournalError> {
        let found = layout.superblock();
        if let Some(start) = found.start() {
            return Err(JournalError::NeedsRecovery {
                sequence: found.sequence(),
                start,
            });
        }
        let fields = with_features(found, &layout, options)?;
        let (first, end) = (fields.first(), fields.log_end());
        if end - first < MIN_LOG {
            return Err(JournalError::JournalTooShort {
                blocks: end - first,
                minimum: MIN_LOG,
            });
        }
        let (place, block) = layout.superblock_block(device)?;
        let lists = Lists {
            head: first,
            // The kernel skips one number at every mount too: nothing in the log can carry it.
            head_tid: fields.sequence().next(),
            free: end - first - 1,
            logged: VecDeque::new(),
            newest: HashMap::new(),
            live: 0,
            pending: None,
            checkpointing: false,
            in_flight: HashSet::new(),
            clean: true,
        };
        Ok(Self {
            format: *fields.format(),
            layout,
            first,
            end,
            place,
            lists: Mutex::new(Rank::JOURNAL_LISTS, lists),
            checkpointed: Condvar::new(),
            superblock: Mutex::new(Rank::JOURNAL_LISTS, Superblock { fields, block }),
        })
    }

    /// Usable blocks.
    pub(crate) fn capacity(&self) -> u32 {
        self.end - self.first
    }

    /// The largest transaction: two of them fit (one commits, one runs), and the rest may hold what is still to be written
    /// home: a third of a small log, less of a large one, because a commit gives back what it does not use of its
    /// reservation, and a recording that may rewrite more leaves converts more writes with each. A large log does
    /// not make transactions larger than is good for memory and latency.
    pub(crate) fn max_transaction(&self) -> u32 {
        let log = self.capacity();
        let waiting = (log / 3).min(WAITING).max(log / 8);
        let most = MAX_TRANSACTION / self.layout.block_size().bytes();
        ((log - waiting) / 2).min(most)
    }

    /// Sets blocks aside for a transaction that opens.
    pub(crate) fn reserve(&self, blocks: u32) -> bool {
        let mut lists = self.lists.lock();
        match lists.free.checked_sub(blocks) {
            Some(free) => {
                lists.free = free;
                true
            }
            None => false,
        }
    }

    /// Turns a reservation into `needed` blocks at the head. Returns where they begin, and whether the
    /// superblock has to say so first.
    pub(crate) fn allocate(
        &self,
        tid: Tid,
        needed: u32,
        reserved: u32,
    ) -> Result<(u32, bool), JournalError> {
        let mut lists = self.lists.lock();
        let rest = reserved
            .checked_sub(needed)
            .ok_or(JournalError::LogOverflow {
                tid,
                needed,
                reserved,
            })?;
        let start = lists.head;
        lists.free += rest;
        lists.head = self.advance(start, needed);
        lists.head_tid = tid.next();
        lists.pending = Some((start, tid));
        let first = core::mem::replace(&mut lists.clean, false);
        Ok((start, first))
    }

    /// The block of log `n` blocks after `at`.
    pub(crate) fn advance(&self, at: u32, n: u32) -> u32 {
        let ring = u64::from(self.capacity());
        let into = (u64::from(at - self.first) + u64::from(n)) % ring;
        self.first + u32::try_from(into).unwrap_or(0)
    }

    /// True if a recovery would replay a copy of this block.
    pub(crate) fn contains(&self, block: FsBlock) -> bool {
        self.lists.lock().newest.contains_key(&block)
    }

    /// Writes whole blocks into the log from `at` on, one write per contiguous piece.
    pub(crate) fn write(
        &self,
        device: &dyn Device,
        mut at: u32,
        bytes: &[u8],
    ) -> Result<(), DeviceError> {
        /// One write carries at most this much.
        const PIECE: usize = 8 << 20;
        let size = self.layout.block_size();
        let mut rest = bytes;
        while !rest.is_empty() {
            let place = self
                .layout
                .run(at)
                .and_then(|(b, run)| Some((size.byte_of(b)?, run)));
            // Cannot happen: every block of the log is mapped, see `JournalLayout`.
            let (byte, run) = place.ok_or_else(|| DeviceError::OutOfRange {
                op: "write",
                device: device.info().name.clone(),
                at: u64::from(at) * u64::from(size.bytes()),
                len: rest.len() as u64,
                size: device.info().size,
            })?;
            let most = (run.min(self.end - at) as usize * size.len()).min(PIECE);
            let (piece, after) = rest.split_at(most.min(rest.len()));
            device.write_at(byte.get(), piece)?;
            let blocks = u32::try_from(piece.len() / size.len()).unwrap_or(u32::MAX);
            at = self.advance(at, blocks);
            rest = after;
        }
        Ok(())
    }

    /// Writes the superblock with a new tail (`None`: the log is empty). Not flushed.
    pub(crate) fn write_tail(
        &self,
        device: &dyn Device,
        tid: Tid,
        start: Option<u32>,
        head: u32,
    ) -> Result<(), JournalError> {
        let mut superblock = self.superblock.lock();
        superblock
            .fields
            .set_tail(tid, start)
            .map_err(|source| JournalError::Superblock { source })?;
        superblock
            .fields
            .set_head(if start.is_none() { head } else { 0 });
        self.put(device, &mut superblock)
    }

    /// Notes in the superblock that the journal was aborted; nothing can be done if that fails as well.
    pub(crate) fn note_abort(&self, device: &dyn Device) {
        let mut superblock = self.superblock.lock();
        superblock.fields.set_errno(ABORT_ERRNO);
        if let Err(error) = self.put(device, &mut superblock) {
            tracing::warn!(%error, "the abort could not be noted");
        }
    }

    fn put(&self, device: &dyn Device, superblock: &mut Superblock) -> Result<(), JournalError> {
        let Superblock { fields, block } = superblock;
        fields
            .encode(block)
            .map_err(|source| JournalError::Superblock { source })?;
        device
            .write_at(self.place, block)
            .map_err(|source| JournalError::WriteSuperblock { source })
    }
}

impl Lists {
    /// The transaction a number belongs to, if it is in the log.
    pub(crate) fn logged_mut(&mut self, tid: Tid) -> Option<&mut Logged> {
        let oldest = self.logged.front()?.tid;
        let i = usize::try_from(tid.get().wrapping_sub(oldest.get())).ok()?;
        self.logged.get_mut(i)
    }

    /// A block's copy is superseded, revoked or home: its transaction has one less to wait for.
    pub(crate) fn settle(&mut self, tid: Tid) {
        self.live -= 1;
        if let Some(logged) = self.logged_mut(tid) {
            logged.live -= 1;
        }
    }

    /// Where recovery would have to begin now.
    pub(crate) fn tail(&self) -> (u32, Tid) {
        self.logged
            .front()
            .map(|l| (l.start, l.tid))
            .or(self.pending)
            .unwrap_or((self.head, self.head_tid))
    }
}

/// The superblock with the features this session writes with. The log is empty, so nothing in it contradicts them.
fn with_features(
    found: &JournalSuperblock,
    layout: &JournalLayout,
    options: &Options,
) -> Result<JournalSuperblock, JournalError> {
    /// `s_checksum_type` for crc32c.
    const CRC32C: u8 = 4;
    /// `h_blocktype` of a superblock with feature words.
    const SUPERBLOCK_V2: u32 = 4;
    let (mut raw, mut incompat) = (found.raw().clone(), found.incompat());
    if raw.h_blocktype.get() != SUPERBLOCK_V2 {
        // Version 1 had no fields from here on; whatever is there means nothing.
        let mut fresh = e4_format::jbd2::RawJournalSuperblock::zeroed();
        fresh.h_magic = raw.h_magic;
        fresh.h_blocktype.set(SUPERBLOCK_V2);
        fresh.h_sequence = raw.h_sequence;
        fresh.s_blocksize = raw.s_blocksize;
        fresh.s_maxlen = raw.s_maxlen;
        fresh.s_first = raw.s_first;
        fresh.s_sequence = raw.s_sequence;
        fresh.s_errno = raw.s_errno;
        fresh.s_nr_users.set(1);
        raw = fresh;
    }
    let checksums = JournalIncompat::CSUM_V2.union(JournalIncompat::CSUM_V3);
    let wanted = match options.checksum {
        LogChecksum::AsIs if incompat.contains(JournalIncompat::CSUM_V2) => {
            JournalIncompat::CSUM_V2
        }
        LogChecksum::AsIs if incompat.contains(JournalIncompat::CSUM_V3) => {
            JournalIncompat::CSUM_V3
        }
        LogChecksum::AsIs | LogChecksum::None => JournalIncompat::default(),
        LogChecksum::V2 => JournalIncompat::CSUM_V2,
        LogChecksum::V3 => JournalIncompat::CSUM_V3,
    };
    // We write commit records after a flush, never asynchronously.
    incompat = incompat
        .difference(checksums.union(JournalIncompat::ASYNC_COMMIT))
        .union(wanted)
        .union(JournalIncompat::REVOKE);
    if options.wide || layout.filesystem_blocks() > u64::from(u32::MAX) {
        incompat = incompat.union(JournalIncompat::BIT64);
    }
    let compat = JournalCompat::from_bits(raw.s_feature_compat.get());
    raw.s_feature_compat
        .set(compat.difference(JournalCompat::CHECKSUM).bits());
    raw.s_feature_incompat.set(incompat.bits());
    raw.s_checksum_type = if wanted == JournalIncompat::default() {
        0
    } else {
        CRC32C
    };
    JournalSuperblock::from_raw(raw, layout.block_size())
        .map_err(|source| JournalError::Superblock { source })
}
