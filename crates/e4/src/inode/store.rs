//! Reading an inode from its table and writing it back inside a handle.

use e4_format::{
    FormatError, FsBlock, Inode as DiskInode, InodeNo, Superblock, superblock::InodeLocation,
};
use e4_journal::{Handle, MetaStore};
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use super::InodeState;
use crate::error::{Error, Result};
use crate::meta;
use crate::mount::Shared;

/// Journal credits of [`Shared::store_inode`].
pub(crate) const CREDITS_PER_STORE: u32 = 1;

fn bad(image: &Arc<str>, ino: InodeNo, what: &'static str) -> Error {
    Error::BadInode {
        image: Arc::clone(image),
        ino: ino.get(),
        what,
    }
}

/// Where an inode lives on disk.
fn locate(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    ino: InodeNo,
) -> Result<(FsBlock, InodeLocation)> {
    let at = sb
        .inode_location(ino)
        .ok_or_else(|| bad(image, ino, "does not exist"))?;
    let desc = meta::read_group_desc(image, meta, sb, at.group)?;
    let block = desc
        .inode_table
        .checked_add(u64::from(at.table_block))
        .ok_or_else(|| bad(image, ino, "lies outside the filesystem"))?;
    Ok((block, at))
}

/// Reads and verifies an inode.
pub(crate) fn read_inode(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    ino: InodeNo,
) -> Result<DiskInode> {
    let (block, at) = locate(image, meta, sb, ino)?;
    let block = meta::read_plain(meta, block)?;
    let data = block.data();
    let bytes = data
        .get(at.offset..at.offset + sb.inode_size())
        .ok_or_else(|| bad(image, ino, "lies outside its table"))?;
    DiskInode::decode(bytes, sb, ino).map_err(|source| meta::format_error(image, source))
}

impl Shared {
    /// Looks at something with the present geometry; again, if the filesystem has grown meanwhile and what was found makes
    /// sense only in the larger one.
    pub(crate) fn with_geometry<T>(&self, look: impl Fn(&Superblock) -> Result<T>) -> Result<T> {
        loop {
            let sb: &Superblock = &self.sb;
            match look(sb) {
                Err(Error::Format { .. }) if self.sb.blocks_count() != sb.blocks_count() => {}
                other => return other,
            }
        }
    }

    fn locate(&self, ino: InodeNo) -> Result<(FsBlock, InodeLocation)> {
        self.with_geometry(|sb| locate(&self.image, &self.meta, sb, ino))
    }

    /// Writes the inode's current state into its table block. One credit.
    pub(crate) fn store_inode(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        disk: &DiskInode,
    ) -> Result<()> {
        self.write_inode(handle, ino, disk, false)
    }

    /// Writes a new inode: whatever its slot held before is gone. One credit.
    pub(crate) fn store_new_inode(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        disk: &DiskInode,
    ) -> Result<()> {
        self.write_inode(handle, ino, disk, true)
    }

    fn write_inode(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        disk: &DiskInode,
        fresh: bool,
    ) -> Result<()> {
        // Held across the change: while anything is listed, a neighbour may change this inode's link.
        let listed = self.orphans_listed.load(Ordering::Acquire) > 0;
        let orphans = listed.then(|| self.orphans.lock());
        let link = orphans.as_ref().and_then(|o| o.next_of(ino));
        self.edit_inode(handle, ino, |bytes| {
            if fresh {
                bytes.fill(0);
            }
            match link {
                None => disk.encode(bytes, &self.sb, ino),
                Some(dtime) => {
                    let disk = DiskInode {
                        dtime,
                        ..disk.clone()
                    };
                    disk.encode(bytes, &self.sb, ino)
                }
            }
        })
    }

    /// Looks at the bytes of an inode in its table block.
    pub(crate) fn with_inode_bytes<T>(
        &self,
        ino: InodeNo,
        look: impl FnOnce(&[u8]) -> Result<T, FormatError>,
    ) -> Result<T> {
        let (block, at) = self.locate(ino)?;
        let block = meta::read_plain(&self.meta, block)?;
        let data = block.data();
        let bytes = data
            .get(at.offset..at.offset + self.sb.inode_size())
            .ok_or_else(|| bad(&self.image, ino, "lies outside its table"))?;
        look(bytes).map_err(|source| meta::format_error(&self.image, source))
    }

    /// Changes the bytes of an inode in its table block. One credit.
    pub(crate) fn edit_inode(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        edit: impl FnOnce(&mut [u8]) -> Result<(), FormatError>,
    ) -> Result<()> {
        let (block, at) = self.locate(ino)?;
        let block = meta::read_plain(&self.meta, block)?;
        let mut guard = handle.modify(&block)?;
        let bytes = guard
            .get_mut(at.offset..at.offset + self.sb.inode_size())
            .ok_or_else(|| bad(&self.image, ino, "lies outside its table"))?;
        edit(bytes).map_err(|source| meta::format_error(&self.image, source))
    }

    /// Changes the link of a listed orphan whose lock is not held. The caller holds the list's lock.
    pub(super) fn set_dtime(&self, handle: &mut Handle, ino: InodeNo, dtime: u32) -> Result<()> {
        self.edit_inode(handle, ino, |bytes| {
            let disk = DiskInode::decode(bytes, &self.sb, ino)?;
            DiskInode { dtime, ..disk }.encode(bytes, &self.sb, ino)
        })
    }

    /// As [`Shared::store_inode`] for a loaded inode, noting the transaction for fsync.
    pub(crate) fn store_core(
        &self,
        handle: &mut Handle,
        inode: &InodeState,
        core: &super::Core,
        data: bool,
    ) -> Result<()> {
        self.store_inode(handle, inode.ino, &core.disk)?;
        inode.touched(handle.tid(), data && !planted!(ConversionNotDatasync));
        Ok(())
    }
}
