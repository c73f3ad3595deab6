//! The charge for recording: published and in-flight ranges may never need more journal credits than
//! every transaction sets aside, nor more tree nodes than there are free blocks (rule 2).
//!
//! Decisions: each inode is charged for more than it uses (slack), so that a submission usually costs
//! one small critical section and no arithmetic on the shared pool. The charge of an inode falls only
//! when it is recorded.
//!
//! Usually nothing is known of the leaves but their number, and each must be expected to split. When credits run
//! out, the leaves are looked at once (`learn_rooms`): in a large tree most have room.
//!
//! Before the credits run out the background thread is asked to record. Whoever cannot be charged all the same waits for
//! that, or makes everybody record (a commit), and tries again; if that does not help, the caller writes zeros instead of splitting (`zero_out`).

use e4_extent::{ConvertCharge, Rooms, Shape};
use e4_planted::planted;
use e4_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use e4_sync::{Mutex, Rank};

use crate::error::Result;
use crate::extent::{learn_rooms, tree};
use crate::inode::{Core, InodeState};
use crate::mount::Shared;

/// Segments charged ahead of use.
const SLACK: u32 = 64;
/// Nodes the recording may load only to merge with.
pub(crate) const EXTRAS: u32 = 8;
/// Groups whose bitmap and descriptor a recording may touch beyond the charged nodes.
const GROUPS: u32 = 4;

/// Credits promised to recordings, of those each transaction sets aside.
pub(crate) struct ChargePool {
    limit: u64,
    used: AtomicU64,
    /// The background thread has been asked to record.
    asked: AtomicBool,
}

impl ChargePool {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit: u64::from(limit),
            used: AtomicU64::new(0),
            asked: AtomicBool::new(false),
        }
    }

    /// True if so much is promised that recording in the background is better than waiting for it soon. Not at half of
    /// it: the first writes are charged a leaf each, and only the later ones share them.
    pub(crate) fn is_pressed(&self) -> bool {
        self.used() >= self.limit / 8 * 7
    }

    /// As [`Self::is_pressed`], but true only once until [`Self::recorded`].
    fn becomes_pressed(&self) -> bool {
        self.is_pressed() && !self.asked.swap(true, Ordering::AcqRel)
    }

    /// Everything published before has been recorded.
    pub(crate) fn recorded(&self) {
        self.asked.store(false, Ordering::Release);
    }

    fn try_add(&self, n: u64) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
                let sum = used.checked_add(n)?;
                (sum <= self.limit).then_some(sum)
            })
            .is_ok()
    }

    fn release(&self, n: u64) {
        let before = self.used.fetch_sub(n, Ordering::AcqRel);
        debug_assert!(before >= n, "more credits released than charged (I-42)");
    }

    /// Credits charged now.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// A tree's shape and its number of leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tree {
    pub(crate) shape: Shape,
    pub(crate) leaves: u32,
    /// How full the leaves are, if they have been looked at.
    pub(crate) rooms: Rooms,
    /// Index nodes below the root.
    pub(crate) index: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    /// Converting segments in flight.
    in_flight: u32,
    /// Segments published since the last complete recording: bounds the touched leaves.
    segments: u32,
    /// Separate runs (published or to come) and touched leaves that `credits` and `nodes` cover.
    covered: Extent,
    /// Leaves of the tree for which that was computed; 0 if none.
    covered_tree: u32,
    credits: u32,
    nodes: u32,
}

/// What a recording would have to deal with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Extent {
    runs: u32,
    leaves: u32,
}

/// One inode's account.
pub(crate) struct InodeCharge {
    account: Mutex<Account>,
}

/// Why a charge was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// The transactions' set-aside credits are all promised.
    Credits,
    /// There are not enough free blocks for tree nodes.
    Space,
}

impl InodeCharge {
    pub(crate) fn new() -> Self {
        Self {
            account: Mutex::new(Rank::LEAF, Account::default()),
        }
    }

    /// As [`Self::admit`], if what is charged already covers it. `leaves`: as last counted, 0 if not since the tree's
    /// shape changed.
    #[inline]
    pub(crate) fn admit_covered(&self, leaves: u32, runs: u32, segments: u32) -> bool {
        let mut account = self.account.lock();
        if leaves == 0 || leaves != account.covered_tree {
            return false;
        }
        let wanted = account.wanted(leaves, runs, segments);
        let fits = account.covers(wanted);
        if fits {
            account.in_flight += segments;
        }
        fits
    }

    /// Charges `segments` converting segments that are about to be submitted. The tree lock is held;
    /// `runs` are the published ones.
    pub(crate) fn admit(
        &self,
        shared: &Shared,
        tree: Tree,
        runs: u32,
        segments: u32,
    ) -> std::result::Result<(), Refused> {
        let mut account = self.account.lock();
        let Extent { runs, leaves } = account.wanted(tree.leaves, runs, segments);
        let ahead = Extent {
            runs: runs.saturating_add(SLACK),
            leaves: tree.leaves.min(leaves.saturating_add(SLACK)),
        };
        if !planted!(AdmitWithoutCharge) {
            account.cover(shared, tree, ahead)?;
        }
        account.in_flight += segments;
        Ok(())
    }

    /// Computes what is charged anew, now that more is known of the tree.
    fn recount(&self, shared: &Shared, tree: Tree) {
        let mut account = self.account.lock();
        let covered = account.covered;
        if covered != Extent::default() && !planted!(AdmitWithoutCharge) {
            // Should that need more than can be had, what is charged stays.
            let _ = account.cover(shared, tree, covered);
        }
    }

    /// Segments were published.
    pub(crate) fn published(&self, segments: u32) {
        let mut account = self.account.lock();
        account.in_flight = account.in_flight.saturating_sub(segments);
        account.segments = account.segments.saturating_add(segments);
    }

    /// Segments will never be published: their write failed. If nothing else is owed no recording comes that
    /// would lower the charge, so it goes here (I-43).
    pub(crate) fn dropped(&self, shared: &Shared, segments: u32) {
        let mut account = self.account.lock();
        account.in_flight = account.in_flight.saturating_sub(segments);
        if account.in_flight == 0 && account.segments == 0 {
            account.lower(shared, 0, 0);
        }
    }

    /// Tree nodes were taken from the promise.
    pub(crate) fn nodes_taken(&self, nodes: u32) {
        let mut account = self.account.lock();
        account.nodes = account.nodes.saturating_sub(nodes);
    }

    /// Nodes still promised.
    pub(crate) fn nodes(&self) -> u32 {
        self.account.lock().nodes
    }

    /// Everything published has been recorded or dropped, except `left` runs: lowers the charge to what
    /// is still owed.
    pub(crate) fn recorded(&self, shared: &Shared, tree: Tree, left: u32) {
        let mut account = self.account.lock();
        account.segments = left;
        let runs = left.saturating_add(account.in_flight);
        let owed = Extent {
            runs,
            leaves: tree.leaves.min(runs),
        };
        let (credits, nodes) = if runs == 0 { (0, 0) } else { need(tree, owed) };
        account.lower(shared, credits, nodes);
    }
}

impl Account {
    /// What `segments` more would make a recording deal with.
    fn wanted(&self, leaves: u32, runs: u32, segments: u32) -> Extent {
        let coming = self.in_flight.saturating_add(segments);
        Extent {
            runs: runs.saturating_add(coming),
            leaves: leaves.min(self.segments.saturating_add(coming)),
        }
    }

    /// Lowers the charge to these credits and nodes, if it is higher.
    fn lower(&mut self, shared: &Shared, credits: u32, nodes: u32) {
        let credits = self.credits.min(credits);
        let nodes = self.nodes.min(nodes);
        shared.charges.release(u64::from(self.credits - credits));
        if !planted!(LeakPromise) {
            let back = u64::from(self.nodes - nodes);
            shared.alloc.release_promise(back);
        }
        self.credits = credits;
        self.nodes = nodes;
        // The next admission computes the charge anew for the new shape.
        self.covered = Extent::default();
        self.covered_tree = 0;
    }

    fn covers(&self, wanted: Extent) -> bool {
        wanted.runs <= self.covered.runs && wanted.leaves <= self.covered.leaves
    }

    /// Sets the charge to what covers `wanted`: more than before, or less where more is known of the tree.
    fn cover(
        &mut self,
        shared: &Shared,
        tree: Tree,
        wanted: Extent,
    ) -> std::result::Result<(), Refused> {
        let (credits, nodes) = need(tree, wanted);
        let more = credits.saturating_sub(self.credits);
        if !shared.charges.try_add(u64::from(more)) {
            return Err(Refused::Credits);
        }
        let more_nodes = nodes.saturating_sub(self.nodes);
        if !shared.alloc.promise(u64::from(more_nodes)) {
            shared.charges.release(u64::from(more));
            return Err(Refused::Space);
        }
        shared
            .charges
            .release(u64::from(self.credits.saturating_sub(credits)));
        shared
            .alloc
            .release_promise(u64::from(self.nodes.saturating_sub(nodes)));
        self.credits = credits;
        self.nodes = nodes;
        self.covered = wanted;
        self.covered_tree = tree.leaves;
        Ok(())
    }
}

/// Credits and nodes a recording of that extent may need.
fn need(tree: Tree, what: Extent) -> (u32, u32) {
    let charge = ConvertCharge {
        shape: tree.shape,
        leaves: what.leaves,
        rooms: tree.rooms,
        // Room for those that an allocation in the same file adds before the recording.
        index: tree.index.saturating_add(tree.index / 4 + EXTRAS),
        runs: what.runs,
        in_flight: 0,
        extras: EXTRAS,
    };
    let need = charge.credits();
    // Freed nodes cost revoke records: one credit pays for a block full of them.
    (
        need.blocks(GROUPS).saturating_add(need.freed / 64 + 1),
        need.allocated,
    )
}

impl InodeState {
    /// Charges `segments` more. The caller holds the tree lock.
    pub(crate) fn charge_for(
        &self,
        core: &Core,
        segments: u32,
    ) -> Result<std::result::Result<(), Refused>> {
        let runs = self.published_runs();
        let leaves = self.leaves.load(Ordering::Relaxed);
        if self.charge.admit_covered(leaves, runs, segments) {
            return Ok(Ok(()));
        }
        let shared = &self.shared;
        let admit =
            || -> Result<_> { Ok(self.charge.admit(shared, tree(self, core)?, runs, segments)) };
        let mut admitted = admit()?;
        // Recording early is for those who have looked at the leaves and still need nearly everything.
        if shared.charges.is_pressed() && learn_rooms(self, core)? {
            self.charge.recount(shared, tree(self, core)?);
            if admitted.is_err() {
                admitted = admit()?;
            }
        }
        if shared.charges.becomes_pressed() {
            shared.meta.record_soon();
        }
        Ok(admitted)
    }

    /// Runs published now.
    pub(crate) fn published_runs(&self) -> u32 {
        u32::try_from(self.overlay.runs()).unwrap_or(u32::MAX)
    }
}
