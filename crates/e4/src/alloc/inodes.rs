//! Allocating and freeing inode numbers.
//!
//! Decisions:
//! - A file goes to its directory's group. A directory below the root goes where there are few
//!   directories and much room, so that unrelated trees spread; deeper ones stay near their parent while
//!   its group has room to spare.
//! - The lowest free number of a group is taken: then everything behind the highest one ever used stays
//!   `itable_unused`, and nobody looks at that part of a table. Tables are never zeroed in advance
//!   (`INODE_ZEROED` is left as it is); instead a slot is zeroed when it is used for the first time, by
//!   the allocator itself, so that it holds no stale bytes even if its number is given back unwritten.

use e4_format::bitmap::{self, Bitmap, BitmapMut};
use e4_format::{BgFlags, FileType, GroupNo, InodeNo};
use e4_journal::{Block, Handle};

use super::Allocator;
use super::group::{Group, Slot};
use crate::error::{Error, Result};
use crate::meta;

/// Journal credits of one inode allocation or free: bitmap, descriptor, and the block of the inode table
/// that holds the inode (which the caller is going to write anyway).
pub(crate) const CREDITS_PER_INODE: u32 = 3;

impl Allocator {
    /// Allocates an inode number near `parent` ([`CREDITS_PER_INODE`]). The caller writes the whole
    /// inode.
    ///
    /// # Errors
    /// `NoSpace`, damage, journal errors.
    pub(crate) fn alloc_inode(
        &self,
        handle: &mut Handle,
        parent: InodeNo,
        kind: FileType,
    ) -> Result<InodeNo> {
        let dir = kind == FileType::Directory;
        let home = self
            .sb
            .inode_location(parent)
            .map_or(GroupNo::new(0), |at| at.group);
        let (first, choosy) = if dir && parent == InodeNo::ROOT {
            (self.emptiest_group().unwrap_or(home), false)
        } else {
            (home, dir)
        };
        let groups = self.sb.groups();
        for choosy in [choosy, false] {
            for i in 0..groups {
                let number = GroupNo::new((first.get() % groups + i) % groups);
                let slot = self.slot(number)?;
                if slot.free_inodes() == 0 || (choosy && !self.has_room_for_directories(slot)) {
                    continue;
                }
                if let Some(ino) = self.alloc_inode_in(handle, number, slot, dir)? {
                    self.counters.inode_taken();
                    return Ok(ino);
                }
            }
        }
        Err(self.no_space("inodes"))
    }

    /// The group for a directory in the root: among the flex groups with at least the average of free
    /// inodes and blocks, the one with the fewest directories.
    fn emptiest_group(&self) -> Option<GroupNo> {
        let per_flex = self.sb.groups_per_flex().max(1) as usize;
        let sum = |slots: &[&Slot], of: fn(&Slot) -> u32| -> u64 {
            slots.iter().map(|slot| u64::from(of(slot))).sum()
        };
        let all: Vec<&Slot> = self.groups.iter().collect();
        let groups = all.len().max(1) as u64;
        let (inodes, blocks) = (u64::from(self.free_inodes()), self.free_blocks());
        let flexes = all.chunks(per_flex).enumerate();
        let fit = flexes.filter(|(_, slots)| {
            let n = slots.len() as u64;
            sum(slots, Slot::free_inodes) * groups >= inodes * n
                && sum(slots, Slot::allocatable) * groups >= blocks * n
        });
        // Per group, because the last flex group may be short.
        let crowd = |slots: &[&Slot]| sum(slots, Slot::dirs) * 1024 / slots.len().max(1) as u64;
        let (flex, slots) = fit.min_by_key(|(_, slots)| crowd(slots))?;
        let within = slots.iter().position(|slot| slot.free_inodes() > 0)?;
        u32::try_from(flex * per_flex + within)
            .ok()
            .map(GroupNo::new)
    }

    /// True if a group is not much fuller than the average.
    fn has_room_for_directories(&self, slot: &Slot) -> bool {
        let groups = self.sb.groups();
        let inodes = self.free_inodes() / groups;
        let blocks = self.free_blocks() / u64::from(groups);
        let crowded = slot.dirs() > self.sb.inodes_per_group() / 8;
        let inodes_short = slot.free_inodes() < inodes / 4;
        !crowded && !inodes_short && u64::from(slot.allocatable()) >= blocks / 4
    }

    fn alloc_inode_in(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        slot: &Slot,
        dir: bool,
    ) -> Result<Option<InodeNo>> {
        let mut group = slot.lock();
        if group.condemned_inodes || group.desc.free_inodes_count == 0 {
            return Ok(None);
        }
        self.check_inode_bitmap(number, slot, &mut group)?;
        let per_group = self.sb.inodes_per_group();
        let Some(bit) = self.first_free_inode(number, &group)? else {
            let what = "free inode count contradicts the inode bitmap";
            return Err(self.condemn_inodes(slot, &mut group, number, what));
        };
        let ino = InodeNo::new(number.get() * per_group + bit + 1);
        self.join_desc(handle, number)?;
        if bit >= self.used_before(&group) {
            self.zero_slot(handle, number, &group, ino)?;
        }
        let block = self.inode_bitmap_for_change(handle, number, &group)?;
        let mut bytes = handle.modify(&block)?;
        BitmapMut::new(&mut bytes, per_group).set(bit);
        let csum = bitmap::inode_bitmap_csum(&self.sb, &bytes);
        drop(bytes);
        let unused = per_group - self.used_before(&group).max(bit + 1);
        let desc = &mut group.desc;
        desc.flags.remove(BgFlags::INODE_UNINIT);
        desc.itable_unused = unused;
        desc.inode_bitmap_csum = csum;
        desc.free_inodes_count = desc.free_inodes_count.saturating_sub(1);
        desc.used_dirs_count = desc.used_dirs_count.saturating_add(u32::from(dir));
        self.store_desc(handle, number, &group)?;
        slot.update(&group);
        Ok(ino)
    }

    /// The first free bit, without taking part in a transaction.
    fn first_free_inode(&self, number: GroupNo, group: &Group) -> Result<Option<u32>> {
        let (first, per_group) = (self.first_usable(number), self.sb.inodes_per_group());
        if group.is_inode_uninit() {
            return Ok((first < per_group).then_some(first));
        }
        let block =
            meta::read_inode_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc)?;
        Ok(Bitmap::new(&block.data(), per_group).find_zero(first..per_group))
    }

    /// Slots of the table that have been used at some time: no slot behind them holds anything.
    fn used_before(&self, group: &Group) -> u32 {
        if group.is_inode_uninit() {
            return 0;
        }
        self.sb
            .inodes_per_group()
            .saturating_sub(group.desc.itable_unused)
    }

    /// Clears the slot of an inode.
    fn zero_slot(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &Group,
        ino: Option<InodeNo>,
    ) -> Result<()> {
        let outside = || self.damaged(number, "an inode lies outside its table");
        let at = ino
            .and_then(|ino| self.sb.inode_location(ino))
            .ok_or_else(outside)?;
        let table = group
            .desc
            .inode_table
            .checked_add(at.table_block.into())
            .ok_or_else(outside)?;
        let block = meta::read_plain(&self.meta, table)?;
        let mut bytes = handle.modify(&block)?;
        let slot = bytes.get_mut(at.offset..at.offset + self.sb.inode_size());
        slot.ok_or_else(outside)?.fill(0);
        Ok(())
    }

    /// Frees an inode number ([`CREDITS_PER_INODE`]).
    ///
    /// # Errors
    /// Damage: it was free already, or is reserved; journal errors.
    pub(crate) fn free_inode(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        kind: Option<FileType>,
    ) -> Result<()> {
        let Some(at) = self.sb.inode_location(ino) else {
            return Err(self.damaged(GroupNo::new(0), "a freed inode number lies in no group"));
        };
        if ino.get() < self.sb.first_inode() {
            return Err(self.damaged(at.group, "a reserved inode was to be freed"));
        }
        let slot = self.slot(at.group)?;
        let mut group = slot.lock();
        if group.condemned_inodes {
            return Err(self.damaged(at.group, "its inode bitmap was found damaged earlier"));
        }
        self.check_inode_bitmap(at.group, slot, &mut group)?;
        self.join_desc(handle, at.group)?;
        let per_group = self.sb.inodes_per_group();
        // A group that was never used has no inode to free, and its bitmap need not be made up to see it.
        let known = !group.is_inode_uninit() && group.desc.free_inodes_count < per_group;
        let freed = known && {
            let block = self.inode_bitmap_for_change(handle, at.group, &group)?;
            let mut bytes = handle.modify(&block)?;
            let was_set = Bitmap::new(&bytes, per_group).test(at.index);
            if was_set {
                BitmapMut::new(&mut bytes, per_group).clear(at.index);
                group.desc.inode_bitmap_csum = bitmap::inode_bitmap_csum(&self.sb, &bytes);
            }
            was_set
        };
        if !freed {
            let what = "a freed inode was free already";
            return Err(self.condemn_inodes(slot, &mut group, at.group, what));
        }
        group.desc.free_inodes_count = group.desc.free_inodes_count.saturating_add(1);
        if kind == Some(FileType::Directory) {
            group.desc.used_dirs_count = group.desc.used_dirs_count.saturating_sub(1);
        }
        self.store_desc(handle, at.group, &group)?;
        slot.update(&group);
        drop(group);
        self.counters.inode_freed();
        Ok(())
    }

    /// The first bit of a group that is not a reserved inode.
    fn first_usable(&self, number: GroupNo) -> u32 {
        let per_group = self.sb.inodes_per_group();
        let before = number.get().saturating_mul(per_group);
        (self.sb.first_inode() - 1)
            .saturating_sub(before)
            .min(per_group)
    }

    /// The inode bitmap of a group, part of the transaction; made up if it was never written.
    fn inode_bitmap_for_change(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &Group,
    ) -> Result<Block> {
        if !group.is_inode_uninit() {
            return meta::read_inode_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc);
        }
        let block = handle.create(group.desc.inode_bitmap)?;
        let mut bytes = handle.modify(&block)?;
        bitmap::init_inode_bitmap(&mut bytes, &self.sb);
        bytes.set_verified(meta::tag::INODE_BITMAP);
        drop(bytes);
        Ok(block)
    }

    /// On first use: compares the bitmap with the descriptor's count, and insists that reserved inodes
    /// are in use.
    fn check_inode_bitmap(&self, number: GroupNo, slot: &Slot, group: &mut Group) -> Result<()> {
        if group.checked_inodes {
            return Ok(());
        }
        let per_group = self.sb.inodes_per_group();
        let reserved = self.first_usable(number);
        let free = if group.is_inode_uninit() {
            (reserved == 0).then_some(per_group)
        } else {
            match meta::read_inode_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc) {
                Ok(block) => {
                    let data = block.data();
                    let map = Bitmap::new(&data, per_group);
                    let intact = map.find_zero(0..reserved).is_none();
                    let beyond = map.find_one(self.used_before(group)..per_group).is_some();
                    if beyond {
                        let what = "an inode in use lies where the table was never used";
                        return Err(self.condemn_inodes(slot, group, number, what));
                    }
                    intact.then(|| map.count_zeros(0..per_group))
                }
                Err(error @ Error::Format { .. }) => {
                    let what = "inode bitmap fails its checksum";
                    let _ = self.condemn_inodes(slot, group, number, what);
                    return Err(error);
                }
                Err(error) => return Err(error),
            }
        };
        let what = match free {
            None => "reserved inodes are marked as free",
            Some(free) if free != group.desc.free_inodes_count => {
                "free inode count contradicts the inode bitmap"
            }
            Some(_) => {
                group.checked_inodes = true;
                return Ok(());
            }
        };
        Err(self.condemn_inodes(slot, group, number, what))
    }
}
