//! Allocating and freeing blocks.
//!
//! Order within a handle: both blocks that change (bitmap, descriptor) join the transaction before a bit
//! is touched, so a lack of credits leaves everything as it was; the bits are looked at before they are
//! changed, so damage is found before it is made worse.

use std::ops::Range;

use e4_format::bitmap::{self, Bitmap, BitmapMut};
use e4_format::{BgFlags, FsBlock, GroupNo};
use e4_journal::{Block, Handle};
use e4_planted::planted;
use e4_sync::atomic::Ordering;

use super::counters::Claim;
use super::group::{Group, Slot};
use super::search::{Goal, NEW_BITMAPS_PER_ROUND, demands, find};
use super::{Account, Allocator, Locked, Reservation, Run};
use crate::error::Result;
use crate::meta;

/// Journal credits one call of [`Allocator::alloc`] may use: a bitmap and a descriptor block.
pub(crate) const CREDITS_PER_ALLOC: u32 = 2;

/// How often a search that found nothing, although the counters say there is something, is repeated:
/// blocks may be released behind it while others are taken in front of it.
const SEARCHES_MAX: u32 = 8;

/// What happens to bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    Allocate,
    Free,
}

/// What happens to the blocks a search finds.
enum How<'a> {
    /// They are taken in the bitmap, within this handle's transaction.
    Take(&'a mut Handle),
    /// They are reserved in memory.
    Reserve,
}

impl Allocator {
    /// Allocates 1 to `want` contiguous blocks, near `goal` where possible ([`CREDITS_PER_ALLOC`]).
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
        let claim = self
            .counters
            .claim(want.max(1), account)
            .ok_or_else(|| self.no_space("blocks"))?;
        let run = self.alloc_claimed(&mut How::Take(handle), goal, &claim);
        self.counters
            .settle(&claim, run.as_ref().map_or(0, |run| run.len));
        run
    }

    /// Reserves 1 to `want` contiguous blocks, near `goal` where possible: nobody else gets them, and nothing of it is
    /// on disk. So data can be written to them before anything refers to them, and a crash leaves no trace.
    ///
    /// # Errors
    /// `NoSpace`; damaged bitmaps.
    pub(crate) fn reserve(&self, goal: FsBlock, want: u32) -> Result<Reservation> {
        let claim = self
            .counters
            .claim(want.max(1), Account::Free)
            .ok_or_else(|| self.no_space("blocks"))?;
        let run = self.alloc_claimed(&mut How::Reserve, goal, &claim);
        self.counters
            .settle(&claim, run.as_ref().map_or(0, |run| run.len));
        Ok(Reservation { run: run? })
    }

    /// Takes reserved blocks in the bitmap, within `handle`'s transaction ([`CREDITS_PER_ALLOC`]).
    ///
    /// # Errors
    /// Damaged bitmaps; journal errors. The reservation is over either way.
    pub(crate) fn take_reserved(
        &self,
        handle: &mut Handle,
        reservation: Reservation,
    ) -> Result<()> {
        let (number, blocks) = self.place_of(reservation.run)?;
        let slot = self.slot(number)?;
        let mut group = slot.lock();
        // Nobody else looks at the bits before the lock is released.
        group.unreserve(blocks.clone());
        let taken = if group.condemned_blocks {
            Err(self.damaged(number, "its block bitmap was found damaged earlier"))
        } else {
            let change = Change::Allocate;
            self.change_blocks(handle, number, (slot, &mut group), blocks, change)
        };
        slot.update(&group);
        if taken.is_err() {
            let condemned = group.condemned_blocks;
            self.counters.unreserved(reservation.run.len, condemned);
        }
        taken
    }

    /// Gives reserved blocks back.
    pub(crate) fn cancel_reserved(&self, reservation: Reservation) {
        let Ok((number, blocks)) = self.place_of(reservation.run) else {
            return;
        };
        let Ok(slot) = self.slot(number) else { return };
        let mut group = slot.lock();
        group.unreserve(blocks);
        // They may join their neighbours; only a search can tell.
        group.set_longest(u32::MAX);
        slot.update(&group);
        let condemned = group.condemned_blocks;
        self.counters.unreserved(reservation.run.len, condemned);
    }

    /// A run as bits of its group: no run found in a bitmap lies in two.
    fn place_of(&self, run: Run) -> Result<(GroupNo, Range<u32>)> {
        let place = self.sb.group_of_block(run.start);
        let lost = || self.damaged(GroupNo::new(0), "a reserved block lies in no group");
        let (number, first) = place.ok_or_else(lost)?;
        Ok((number, first..first + run.len))
    }

    fn alloc_claimed(&self, how: &mut How<'_>, goal: FsBlock, claim: &Claim) -> Result<Run> {
        let mut home = GroupNo::new(0);
        for _ in 0..SEARCHES_MAX {
            let (number, goal) = match self.sb.group_of_block(goal) {
                Some((number, bit)) => (number, Goal::Block(bit)),
                None => (GroupNo::new(self.rotor.load(Ordering::Relaxed)), Goal::None),
            };
            home = number;
            for least in demands(claim.blocks()) {
                if let Some(run) = self.search(how, number, goal, claim.blocks(), least)? {
                    return Ok(run);
                }
            }
        }
        // The counters promised blocks that no bitmap has.
        Err(self.damaged(home, "free block counts exceed the bitmaps"))
    }

    /// One round over the groups, content with `least` blocks.
    fn search(
        &self,
        how: &mut How<'_>,
        first: GroupNo,
        goal: Goal,
        want: u32,
        least: u32,
    ) -> Result<Option<Run>> {
        let groups = self.sb.groups();
        let mut new_bitmaps = 0;
        for i in 0..groups {
            let number = GroupNo::new((first.get() % groups + i) % groups);
            let slot = self.slot(number)?;
            let at_home = i == 0 && goal != Goal::None;
            // At the goal a short run is welcome, so only an empty group is passed by.
            if slot.allocatable() == 0 || (!at_home && slot.longest() < least) {
                continue;
            }
            let group = slot.lock();
            if group.allocatable() == 0 {
                continue;
            }
            if !group.checked {
                new_bitmaps += 1;
                if least > 1 && new_bitmaps > NEW_BITMAPS_PER_ROUND {
                    return Ok(None);
                }
            }
            let goal = if i == 0 { goal } else { Goal::None };
            if let Some(run) = self.alloc_in(how, number, (slot, group), goal, (want, least))? {
                if goal == Goal::None {
                    self.rotor.store(number.get(), Ordering::Relaxed);
                }
                return Ok(Some(run));
            }
        }
        Ok(None)
    }

    fn alloc_in(
        &self,
        how: &mut How<'_>,
        number: GroupNo,
        (slot, mut group): (&Slot, Locked<'_>),
        goal: Goal,
        (want, least): (u32, u32),
    ) -> Result<Option<Run>> {
        self.check_bitmap(number, slot, &mut group)?;
        let bits = self.sb.blocks_in_group(number);
        let found = self.with_free_map(number, &group, |map| {
            let found = find(&map, goal, want, least);
            let longest = if found.is_none() {
                map.longest_zero_run(0..bits)
            } else {
                None
            };
            (found, longest.map_or(0, |run| run.end - run.start))
        })?;
        let (Some(blocks), _) = found else {
            group.set_longest(found.1);
            slot.update(&group);
            return Ok(None);
        };
        let start = self.block_of(number, blocks.start)?;
        match how {
            How::Take(handle) => self.change_blocks(
                handle,
                number,
                (slot, &mut group),
                blocks.clone(),
                Change::Allocate,
            )?,
            How::Reserve => group.reserve(blocks.clone(), self.sb.block_size().len()),
        }
        slot.update(&group);
        Ok(Some(Run {
            start,
            len: blocks.end - blocks.start,
        }))
    }

    /// Frees blocks within `handle`'s transaction; they become usable when it has committed
    /// ([`CREDITS_PER_ALLOC`] for each group they lie in).
    ///
    /// # Errors
    /// Damage: a block that is free already, does not exist, or belongs to the filesystem itself. What
    /// lies in groups before that one has been freed.
    pub(crate) fn free(&self, handle: &mut Handle, start: FsBlock, len: u64) -> Result<()> {
        if self.is_protected(start, len) {
            let group = self
                .sb
                .group_of_block(start)
                .map_or(GroupNo::new(0), |(g, _)| g);
            return Err(self.damaged(
                group,
                "a file claims blocks of the filesystem's own metadata",
            ));
        }
        let (mut at, mut left) = (start, len);
        while left > 0 {
            let Some((number, first)) = self.sb.group_of_block(at) else {
                return Err(self.damaged(GroupNo::new(0), "a freed block lies in no group"));
            };
            let here = u64::from(self.sb.blocks_in_group(number) - first).min(left);
            // No more than a group has.
            let blocks = first..first + u32::try_from(here).unwrap_or(0);
            self.free_in(handle, number, blocks)?;
            left -= here;
            at = FsBlock::new(at.get() + here);
        }
        Ok(())
    }

    fn free_in(&self, handle: &mut Handle, number: GroupNo, blocks: Range<u32>) -> Result<()> {
        let slot = self.slot(number)?;
        let mut group = slot.lock();
        if group.condemned_blocks {
            return Err(self.damaged(number, "its block bitmap was found damaged earlier"));
        }
        self.check_bitmap(number, slot, &mut group)?;
        self.change_blocks(
            handle,
            number,
            (slot, &mut group),
            blocks.clone(),
            Change::Free,
        )?;
        let early = blocks.clone();
        let first = group.add_pending(handle.tid(), blocks, self.sb.block_size().len());
        slot.update(&group);
        drop(group);
        self.discard_early(number, early);
        if first {
            self.pending.lock().push((handle.tid(), number));
        }
        Ok(())
    }

    /// Changes the bits of a run in the bitmap on disk, and keeps descriptor, checksum and counts right.
    fn change_blocks(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        (slot, group): (&Slot, &mut Group),
        blocks: Range<u32>,
        change: Change,
    ) -> Result<()> {
        let bits = self.sb.blocks_in_group(number);
        let len = blocks.end - blocks.start;
        let count = group.desc.free_blocks_count;
        let new_count = match change {
            Change::Allocate => count.checked_sub(len),
            Change::Free => count.checked_add(len).filter(|&n| n <= bits),
        };
        let Some(new_count) = new_count else {
            let what = "free block count contradicts the block bitmap";
            return Err(self.condemn_blocks(slot, group, number, what));
        };
        self.join_desc(handle, number)?;
        let block = self.bitmap_for_change(handle, number, group)?;
        let mut bytes = handle.modify(&block)?;
        let view = Bitmap::new(&bytes, bits);
        let (stray, what) = match change {
            Change::Allocate => (
                view.find_one(blocks.clone()),
                "free blocks turned out to be in use",
            ),
            Change::Free => (
                view.find_zero(blocks.clone()),
                "freed blocks were free already",
            ),
        };
        if stray.is_some() {
            drop(bytes);
            return Err(self.condemn_blocks(slot, group, number, what));
        }
        let mut map = BitmapMut::new(&mut bytes, bits);
        match change {
            Change::Allocate => map.set_range(blocks),
            Change::Free => map.clear_range(blocks),
        };
        if !planted!(StaleBitmapChecksum) {
            group.desc.block_bitmap_csum = bitmap::block_bitmap_csum(&self.sb, &bytes);
        }
        drop(bytes);
        group.desc.flags.remove(BgFlags::BLOCK_UNINIT);
        if !planted!(GroupCountNotStored) {
            group.desc.free_blocks_count = new_count;
        }
        self.store_desc(handle, number, group)?;
        match change {
            Change::Allocate => self.counters.bits_taken(len),
            Change::Free if planted!(TotalsNotCounted) => {}
            Change::Free => self.counters.bits_freed(len),
        }
        Ok(())
    }

    /// The bitmap block of a group, part of the transaction; made up if it was never written.
    pub(super) fn bitmap_for_change(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &Group,
    ) -> Result<Block> {
        if !group.is_block_uninit() {
            return meta::read_block_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc);
        }
        let block = handle.create(group.desc.block_bitmap)?;
        let mut bytes = handle.modify(&block)?;
        self.fill_uninit(number, &mut bytes);
        bytes.set_verified(meta::tag::BLOCK_BITMAP);
        drop(bytes);
        Ok(block)
    }

    /// Makes the descriptor's block part of the transaction.
    pub(super) fn join_desc(&self, handle: &mut Handle, number: GroupNo) -> Result<()> {
        let (_, table) = meta::group_desc_block(&self.image, &self.meta, &self.sb, number)?;
        drop(handle.modify(&table)?);
        Ok(())
    }

    /// Writes a group's descriptor into its table block.
    pub(super) fn store_desc(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &Group,
    ) -> Result<()> {
        let (offset, table) = meta::group_desc_block(&self.image, &self.meta, &self.sb, number)?;
        let mut bytes = handle.modify(&table)?;
        let Some(place) = bytes.get_mut(offset..offset + self.sb.desc_size()) else {
            return Err(self.damaged(number, "descriptor lies outside its block"));
        };
        group
            .desc
            .encode(place, &self.sb, number)
            .map_err(|source| meta::format_error(&self.image, source))
    }

    /// Calls `f` with the bitmap of everything that must not be handed out.
    pub(super) fn with_free_map<T>(
        &self,
        number: GroupNo,
        group: &Group,
        f: impl FnOnce(Bitmap<'_>) -> T,
    ) -> Result<T> {
        let bits = self.sb.blocks_in_group(number);
        if group.is_block_uninit() {
            let mut bytes = vec![0; self.sb.block_size().len()];
            self.fill_uninit(number, &mut bytes);
            group.mark_withheld(&mut bytes);
            return Ok(f(Bitmap::new(&bytes, bits)));
        }
        let block =
            meta::read_block_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc)?;
        let data = block.data();
        if !group.has_withheld() {
            return Ok(f(Bitmap::new(&data, bits)));
        }
        let mut bytes = data.to_vec();
        drop(data);
        group.mark_withheld(&mut bytes);
        Ok(f(Bitmap::new(&bytes, bits)))
    }

    /// On first use: compares the bitmap with the descriptor's count and with the system zone.
    pub(super) fn check_bitmap(
        &self,
        number: GroupNo,
        slot: &Slot,
        group: &mut Group,
    ) -> Result<()> {
        if group.checked {
            return Ok(());
        }
        let bits = self.sb.blocks_in_group(number);
        let first = self.sb.group_first_block(number).map_or(0, FsBlock::get);
        let verdict = self.with_free_map(number, group, |map| {
            let exposed =
                self.groups
                    .zone_within(first, first + u64::from(bits))
                    .any(|(start, end)| {
                        map.find_zero(bit_of(start, first, bits)..bit_of(end, first, bits))
                            .is_some()
                    });
            (exposed, map.count_zeros(0..bits))
        });
        let what = match verdict {
            Ok((true, _)) => "the block bitmap marks filesystem metadata as free",
            Ok((_, free)) if free != group.desc.free_blocks_count => {
                "free block count contradicts the block bitmap"
            }
            Ok(_) => {
                group.checked = true;
                return Ok(());
            }
            Err(error @ crate::error::Error::Format { .. }) => {
                let _ = self.condemn_blocks(slot, group, number, "block bitmap fails its checksum");
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        Err(self.condemn_blocks(slot, group, number, what))
    }

    /// The bitmap of a group that was never used: only filesystem metadata is in use.
    fn fill_uninit(&self, number: GroupNo, bytes: &mut [u8]) {
        bytes.fill(0);
        let bits = self.sb.blocks_in_group(number);
        if let Some(first) = self.sb.group_first_block(number) {
            let first = first.get();
            let mut map = BitmapMut::new(bytes, bits);
            for (start, end) in self.groups.zone_within(first, first + u64::from(bits)) {
                map.set_range(bit_of(start, first, bits)..bit_of(end, first, bits));
            }
        }
        bitmap::pad(bytes, bits);
    }

    fn block_of(&self, number: GroupNo, bit: u32) -> Result<FsBlock> {
        let first = self.sb.group_first_block(number);
        first
            .and_then(|first| first.checked_add(u64::from(bit)))
            .ok_or_else(|| self.damaged(number, "lies outside the filesystem"))
    }
}

/// The bit of a block in the bitmap of the group that begins at `first`.
fn bit_of(block: u64, first: u64, bits: u32) -> u32 {
    u32::try_from(block.saturating_sub(first))
        .unwrap_or(bits)
        .min(bits)
}
