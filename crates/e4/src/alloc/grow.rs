//! More groups, and a longer last one.
//!
//! Order: everything that can fail comes first; what is published last is published while the last group is locked, so whoever
//! looks at that group under its lock sees its bitmap, its descriptor and the filesystem's size agree.

use e4_format::bitmap::{self, BitmapMut};
use e4_format::{GroupDesc, GroupNo, Superblock};
use e4_journal::Handle;

use super::group::{Group, Slot};
use super::zone::SystemZone;
use super::{Allocator, collect_zone};
use crate::error::Result;
use crate::meta;

/// What a growth adds.
pub(crate) struct Growth<'a> {
    /// The geometry afterwards.
    pub(crate) sb: &'a Superblock,
    /// The groups behind the last one, in order. What their descriptors name is on the device already.
    pub(crate) groups: &'a [GroupDesc],
}

/// Credits of [`Allocator::grow`] besides a block of the descriptor table for each it touches.
pub(crate) const CREDITS_PER_GROWTH: u32 = 1;

impl Allocator {
    /// Makes the last group as long as `growth` says and adds the groups behind it, in the caller's handle. `publish` makes
    /// everybody see the new superblock; it runs when nothing can fail any more.
    ///
    /// # Errors
    /// Damage in the last group, journal errors. Nothing has been published then.
    pub(crate) fn grow(
        &self,
        handle: &mut Handle,
        growth: &Growth<'_>,
        publish: impl FnOnce(&mut Handle) -> Result<()>,
    ) -> Result<()> {
        let last = GroupNo::new(self.sb.groups() - 1);
        let mut pieces = Vec::new();
        let mut slots = Vec::with_capacity(growth.groups.len());
        let (mut blocks, mut inodes) = (0, 0);
        for (number, desc) in (last.get() + 1..).zip(growth.groups) {
            let number = GroupNo::new(number);
            self.put_desc(handle, growth.sb, number, desc)?;
            collect_zone(growth.sb, number, desc, &mut pieces);
            slots.push(Slot::new(Group::new(*desc)));
            blocks += u64::from(desc.free_blocks_count);
            inodes += desc.free_inodes_count;
        }
        let slot = self.slot(last)?;
        let mut group = slot.lock();
        self.check_bitmap(last, slot, &mut group)?;
        let (old, new) = (
            self.sb.blocks_in_group(last),
            growth.sb.blocks_in_group(last),
        );
        let longer = new.saturating_sub(old);
        self.join_desc(handle, last)?;
        let mut csum = group.desc.block_bitmap_csum;
        // A group that was never used has no bitmap, and the next one made up is longer.
        if longer > 0 && !group.is_block_uninit() {
            let block = self.bitmap_for_change(handle, last, &group)?;
            let mut bytes = handle.modify(&block)?;
            BitmapMut::new(&mut bytes, new).clear_range(old..new);
            csum = bitmap::block_bitmap_csum(growth.sb, &bytes);
        }
        publish(handle)?;
        self.groups.append(slots, SystemZone::new(pieces));
        self.meta.grow(growth.sb.blocks_count());
        self.sb.publish(growth.sb.clone());
        self.counters.grown(blocks + u64::from(longer), inodes);
        // Not before: whoever reads the descriptor compares it with the size that is published.
        if longer > 0 {
            group.desc.block_bitmap_csum = csum;
            group.desc.free_blocks_count += longer;
            self.store_desc(handle, last, &group)?;
        }
        // The new blocks may join a run at the end.
        group.set_longest(u32::MAX);
        slot.update(&group);
        Ok(())
    }

    /// Writes the descriptor of a group that nobody sees yet.
    fn put_desc(
        &self,
        handle: &mut Handle,
        sb: &Superblock,
        number: GroupNo,
        desc: &GroupDesc,
    ) -> Result<()> {
        let (offset, table) = meta::group_desc_block(&self.image, &self.meta, sb, number)?;
        let mut bytes = handle.modify(&table)?;
        let Some(place) = bytes.get_mut(offset..offset + sb.desc_size()) else {
            return Err(self.damaged(number, "descriptor lies outside its block"));
        };
        desc.encode(place, sb, number)
            .map_err(|source| meta::format_error(&self.image, source))
    }
}
