//! Reading an inode from its table and writing it back inside a handle.

use e4_format::{FsBlock, Inode as DiskInode, InodeNo, Superblock, superblock::InodeLocation};
use e4_journal::{Handle, MetaStore};
use e4_sync::Arc;

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
        let (block, at) = locate(&self.image, &self.meta, &self.sb, ino)?;
        let block = meta::read_plain(&self.meta, block)?;
        let mut guard = handle.modify(&block)?;
        let bytes = guard
            .get_mut(at.offset..at.offset + self.sb.inode_size())
            .ok_or_else(|| bad(&self.image, ino, "lies outside its table"))?;
        if fresh {
            bytes.fill(0);
        }
        disk.encode(bytes, &self.sb, ino)
            .map_err(|source| meta::format_error(&self.image, source))
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
        inode.touched(handle.tid(), data);
        Ok(())
    }
}
