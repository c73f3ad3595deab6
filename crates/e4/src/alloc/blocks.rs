//! Allocating and freeing blocks.

use std::ops::Range;

use e4_format::bitmap::{self, Bitmap, BitmapMut};
use e4_format::BgFlags;
use e4_format::{FsBlock, GroupNo};
use e4_journal::Handle;
use e4_sync::atomic::Ordering;

use super::group::Group;
use super::{Account, Allocator, Run};
use crate::error::Result;
use crate::meta;

/// Journal credits one call of [`Allocator::alloc`] may use: a bitmap and a descriptor block.
pub(crate) const CREDITS_PER_ALLOC: u32 = 2;

impl Allocator {
    /// Allocates 1 to `want` contiguous blocks, near `goal` where possible.
    ///
    /// # Errors
    /// `NoSpace` if nothing is left for this account; damaged bitmaps; journal errors.
    pub(crate) fn alloc(
        &self,
        handle: &mut Handle,
        goal: FsBlock,
        want: u32,
        account: Account,
    ) -> Result<Run> {
        let want = self.claim(want, account)?;
        let run = self.alloc_claimed(handle, goal, want);
        let got = run.as_ref().map_or(0, |r| r.len);
        self.free_blocks.fetch_add(i64::from(want - got), Ordering::AcqRel);
        if account == Account::Promised {
            self.release_promise(u64::from(got));
        }
        run
    }

    /// Takes up to `want` blocks from the counter, so that no two callers count on the same ones.
    fn claim(&self, want: u32, account: Account) -> Result<u32> {
        let mut free = self.free_blocks.load(Ordering::Relaxed);
        loop {
            let promised = match account {
                Account::Free => self.promised.load(Ordering::Relaxed),
                Account::Promised => 0,
            };
            let usable = free.max(0).unsigned_abs().saturating_sub(promised);
            let take = want.min(u32::try_from(usable).unwrap_or(u32::MAX));
            if take == 0 {
                return Err(self.no_space("blocks"));
            }
            match self.free_blocks.compare_exchange_weak(
                free,
                free - i64::from(take),
                Ordering::AcqRel,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(take),
                Err(seen) => free = seen,
            }
        }
    }

    fn alloc_claimed(&self, handle: &mut Handle, goal: FsBlock, want: u32) -> Result<Run> {
        let groups = self.sb.groups();
        let (first, offset) = self
            .sb
            .group_of_block(goal)
            .map_or((self.rotor.load(Ordering::Relaxed) % groups, 0), |(g, o)| (g.get(), o));
        // First pass: groups that may hold the whole request; second: whatever there is.
        for whole in [true, false] {
            for i in 0..groups {
                let number = GroupNo::new((first + i) % groups);
                let slot = &self.groups[number.get() as usize];
                let mut group = slot.lock();
                let least = if whole { want } else { 1 };
                if group.longest.min(group.allocatable()) < least {
                    continue;
                }
                let goal = if i == 0 { offset } else { 0 };
                if let Some(run) = self.alloc_in(handle, number, &mut group, goal, want, least)? {
                    self.rotor.store(number.get(), Ordering::Relaxed);
                    return Ok(run);
                }
            }
        }
        // The counters promised blocks that no bitmap has.
        Err(self.damaged(GroupNo::new(first), "free block counts exceed the bitmaps"))
    }

    fn alloc_in(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &mut Group,
        goal: u32,
        want: u32,
        least: u32,
    ) -> Result<Option<Run>> {
        let bits = self.sb.blocks_in_group(number);
        self.load_busy(number, group)?;
        let Some(blocks) = group.find(goal, want, bits) else { return Ok(None) };
        let len = blocks.end - blocks.start;
        // A short run at the goal still beats a long seek; elsewhere insist on the first pass' size.
        if len < least && blocks.start != goal {
            return Ok(None);
        }
        let start = self
            .sb
            .group_first_block(number)
            .and_then(|b| b.checked_add(u64::from(blocks.start)))
            .ok_or_else(|| self.damaged(number, "lies outside the filesystem"))?;
        if self.zone.overlaps(start, u64::from(len)) {
            return Err(self.damaged(number, "the block bitmap marks filesystem metadata as free"));
        }
        self.change_bitmap(handle, number, group, blocks.clone(), true)?;
        group.take(blocks, bits);
        Ok(Some(Run { start, len }))
    }

    /// Frees blocks within `handle`'s transaction; they become usable when it has committed.
    ///
    /// # Errors
    /// Damage: a block that is free already, lies outside, or belongs to the filesystem itself.
    pub(crate) fn free(&self, handle: &mut Handle, start: FsBlock, len: u64) -> Result<()> {
        if !self.sb.contains_range(start, len) || self.zone.overlaps(start, len) {
            let group = self.sb.group_of_block(start).map_or(GroupNo::new(0), |(g, _)| g);
            return Err(self.damaged(group, "a file claims blocks of the filesystem's own metadata"));
        }
        let (mut at, mut left) = (start, len);
        while left > 0 {
            let Some((number, first)) = self.sb.group_of_block(at) else {
                return Err(self.damaged(GroupNo::new(0), "a freed block lies in no group"));
            };
            let bits = self.sb.blocks_in_group(number);
            let n = u64::from(bits - first).min(left);
            let here = first..first + u32::try_from(n).unwrap_or(0);
            let mut group = self.groups[number.get() as usize].lock();
            self.load_busy(number, &mut group)?;
            self.change_bitmap(handle, number, &mut group, here.clone(), false)?;
            group.add_pending(handle.tid(), here);
            drop(group);
            self.pending.lock().push((handle.tid(), number));
            self.pending_blocks.fetch_add(n.cast_signed(), Ordering::AcqRel);
            left -= n;
            at = FsBlock::new(at.get() + n);
        }
        Ok(())
    }

    /// Sets or clears bits of the on-disk bitmap and keeps descriptor, checksum and counts right.
    fn change_bitmap(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &mut Group,
        blocks: Range<u32>,
        allocate: bool,
    ) -> Result<()> {
        let bits = self.sb.blocks_in_group(number);
        let len = blocks.end - blocks.start;
        let uninit = group.desc.flags.contains(BgFlags::BLOCK_UNINIT);
        let csum = {
            let block = if uninit {
                handle.create(group.desc.block_bitmap)?
            } else {
                meta::read_block_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc)?
            };
            let mut guard = handle.modify(&block)?;
            if uninit {
                self.fill_uninit(number, &mut guard);
                guard.set_verified(meta::tag::BLOCK_BITMAP);
            }
            let mut map = BitmapMut::new(&mut guard, bits);
            let changed = if allocate {
                map.set_range(blocks.clone())
            } else {
                map.clear_range(blocks.clone())
            };
            if changed != len {
                // Undo, so that the block written by this transaction is not made worse.
                drop(guard);
                return Err(self.damaged(
                    number,
                    if allocate { "allocated blocks were in use" } else { "freed blocks were free already" },
                ));
            }
            bitmap::block_bitmap_csum(&self.sb, &guard)
        };
        group.desc.flags.remove(BgFlags::BLOCK_UNINIT);
        group.desc.block_bitmap_csum = csum;
        group.desc.free_blocks_count = if allocate {
            group.desc.free_blocks_count.saturating_sub(len)
        } else {
            group.desc.free_blocks_count.saturating_add(len)
        };
        self.store_desc(handle, number, group)
    }

    /// Writes a group's descriptor into its table block.
    pub(super) fn store_desc(&self, handle: &mut Handle, number: GroupNo, group: &Group) -> Result<()> {
        let (offset, table) = meta::group_desc_block(&self.image, &self.meta, &self.sb, number)?;
        let mut guard = handle.modify(&table)?;
        let Some(bytes) = guard.get_mut(offset..offset + self.sb.desc_size()) else {
            return Err(self.damaged(number, "descriptor lies outside its block"));
        };
        group
            .desc
            .encode(bytes, &self.sb, number)
            .map_err(|source| meta::format_error(&self.image, source))
    }

    /// Loads the busy map of a group that is used for the first time.
    pub(super) fn load_busy(&self, number: GroupNo, group: &mut Group) -> Result<()> {
        if group.busy.is_some() {
            return Ok(());
        }
        let mut busy = vec![0_u8; self.sb.block_size().len()].into_boxed_slice();
        if group.desc.flags.contains(BgFlags::BLOCK_UNINIT) {
            self.fill_uninit(number, &mut busy);
        } else {
            let block = meta::read_block_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc)?;
            busy.copy_from_slice(&block.data());
        }
        let bits = self.sb.blocks_in_group(number);
        let free = Bitmap::new(&busy, bits).count_zeros(0..bits);
        if free != group.desc.free_blocks_count {
            return Err(self.damaged(number, "free block count disagrees with the block bitmap"));
        }
        group.busy = Some(busy);
        Ok(())
    }

    /// The bitmap of a group that was never used: only filesystem metadata is in use.
    fn fill_uninit(&self, number: GroupNo, bytes: &mut [u8]) {
        bytes.fill(0);
        let bits = self.sb.blocks_in_group(number);
        if let Some(first) = self.sb.group_first_block(number) {
            let first = first.get();
            let mut map = BitmapMut::new(bytes, bits);
            for (start, end) in self.zone.within(first, first + u64::from(bits)) {
                let bit = |b: u64| u32::try_from(b - first).unwrap_or(bits);
                map.set_range(bit(start)..bit(end));
            }
        }
        bitmap::pad(bytes, bits);
    }
}
