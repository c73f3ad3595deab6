//! Extent trees of files whose blocks are all known: built from the leaves up, every node full.

use crate::error::BuildError;
use e4_format::extent::{
    ExtentIndex, WRITTEN_MAX, capacity_block, capacity_root, stamp_extent_block, write_index,
    write_leaf,
};
use e4_format::{BlockSize, Extent, ExtentState, FileBlock, FormatError, FsBlock};

/// Blocks that hold the tree of `extents` extents, the root in the inode not counted.
pub(crate) fn tree_blocks(extents: usize, block_size: BlockSize) -> u64 {
    let room = u64::from(capacity_block(block_size));
    let mut level = extents as u64;
    let mut blocks = 0;
    while level > u64::from(capacity_root()) {
        level = level.div_ceil(room);
        blocks += level;
    }
    blocks
}

/// Extents for `len` blocks of a file from `logical` on, which lie at `start`.
pub(crate) fn push(extents: &mut Vec<Extent>, mut logical: u32, mut start: u64, mut len: u64) {
    while len > 0 {
        let n = u32::try_from(len).unwrap_or(WRITTEN_MAX).min(WRITTEN_MAX);
        extents.push(Extent {
            block: FileBlock::new(logical),
            len: n,
            start: FsBlock::new(start),
            state: ExtentState::Written,
        });
        logical += n;
        start += u64::from(n);
        len -= u64::from(n);
    }
}

/// The root for the inode, and the other nodes with their places.
pub(crate) type Encoded = ([u8; 60], Vec<(FsBlock, Vec<u8>)>);

/// Encodes a tree into the blocks `places`. `seed` is the inode's, `None` without `metadata_csum`.
pub(crate) fn encode(
    extents: &[Extent],
    places: &[FsBlock],
    block_size: BlockSize,
    seed: Option<u32>,
) -> Result<Encoded, BuildError> {
    let failed = |source: FormatError| BuildError::Format {
        what: "an extent tree",
        source,
    };
    let mut root = [0; 60];
    if extents.len() <= usize::from(capacity_root()) {
        write_leaf(&mut root, extents, capacity_root(), 0).map_err(failed)?;
        return Ok((root, Vec::new()));
    }
    let room = capacity_block(block_size);
    let mut places = places.iter().copied();
    let mut nodes = Vec::new();
    let mut add = |block: FileBlock, mut bytes: Vec<u8>| -> Result<ExtentIndex, BuildError> {
        if let Some(seed) = seed {
            stamp_extent_block(&mut bytes, seed).map_err(failed)?;
        }
        // Counted by `tree_blocks` before; zero is refused when the parent is encoded.
        let leaf = places.next().unwrap_or(FsBlock::new(0));
        nodes.push((leaf, bytes));
        Ok(ExtentIndex { block, leaf })
    };
    let mut level = Vec::new();
    for leaf in extents.chunks(room.into()) {
        let mut bytes = vec![0; block_size.len()];
        write_leaf(&mut bytes, leaf, room, 0).map_err(failed)?;
        let first = leaf.first().map_or(FileBlock::new(0), |e| e.block);
        level.push(add(first, bytes)?);
    }
    let mut depth = 1;
    while level.len() > usize::from(capacity_root()) {
        let mut above = Vec::new();
        for children in level.chunks(room.into()) {
            let mut bytes = vec![0; block_size.len()];
            write_index(&mut bytes, children, depth, room, 0).map_err(failed)?;
            let first = children.first().map_or(FileBlock::new(0), |c| c.block);
            above.push(add(first, bytes)?);
        }
        level = above;
        depth += 1;
    }
    write_index(&mut root, &level, depth, capacity_root(), 0).map_err(failed)?;
    Ok((root, nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_depth_uses_the_counted_blocks() {
        let bs = BlockSize::KIB1;
        for n in [0usize, 4, 5, 84, 85, 336, 337, 84 * 84 * 4, 84 * 84 * 4 + 1] {
            let mut extents = Vec::new();
            for i in 0..n {
                push(&mut extents, 2 * i as u32, 100 + 3 * i as u64, 1);
            }
            let count = tree_blocks(n, bs);
            let places: Vec<_> = (0..count).map(|i| FsBlock::new(1_000_000 + i)).collect();
            let (root, nodes) = encode(&extents, &places, bs, Some(1)).unwrap();
            assert_eq!(nodes.len() as u64, count, "{n}");
            e4_format::extent::Node::parse(&root).unwrap();
        }
    }
}
