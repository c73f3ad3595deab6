//! The record half of a conversion: published ranges go into the extent tree, inside a handle.
//!
//! Who records: every commit, all inodes (rule 1, commit-all); and operations that are about to change a
//! file's map. Recording is sorted and merged: each touched leaf is rebuilt once, whatever the number
//! of writes.
//!
//! The plan is made with the tree lock shared, so submitters go on mapping meanwhile; only carrying it out needs the lock
//! alone. Nothing can change the tree in between: that takes a handle, and a transaction that records has none
//! but ours.
//!
//! Invariants: a bit of the overlay is cleared only after the tree says written, in the same section of
//! the tree lock (rule 5). The on-disk size is raised in the handle that converts (rule 6, I-9).

use e4_completion::{Parity, Planes};
use e4_extent::{ConvertOptions, ConvertRange, FileRange, Plan, TreeError};
use e4_format::FileBlock;
use e4_journal::{CommitHooks, Handle, JournalError};
use e4_planted::planted;
use e4_sync::atomic::Ordering;
use e4_sync::{Arc, OnceLock, Weak};

use super::charge::EXTRAS;
use crate::alloc::Account;
use crate::error::{Error, Result};
use crate::extent::{TreeEdit, TreeView, tree, tree_error};
use crate::inode::{Core, Inode, InodeState};
use crate::mount::Shared;

/// All ranges at once, with the extra nodes that were charged for.
const OPTIONS: ConvertOptions = ConvertOptions {
    leaves_max: u32::MAX,
    extras: EXTRAS,
};

/// What a recording does to a tree, and which tree that was.
struct Planned {
    plan: Plan,
    edits: u64,
}

impl Shared {
    /// Puts an inode on the list of those with something to record. Called inside the publish epoch.
    pub(crate) fn list_unrecorded(&self, inode: &Inode) {
        if !inode.data().listed.swap(true, Ordering::AcqRel) {
            self.unrecorded.lock().push(Arc::clone(inode));
        }
    }

    /// Records everything published before the call. Runs in the closing transaction.
    fn record_all(&self, handle: &mut Handle) -> Result<()> {
        self.commit_damage(handle)?;
        let parity = self.epoch.flip_and_wait();
        let inodes = std::mem::take(&mut *self.unrecorded.lock());
        for inode in inodes {
            if planted!(CommitWithoutPublished) {
                self.unrecorded.lock().push(inode);
                continue;
            }
            let state = inode.data();
            // Before looking: whoever publishes from here on lists the inode again.
            state.listed.store(false, Ordering::Release);
            state.record(handle, Planes::One(parity), &[parity])?;
            if state.has_unrecorded() {
                self.list_unrecorded(&inode);
            }
        }
        self.charges.recorded();
        self.stats.records.fetch_add(1, Ordering::Relaxed);
        self.store_counts(handle)
    }

    /// Keeps the superblock's totals right in every transaction, so that an image recovered by somebody
    /// else needs no correction. All handles are closed, so the counters are those of this transaction.
    fn store_counts(&self, handle: &mut Handle) -> Result<()> {
        let (blocks, inodes) = (self.alloc.free_blocks_on_disk(), self.alloc.free_inodes());
        let now = (blocks, inodes);
        let mut stored = self.counts_stored.lock();
        if *stored == Some(now) {
            return Ok(());
        }
        *stored = Some(now);
        drop(stored);
        self.edit_superblock(handle, |sb| {
            sb.set_free_blocks_count(blocks);
            sb.set_free_inodes_count(inodes);
        })
    }
}

impl InodeState {
    /// Records the published ranges of `planes`.
    fn record(&self, handle: &mut Handle, planes: Planes, parities: &[Parity]) -> Result<()> {
        let ranges: Vec<ConvertRange> = self
            .overlay
            .collect(planes, 0..u32::MAX)
            .into_iter()
            .map(|r| {
                ConvertRange::unchecked(FileRange::new(
                    FileBlock::new(r.start),
                    FileBlock::new(r.end),
                ))
            })
            .collect();
        let end = parities
            .iter()
            .map(|p| self.pending_end[usize::from(*p == Parity::Odd)].swap(0, Ordering::AcqRel))
            .max()
            .unwrap_or(0);
        let plan = match ranges.as_slice() {
            [] => None,
            ranges => Some(self.plan(&self.core.read(), ranges)?),
        };
        let mut core = self.core.write();
        if ranges.is_empty() && end == 0 {
            // What was published has been unmapped since; its charge goes all the same (I-43).
            return self.settle_charge(&core);
        }
        if planted!(ClearOverlayBeforeTree) {
            drop(core);
            for range in &ranges {
                self.overlay
                    .clear(range.blocks.start.get()..range.blocks.end.get());
            }
            e4_planted::pause();
            core = self.core.write();
        }
        if let Some(plan) = plan {
            self.convert(&mut core, handle, &ranges, plan)?;
        }
        if planted!(SizeComesBack) {
            core.disk.size = core.disk.size.max(end);
        } else if !planted!(RecordWithoutSize) {
            core.disk.size = core.disk.size.max(end.min(self.size()));
        }
        self.take_written(&mut core);
        self.shared.store_core(handle, self, &core, true)?;
        for range in &ranges {
            self.overlay
                .clear(range.blocks.start.get()..range.blocks.end.get());
        }
        self.settle_charge(&core)?;
        self.shared
            .stats
            .recorded_ranges
            .fetch_add(ranges.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Lowers the charge to what is still owed. Only an extent tree is charged for: nothing else converts.
    pub(crate) fn settle_charge(&self, core: &Core) -> Result<()> {
        // The flag, not the kind: a deleted inode has no kind any more, and its charge goes all the same.
        if core.disk.has_extents() {
            let tree = tree(self, core)?;
            self.charge
                .recorded(&self.shared, tree, self.published_runs());
        }
        Ok(())
    }

    fn plan(&self, core: &Core, ranges: &[ConvertRange]) -> Result<Planned> {
        let planned = e4_extent::plan_convert(&TreeView::new(self, core), ranges, OPTIONS)
            .map_err(|e| tree_error(self, e))?;
        Ok(Planned {
            plan: planned.plan,
            edits: core.edits,
        })
    }

    fn convert(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        ranges: &[ConvertRange],
        planned: Planned,
    ) -> Result<()> {
        let mut plan = planned.plan;
        debug_assert_eq!(planned.edits, core.edits, "the tree changed under its plan");
        if planned.edits != core.edits {
            plan = self.plan(core, ranges)?.plan;
        }
        if plan.is_empty() {
            return Ok(());
        }
        // The promise covers what the charge foresaw. If it does not cover the plan (a bug), ordinary space does;
        // and if there is none of that, the plan that needs no node.
        let account = if plan.new_nodes() <= self.charge.nodes() {
            Account::Promised
        } else {
            tracing::warn!(ino = %self.ino, nodes = plan.new_nodes(), "conversion exceeds its promise");
            Account::Free
        };
        for attempt in 0..2 {
            let mut edit = TreeEdit::new(self, core, handle, account);
            let applied = plan.apply(&mut edit);
            let taken = edit.finish()?;
            self.charge.nodes_taken(taken);
            match applied {
                Ok(()) => break,
                Err(TreeError::NoNode { .. }) if attempt == 0 => {
                    let tight =
                        e4_extent::plan_convert_tight(&TreeView::new(self, core), ranges, OPTIONS);
                    plan = tight.map_err(|e| tree_error(self, e))?.plan;
                }
                Err(other) => return Err(tree_error(self, other)),
            }
        }
        self.forget_tree();
        self.shared
            .stats
            .tree_rebuilds
            .fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// The journal's hooks: set once the filesystem exists.
pub(crate) struct Hooks {
    pub(crate) shared: OnceLock<Weak<Shared>>,
}

impl Hooks {
    fn get(&self) -> Option<Arc<Shared>> {
        self.shared.get().and_then(Weak::upgrade)
    }
}

impl CommitHooks for Hooks {
    fn record(&self, handle: &mut Handle) -> Result<(), JournalError> {
        match self.get() {
            Some(shared) => shared.record_all(handle).map_err(JournalError::filesystem),
            None => Ok(()),
        }
    }

    fn has_unrecorded(&self) -> bool {
        self.get()
            .is_some_and(|s| !s.unrecorded.lock().is_empty() || s.damage.is_unwritten())
    }

    fn wants_record(&self) -> bool {
        self.get().is_some_and(|shared| shared.charges.is_pressed())
    }

    fn committed(&self, tid: e4_format::Tid) {
        if let Some(shared) = self.get() {
            shared.alloc.committed(tid);
            shared.stats.commits.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn aborted(&self, cause: &JournalError) {
        if let Some(shared) = self.get() {
            shared.engine.abort(Error::from(cause.clone()).into());
        }
    }
}
