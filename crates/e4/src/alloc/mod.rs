//! The allocator: blocks and inodes, one lock per group.
//!
//! Decisions:
//! - Each group keeps, in memory, which blocks are *busy*: those its bitmap marks plus those freed by
//!   a transaction that has not committed yet. Searches look at the busy map only, so a freed block
//!   cannot be handed out before the free is durable (a crash would otherwise leave two owners).
//!   `committed` gives pending blocks back.
//! - Free counters are exact sums over the groups; *promised* blocks (metadata that a conversion may
//!   need, rule 2 of the engine) are subtracted before data may be allocated, so a conversion of
//!   acknowledged data cannot run out of space (I-8).
//! - Groups are loaded when first used: opening an image costs one pass over the descriptors.
//! - The share reserved for root (`s_r_blocks_count`) is not enforced: whoever can write the image is
//!   its root. `statfs` shows it as unavailable, as ext4 does.
//!
//! Locks: a group's lock has rank 90; at most one is held at a time. Counters are atomics.

mod blocks;
mod group;
mod inodes;
mod zone;

use e4_format::{FsBlock, GroupDesc, GroupNo, InodeNo, Superblock, Tid};
use e4_journal::MetaStore;
use e4_sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use e4_sync::{Arc, Mutex, Rank};

use crate::error::{Error, Result};
use crate::meta;
use group::Group;
pub(crate) use blocks::CREDITS_PER_ALLOC;
pub(crate) use inodes::CREDITS_PER_INODE;
pub(crate) use zone::SystemZone;

/// Blocks obtained from the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: FsBlock,
    pub(crate) len: u32,
}

/// Which account a block allocation is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Ordinary: must leave what has been promised untouched.
    Free,
    /// Covered by a promise made earlier; consumes it.
    Promised,
}

/// The allocator of one filesystem.
pub(crate) struct Allocator {
    image: Arc<str>,
    sb: Arc<Superblock>,
    meta: Arc<MetaStore>,
    zone: SystemZone,
    groups: Box<[Mutex<Group>]>,
    /// Allocatable blocks: free in the bitmaps and not pending.
    free_blocks: AtomicI64,
    /// Blocks freed by transactions that have not committed.
    pending_blocks: AtomicI64,
    /// Metadata blocks promised to conversions.
    promised: AtomicU64,
    free_inodes: AtomicU32,
    /// Groups with pending frees, with the transaction that made them.
    pending: Mutex<Vec<(Tid, GroupNo)>>,
    /// Where the last unplaced allocation succeeded.
    rotor: AtomicU32,
}

impl Allocator {
    /// Reads and verifies every group descriptor.
    pub(crate) fn load(image: Arc<str>, sb: Arc<Superblock>, meta: Arc<MetaStore>) -> Result<Self> {
        let mut groups = Vec::with_capacity(sb.groups() as usize);
        let mut pieces = Vec::new();
        let (mut free, mut inodes) = (0_i64, 0_u32);
        for group in sb.group_numbers() {
            let desc = meta::read_group_desc(&image, &meta, &sb, group)?;
            free += i64::from(desc.free_blocks_count);
            inodes = inodes.saturating_add(desc.free_inodes_count);
            collect_zone(&sb, group, &desc, &mut pieces);
            groups.push(Mutex::new(Rank::BLOCK_GROUP, Group::new(desc)));
        }
        Ok(Self {
            image,
            sb,
            meta,
            zone: SystemZone::new(pieces),
            groups: groups.into_boxed_slice(),
            free_blocks: AtomicI64::new(free),
            pending_blocks: AtomicI64::new(0),
            promised: AtomicU64::new(0),
            free_inodes: AtomicU32::new(inodes),
            pending: Mutex::new(Rank::LEAF, Vec::new()),
            rotor: AtomicU32::new(0),
        })
    }

    /// Blocks free for anybody now, promised ones not counted.
    pub(crate) fn free_blocks(&self) -> u64 {
        let free = self.free_blocks.load(Ordering::Relaxed).max(0).unsigned_abs();
        free.saturating_sub(self.promised.load(Ordering::Relaxed))
    }

    /// Blocks that will be free once everything pending has committed; what the superblock records.
    pub(crate) fn free_blocks_on_disk(&self) -> u64 {
        let n = self.free_blocks.load(Ordering::Relaxed) + self.pending_blocks.load(Ordering::Relaxed);
        n.max(0).unsigned_abs()
    }

    /// Free inodes.
    pub(crate) fn free_inodes(&self) -> u32 {
        self.free_inodes.load(Ordering::Relaxed)
    }

    /// True if waiting for a commit would free blocks.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_blocks.load(Ordering::Relaxed) > 0
    }

    /// Sets `n` blocks aside for the metadata a conversion may need. False if they are not there.
    pub(crate) fn promise(&self, n: u64) -> bool {
        let mut now = self.promised.load(Ordering::Relaxed);
        loop {
            let free = self.free_blocks.load(Ordering::Relaxed).max(0).unsigned_abs();
            if now.saturating_add(n) > free {
                return false;
            }
            match self.promised.compare_exchange_weak(
                now,
                now + n,
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(seen) => now = seen,
            }
        }
    }

    /// Gives back promised blocks that were not needed.
    pub(crate) fn release_promise(&self, n: u64) {
        let before = self.promised.fetch_sub(n, Ordering::AcqRel);
        debug_assert!(before >= n, "more promised blocks returned than were promised (I-42)");
    }

    /// The group of an inode, as a place to start looking for blocks.
    pub(crate) fn goal_of_inode(&self, ino: InodeNo) -> FsBlock {
        self.sb
            .inode_location(ino)
            .and_then(|at| self.sb.group_first_block(at.group))
            .unwrap_or(FsBlock::new(0))
    }

    /// A transaction has committed: what it (and older ones) freed may be used again.
    pub(crate) fn committed(&self, tid: Tid) {
        let done: Vec<GroupNo> = {
            let mut pending = self.pending.lock();
            let mut done = Vec::new();
            pending.retain(|&(t, g)| {
                let keep = !tid.at_or_after(t);
                if !keep {
                    done.push(g);
                }
                keep
            });
            done
        };
        for group in done {
            if let Some(slot) = self.groups.get(group.get() as usize) {
                let n = slot.lock().release_pending(tid);
                self.pending_blocks.fetch_sub(i64::from(n), Ordering::AcqRel);
                self.free_blocks.fetch_add(i64::from(n), Ordering::AcqRel);
            }
        }
    }

    fn damaged(&self, group: GroupNo, what: &'static str) -> Error {
        Error::Group { image: Arc::clone(&self.image), group: group.get(), what }
    }

    fn no_space(&self, what: &'static str) -> Error {
        Error::NoSpace { image: Arc::clone(&self.image), what }
    }
}

/// The metadata blocks that a group descriptor (and a superblock backup) claims.
fn collect_zone(sb: &Superblock, group: GroupNo, desc: &GroupDesc, pieces: &mut Vec<(u64, u64)>) {
    if let Some(first) = sb.group_first_block(group) {
        // With 1 KiB blocks, block 0 (the boot block) lies before group 0 and outside every bitmap.
        pieces.push((first.get(), u64::from(sb.super_and_gdt_blocks(group))));
    }
    pieces.push((desc.block_bitmap.get(), 1));
    pieces.push((desc.inode_bitmap.get(), 1));
    pieces.push((desc.inode_table.get(), u64::from(sb.inode_table_blocks())));
}
