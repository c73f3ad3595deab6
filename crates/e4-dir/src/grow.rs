//! Adding a leaf to the index: into the node above it, splitting full nodes on the way up, and one
//! more level when the root is full.
//!
//! Decisions: how many blocks it takes is known before the first is appended, the new contents
//! before the first is written. A node is cut in the middle, as hashes are spread evenly. A full
//! root hands all its pairs to one new node; that always has room for one more, as it does not hold
//! `.` and `..`.

use e4_format::htree::{DxEntry, DxKind, DxRootInfo, dx_limit, init_node};
use e4_format::{FileBlock, InodeNo};

use crate::context::{DirContext, FIRST};
use crate::error::{DirError, in_block};
use crate::path::Path;
use crate::root;
use crate::store::seal_index;

/// Complete blocks to write, in this order.
pub(crate) type Writes = Vec<(FileBlock, Vec<u8>)>;

/// Appended blocks that are not used yet.
pub(crate) struct Spare {
    next: FileBlock,
    left: u32,
}

impl Spare {
    pub(crate) const fn new(first: FileBlock, count: u32) -> Self {
        Self {
            next: first,
            left: count,
        }
    }

    /// One of them.
    pub(crate) fn take(&mut self) -> Result<FileBlock, DirError> {
        let at = self.next;
        match (self.left.checked_sub(1), at.checked_add(1)) {
            (Some(left), Some(next)) => (self.left, self.next) = (left, next),
            _ => return Err(DirError::TooManyBlocks { blocks: at.get() }),
        }
        Ok(at)
    }
}

/// Index blocks that adding a leaf behind the one of `path` appends.
pub(crate) fn nodes_needed<B: std::ops::Deref<Target = [u8]>>(
    cx: &DirContext,
    path: &Path<B>,
) -> Result<u32, DirError> {
    let mut needed = 0;
    for level in path.levels.iter().rev() {
        if !level.full {
            break;
        }
        let levels = path.info.indirect_levels;
        if level.kind == DxKind::Root && levels >= cx.indirect_levels_max() {
            return Err(DirError::IndexFull { levels });
        }
        needed += 1;
    }
    Ok(needed)
}

/// Index blocks that change when `pair` is added behind the leaf of `path`. Uses as many of `spare`
/// as [`nodes_needed`] said.
pub(crate) fn add_leaf<B: std::ops::Deref<Target = [u8]>>(
    cx: &DirContext,
    path: &Path<B>,
    pair: DxEntry,
    spare: &mut Spare,
    writes: &mut Writes,
) -> Result<(), DirError> {
    let mut carry = pair;
    for level in path.levels.iter().rev() {
        let mut pairs = level.pairs(cx)?;
        let at = (level.index + 1).min(pairs.len());
        pairs.insert(at, carry);
        let fits = pairs.len() <= dx_limit(level.kind, &cx.format);
        match level.kind {
            DxKind::Root if fits => {
                return put_root(cx, level.dots(cx)?, path.info, &pairs, writes);
            }
            DxKind::Root => {
                let below = spare.take()?;
                put_node(cx, below, &pairs, writes)?;
                let only = [DxEntry {
                    hash: 0,
                    block: below,
                }];
                let indirect_levels = path.info.indirect_levels + 1;
                let info = DxRootInfo {
                    indirect_levels,
                    ..path.info
                };
                return put_root(cx, level.dots(cx)?, info, &only, writes);
            }
            DxKind::Node if fits => return put_node(cx, level.at, &pairs, writes),
            DxKind::Node => {
                let right = pairs.split_off(pairs.len() / 2);
                let block = spare.take()?;
                carry = DxEntry {
                    hash: right.first().map_or(0, |e| e.hash),
                    block,
                };
                put_node(cx, block, &right, writes)?;
                put_node(cx, level.at, &pairs, writes)?;
            }
        }
    }
    Ok(())
}

fn put_root(
    cx: &DirContext,
    dots: (InodeNo, InodeNo),
    info: DxRootInfo,
    pairs: &[DxEntry],
    writes: &mut Writes,
) -> Result<(), DirError> {
    writes.push((FIRST, root::build(cx, dots, info, pairs)?));
    Ok(())
}

fn put_node(
    cx: &DirContext,
    at: FileBlock,
    pairs: &[DxEntry],
    writes: &mut Writes,
) -> Result<(), DirError> {
    let mut block = vec![0; cx.block_len()];
    init_node(&mut block, &cx.format, pairs).map_err(in_block(at))?;
    seal_index(cx, at, DxKind::Node, &mut block)?;
    writes.push((at, block));
    Ok(())
}
