//! The resize inode: it owns the descriptor blocks in reserve. Its double indirect block names those of group 0, by their number
//! in the table; each of these, as an indirect block, names its copies in the backup groups, in order.
//!
//! A descriptor block that comes into use leaves the inode, copies included. A new backup group adds a copy of each block that
//! stays.

use e4_format::{FsBlock, GroupNo, Inode as DiskInode, InodeNo, Superblock};
use e4_journal::Handle;
use e4_sync::Arc;

use super::plan::{backups, has_reserve};
use crate::error::{Error, Result};
use crate::inode::read_inode;
use crate::meta;
use crate::mount::Shared;

/// Number of the resize inode.
const RESIZE: u32 = 7;
/// Slot of the double indirect block in `i_block`.
const DIND_SLOT: usize = 13;

/// What changes about the reserve.
pub(super) struct Reserve {
    ino: InodeNo,
    inode: DiskInode,
    dind: FsBlock,
    /// Slots of the double indirect block to be cleared.
    taken: Vec<usize>,
    /// Blocks that stay, and the copies they get, from a slot on.
    kept: Vec<FsBlock>,
    first_slot: usize,
    /// First blocks of the new backup groups, by the number of the block in the table.
    copies: Vec<Vec<u64>>,
}

impl Shared {
    fn bad_reserve(&self, what: &'static str) -> Error {
        Error::BadInode {
            image: Arc::clone(&self.image),
            ino: RESIZE,
            what,
        }
    }

    /// Reads and checks the resize inode, and says what a growth does to it; `None` if nothing.
    pub(super) fn plan_reserve(
        &self,
        old: &Superblock,
        new: &Superblock,
    ) -> Result<Option<Reserve>> {
        let added: Vec<GroupNo> = backups(new, old.groups()).collect();
        if !has_reserve(old) || (added.is_empty() && new.gdt_blocks() == old.gdt_blocks()) {
            return Ok(None);
        }
        let bad = |what| self.bad_reserve(what);
        let ino = InodeNo::new(RESIZE).ok_or_else(|| bad("does not exist"))?;
        let mut inode = read_inode(&self.image, &self.meta, old, ino)?;
        let bs = u64::from(old.block_size().bytes());
        let per = (bs / 4) as usize;
        let dind = pointer(&inode.i_block, DIND_SLOT).unwrap_or(0);
        if dind == 0 || !old.contains_range(FsBlock::new(dind), 1) {
            return Err(bad("has no double indirect block"));
        }
        let dind = FsBlock::new(dind);
        let top = meta::read_plain(&self.meta, dind)?;
        let primary = u64::from(old.first_data_block()) + 1;
        let copies_before = backups(old, 1).count();
        if copies_before + added.len() > per {
            return Err(bad("cannot name that many copies"));
        }
        let mut reserve = Reserve {
            ino,
            dind,
            taken: Vec::new(),
            kept: Vec::new(),
            first_slot: copies_before,
            copies: Vec::new(),
            inode: inode.clone(),
        };
        let end = old.gdt_blocks() + old.reserved_gdt_blocks();
        for n in old.gdt_blocks()..end {
            let at = primary + u64::from(n);
            let slot = n as usize % per;
            if pointer(&top.data(), slot) != Some(at) {
                return Err(bad(
                    "does not name the descriptor blocks in reserve (e2fsck -f mends that)",
                ));
            }
            let sector = bs / 512;
            if n < new.gdt_blocks() {
                reserve.taken.push(slot);
                inode.sectors = inode
                    .sectors
                    .saturating_sub((1 + copies_before as u64) * sector);
            } else if !added.is_empty() {
                reserve.kept.push(FsBlock::new(at));
                let copy = |group: &GroupNo| {
                    let first = new.group_first_block(*group).map_or(0, FsBlock::get);
                    first + 1 + u64::from(n)
                };
                reserve.copies.push(added.iter().map(copy).collect());
                inode.sectors += added.len() as u64 * sector;
            }
        }
        reserve.inode = inode;
        Ok(Some(reserve))
    }

    /// Changes the reserve as planned.
    pub(super) fn store_reserve(&self, handle: &mut Handle, reserve: &Reserve) -> Result<()> {
        if !reserve.taken.is_empty() {
            let top = meta::read_plain(&self.meta, reserve.dind)?;
            let mut bytes = handle.modify(&top)?;
            for slot in &reserve.taken {
                put_pointer(&mut bytes, *slot, 0);
            }
        }
        for (at, copies) in reserve.kept.iter().zip(&reserve.copies) {
            let block = meta::read_plain(&self.meta, *at)?;
            let mut bytes = handle.modify(&block)?;
            for (slot, to) in (reserve.first_slot..).zip(copies) {
                put_pointer(&mut bytes, slot, *to);
            }
        }
        self.store_inode(handle, reserve.ino, &reserve.inode)
    }
}

fn pointer(bytes: &[u8], slot: usize) -> Option<u64> {
    let four = bytes.get(slot * 4..)?.first_chunk()?;
    Some(u64::from(u32::from_le_bytes(*four)))
}

fn put_pointer(bytes: &mut [u8], slot: usize, to: u64) {
    let to = u32::try_from(to).unwrap_or(0).to_le_bytes();
    if let Some(at) = bytes.get_mut(slot * 4..slot * 4 + 4) {
        at.copy_from_slice(&to);
    }
}
