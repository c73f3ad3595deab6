//! Journal credits: how many metadata blocks an operation may change, known before it starts.
//!
//! Two kinds. [`crate::Plan::credits`] is exact, for a plan in hand. The functions here are bounds, for
//! charging before anything is known but the shape of the tree; tests check that no operation exceeds
//! them (S17, and rule 2 of the design: "charge per touched extent leaf, not per write").
//!
//! # The bound of a conversion
//!
//! With c entries per node, h = c/2 - 1, t touched leaves, and e = 2 * (runs + segments in flight), because
//! a converted run adds at most two entries:
//!
//! - A leaf that overflows by a entries is split into nodes 3/4 full, which needs at most 1 + a/h new
//!   ones: so with o leaves that overflow, n <= o + e/h new leaves, and of course no more than e.
//! - A leaf with room for r entries overflows only if it gets r + 1. So o is at most t, and at most what e entries
//!   can do if they fill the fullest leaves first ([`Rooms`]). Without knowledge of the leaves, o = t.
//! - An index node at the next level gets a of those as entries: at most 1 + a/h new index nodes for each
//!   of the touched ones p, so p + n/h, and so on for each level; finally the root may overflow, once
//!   per level it grows. (The design's `ceil(n/h) + depth + 1` is the same wherever p <= depth + 1; with
//!   a root of four entries p is at most 4 up to depth 2, but larger for depth 3 and more, and then
//!   only the form with p is a bound.)
//! - Changed in place: the t leaves, the p index nodes, and the extra nodes loaded to be merged with
//!   ([`crate::ConvertOptions::extras`]).
//!
//! p is bounded by the shape: at the level k below the root there are at most 4 * c^(k-1) nodes, and no more
//! than t are touched. From depth 3 on that is far from the truth (one node below the root may have 340
//! children, and has 17), so whoever has counted the index nodes says so ([`ConvertCharge::index`]).

use crate::pack::fill;

/// What an operation needs of the journal, in nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Credits {
    /// Existing nodes changed in place.
    pub dirtied: u32,
    /// Nodes allocated.
    pub allocated: u32,
    /// Nodes freed.
    pub freed: u32,
}

impl Credits {
    /// Metadata blocks of a handle: the inode, the nodes, and a bitmap and a descriptor block for each
    /// group that nodes are taken from or given back to, of which there are at most `groups`.
    #[must_use]
    pub const fn blocks(&self, groups: u32) -> u32 {
        let moved = self.allocated.saturating_add(self.freed);
        let groups = if moved < groups { moved } else { groups };
        1u32.saturating_add(self.dirtied)
            .saturating_add(self.allocated)
            .saturating_add(groups.saturating_mul(2))
    }

    /// True if `self` is enough for `need`.
    #[must_use]
    pub const fn covers(&self, need: &Self) -> bool {
        need.dirtied <= self.dirtied && need.allocated <= self.allocated && need.freed <= self.freed
    }
}

/// The shape of a tree, as far as credits depend on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shape {
    /// Levels below the root.
    pub depth: u16,
    /// Entries per node block ([`crate::NodeRead::node_entries`]).
    pub node_entries: u16,
    /// Entries of the root ([`crate::NodeRead::root_entries`]).
    pub root_entries: u16,
}

impl Shape {
    /// h = c/2 - 1: a new node's worth of added entries.
    const fn half(self) -> u64 {
        let half = (self.node_entries as u64 / 2).saturating_sub(1);
        if half == 0 { 1 } else { half }
    }

    /// The most nodes there can be `below` levels below the root (1: its children).
    fn nodes_max(self, below: u16) -> u64 {
        let c = u64::from(self.node_entries);
        (1..below).fold(u64::from(self.root_entries), |n, _| n.saturating_mul(c))
    }

    /// Index nodes above `leaves` leaves, the root not counted, of `index` there are.
    fn path(self, leaves: u64, index: u64) -> u64 {
        let by_shape: u64 = (1..self.depth)
            .map(|below| self.nodes_max(below).min(leaves))
            .sum();
        by_shape.min(index)
    }

    /// New nodes when `entries` entries are added to `leaves` leaves, of which `overflowing` may split, all
    /// levels; there are `index` index nodes.
    fn new_nodes(self, leaves: u64, overflowing: u64, entries: u64, index: u64) -> u64 {
        let h = self.half();
        let mut total = 0_u64;
        let mut added = entries;
        // From the leaves up; `below` counts levels below the root.
        for below in (1..=self.depth).rev() {
            let splitting = if below == self.depth {
                overflowing
            } else {
                leaves.min(index)
            };
            let touched = self.nodes_max(below).min(splitting);
            added = (touched.min(added) + added / h).min(added);
            total += added;
        }
        total + self.growth(added)
    }

    /// New nodes below a root to which `added` entries are added.
    fn growth(self, added: u64) -> u64 {
        if added == 0 {
            return 0;
        }
        let (c, root) = (u64::from(self.node_entries), u64::from(self.root_entries));
        let target = u64::try_from(fill(usize::from(self.node_entries)))
            .unwrap_or(c)
            .max(2);
        let mut entries = root + added;
        let mut total = 0;
        while entries > root {
            entries = if entries <= c {
                1
            } else {
                entries.div_ceil(target)
            };
            total += entries;
        }
        total
    }
}

/// Steps in which [`Rooms`] tells leaves apart.
const STEPS: usize = 16;

/// How many leaves of a tree have room for how many more entries, in steps of a sixteenth of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rooms {
    /// Entries of a step; 0 if nothing is known.
    step: u16,
    /// Leaves by steps of room, rounded down.
    leaves: [u32; STEPS],
}

impl Rooms {
    /// Nothing is known: each leaf must be expected to split.
    pub const UNKNOWN: Self = Self {
        step: 0,
        leaves: [0; STEPS],
    };

    /// No leaf yet; each is to be added.
    #[must_use]
    pub const fn of_nodes(node_entries: u16) -> Self {
        let step = node_entries / 16;
        Self {
            step: if step == 0 { 1 } else { step },
            leaves: [0; STEPS],
        }
    }

    /// Counts a leaf with room for `entries` more.
    pub fn add(&mut self, entries: u16) {
        let steps = usize::from(entries.checked_div(self.step).unwrap_or(0));
        let leaves = &mut self.leaves[steps.min(STEPS - 1)];
        *leaves = leaves.saturating_add(1);
    }

    /// True unless nothing is known.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.step != 0
    }

    /// The most of `touched` leaves that `entries` can make overflow.
    fn overflowing(&self, touched: u64, entries: u64) -> u64 {
        if !self.is_known() {
            return touched.min(entries);
        }
        let (mut left, mut overflowing) = (entries, 0);
        for (steps, &leaves) in (0_u64..).zip(&self.leaves) {
            let each = steps * u64::from(self.step) + 1;
            let these = u64::from(leaves).min(left / each);
            overflowing += these;
            left -= these * each;
        }
        overflowing.min(touched)
    }
}

/// The charge for recording published ranges of one inode: cheap to keep current, one addition per
/// submission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvertCharge {
    /// The tree.
    pub shape: Shape,
    /// Leaves that hold blocks to be converted; at least the true number, at most the leaves there are.
    pub leaves: u32,
    /// How full the leaves are.
    pub rooms: Rooms,
    /// Index nodes below the root, of all levels; at least the true number, `u32::MAX` if they were not counted.
    pub index: u32,
    /// Separate ranges published and not yet recorded.
    pub runs: u32,
    /// Segments in flight: each may become a run.
    pub in_flight: u32,
    /// Extra nodes the recording may load ([`crate::ConvertOptions::extras`]).
    pub extras: u32,
}

impl ConvertCharge {
    /// e: entries the conversion may add.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        2 * (self.runs as u64 + self.in_flight as u64)
    }

    /// n + x: nodes the conversion may allocate. To be charged against free space before submission.
    #[must_use]
    pub fn new_nodes(&self) -> u32 {
        let (leaves, entries) = (u64::from(self.leaves), self.entries());
        let overflowing = self.rooms.overflowing(leaves, entries);
        clamp(
            self.shape
                .new_nodes(leaves, overflowing, entries, self.index.into()),
        )
    }

    /// Everything the conversion may need.
    #[must_use]
    pub fn credits(&self) -> Credits {
        let leaves = u64::from(self.leaves);
        let own = if self.shape.depth == 0 {
            0
        } else {
            leaves + self.shape.path(leaves, self.index.into())
        };
        let touched = clamp(own + u64::from(self.extras));
        Credits {
            dirtied: touched,
            allocated: self.new_nodes(),
            freed: touched,
        }
    }
}

/// The most an insertion may need: every node on the way splits, the root grows by a level, and the
/// leaf to the right (with its own way) changes because the extent joins it.
#[must_use]
pub fn credits_for_insert(shape: Shape) -> Credits {
    let depth = u32::from(shape.depth);
    Credits {
        dirtied: depth * 2,
        allocated: clamp(shape.new_nodes(1, 1, 1, u64::MAX)),
        freed: depth * 2,
    }
}

/// The most a removal may need that visits no more than `leaves` leaves
/// ([`crate::RemoveLimits::leaves`]): at most one extent is cut in two.
#[must_use]
pub fn credits_for_remove(shape: Shape, leaves: u32, extras: u32) -> Credits {
    let charge = ConvertCharge {
        shape,
        leaves,
        rooms: Rooms::UNKNOWN,
        index: u32::MAX,
        runs: 0,
        in_flight: 0,
        extras,
    };
    Credits {
        allocated: clamp(shape.new_nodes(1, 1, 1, u64::MAX)),
        ..charge.credits()
    }
}

/// The most a step of a shift may need that visits no more than `leaves` leaves ([`crate::ShiftLimits::leaves`]): as
/// in a removal, at most one extent is cut in two.
#[must_use]
pub fn credits_for_shift(shape: Shape, leaves: u32, extras: u32) -> Credits {
    credits_for_remove(shape, leaves.saturating_add(1), extras)
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
