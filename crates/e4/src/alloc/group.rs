//! One block group in memory: its descriptor, its pending frees, and what is known about its free runs.
//!
//! Decisions:
//! - The bitmap itself stays in the metadata cache, so a large image costs no memory here. Only a group
//!   with pending frees has a map of its own, of those blocks.
//! - What a search must know to pass a group by (something free? a run that long?) is copied into atomics
//!   whenever the group changes, so a search takes no lock of a group that cannot serve it. They are hints:
//!   the answer is found under the lock.

use std::ops::Range;

use e4_format::bitmap::BitmapMut;
use e4_format::{BgFlags, GroupDesc, Tid};
use e4_planted::planted;
use e4_sync::atomic::{AtomicU32, Ordering};
use e4_sync::{Mutex, MutexGuard, Rank};

/// Blocks freed by a transaction that may not have committed yet.
struct PendingFree {
    tid: Tid,
    blocks: Range<u32>,
}

/// Pending frees of a group.
struct Pending {
    frees: Vec<PendingFree>,
    /// The same as a bitmap.
    map: Box<[u8]>,
    blocks: u32,
}

/// Blocks of a group that are reserved: free in the bitmap, and somebody's already.
struct Reserved {
    map: Box<[u8]>,
    blocks: u32,
}

/// See the module documentation.
pub(super) struct Group {
    pub(super) desc: GroupDesc,
    pending: Option<Pending>,
    reserved: Option<Reserved>,
    /// Upper bound of the longest run that can be handed out.
    longest: u32,
    /// The bitmap was compared with the descriptor and the system zone.
    pub(super) checked: bool,
    /// The same for the inode bitmap.
    pub(super) checked_inodes: bool,
    pub(super) condemned_blocks: bool,
    pub(super) condemned_inodes: bool,
}

impl Group {
    pub(super) fn new(desc: GroupDesc) -> Self {
        Self {
            desc,
            pending: None,
            reserved: None,
            longest: desc.free_blocks_count,
            checked: false,
            checked_inodes: false,
            condemned_blocks: false,
            condemned_inodes: false,
        }
    }

    /// True if the block bitmap was never written.
    pub(super) fn is_block_uninit(&self) -> bool {
        self.desc.flags.contains(BgFlags::BLOCK_UNINIT)
    }

    /// True if the inode bitmap was never written.
    pub(super) fn is_inode_uninit(&self) -> bool {
        self.desc.flags.contains(BgFlags::INODE_UNINIT)
    }

    /// Blocks that may be handed out now; 0 once condemned.
    pub(super) fn allocatable(&self) -> u32 {
        if self.condemned_blocks {
            return 0;
        }
        let pending = self.pending.as_ref().map_or(0, |p| p.blocks);
        let pending = if planted!(ReuseBeforeCommit) {
            0
        } else {
            pending
        };
        let reserved = self.reserved.as_ref().map_or(0, |r| r.blocks);
        self.desc
            .free_blocks_count
            .saturating_sub(pending.saturating_add(reserved))
    }

    /// The longest run that can be handed out is no longer than this.
    pub(super) fn longest(&self) -> u32 {
        self.longest.min(self.allocatable())
    }

    /// A search found no longer run.
    pub(super) fn set_longest(&mut self, blocks: u32) {
        self.longest = blocks;
    }

    /// True if some blocks that are free in the bitmap must not be handed out.
    pub(super) fn has_withheld(&self) -> bool {
        self.pending.is_some() || self.reserved.is_some()
    }

    /// Marks the pending and the reserved blocks in `map`, a copy of the bitmap.
    pub(super) fn mark_withheld(&self, map: &mut [u8]) {
        if let Some(reserved) = &self.reserved {
            for (byte, reserved) in map.iter_mut().zip(&reserved.map) {
                *byte |= *reserved;
            }
        }
        if let Some(pending) = &self.pending {
            for (byte, pending) in map.iter_mut().zip(&pending.map) {
                *byte |= if planted!(ReuseBeforeCommit) {
                    0
                } else {
                    *pending
                };
            }
        }
    }

    /// Reserves blocks that are free in the bitmap.
    pub(super) fn reserve(&mut self, blocks: Range<u32>, map_len: usize) {
        let reserved = self.reserved.get_or_insert_with(|| Reserved {
            map: vec![0; map_len].into_boxed_slice(),
            blocks: 0,
        });
        reserved.blocks += blocks.end - blocks.start;
        let bits = bits_of(&reserved.map);
        BitmapMut::new(&mut reserved.map, bits).set_range(blocks);
    }

    /// Ends a reservation, whatever becomes of the blocks.
    pub(super) fn unreserve(&mut self, blocks: Range<u32>) {
        let Some(reserved) = &mut self.reserved else {
            return;
        };
        reserved.blocks = reserved.blocks.saturating_sub(blocks.end - blocks.start);
        let bits = bits_of(&reserved.map);
        BitmapMut::new(&mut reserved.map, bits).clear_range(blocks);
        if reserved.blocks == 0 {
            self.reserved = None;
        }
    }

    /// Remembers freed blocks until `tid` has committed. True if they are the group's first of that
    /// transaction.
    pub(super) fn add_pending(&mut self, tid: Tid, blocks: Range<u32>, map_len: usize) -> bool {
        let pending = self.pending.get_or_insert_with(|| Pending {
            frees: Vec::new(),
            map: vec![0; map_len].into_boxed_slice(),
            blocks: 0,
        });
        pending.blocks += blocks.end - blocks.start;
        let bits = bits_of(&pending.map);
        BitmapMut::new(&mut pending.map, bits).set_range(blocks.clone());
        match pending.frees.last_mut() {
            Some(last) if last.tid == tid && last.blocks.end == blocks.start => {
                last.blocks.end = blocks.end;
                false
            }
            Some(last) if last.tid == tid && last.blocks.start == blocks.end => {
                last.blocks.start = blocks.start;
                false
            }
            last => {
                let first = last.is_none_or(|last| last.tid != tid);
                pending.frees.push(PendingFree { tid, blocks });
                first
            }
        }
    }

    /// What transactions up to `tid` freed.
    pub(super) fn pending_until(&self, tid: Tid) -> impl Iterator<Item = Range<u32>> + '_ {
        let frees = self.pending.iter().flat_map(|pending| &pending.frees);
        let over = frees.filter(move |free| tid.at_or_after(free.tid));
        over.map(|free| free.blocks.clone())
    }

    /// Gives back what transactions up to `tid` freed; how many blocks.
    pub(super) fn release_pending(&mut self, tid: Tid) -> u32 {
        let Some(pending) = &mut self.pending else {
            return 0;
        };
        let bits = bits_of(&pending.map);
        let map = &mut pending.map;
        let mut released = 0;
        pending.frees.retain(|free| {
            let over = tid.at_or_after(free.tid);
            if over {
                BitmapMut::new(map, bits).clear_range(free.blocks.clone());
                released += free.blocks.end - free.blocks.start;
            }
            !over
        });
        pending.blocks = pending.blocks.saturating_sub(released);
        if pending.frees.is_empty() {
            self.pending = None;
        }
        if released > 0 {
            // A freed run may join its neighbours; only a search can tell, so assume the best.
            self.longest = u32::MAX;
        }
        released
    }
}

fn bits_of(map: &[u8]) -> u32 {
    u32::try_from(map.len() * 8).unwrap_or(u32::MAX)
}

/// A group behind its lock, and what others may know about it without the lock.
pub(super) struct Slot {
    group: Mutex<Group>,
    allocatable: AtomicU32,
    longest: AtomicU32,
    free_inodes: AtomicU32,
    dirs: AtomicU32,
}

impl Slot {
    pub(super) fn new(group: Group) -> Self {
        let slot = Self {
            allocatable: AtomicU32::new(0),
            longest: AtomicU32::new(0),
            free_inodes: AtomicU32::new(0),
            dirs: AtomicU32::new(0),
            group: Mutex::new(Rank::BLOCK_GROUP, group),
        };
        let group = slot.lock();
        slot.update(&group);
        drop(group);
        slot
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Group> {
        self.group.lock()
    }

    /// Publishes the hints. After every change of the group, under its lock.
    pub(super) fn update(&self, group: &Group) {
        let inodes = if group.condemned_inodes {
            0
        } else {
            group.desc.free_inodes_count
        };
        self.allocatable
            .store(group.allocatable(), Ordering::Relaxed);
        self.longest.store(group.longest(), Ordering::Relaxed);
        self.free_inodes.store(inodes, Ordering::Relaxed);
        self.dirs
            .store(group.desc.used_dirs_count, Ordering::Relaxed);
    }

    /// Blocks to be had.
    pub(super) fn allocatable(&self) -> u32 {
        self.allocatable.load(Ordering::Relaxed)
    }

    /// No run is longer.
    pub(super) fn longest(&self) -> u32 {
        self.longest.load(Ordering::Relaxed)
    }

    /// Inodes to be had.
    pub(super) fn free_inodes(&self) -> u32 {
        self.free_inodes.load(Ordering::Relaxed)
    }

    /// Directories.
    pub(super) fn dirs(&self) -> u32 {
        self.dirs.load(Ordering::Relaxed)
    }
}
