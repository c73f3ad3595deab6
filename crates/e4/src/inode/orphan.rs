//! Orphans: inodes whose truncation or deletion is under way, so that a crash in the middle is
//! finished at the next mount.
//!
//! Two forms on disk: a list threaded through the inodes' `i_dtime`, headed by `s_last_orphan`, and
//! the orphan file (feature `orphan_file`). We add to the file where there is one and it has room,
//! else to the list; recovery reads both.
//!
//! Lock: rank 95, one for both forms. On images without an orphan file, at most one inode is on the list
//! at a time (`Shared::orphan_turn`, taken before the handle): a neighbour's link lives in *its* inode,
//! whose lock has a lower rank, so nobody here ever edits the middle of the list.

use e4_format::{ByteOffset, FileBlock, FormatError, FsBlock, InodeNo, orphan, superblock};
use e4_journal::{Handle, JournalError, Verify};
use e4_sync::Arc;
use hashbrown::HashSet;

use super::{Inode, InodeState};
use crate::error::{Error, Result};
use crate::meta;
use crate::mount::Shared;

/// Journal credits of adding or removing an orphan: superblock or orphan file block, and the
/// neighbour in the list.
pub(crate) const CREDITS_PER_ORPHAN: u32 = 3;

/// Where an orphan was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the list headed by the superblock.
    List,
    /// In a slot of a block of the orphan file.
    File {
        /// Which block of the file.
        block: FsBlock,
        /// Which slot of the block.
        slot: usize,
    },
}

/// What rank 95 guards.
#[derive(Default)]
pub(crate) struct Orphans {
    /// Blocks of the orphan file, in order; loaded at mount.
    pub(crate) blocks: Vec<FsBlock>,
    pub(crate) file_seed: Option<u32>,
}

impl Shared {
    fn orphan_block_check<'a>(
        seed: Option<u32>,
    ) -> impl Fn(FsBlock, &[u8]) -> Result<(), FormatError> + 'a {
        move |at, bytes| orphan::verify(bytes, at, seed)
    }

    fn read_orphan_block(&self, at: FsBlock, seed: Option<u32>) -> Result<e4_journal::Block> {
        let check = Self::orphan_block_check(seed);
        match self
            .meta
            .read(at, Verify::new(meta::tag::ORPHAN_FILE, &check))
        {
            Ok(block) => Ok(block),
            Err(JournalError::Verify { source, .. }) => {
                Err(meta::format_error(&self.image, source))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Notes an inode as orphan. `disk.dtime` is changed if it goes to the list; the caller stores it.
    pub(crate) fn orphan_add(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        disk: &mut e4_format::Inode,
    ) -> Result<Place> {
        let orphans = self.orphans.lock();
        for &at in &orphans.blocks {
            let block = self.read_orphan_block(at, orphans.file_seed)?;
            if orphan::find_free(&block.data(), 0).is_none() {
                continue;
            }
            let mut guard = handle.modify(&block)?;
            if let Some(slot) = orphan::insert(&mut guard, 0, ino) {
                orphan::stamp(&mut guard, at, orphans.file_seed)
                    .map_err(|source| meta::format_error(&self.image, source))?;
                return Ok(Place::File { block: at, slot });
            }
        }
        self.edit_superblock(handle, |sb| {
            disk.dtime = sb.last_orphan().map_or(0, InodeNo::get);
            sb.set_last_orphan(Some(ino));
        })?;
        Ok(Place::List)
    }

    /// The inode is no longer an orphan. `disk.dtime` is changed if it was on the list; the caller
    /// stores it.
    pub(crate) fn orphan_remove(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        disk: &mut e4_format::Inode,
        place: Place,
    ) -> Result<()> {
        let orphans = self.orphans.lock();
        match place {
            Place::File { block: at, slot } => {
                let block = self.read_orphan_block(at, orphans.file_seed)?;
                let mut guard = handle.modify(&block)?;
                orphan::remove(&mut guard, slot, ino)
                    .and_then(|()| orphan::stamp(&mut guard, at, orphans.file_seed))
                    .map_err(|source| meta::format_error(&self.image, source))
            }
            Place::List => {
                let next = InodeNo::new(disk.dtime);
                let head = self.current_superblock()?.last_orphan();
                if head != Some(ino) {
                    return Err(Error::BadInode {
                        image: Arc::clone(&self.image),
                        ino: ino.get(),
                        what: "is not at the head of the orphan list",
                    });
                }
                self.edit_superblock(handle, |sb| sb.set_last_orphan(next))?;
                disk.dtime = 0;
                Ok(())
            }
        }
    }

    /// Loads the orphan file's block list. Part of mounting for writing.
    pub(crate) fn load_orphan_file(self: &Arc<Self>) -> Result<()> {
        let Some(ino) = self.sb.orphan_file_inum() else {
            return Ok(());
        };
        let inode = self.inode(ino)?;
        let state: &InodeState = inode.data();
        let bytes = state.size();
        let blocks = self.sb.block_size().blocks_for(bytes).min(1 << 16);
        let mut found = Vec::new();
        for n in 0..u32::try_from(blocks).unwrap_or(0) {
            let Some(at) = self.map_block(&inode, FileBlock::new(n))? else {
                return Err(Error::BadInode {
                    image: Arc::clone(&self.image),
                    ino: ino.get(),
                    what: "(the orphan file) has a hole",
                });
            };
            found.push(at);
        }
        let mut orphans = self.orphans.lock();
        orphans.blocks = found;
        orphans.file_seed = self.sb.has_metadata_csum().then_some(state.seed);
        Ok(())
    }

    /// Finishes what a crash interrupted: truncations and deletions of orphans. Returns how many.
    pub(crate) fn process_orphans(self: &Arc<Self>) -> Result<usize> {
        let mut done = 0;
        // The list, newest first. Each removal moves the head.
        let mut seen = HashSet::new();
        while let Some(ino) = self.current_superblock()?.last_orphan() {
            if !seen.insert(ino) {
                return Err(Error::BadInode {
                    image: Arc::clone(&self.image),
                    ino: ino.get(),
                    what: "appears twice on the orphan list",
                });
            }
            self.finish_orphan(ino, Place::List)?;
            done += 1;
        }
        let (blocks, seed) = {
            let orphans = self.orphans.lock();
            (orphans.blocks.clone(), orphans.file_seed)
        };
        for at in blocks {
            let block = self.read_orphan_block(at, seed)?;
            let found: Vec<_> = orphan::orphans(&block.data()).collect();
            for (slot, ino) in found {
                self.finish_orphan(ino, Place::File { block: at, slot })?;
                done += 1;
            }
        }
        Ok(done)
    }

    fn finish_orphan(self: &Arc<Self>, ino: InodeNo, place: Place) -> Result<()> {
        let inode: Inode = self.inode(ino)?;
        let links = inode.data().core.read().disk.links_count;
        if links == 0 {
            self.shrink(&inode, 0, Some(place), crate::data::truncate::End::Delete)
        } else {
            let size = inode.data().size();
            self.shrink(&inode, size, Some(place), crate::data::truncate::End::Keep)
        }
    }

    /// Byte offset of the superblock within its block.
    pub(crate) fn superblock_place(&self) -> (FsBlock, usize) {
        let at = ByteOffset::new(superblock::SUPERBLOCK_OFFSET);
        let bs = self.sb.block_size();
        (FsBlock::new(at.get() >> bs.log2()), bs.within(at) as usize)
    }

    /// The superblock as the cache has it.
    pub(crate) fn current_superblock(&self) -> Result<e4_format::Superblock> {
        let (block, offset) = self.superblock_place();
        let block = meta::read_plain(&self.meta, block)?;
        self.parse_superblock(&block.data(), offset)
    }

    fn parse_superblock(&self, bytes: &[u8], offset: usize) -> Result<e4_format::Superblock> {
        bytes
            .get(offset..)
            .and_then(|rest| rest.first_chunk())
            .ok_or(FormatError::Truncated {
                what: "superblock",
                len: bytes.len(),
            })
            .and_then(e4_format::Superblock::parse)
            .map_err(|source| meta::format_error(&self.image, source))
    }

    /// Changes the superblock inside a handle. One credit.
    pub(crate) fn edit_superblock(
        &self,
        handle: &mut Handle,
        edit: impl FnOnce(&mut e4_format::Superblock),
    ) -> Result<()> {
        let (block, offset) = self.superblock_place();
        let block = meta::read_plain(&self.meta, block)?;
        let mut guard = handle.modify(&block)?;
        let mut sb = self.parse_superblock(&guard, offset)?;
        edit(&mut sb);
        let bytes = sb.encode();
        if let Some(slot) = guard.get_mut(offset..offset + bytes.len()) {
            slot.copy_from_slice(&bytes);
        }
        Ok(())
    }
}
