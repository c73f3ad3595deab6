//! Unmapping blocks: truncate, punch.
//!
//! Decisions:
//! - A removal is bounded by [`RemoveLimits`] and works from the end of the range towards its start, so
//!   a truncate in many handles leaves, between any two of them, a file that is mapped up to
//!   some block and not behind it.
//! - What was unmapped is returned; freeing it (not before the transaction commits) is the caller's.
//! - A removal inside an extent makes two of one, so it may need a node.

use alloc::vec::Vec;
use e4_format::FileBlock;
use e4_format::extent::Extent;

use crate::entries;
use crate::error::TreeError;
use crate::pack::Growth;
use crate::plan::Plan;
use crate::range::FileRange;
use crate::rebuild::{Rebuild, Space};
use crate::store::{NodeRead, NodeStore};
use crate::touched::{Body, Ptr, Selection, Touched, child_span, load_node, load_root};

/// Bounds of one removal step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoveLimits {
    /// Visit at most this many leaves (at least one).
    pub leaves: u32,
    /// Unmap at most this many extents or parts of extents (at least one).
    pub extents: u32,
    /// Nodes that may be loaded only to be merged with.
    pub extras: u32,
}

impl Default for RemoveLimits {
    /// The whole range at once.
    fn default() -> Self {
        Self {
            leaves: u32::MAX,
            extents: u32::MAX,
            extras: 8,
        }
    }
}

/// What a removal does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemovePlan {
    /// To the tree.
    pub plan: Plan,
    /// What is no longer mapped, in order of file blocks.
    pub unmapped: Vec<Extent>,
    /// What is still to be removed, if the limits cut the work short: always the front of the range.
    pub remaining: Option<FileRange>,
}

/// What a removal did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Removed {
    /// As [`RemovePlan::unmapped`].
    pub unmapped: Vec<Extent>,
    /// As [`RemovePlan::remaining`].
    pub remaining: Option<FileRange>,
}

/// What unmapping `range` does.
///
/// # Errors
/// A node that cannot be read or is damaged.
pub fn plan_remove<S: NodeRead>(
    store: &S,
    range: FileRange,
    limits: RemoveLimits,
) -> Result<RemovePlan, TreeError<S::Error>> {
    if range.is_empty() {
        let (plan, unmapped) = (Plan::default(), Vec::new());
        return Ok(RemovePlan {
            plan,
            unmapped,
            remaining: None,
        });
    }
    let cut = first_of_last_leaves(store, range, limits.leaves.max(1))?;
    let mut from = cut.unwrap_or(range.start).max(range.start);
    let wanted = FileRange::new(from, range.end);
    let selection = Selection {
        ranges: &[wanted],
        edges: false,
        extras: limits.extras,
        leaves_max: u32::MAX,
    };
    let (mut touched, _) = Touched::load(store, &selection)?;
    from = last_extents(&touched, wanted, limits.extents.max(1)).max(from);
    let wanted = FileRange::new(from, range.end);
    let mut unmapped = Vec::new();
    for id in touched.levels[0].clone() {
        let node = &mut touched.nodes[id];
        let mut new = Vec::with_capacity(node.body.len() + 1);
        if entries::plan_remove(node.body.extents(), wanted, &mut new, &mut unmapped) {
            node.body = Body::Leaf(new);
            node.changed = true;
        }
    }
    let plan = Rebuild::new(store, touched, Space::Roomy, Growth::Spread).finish()?;
    let remaining = (from > range.start).then(|| FileRange::new(range.start, from));
    Ok(RemovePlan {
        plan,
        unmapped,
        remaining,
    })
}

/// Unmaps `range`.
///
/// # Errors
/// As [`plan_remove`] and [`Plan::apply`].
pub fn remove<S: NodeStore>(
    store: &mut S,
    range: FileRange,
    limits: RemoveLimits,
) -> Result<Removed, TreeError<S::Error>> {
    let planned = plan_remove(store, range, limits)?;
    planned.plan.apply(store)?;
    Ok(Removed {
        unmapped: planned.unmapped,
        remaining: planned.remaining,
    })
}

/// First block of the last `count` extents in the loaded leaves.
fn last_extents(touched: &Touched, range: FileRange, count: u32) -> FileBlock {
    let leaves = touched.levels[0].iter().rev();
    let extents = leaves.flat_map(|&id| touched.node(id).body.extents().iter().rev());
    let mut hits = extents.map(FileRange::of).filter(|e| e.overlaps(range));
    match hits.nth(count as usize) {
        // The first one too many: everything behind it may go.
        Some(kept) => kept.end,
        None => range.start,
    }
}

/// Where the last `leaves` leaves of a range begin, if there are more of them: reads index nodes only.
pub(crate) fn first_of_last_leaves<S: NodeRead>(
    store: &S,
    range: FileRange,
    leaves: u32,
) -> Result<Option<FileBlock>, TreeError<S::Error>> {
    let (depth, root) = load_root(store)?;
    let mut tail = Tail {
        store,
        range,
        leaves_left: leaves,
    };
    tail.walk(&root, usize::from(depth), FileRange::ALL)
}

/// See [`first_of_last_leaves`].
struct Tail<'a, S> {
    store: &'a S,
    range: FileRange,
    leaves_left: u32,
}

impl<S: NodeRead> Tail<'_, S> {
    /// The first block that may be removed, if there are more leaves than wanted.
    fn walk(
        &mut self,
        body: &Body,
        level: usize,
        span: FileRange,
    ) -> Result<Option<FileBlock>, TreeError<S::Error>> {
        let children = body.children();
        for (slot, child) in children.iter().enumerate().rev() {
            let below = child_span(children, slot, span);
            if !below.overlaps(self.range) {
                continue;
            }
            if level > 1 {
                let Ptr::Old(at) = child.ptr else { continue };
                let confined = FileRange::new(child.key, below.end);
                let node = load_node(self.store, at, level - 1, confined)?;
                if let Some(cut) = self.walk(&node, level - 1, below)? {
                    return Ok(Some(cut));
                }
            } else if self.leaves_left == 0 {
                return Ok(Some(below.end));
            } else {
                self.leaves_left -= 1;
            }
        }
        Ok(None)
    }
}
