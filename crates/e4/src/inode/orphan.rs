//! Orphans: inodes whose truncation or deletion is under way, so that a crash in the middle is
//! finished at the next mount.
//!
//! Two forms on disk: a list threaded through the inodes' `i_dtime`, headed by `s_last_orphan`, and
//! the orphan file (feature `orphan_file`). We add to the file where there is one and it has room,
//! else to the list; recovery reads both.
//!
//! Lock: rank 95, one for both forms. A neighbour's link in the list lives in *its* inode, whose lock has a
//! lower rank. So the links of listed inodes belong to this lock: they are kept in memory here, changed on disk
//! here, and whoever stores a listed inode asks here what its `i_dtime` must say
//! ([`Orphans::next_of`]). The copy in the decoded inode means nothing while it is listed.

use e4_format::{ByteOffset, FileBlock, FormatError, FsBlock, InodeNo, orphan, superblock};
use e4_journal::{Handle, JournalError, Verify};
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;
use hashbrown::HashSet;

use super::{Core, Inode, InodeState};
use crate::data::truncate::End;
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
    /// The list as on disk, its head last.
    list: Vec<InodeNo>,
}

impl Orphans {
    /// What the `i_dtime` of a listed inode says: the next inode of the list, or 0. `None` if it is not listed.
    pub(crate) fn next_of(&self, ino: InodeNo) -> Option<u32> {
        let at = self.list.iter().rposition(|n| *n == ino)?;
        Some(self.below(at).map_or(0, InodeNo::get))
    }

    fn below(&self, at: usize) -> Option<InodeNo> {
        at.checked_sub(1).and_then(|n| self.list.get(n).copied())
    }
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

    /// Notes an inode as orphan, unless it is noted already. The caller stores it.
    pub(crate) fn orphan_add(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        core: &mut Core,
    ) -> Result<()> {
        if core.orphan.is_some() || planted!(OrphanNotNoted) {
            return Ok(());
        }
        let mut orphans = self.orphans.lock();
        for &at in &orphans.blocks {
            let block = self.read_orphan_block(at, orphans.file_seed)?;
            if orphan::find_free(&block.data(), 0).is_none() {
                continue;
            }
            let mut guard = handle.modify(&block)?;
            if let Some(slot) = orphan::insert(&mut guard, 0, ino) {
                orphan::stamp(&mut guard, at, orphans.file_seed)
                    .map_err(|source| meta::format_error(&self.image, source))?;
                core.orphan = Some(Place::File { block: at, slot });
                return Ok(());
            }
        }
        self.edit_superblock(handle, |sb| sb.set_last_orphan(Some(ino)))?;
        orphans.list.push(ino);
        self.orphans_listed
            .store(orphans.list.len(), Ordering::Release);
        core.orphan = Some(Place::List);
        Ok(())
    }

    /// The inode is no longer an orphan, if it was one. The caller stores it.
    pub(crate) fn orphan_remove(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        core: &mut Core,
    ) -> Result<()> {
        let mut orphans = self.orphans.lock();
        match core.orphan {
            None => return Ok(()),
            Some(Place::File { block: at, slot }) => {
                let block = self.read_orphan_block(at, orphans.file_seed)?;
                let mut guard = handle.modify(&block)?;
                orphan::remove(&mut guard, slot, ino)
                    .and_then(|()| orphan::stamp(&mut guard, at, orphans.file_seed))
                    .map_err(|source| meta::format_error(&self.image, source))?;
            }
            Some(Place::List) => {
                let Some(at) = orphans.list.iter().rposition(|n| *n == ino) else {
                    return Err(self.bad_orphan(ino, "is not on the orphan list"));
                };
                let next = orphans.below(at);
                match orphans.list.get(at + 1) {
                    None => self.edit_superblock(handle, |sb| sb.set_last_orphan(next))?,
                    Some(&before) => {
                        self.set_dtime(handle, before, next.map_or(0, InodeNo::get))?
                    }
                }
                orphans.list.remove(at);
                self.orphans_listed
                    .store(orphans.list.len(), Ordering::Release);
                core.disk.dtime = 0;
            }
        }
        core.orphan = None;
        Ok(())
    }

    fn bad_orphan(&self, ino: InodeNo, what: &'static str) -> Error {
        Error::BadInode {
            image: Arc::clone(&self.image),
            ino: ino.get(),
            what,
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
        if planted!(SkipOrphans) {
            return Ok(done);
        }
        for ino in self.load_orphan_list()? {
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

    /// Reads the list as a crash left it, newest first.
    fn load_orphan_list(&self) -> Result<Vec<InodeNo>> {
        let mut seen = HashSet::new();
        let mut list = Vec::new();
        let mut next = self.current_superblock()?.last_orphan();
        while let Some(ino) = next {
            if !seen.insert(ino) {
                return Err(self.bad_orphan(ino, "appears twice on the orphan list"));
            }
            list.push(ino);
            let disk =
                self.with_geometry(|sb| super::read_inode(&self.image, &self.meta, sb, ino))?;
            next = InodeNo::new(disk.dtime);
        }
        let mut orphans = self.orphans.lock();
        orphans.list = list.iter().rev().copied().collect();
        self.orphans_listed.store(list.len(), Ordering::Release);
        Ok(list)
    }

    /// True if there is no orphan file, or nothing in it.
    pub(crate) fn orphan_file_is_empty(&self) -> Result<bool> {
        let orphans = self.orphans.lock();
        for &at in &orphans.blocks {
            let block = self.read_orphan_block(at, orphans.file_seed)?;
            if orphan::orphans(&block.data()).next().is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn finish_orphan(self: &Arc<Self>, ino: InodeNo, place: Place) -> Result<()> {
        let inode: Inode = self.orphan_inode(ino)?;
        let links = {
            let mut core = inode.data().core.write();
            core.orphan = Some(place);
            core.disk.links_count
        };
        if links == 0 {
            self.forget_inode(ino, &inode);
            self.shrink(&inode, 0, End::Delete)
        } else {
            let size = inode.data().size();
            self.shrink(&inode, size, End::Keep)
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
