//! Written blocks become unwritten: zero range.
//!
//! Decisions: exact ranges, as in a conversion; holes stay holes; bounded by leaves, from the front to the back. The longest
//! unwritten extent is one block shorter than the longest written one, so a flip may add an entry even where nothing
//! is cut.

use alloc::vec::Vec;
use e4_format::FileBlock;

use crate::entries;
use crate::error::TreeError;
use crate::pack::Growth;
use crate::plan::Plan;
use crate::range::FileRange;
use crate::rebuild::{Rebuild, Space};
use crate::store::{NodeRead, NodeStore};
use crate::touched::{Body, Selection, Touched};

/// Bounds of one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnwriteLimits {
    /// Stop after this many leaves; at least one is done.
    pub leaves: u32,
    /// Nodes that may be loaded only to be merged with.
    pub extras: u32,
}

impl Default for UnwriteLimits {
    /// The whole range at once.
    fn default() -> Self {
        Self {
            leaves: u32::MAX,
            extras: 8,
        }
    }
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnwritePlan {
    /// To the tree.
    pub plan: Plan,
    /// Blocks that become unwritten.
    pub blocks: u64,
    /// The first block not dealt with, if the limits cut the work short.
    pub next: Option<FileBlock>,
}

/// What making the written blocks of `range` unwritten does.
///
/// # Errors
/// A node that cannot be read or is damaged.
pub fn plan_unwrite<S: NodeRead>(
    store: &S,
    range: FileRange,
    limits: UnwriteLimits,
) -> Result<UnwritePlan, TreeError<S::Error>> {
    if range.is_empty() {
        return Ok(UnwritePlan {
            plan: Plan::default(),
            blocks: 0,
            next: None,
        });
    }
    let selection = Selection {
        ranges: &[range],
        edges: limits.extras > 0,
        extras: limits.extras,
        leaves_max: limits.leaves.max(1),
    };
    let (mut touched, next) = Touched::load(store, &selection)?;
    let mut blocks = 0;
    for id in touched.levels[0].clone() {
        let node = &mut touched.nodes[id];
        if !node.wanted {
            continue;
        }
        let mut new = Vec::with_capacity(node.body.len() + 2);
        let flipped = entries::plan_unwrite(node.body.extents(), range, &mut new);
        if flipped > 0 {
            blocks += flipped;
            node.body = Body::Leaf(new);
            node.changed = true;
        }
    }
    let plan = Rebuild::new(store, touched, Space::Roomy, Growth::Spread).finish()?;
    Ok(UnwritePlan { plan, blocks, next })
}

/// Makes the written blocks of `range` unwritten. Returns how many there were, and where to go on.
///
/// # Errors
/// As [`plan_unwrite`] and [`Plan::apply`].
pub fn unwrite<S: NodeStore>(
    store: &mut S,
    range: FileRange,
    limits: UnwriteLimits,
) -> Result<(u64, Option<FileBlock>), TreeError<S::Error>> {
    let planned = plan_unwrite(store, range, limits)?;
    planned.plan.apply(store)?;
    Ok((planned.blocks, planned.next))
}
