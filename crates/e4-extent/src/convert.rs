//! The conversion: unwritten blocks become written, in bulk.
//!
//! Decisions:
//! - Every touched leaf is read, computed and rewritten once, whatever the number of ranges in it.
//! - The leaves on both sides of a range's end are looked at too, so a file written in random order
//!   ends with as few extents as its physical layout allows (I-7), and nodes that become sparse are
//!   merged, so it ends with as few nodes.
//! - Exact ranges only (I-2, I-3), idempotent (I-4), all or nothing (I-5).
//!
//! When no node can be had, [`convert`] first tries to do with the room the neighbouring nodes have.
//! If that is not enough either, [`crate::plan_zero_out`] says what to zero so that it will be.

use alloc::vec::Vec;
use e4_format::FileBlock;

use crate::entries::{self, Converted};
use crate::error::TreeError;
use crate::pack::Growth;
use crate::plan::Plan;
use crate::range::{ConvertRange, FileRange, first_disorder};
use crate::rebuild::{Rebuild, Space};
use crate::store::{NodeRead, NodeStore};
use crate::touched::{Body, Selection, Touched};

/// Bounds of one conversion step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvertOptions {
    /// Stop after this many touched leaves; at least one is done.
    pub leaves_max: u32,
    /// Nodes that may be loaded only to be merged with.
    pub extras: u32,
}

impl Default for ConvertOptions {
    /// All ranges at once, and enough extra nodes for the ends of a few runs of leaves.
    fn default() -> Self {
        Self {
            leaves_max: u32::MAX,
            extras: 32,
        }
    }
}

/// What a conversion does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConvertPlan {
    /// To the tree.
    pub plan: Plan,
    /// To the blocks.
    pub converted: Converted,
    /// The first block not dealt with, if [`ConvertOptions::leaves_max`] cut the work short.
    pub next: Option<FileBlock>,
}

/// What converting `ranges` (sorted, disjoint) does.
///
/// # Errors
/// [`TreeError::BadRanges`], or a node that cannot be read or is damaged.
pub fn plan_convert<S: NodeRead>(
    store: &S,
    ranges: &[ConvertRange],
    options: ConvertOptions,
) -> Result<ConvertPlan, TreeError<S::Error>> {
    plan(store, ranges, options, Space::Roomy)
}

/// As [`plan_convert`], but using the room in neighbouring nodes before asking for new ones.
///
/// # Errors
/// As [`plan_convert`].
pub fn plan_convert_tight<S: NodeRead>(
    store: &S,
    ranges: &[ConvertRange],
    options: ConvertOptions,
) -> Result<ConvertPlan, TreeError<S::Error>> {
    plan(store, ranges, options, Space::Tight)
}

fn plan<S: NodeRead>(
    store: &S,
    ranges: &[ConvertRange],
    options: ConvertOptions,
    space: Space,
) -> Result<ConvertPlan, TreeError<S::Error>> {
    let (mut touched, next) = load(store, ranges, options.leaves_max, options.extras)?;
    let mut converted = Converted::default();
    for id in touched.levels[0].clone() {
        let node = &mut touched.nodes[id];
        if !node.wanted {
            continue;
        }
        let mine = overlapping(ranges, node.span);
        let mut new = Vec::with_capacity(node.body.len() + 2 * mine.len());
        let old = node.body.extents();
        if entries::plan_convert(old, mine, node.span, &mut new, &mut converted) {
            node.body = Body::Leaf(new);
            node.changed = true;
        }
    }
    let plan = Rebuild::new(store, touched, space, Growth::Spread).finish()?;
    Ok(ConvertPlan {
        plan,
        converted,
        next,
    })
}

/// Loads what lies below `ranges`.
pub(crate) fn load<S: NodeRead>(
    store: &S,
    ranges: &[ConvertRange],
    leaves_max: u32,
    extras: u32,
) -> Result<(Touched, Option<FileBlock>), TreeError<S::Error>> {
    if let Some(index) = first_disorder(ranges.iter().map(|r| r.blocks)) {
        return Err(TreeError::BadRanges { index });
    }
    let blocks: Vec<FileRange> = ranges.iter().map(|r| r.blocks).collect();
    let leaves_max = leaves_max.max(1);
    let selection = Selection {
        ranges: &blocks,
        edges: extras > 0,
        extras,
        leaves_max,
    };
    Touched::load(store, &selection)
}

/// The ranges with blocks in `span`.
pub(crate) fn overlapping(ranges: &[ConvertRange], span: FileRange) -> &[ConvertRange] {
    let from = ranges.partition_point(|r| r.blocks.end <= span.start);
    let to = ranges.partition_point(|r| r.blocks.start < span.end);
    ranges.get(from..to).unwrap_or_default()
}

/// Converts `ranges` (sorted, disjoint). Returns what became of the blocks and where to go on if
/// [`ConvertOptions::leaves_max`] cut the work short.
///
/// # Errors
/// As [`plan_convert`] and [`Plan::apply`]. On [`TreeError::NoNode`] not even a tight plan could be
/// carried out, nothing was changed, and [`crate::plan_zero_out`] is next.
pub fn convert<S: NodeStore>(
    store: &mut S,
    ranges: &[ConvertRange],
    options: ConvertOptions,
) -> Result<(Converted, Option<FileBlock>), TreeError<S::Error>> {
    let roomy = plan_convert(store, ranges, options)?;
    match roomy.plan.apply(store) {
        Ok(()) => return Ok((roomy.converted, roomy.next)),
        Err(TreeError::NoNode { .. }) => {}
        Err(other) => return Err(other),
    }
    let tight = plan_convert_tight(store, ranges, options)?;
    tight.plan.apply(store)?;
    Ok((tight.converted, tight.next))
}
