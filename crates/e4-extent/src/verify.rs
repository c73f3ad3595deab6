//! Walking a whole tree and checking everything that must hold in one.
//!
//! Stricter than what the operations demand of trees they find: here the keys of parents must be
//! exact, as e2fsck wants them and as this crate leaves them.

use alloc::vec::Vec;
use e4_format::extent::Extent;
use e4_format::{FileBlock, FsBlock};

use crate::error::{Damage, TreeError};
use crate::range::FileRange;
use crate::store::NodeRead;
use crate::touched::{Body, Ptr, child_span, load_node, load_root};

/// What a tree consists of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Census {
    /// Levels below the root.
    pub depth: u16,
    /// Every node below the root, parents before children.
    pub nodes: Vec<FsBlock>,
    /// Leaves below the root.
    pub leaves: u32,
    /// Every extent, in order.
    pub extents: Vec<Extent>,
}

/// Checks a tree and takes its census.
///
/// # Errors
/// A node that cannot be read or breaks a rule.
pub fn verify<S: NodeRead>(store: &S) -> Result<Census, TreeError<S::Error>> {
    let (depth, root) = load_root(store)?;
    let mut census = Census {
        depth,
        ..Census::default()
    };
    walk(store, root, usize::from(depth), FileRange::ALL, &mut census)?;
    Ok(census)
}

fn walk<S: NodeRead>(
    store: &S,
    body: Body,
    level: usize,
    span: FileRange,
    census: &mut Census,
) -> Result<(), TreeError<S::Error>> {
    let children = match body {
        Body::Leaf(mut extents) => {
            census.extents.append(&mut extents);
            return Ok(());
        }
        Body::Index(children) => children,
    };
    for (slot, child) in children.iter().enumerate() {
        let Ptr::Old(at) = child.ptr else { continue };
        let below = FileRange::new(child.key, child_span(&children, slot, span).end);
        let node = load_node(store, at, level - 1, below)?;
        let found = node.key().unwrap_or(FileBlock::MAX);
        if found != child.key {
            let damage = Damage::Key {
                key: child.key,
                found,
            };
            return Err(TreeError::Damaged {
                at: Some(at),
                near: child.key,
                damage,
            });
        }
        census.nodes.push(at);
        census.leaves += u32::from(level == 1);
        walk(store, node, level - 1, below, census)?;
    }
    Ok(())
}
