//! Between the bytes of a node and its value. Everything about the encoding is `e4-format`'s.

use e4_format::extent::{ENTRY_SIZE, Node};

use crate::error::Damage;
use crate::range::FileRange;
use crate::touched::{Body, Child, Ptr};

/// Bytes of header and entries of a node with room for `capacity` entries.
pub(crate) const fn len_for(capacity: u16) -> usize {
    ENTRY_SIZE + ENTRY_SIZE * capacity as usize
}

/// A root, fully validated: its depth and its entries.
pub(crate) fn decode(bytes: &[u8]) -> Result<(u16, Body), Damage> {
    let node = Node::parse(bytes)?;
    Ok((node.depth(), body_of(node)))
}

/// A node below the root, fully validated, of the level and within the span its parent says.
pub(crate) fn decode_at(bytes: &[u8], level: usize, confined: FileRange) -> Result<Body, Damage> {
    let node = Node::parse(bytes)?;
    check_place(&node, level, confined)?;
    Ok(body_of(node))
}

/// The level, some entry, none outside the span.
fn check_place(node: &Node<'_>, level: usize, span: FileRange) -> Result<(), Damage> {
    let depth = u16::try_from(level).unwrap_or(u16::MAX);
    let to = (span.end < FileRange::ALL.end).then_some(span.end);
    node.check_place(depth, span.start, to)?;
    if node.is_empty() {
        return Err(Damage::Empty);
    }
    Ok(())
}

fn body_of(node: Node<'_>) -> Body {
    if node.is_leaf() {
        Body::Leaf(node.extents().collect())
    } else {
        let child = |i: e4_format::extent::ExtentIndex| Child {
            key: i.block,
            ptr: Ptr::Old(i.leaf),
        };
        Body::Index(node.indexes().map(child).collect())
    }
}
