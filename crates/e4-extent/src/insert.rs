//! Mapping new blocks.
//!
//! Decisions: the new extent is merged with the extents on both sides, also across the border to the
//! next leaf. An insertion at either end of a full leaf splits off only what does not fit, so a file
//! that grows block by block has full leaves.

use alloc::vec::Vec;
use e4_format::extent::Extent;

use crate::entries::{self, Place};
use crate::error::TreeError;
use crate::pack::Growth;
use crate::plan::Plan;
use crate::range::FileRange;
use crate::rebuild::{Rebuild, Space};
use crate::store::{NodeRead, NodeStore};
use crate::touched::{Body, Selection, Touched};

/// What mapping `extent` does to the tree.
///
/// # Errors
/// [`TreeError::BadExtent`], [`TreeError::Overlap`], or a node that cannot be read or is damaged.
pub fn plan_insert<S: NodeRead>(store: &S, extent: &Extent) -> Result<Plan, TreeError<S::Error>> {
    if !extent.is_encodable() {
        return Err(TreeError::BadExtent {
            block: extent.block,
            len: extent.len,
        });
    }
    let range = FileRange::of(extent);
    let depth = crate::read::depth(store)?;
    let selection = Selection {
        ranges: &[range],
        edges: true,
        extras: u32::from(depth),
        leaves_max: u32::MAX,
    };
    let (mut touched, _) = Touched::load(store, &selection)?;
    let mut growth = Growth::Spread;
    for id in touched.levels[0].clone() {
        let node = &mut touched.nodes[id];
        if node.span.contains(range.start) {
            let mut new = Vec::with_capacity(node.body.len() + 1);
            let place = entries::plan_insert(node.body.extents(), extent, &mut new)
                .map_err(|at| TreeError::Overlap { at })?;
            growth = match place {
                Place::First => Growth::Front,
                Place::Middle => Growth::Spread,
                Place::Last => Growth::Back,
            };
            node.body = Body::Leaf(new);
            node.changed = true;
        } else if let Some(hit) = node
            .body
            .extents()
            .iter()
            .find(|e| FileRange::of(e).overlaps(range))
        {
            return Err(TreeError::Overlap { at: hit.block });
        } else if node.wanted {
            // Its key claims blocks of the new extent although it maps none: the key is corrected.
            node.changed = true;
        }
    }
    Rebuild::new(store, touched, Space::Roomy, growth).finish()
}

/// Maps `extent`, whose blocks must not be mapped yet.
///
/// # Errors
/// As [`plan_insert`] and [`Plan::apply`].
pub fn insert<S: NodeStore>(store: &mut S, extent: &Extent) -> Result<(), TreeError<S::Error>> {
    plan_insert(store, extent)?.apply(store)
}
