//! When a split cannot be charged for want of space: zeros take the place of splits (rule 2, rule 3).
//!
//! The whole unwritten extents around the write become written: their blocks are zeroed on the device,
//! alone on the range, outside any handle; then the extents flip state in place, which adds no entry to the
//! tree and needs no node. The commit that carries the flip flushes the zeros first (I-5, I-28).

use std::ops::Range;

use e4_completion::Drain;
use e4_device::AlignedBuf;
use e4_extent::{ConvertOptions, ConvertRange, FileRange, Mapping};
use e4_format::{ExtentState, FileBlock};

use super::charge::EXTRAS;
use crate::alloc::Account;
use crate::error::Result;
use crate::extent::{Mapped, TreeEdit, TreeView, tree_error};
use crate::inode::{CREDITS_PER_STORE, Inode};
use crate::mount::Shared;
use e4_planted::planted;

/// Bytes zeroed at a time.
const CHUNK: usize = 1 << 20;
/// Blocks made written at a time; bounds how long the range is held.
const BLOCKS_MAX: u32 = 32768;

impl Shared {
    /// Makes the unwritten extents that hold `blocks` written, with zeros wherever nothing was written.
    ///
    /// The caller holds no admission: two of them on one extent would wait for each other's.
    pub(crate) fn zero_out(&self, inode: &Inode, blocks: Range<u32>) -> Result<()> {
        let state = inode.data();
        let mut at = blocks.start;
        while at < blocks.end {
            let extent = {
                let core = state.core.read();
                let view = TreeView::new(state, &core);
                let found = e4_extent::lookup(&view, FileBlock::new(at))
                    .map_err(|e| tree_error(state, e))?;
                match found {
                    Mapping::Extent(e) if e.state == ExtentState::Unwritten => e,
                    other => {
                        at = other.blocks().end.get().max(at + 1);
                        continue;
                    }
                }
            };
            // An extent has at most 32767 blocks: all of it, so that the state flips in place.
            let whole = extent.block.get()..extent.end().min(extent.block.get() + BLOCKS_MAX);
            self.zero_extent(inode, whole.clone())?;
            at = whole.end;
        }
        Ok(())
    }

    fn zero_extent(&self, inode: &Inode, whole: Range<u32>) -> Result<()> {
        let state = inode.data();
        let bs = self.sb.block_size();
        let byte = |b: u32| bs.byte_of_file(FileBlock::new(b)).get();
        let guard = self.engine.drain(
            inode,
            byte(whole.start)..byte(whole.end),
            Drain::Exclusive,
            &inode.observer(),
            &|| self.drive(),
        )?;
        // What was published meanwhile is data: record it, so that only never-written blocks are zeroed.
        self.meta.commit_all()?;
        let pieces = state.map(&state.core.read(), whole.clone())?;
        let mut ranges = Vec::new();
        for piece in &pieces {
            if let Mapped::Unwritten(at) = piece.to {
                self.write_zeros(self.byte_of(at)?, piece.len() as usize * bs.len())?;
                ranges.push(ConvertRange::checked(
                    FileRange::new(
                        FileBlock::new(piece.blocks.start),
                        FileBlock::new(piece.blocks.end),
                    ),
                    at,
                ));
            }
        }
        self.flip_in_place(inode, &ranges)?;
        drop(guard);
        self.stats
            .zeroed_out
            .fetch_add(1, e4_sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    fn write_zeros(&self, at: u64, len: usize) -> Result<()> {
        let zeros = AlignedBuf::zeroed(len.min(CHUNK));
        let mut done = 0;
        while done < len && !planted!(ZeroOutWithoutZeros) {
            let n = (len - done).min(zeros.len());
            self.device.write_at(at + done as u64, &zeros[..n])?;
            done += n;
        }
        Ok(())
    }

    fn flip_in_place(&self, inode: &Inode, ranges: &[ConvertRange]) -> Result<()> {
        let state = inode.data();
        let options = ConvertOptions {
            extras: EXTRAS,
            ..ConvertOptions::default()
        };
        let credits = {
            let core = state.core.read();
            let plan = e4_extent::plan_convert_tight(&TreeView::new(state, &core), ranges, options)
                .map_err(|e| tree_error(state, e))?
                .plan;
            plan.credits().blocks(u32::MAX) + CREDITS_PER_STORE + 2
        };
        let mut handle = self.meta.start(credits)?;
        let mut core = state.core.write();
        let plan = e4_extent::plan_convert_tight(&TreeView::new(state, &core), ranges, options)
            .map_err(|e| tree_error(state, e))?
            .plan;
        let mut edit = TreeEdit::new(state, &mut core, &mut handle, Account::Free);
        let applied = plan.apply(&mut edit);
        edit.finish()?;
        state.forget_tree();
        applied.map_err(|e| tree_error(state, e))?;
        self.store_core(&mut handle, state, &core, true)
    }
}
