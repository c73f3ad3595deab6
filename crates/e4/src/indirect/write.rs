//! Writing into holes of files that have no unwritten state.
//!
//! The writer is alone on its blocks (an exclusive drain), from before it looks at the map until the pointers are in it:
//! nobody reads a block that is not there yet, and nobody fills the same hole.

use core::ops::Range;

use e4_format::{FileBlock, FsBlock, MapKind};
use e4_indirect::plan_insert;
use e4_journal::Handle;
use e4_planted::planted;

use super::store::{BlockMapEdit, BlockMapView, CREDITS_PER_INSERT, map_error};
use crate::alloc::Reservation;
use crate::error::{Error, Result};
use crate::extent::{Mapped, Piece};
use crate::inode::{CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;

impl InodeState {
    /// True if some of these blocks are holes that only [`Shared::write_filling`] fills.
    pub(crate) fn needs_filling(&self, blocks: Range<u32>) -> Result<bool> {
        let core = self.core.read();
        if core.disk.map_kind() != MapKind::Indirect {
            return Ok(false);
        }
        let pieces = self.map(&core, blocks)?;
        Ok(pieces.iter().any(|p| p.to == Mapped::Hole))
    }

    /// Maps blocks of a hole, one indirect block's worth at most. [`CREDITS_PER_INSERT`], less a store.
    pub(crate) fn insert_mapped(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        block: FileBlock,
        (at, len): (FsBlock, u32),
    ) -> Result<()> {
        let plan = plan_insert(&BlockMapView::new(self, core), block, len, at)
            .map_err(|e| map_error(self, e))?;
        let mut edit = BlockMapEdit::new(self, core, handle);
        let applied = plan.apply(&mut edit);
        edit.finish()?;
        applied.map_err(|e| map_error(self, e))
    }

    /// Raises the size to `end`, on disk and for readers.
    fn raise_size(&self, core: &mut Core, end: u64) {
        core.disk.size = core.disk.size.max(end);
        self.grow(end);
    }
}

impl Shared {
    /// Writes whole blocks from file block `first` on, filling holes; the file ends no earlier than at `end`
    /// afterwards. The caller has drained the blocks and holds everybody off.
    pub(crate) fn write_filling(
        &self,
        inode: &Inode,
        first: u32,
        data: &[u8],
        end: u64,
    ) -> Result<()> {
        let written = self.write_and_map(inode, first, data, end);
        if let Err(error @ Error::Device(_)) = &written {
            inode.record_error(error.clone().into());
        }
        written
    }

    fn write_and_map(&self, inode: &Inode, first: u32, data: &[u8], end: u64) -> Result<()> {
        let state = inode.data();
        let bs = self.sb.block_size();
        state.check_reach(&state.core.read(), end)?;
        let count = u32::try_from(data.len() / bs.len()).unwrap_or(u32::MAX);
        let last = first.saturating_add(count);
        let mut at = first;
        while at < last {
            let piece = {
                let pieces = state.map(&state.core.read(), at..last)?;
                pieces.into_iter().next()
            };
            let Some(piece) = piece else { break };
            let from = (at - first) as usize * bs.len();
            let rest = data.get(from..).unwrap_or_default();
            at = match piece.to {
                Mapped::Written(to) | Mapped::Unwritten(to) => {
                    let len = piece.len() as usize * bs.len();
                    let part = rest.get(..len).unwrap_or(rest);
                    self.device.write_at(self.byte_of(to)?, part)?;
                    piece.blocks.end
                }
                Mapped::Hole => self.fill(inode, &piece, rest, end)?,
            };
        }
        state.note_written();
        if state.size() < end {
            let mut handle = self.meta.start(CREDITS_PER_STORE)?;
            let mut core = state.core.write();
            state.raise_size(&mut core, end);
            state.take_written(&mut core);
            self.store_core(&mut handle, state, &core, true)?;
        }
        Ok(())
    }

    /// Fills (part of) a hole with data. Returns the end of what was done.
    fn fill(&self, inode: &Inode, hole: &Piece, data: &[u8], end: u64) -> Result<u32> {
        let state = inode.data();
        let mut waited = false;
        loop {
            let reserved = self.reserve_for(state, hole);
            let done = reserved.and_then(|blocks| self.fill_with(state, hole, blocks, data, end));
            match done {
                // Blocks freed by a transaction that has not committed may be all there is.
                Err(Error::NoSpace { .. }) if !waited && self.alloc.has_pending() => {
                    waited = true;
                    self.meta.commit_all()?;
                }
                other => return other,
            }
        }
    }

    fn reserve_for(&self, state: &InodeState, hole: &Piece) -> Result<Reservation> {
        let per = e4_format::indirect::pointers_per_block(self.sb.block_size());
        let goal = state.goal(&state.core.read(), hole.blocks.start)?;
        self.alloc.reserve(goal, hole.len().min(per))
    }

    fn fill_with(
        &self,
        state: &InodeState,
        hole: &Piece,
        blocks: Reservation,
        data: &[u8],
        end: u64,
    ) -> Result<u32> {
        let bs = self.sb.block_size();
        let run = blocks.run();
        let bytes = run.len as usize * bs.len();
        let part = data.get(..bytes).unwrap_or(data);
        let written = if planted!(PublishBeforeData) {
            Ok(())
        } else {
            self.byte_of(run.start)
                .and_then(|at| Ok(self.device.write_at(at, part)?))
        };
        // Only now: what the pointers will show is on the device, ahead of the flush of any commit that has them.
        let started = written.and_then(|()| Ok(self.meta.start(CREDITS_PER_INSERT)?));
        let mut handle = match started {
            Ok(handle) => handle,
            Err(error) => {
                self.alloc.cancel_reserved(blocks);
                return Err(error);
            }
        };
        let mut core = state.core.write();
        self.alloc.take_reserved(&mut handle, blocks)?;
        let first = FileBlock::new(hole.blocks.start);
        let place = (run.start, run.len);
        if let Err(error) = state.insert_mapped(&mut core, &mut handle, first, place) {
            self.alloc
                .free(&mut handle, run.start, u64::from(run.len))?;
            return Err(error);
        }
        core.disk.sectors += u64::from(run.len) * u64::from(bs.bytes() / 512);
        let next = hole.blocks.start + run.len;
        let covered = bs.byte_of_file(FileBlock::new(next)).get();
        state.raise_size(&mut core, covered.min(end));
        let now = self.now();
        core.disk.mtime = now;
        core.disk.ctime = now;
        self.store_core(&mut handle, state, &core, true)?;
        drop(core);
        drop(handle);
        if planted!(PublishBeforeData) {
            self.device.write_at(self.byte_of(run.start)?, part)?;
        }
        Ok(next)
    }
}
