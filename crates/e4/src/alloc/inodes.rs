//! Allocating and freeing inodes.
//!
//! Files go into their directory's group, directories to a group with more free inodes and blocks
//! than average, so that trees spread and files stay near their names.

use e4_format::bitmap::{self, Bitmap, BitmapMut};
use e4_format::{BgFlags, FileType, GroupNo, InodeNo};
use e4_journal::Handle;
use e4_sync::atomic::Ordering;

use super::Allocator;
use super::group::Group;
use crate::error::Result;
use crate::meta;

/// Journal credits of one inode allocation or free: bitmap and descriptor block.
pub(crate) const CREDITS_PER_INODE: u32 = 2;

impl Allocator {
    /// Allocates an inode number near `parent`. The caller writes the whole inode.
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
        let groups = self.sb.groups();
        let home = self.sb.inode_location(parent).map_or(0, |at| at.group.get());
        let average_inodes = self.free_inodes() / groups;
        let average_blocks = u32::try_from(self.free_blocks() / u64::from(groups)).unwrap_or(u32::MAX);
        for picky in [true, false] {
            for i in 0..groups {
                let number = GroupNo::new((home + i) % groups);
                let mut group = self.groups[number.get() as usize].lock();
                if group.desc.free_inodes_count == 0 {
                    continue;
                }
                let poor = group.desc.free_inodes_count < average_inodes
                    || group.allocatable() < average_blocks;
                if dir && picky && poor {
                    continue;
                }
                if let Some(ino) = self.alloc_inode_in(handle, number, &mut group, dir)? {
                    self.free_inodes.fetch_sub(1, Ordering::AcqRel);
                    return Ok(ino);
                }
            }
        }
        Err(self.no_space("inodes"))
    }

    fn alloc_inode_in(
        &self,
        handle: &mut Handle,
        number: GroupNo,
        group: &mut Group,
        dir: bool,
    ) -> Result<Option<InodeNo>> {
        let per_group = self.sb.inodes_per_group();
        let first = if number.get() == 0 { self.sb.first_inode() - 1 } else { 0 };
        let uninit = group.desc.flags.contains(BgFlags::INODE_UNINIT);
        let (bit, csum) = {
            let block = if uninit {
                handle.create(group.desc.inode_bitmap)?
            } else {
                meta::read_inode_bitmap(&self.image, &self.meta, &self.sb, number, &group.desc)?
            };
            // Looked at before taking part in the transaction: a full bitmap costs no journal space.
            if !uninit && Bitmap::new(&block.data(), per_group).find_zero(first..per_group).is_none() {
                return Ok(None);
            }
            let mut guard = handle.modify(&block)?;
            if uninit {
                bitmap::init_inode_bitmap(&mut guard, &self.sb);
                guard.set_verified(meta::tag::INODE_BITMAP);
            }
            let mut map = BitmapMut::new(&mut guard, per_group);
            let Some(bit) = map.view().find_zero(first..per_group) else { return Ok(None) };
            map.set(bit);
            (bit, bitmap::inode_bitmap_csum(&self.sb, &guard))
        };
        let desc = &mut group.desc;
        desc.flags.remove(BgFlags::INODE_UNINIT);
        desc.inode_bitmap_csum = csum;
        desc.free_inodes_count = desc.free_inodes_count.saturating_sub(1);
        if dir {
            desc.used_dirs_count = desc.used_dirs_count.saturating_add(1);
        }
        desc.itable_unused = desc.itable_unused.min(per_group - (bit + 1));
        self.store_desc(handle, number, group)?;
        Ok(InodeNo::new(number.get() * per_group + bit + 1))
    }

    /// Frees an inode number.
    ///
    /// # Errors
    /// Damage: it was free already, or is reserved; journal errors.
    pub(crate) fn free_inode(&self, handle: &mut Handle, ino: InodeNo, kind: Option<FileType>) -> Result<()> {
        let Some(at) = self.sb.inode_location(ino) else {
            return Err(self.damaged(GroupNo::new(0), "a freed inode number lies in no group"));
        };
        if ino.get() < self.sb.first_inode() {
            return Err(self.damaged(at.group, "a reserved inode was to be freed"));
        }
        let mut group = self.groups[at.group.get() as usize].lock();
        let block = meta::read_inode_bitmap(&self.image, &self.meta, &self.sb, at.group, &group.desc)?;
        let csum = {
            let mut guard = handle.modify(&block)?;
            if !BitmapMut::new(&mut guard, self.sb.inodes_per_group()).clear(at.index) {
                return Err(self.damaged(at.group, "a freed inode was free already"));
            }
            bitmap::inode_bitmap_csum(&self.sb, &guard)
        };
        group.desc.inode_bitmap_csum = csum;
        group.desc.free_inodes_count = group.desc.free_inodes_count.saturating_add(1);
        if kind == Some(FileType::Directory) {
            group.desc.used_dirs_count = group.desc.used_dirs_count.saturating_sub(1);
        }
        self.store_desc(handle, at.group, &group)?;
        self.free_inodes.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}
