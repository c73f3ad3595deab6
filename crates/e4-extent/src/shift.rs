//! Moving mapped blocks to other file blocks: collapse range (towards the start), insert range (towards the end).
//!
//! Decisions:
//! - A shift is bounded by leaves and goes on in the next step. Towards the start it works from left to right,
//!   towards the end from right to left, so between any two steps the file is what it was with the hole *somewhere* in it:
//!   no block is mapped twice, none is lost, and a hole exposes nothing.
//! - Only file blocks change: entries keep their leaves and their physical blocks. A leaf whose first entry moves
//!   hands its new key up like any other change ([`crate::rebuild`]).
//! - Where a moved extent now continues the one before the hole, the two become one (I-7).

use alloc::vec::Vec;
use e4_format::FileBlock;
use e4_format::extent::Extent;

use crate::entries::{end_of, part, push_merged};
use crate::error::TreeError;
use crate::pack::Growth;
use crate::plan::Plan;
use crate::range::FileRange;
use crate::rebuild::{Rebuild, Space};
use crate::remove::first_of_last_leaves;
use crate::store::{NodeRead, NodeStore};
use crate::touched::{Body, Selection, Touched};

/// Bounds of one step of a shift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShiftLimits {
    /// Visit at most this many leaves (at least two).
    pub leaves: u32,
    /// Nodes that may be loaded only to be merged with.
    pub extras: u32,
}

impl Default for ShiftLimits {
    /// Everything at once.
    fn default() -> Self {
        Self {
            leaves: u32::MAX,
            extras: 8,
        }
    }
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShiftPlan {
    /// To the tree.
    pub plan: Plan,
    /// The blocks still to be moved, if the limits cut the work short: the back of the range for a shift towards the
    /// start, the front for one towards the end.
    pub remaining: Option<FileRange>,
}

/// What moving the blocks of `range` by `by` blocks towards the start does. The `by` blocks before the range
/// must be unmapped, and its end the end of the file.
///
/// # Errors
/// [`TreeError::Overlap`] if they are not, [`TreeError::BadExtent`] if there are not as many; a node that cannot be read
/// or is damaged.
pub fn plan_shift_left<S: NodeRead>(
    store: &S,
    range: FileRange,
    by: u32,
    limits: ShiftLimits,
) -> Result<ShiftPlan, TreeError<S::Error>> {
    let to = range.start.get().checked_sub(by).map(FileBlock::new);
    let to = to.ok_or(TreeError::BadExtent {
        block: range.start,
        len: by,
    })?;
    let gap = FileRange::new(to, range.start);
    let selection = Selection {
        ranges: &[FileRange::new(to, range.end)],
        edges: true,
        extras: limits.extras.max(1),
        leaves_max: limits.leaves.max(2),
    };
    let (mut touched, cut) = Touched::load(store, &selection)?;
    for id in touched.levels[0].clone() {
        let node = &mut touched.nodes[id];
        if !node.wanted {
            continue;
        }
        let mut new = Vec::with_capacity(node.body.len());
        let mut moved = false;
        for extent in node.body.extents() {
            if FileRange::of(extent).overlaps(gap) {
                return Err(TreeError::Overlap { at: extent.block });
            }
            let mut extent = *extent;
            if extent.block >= range.start {
                extent.block = FileBlock::new(extent.block.get() - by);
                moved = true;
            }
            push_merged(&mut new, extent);
        }
        if moved {
            node.body = Body::Leaf(new);
            node.changed = true;
        }
    }
    let plan = Rebuild::new(store, touched, Space::Roomy, Growth::Spread).finish()?;
    let remaining = cut.map(|at| FileRange::new(at.max(range.start), range.end));
    Ok(ShiftPlan { plan, remaining })
}

/// What moving the blocks of `range` by `by` blocks towards the end does. The `by` blocks behind the range must be
/// unmapped; an extent that begins before it is cut in two.
///
/// # Errors
/// [`TreeError::BadExtent`] if a block would lie behind the last addressable one; a node that cannot be read or is damaged.
pub fn plan_shift_right<S: NodeRead>(
    store: &S,
    range: FileRange,
    by: u32,
    limits: ShiftLimits,
) -> Result<ShiftPlan, TreeError<S::Error>> {
    let cut = first_of_last_leaves(store, range, limits.leaves.max(2))?;
    let from = cut.unwrap_or(range.start).max(range.start);
    let moving = FileRange::new(from, range.end);
    let selection = Selection {
        ranges: &[moving],
        edges: false,
        extras: limits.extras,
        leaves_max: u32::MAX,
    };
    let (mut touched, _) = Touched::load(store, &selection)?;
    for id in touched.levels[0].clone() {
        let node = &mut touched.nodes[id];
        let mut new = Vec::with_capacity(node.body.len() + 1);
        let mut moved = false;
        for extent in node.body.extents() {
            let whole = FileRange::of(extent);
            if !whole.overlaps(moving) {
                new.push(*extent);
                continue;
            }
            if whole.start < moving.start {
                new.push(part(extent, FileRange::new(whole.start, moving.start)));
            }
            let behind = part(extent, FileRange::new(moving.start, whole.end));
            new.push(later(&behind, by).ok_or(TreeError::BadExtent {
                block: behind.block,
                len: behind.len,
            })?);
            moved = true;
        }
        if moved {
            node.body = Body::Leaf(new);
            node.changed = true;
        }
    }
    let plan = Rebuild::new(store, touched, Space::Roomy, Growth::Spread).finish()?;
    let remaining = (from > range.start).then(|| FileRange::new(range.start, from));
    Ok(ShiftPlan { plan, remaining })
}

/// The extent `by` blocks later, if there are that many.
fn later(extent: &Extent, by: u32) -> Option<Extent> {
    end_of(extent).get().checked_add(by)?;
    Some(Extent {
        block: FileBlock::new(extent.block.get().checked_add(by)?),
        ..*extent
    })
}

/// [`plan_shift_left`], carried out. Returns what is still to be moved.
///
/// # Errors
/// As [`plan_shift_left`] and [`Plan::apply`].
pub fn shift_left<S: NodeStore>(
    store: &mut S,
    range: FileRange,
    by: u32,
    limits: ShiftLimits,
) -> Result<Option<FileRange>, TreeError<S::Error>> {
    let planned = plan_shift_left(store, range, by, limits)?;
    planned.plan.apply(store)?;
    Ok(planned.remaining)
}

/// [`plan_shift_right`], carried out. Returns what is still to be moved.
///
/// # Errors
/// As [`plan_shift_right`] and [`Plan::apply`].
pub fn shift_right<S: NodeStore>(
    store: &mut S,
    range: FileRange,
    by: u32,
    limits: ShiftLimits,
) -> Result<Option<FileRange>, TreeError<S::Error>> {
    let planned = plan_shift_right(store, range, by, limits)?;
    planned.plan.apply(store)?;
    Ok(planned.remaining)
}
