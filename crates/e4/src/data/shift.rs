//! Collapse range and insert range: blocks keep their contents and get other numbers.
//!
//! The caller has drained everything from the range to the end of the largest file and holds newcomers off. What was published
//! there is recorded first, by a commit, so the overlay has nothing to move; the status cache goes with
//! the first change of the tree, under the same lock (rule 5, I-49).
//!
//! Crash semantics. A range that frees few extents, in a file of few extent leaves, is one transaction: all or nothing. Else
//! the work takes several, each of which leaves a consistent file that holds every surviving byte once: the range is a hole
//! first, and then the hole moves, away from the range (collapse) or towards it (insert). A crash in between
//! leaves it where it was, and the size as it was before (collapse) or will be (insert). Nothing is ever
//! readable that was not in the file. The kernel's ext4 does the same. There is no note on disk that would let anybody finish: the format
//! has none.
//!
//! **A shift is durable before anybody may write under the new numbers**: else an overwrite could reach the device and the shift not,
//! and after a crash the new data would lie at the old number, another part of the file.

use e4_extent::{
    FileRange, ShiftLimits, ShiftPlan, TreeError, credits_for_shift, plan_shift_left,
    plan_shift_right,
};
use e4_format::{ByteOffset, FileBlock};
use e4_journal::Handle;
use e4_planted::planted;

use super::write::Target;
use crate::alloc::{Account, CREDITS_PER_ALLOC};
use crate::error::{Error, Result};
use crate::extent::{TreeEdit, TreeView, shape, tree_error};
use crate::inode::{CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;

/// Leaves moved per handle, if the journal is large enough.
const LEAVES: u32 = 32;
/// Nodes loaded to be merged with.
const EXTRAS: u32 = 4;

/// Which way blocks move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shift {
    /// Collapse range.
    Left,
    /// Insert range.
    Right,
}

impl Shared {
    /// Refuses what collapse and insert range refuse. Under the drain, so that the size stands still.
    fn check_shift(&self, state: &InodeState, target: &Target, shift: Shift) -> Result<()> {
        let bs = self.sb.block_size();
        let invalid = |what| Err(Error::Invalid { what });
        let within = |at| bs.within(ByteOffset::new(at)) != 0;
        if within(target.at) || within(target.end) {
            return invalid("collapse and insert range move whole blocks");
        }
        let size = state.size();
        match shift {
            Shift::Left if target.end >= size => {
                invalid("collapse range reaches the end of file: that is a truncation")
            }
            Shift::Right if target.at >= size => {
                invalid("insert range at or behind the end of file: that is an extension")
            }
            Shift::Left => Ok(()),
            Shift::Right => {
                let len = target.end - target.at;
                self.target(ByteOffset::new(size), len).map(drop)
            }
        }
    }

    /// Takes `target` out of the file, or puts as many unmapped bytes in at its beginning.
    pub(crate) fn shift(&self, inode: &Inode, target: &Target, shift: Shift) -> Result<()> {
        self.check_shift(inode.data(), target, shift)?;
        let done = self.shift_blocks(inode, target, shift);
        if !planted!(ShiftNotDurable) {
            self.meta.commit_all()?;
        }
        done
    }

    fn shift_blocks(&self, inode: &Inode, target: &Target, shift: Shift) -> Result<()> {
        let state = inode.data();
        // Published ranges are found by their old numbers: recorded, they are found in the tree.
        if state.has_unrecorded() && !planted!(ShiftWithoutRecording) {
            self.meta.commit_all()?;
        }
        let len = target.end - target.at;
        let by = target.blocks.end - target.blocks.start;
        let block = FileBlock::new;
        let (mut hole, from, size) = match shift {
            Shift::Left => (
                Some(FileRange::new(
                    block(target.blocks.start),
                    block(target.blocks.end),
                )),
                target.blocks.end,
                state.size() - len,
            ),
            Shift::Right => (None, target.blocks.start, state.size() + len),
        };
        let mut moving = Some(FileRange::new(block(from), FileRange::ALL.end));
        while hole.is_some() || moving.is_some() {
            let limits = self.shift_limits(state, &state.core.read())?;
            let step = state.shift_credits(&state.core.read(), limits)?;
            let removal = match hole {
                Some(_) => state.remove_credits(&state.core.read())?,
                None => 0,
            };
            let most = self.meta.limits().max_handle_credits.max(step).max(removal);
            let mut handle = self.meta.start((step + removal).min(most))?;
            let mut core = state.core.write();
            if let Some(range) = hole {
                if state.remove_credits(&core)? > handle.credits_left() {
                    continue;
                }
                hole = state.remove(&mut core, &mut handle, range)?;
            }
            let affordable = state.shift_credits(&core, limits)? <= handle.credits_left();
            if let (None, Some(range), true) = (hole, moving, affordable) {
                moving = state.shift_step(&mut core, &mut handle, range, (shift, by), limits)?;
                if shift == Shift::Right {
                    core.disk.size = size;
                    state.set_size(size);
                }
            }
            if shift == Shift::Left && moving.is_none() {
                core.disk.size = size;
                state.set_size(size);
            }
            let now = self.now();
            state.take_written(&mut core);
            core.disk.mtime = now;
            core.disk.ctime = now;
            self.store_core(&mut handle, state, &core, true)?;
        }
        Ok(())
    }

    /// As many leaves at once as the journal allows.
    fn shift_limits(&self, state: &InodeState, core: &Core) -> Result<ShiftLimits> {
        let most = self.meta.limits().max_handle_credits;
        let mut limits = ShiftLimits {
            leaves: LEAVES,
            extras: EXTRAS,
        };
        while limits.leaves > 2 && state.shift_credits(core, limits)? > most / 2 {
            limits.leaves /= 2;
        }
        Ok(limits)
    }
}

impl InodeState {
    fn shift_credits(&self, core: &Core, limits: ShiftLimits) -> Result<u32> {
        let need = credits_for_shift(shape(self, core)?, limits.leaves, limits.extras);
        let revokes = need.freed / self.shared.meta.limits().revokes_per_credit.max(1) + 1;
        let groups = self.shared.sb.groups().min(need.allocated + need.freed);
        Ok(need.blocks(groups) + revokes + CREDITS_PER_ALLOC + CREDITS_PER_STORE)
    }

    /// Moves part of `range`; returns what is left of it.
    fn shift_step(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        range: FileRange,
        (shift, by): (Shift, u32),
        limits: ShiftLimits,
    ) -> Result<Option<FileRange>> {
        let view = TreeView::new(self, core);
        let planned = match shift {
            Shift::Left => plan_shift_left(&view, range, by, limits),
            Shift::Right => plan_shift_right(&view, range, by, limits),
        };
        let ShiftPlan { plan, remaining } = planned.map_err(|error| match error {
            TreeError::BadExtent { .. } => Error::Invalid {
                what: "blocks would lie behind the end of the largest file",
            },
            other => tree_error(self, other),
        })?;
        debug_assert!(
            self.overlay.lookup(range.start.get(), u32::MAX).until == u32::MAX
                || planted!(ShiftWithoutRecording),
            "published ranges would stay behind"
        );
        let mut edit = TreeEdit::new(self, core, handle, Account::Free);
        let applied = plan.apply(&mut edit);
        edit.finish()?;
        self.forget_tree();
        applied.map_err(|e| tree_error(self, e))?;
        Ok(remaining)
    }
}
