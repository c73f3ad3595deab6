//! The allocator: blocks and inodes, one lock per group, no global one.
//!
//! ```text
//!   counters.rs  what is free, promised, pending: every block in exactly one account
//!   group.rs     one group: descriptor, pending frees, summary, and the hints read without its lock
//!   search.rs    which group, and which run in it
//!   blocks.rs    alloc, free, bitmap and descriptor changes
//!   inodes.rs    inode numbers
//!   zone.rs      blocks no file may own
//!   trim.rs      telling the device what is free
//!   groups.rs    all groups, while they become more
//!   grow.rs      more groups, and a longer last one
//! ```
//!
//! Decisions:
//! - The bitmaps in the metadata cache are the only truth about what is in use. A group adds to its own
//!   the blocks freed by transactions that have not committed: they are free on disk but nobody gets
//!   them, for a crash would leave them with two owners. [`Allocator::committed`] releases them.
//! - Blocks are *claimed* from a counter before they are looked for, and metadata that a conversion may
//!   need (rule 2 of the engine) is *promised*, that is claimed long before. So a conversion of
//!   acknowledged data cannot run out of space (I-8), and `NoSpace` is decided in one place.
//! - Blocks can be *reserved*: theirs is a map in memory as well, so that data reaches them before the bitmap says that
//!   they are in use ([`Allocator::reserve`]).
//! - Group bitmaps are read when first needed: opening an image costs one pass over the descriptors. Groups
//!   that were never used have no bitmap on disk; it is made up when the first block is taken.
//! - A group whose bitmap contradicts the descriptor or the system zone is *condemned*: the operation that
//!   noticed fails, nothing is allocated from the group any more, and freeing in it fails. The rest of
//!   the filesystem goes on.
//! - The share reserved for root (`s_r_blocks_count`) is not enforced: whoever can write the image is
//!   its root. `statfs` shows it as unavailable, as ext4 does.
//!
//! Locks: a group's lock has rank 90; at most one is held at a time. Counters and hints are atomics.

mod blocks;
mod counters;
mod group;
mod groups;
mod grow;
mod inodes;
mod search;
#[cfg(test)]
mod tests;
mod trim;
mod zone;

use e4_format::{FsBlock, GroupDesc, GroupNo, InodeNo, Superblock, Tid};
use e4_journal::MetaStore;
use e4_sync::atomic::AtomicU32;
use e4_sync::{Arc, Mutex, MutexGuard, Rank};

use crate::error::{Error, Result};
use crate::meta;
use crate::mount::{Damage, LiveSuperblock};
pub(crate) use blocks::CREDITS_PER_ALLOC;
use counters::Counters;
use group::{Group, Slot};
use groups::Groups;
pub(crate) use grow::{CREDITS_PER_GROWTH, Growth};
pub(crate) use inodes::CREDITS_PER_INODE;
use zone::SystemZone;

/// Blocks obtained from the allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) start: FsBlock,
    pub(crate) len: u32,
}

/// Blocks that are somebody's in memory and free on disk; see [`Allocator::reserve`].
#[derive(Debug)]
#[must_use = "reserved blocks are taken or given back"]
pub(crate) struct Reservation {
    run: Run,
}

impl Reservation {
    /// The blocks.
    pub(crate) fn run(&self) -> Run {
        self.run
    }
}

/// Which account a block allocation is charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// Ordinary: leaves what has been promised untouched.
    Free,
    /// Covered by a promise made earlier; consumes it.
    Promised,
}

/// The allocator of one filesystem.
pub(crate) struct Allocator {
    image: Arc<str>,
    sb: Arc<LiveSuperblock>,
    meta: Arc<MetaStore>,
    groups: Groups,
    counters: Counters,
    /// Groups with pending frees, with the transaction that made them. A leaf lock.
    pending: Mutex<Vec<(Tid, GroupNo)>>,
    /// Where the last allocation without a goal succeeded.
    rotor: AtomicU32,
    discard: trim::Discard,
    /// Told of damage, once the mount is far enough.
    damage: Option<Arc<Damage>>,
}

impl Allocator {
    /// Reads and verifies every group descriptor.
    ///
    /// # Errors
    /// A descriptor that cannot be read, or is damaged.
    pub(crate) fn load(
        image: Arc<str>,
        sb: Arc<LiveSuperblock>,
        meta: Arc<MetaStore>,
    ) -> Result<Self> {
        let mut groups = Vec::with_capacity(sb.groups() as usize);
        let mut pieces = Vec::new();
        let counters = Counters::default();
        for number in sb.group_numbers() {
            let mut desc = meta::read_group_desc(&image, &meta, &sb, number)?;
            if !sb.has_group_desc_csum() {
                // Without descriptor checksums nobody maintains these: every bitmap and table is there.
                desc.flags = e4_format::BgFlags::default();
                desc.itable_unused = 0;
            }
            collect_zone(&sb, number, &desc, &mut pieces);
            let group = Group::new(desc);
            counters.add_group(&group);
            groups.push(Slot::new(group));
        }
        Ok(Self {
            image,
            sb,
            meta,
            groups: Groups::new(0, groups, SystemZone::new(pieces)),
            counters,
            pending: Mutex::new(Rank::LEAF, Vec::new()),
            rotor: AtomicU32::new(0),
            discard: trim::Discard::NEVER,
            damage: None,
        })
    }

    /// From now on damage is noted.
    pub(crate) fn note_damage(&mut self, damage: Arc<Damage>) {
        self.damage = Some(damage);
    }

    /// Blocks free for anybody now, promised ones not counted.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.counters.available()
    }

    /// Blocks that are free in the bitmaps, promised and pending ones included: what the superblock
    /// records.
    pub(crate) fn free_blocks_on_disk(&self) -> u64 {
        self.counters.on_disk()
    }

    /// Blocks set aside for conversions.
    pub(crate) fn promised_blocks(&self) -> u64 {
        self.counters.promised()
    }

    /// Free inodes, as the bitmaps have them.
    pub(crate) fn free_inodes(&self) -> u32 {
        self.counters.inodes()
    }

    /// True if waiting for a commit would free blocks.
    pub(crate) fn has_pending(&self) -> bool {
        self.counters.pending() > 0
    }

    /// Sets `n` blocks aside for the metadata a conversion may need. False if they are not there.
    pub(crate) fn promise(&self, n: u64) -> bool {
        self.counters.promise(n)
    }

    /// Gives back promised blocks that were not needed.
    pub(crate) fn release_promise(&self, n: u64) {
        self.counters.release_promise(n);
    }

    /// The group of an inode, as a place to start looking for blocks.
    pub(crate) fn goal_of_inode(&self, ino: InodeNo) -> FsBlock {
        self.sb
            .inode_location(ino)
            .and_then(|at| self.sb.group_first_block(at.group))
            .unwrap_or(FsBlock::new(0))
    }

    /// True if any of these blocks belongs to the filesystem itself, or does not exist: no file may map
    /// them, whatever its extents say.
    pub(crate) fn is_protected(&self, start: FsBlock, len: u64) -> bool {
        !self.sb.contains_range(start, len) || self.groups.overlaps_zone(start, len)
    }

    /// Adds blocks to those no file may own: the journal's. Before anything is allocated.
    #[allow(dead_code, reason = "the mount is to call it")]
    pub(crate) fn protect(&mut self, pieces: impl IntoIterator<Item = (FsBlock, u64)>) {
        let pieces = pieces.into_iter().map(|(start, len)| (start.get(), len));
        self.groups.protect(pieces);
    }

    /// A transaction has committed: what it (and older ones) freed may be used again.
    pub(crate) fn committed(&self, tid: Tid) {
        let mut done = Vec::new();
        self.pending.lock().retain(|&(freed_by, group)| {
            let over = tid.at_or_after(freed_by);
            if over {
                done.push(group);
            }
            !over
        });
        for number in done {
            let Some(slot) = self.groups.get(number) else {
                continue;
            };
            let mut group = slot.lock();
            self.discard_committed(number, &group, tid);
            let released = group.release_pending(tid);
            slot.update(&group);
            // Under the group's lock, so that a condemnation cannot come between.
            self.counters
                .release_pending(released, group.condemned_blocks);
        }
    }

    fn slot(&self, number: GroupNo) -> Result<&Slot> {
        let outside = || self.damaged(number, "does not exist");
        self.groups.get(number).ok_or_else(outside)
    }

    /// Nothing more from this group's blocks. The error to report.
    fn condemn_blocks(
        &self,
        slot: &Slot,
        group: &mut Group,
        at: GroupNo,
        what: &'static str,
    ) -> Error {
        if !group.condemned_blocks {
            self.counters.condemn_blocks(group.allocatable());
            group.condemned_blocks = true;
            slot.update(group);
            tracing::error!(image = %self.image, group = at.get(), what, "block group condemned");
        }
        self.damaged(at, what)
    }

    /// Nothing more from this group's inodes. The error to report.
    fn condemn_inodes(
        &self,
        slot: &Slot,
        group: &mut Group,
        at: GroupNo,
        what: &'static str,
    ) -> Error {
        if !group.condemned_inodes {
            group.condemned_inodes = true;
            slot.update(group);
            tracing::error!(image = %self.image, group = at.get(), what, "inodes of a group condemned");
        }
        self.damaged(at, what)
    }

    fn damaged(&self, group: GroupNo, what: &'static str) -> Error {
        let error = Error::Group {
            image: Arc::clone(&self.image),
            group: group.get(),
            what,
        };
        match &self.damage {
            Some(damage) => damage.note(error),
            None => error,
        }
    }

    fn no_space(&self, what: &'static str) -> Error {
        Error::NoSpace {
            image: Arc::clone(&self.image),
            what,
        }
    }
}

/// A locked group.
type Locked<'a> = MutexGuard<'a, Group>;

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
