//! The maps of system files: an extent tree of at most two levels, or a block map with `^extent`.
//!
//! Decision: the number of map blocks is computed from the runs alone ([`map_blocks`]), so that the
//! layout is complete before anything is encoded.

use crate::error::MkfsError;
use crate::geometry::Geometry;
use crate::plan::FilePlan;
use crate::space::Run;
use e4_format::extent::{
    Extent, ExtentIndex, ExtentState, WRITTEN_MAX, capacity_block, capacity_root,
    stamp_extent_block, write_index, write_leaf,
};
use e4_format::features::IncompatFeatures;
use e4_format::{FileBlock, FsBlock};

const DIRECT: u64 = 12;
const POINTER: u64 = 4;

/// What goes into the inode and into the blocks of the map.
pub(crate) struct Encoded {
    pub(crate) i_block: [u8; 60],
    /// Physical block and contents.
    pub(crate) blocks: Vec<(u64, Vec<u8>)>,
}

/// How many blocks the map of a file with these runs needs.
pub(crate) fn map_blocks(geo: &Geometry, data: &[Run]) -> u64 {
    if geo.features.incompat(IncompatFeatures::EXTENTS) {
        let extents: u64 = data
            .iter()
            .map(|r| r.len.div_ceil(u64::from(WRITTEN_MAX)))
            .sum();
        if extents <= u64::from(capacity_root()) {
            return 0;
        }
        return extents.div_ceil(u64::from(capacity_block(geo.block_size)));
    }
    let len: u64 = data.iter().map(|r| r.len).sum();
    let per = u64::from(geo.block_size.bytes()) / POINTER;
    let mut left = len.saturating_sub(DIRECT);
    let mut blocks = 0;
    // Each level of indirection covers `per` times as much as the one before.
    let mut covers = 1u64;
    for level in 1..=3 {
        covers = covers.saturating_mul(per);
        let mut below = left.min(covers);
        left -= below;
        for _ in 0..level {
            below = below.div_ceil(per);
            blocks += below;
        }
    }
    blocks
}

/// Encodes the map of `file`. `seed` is the inode's checksum seed, `None` without `metadata_csum`.
pub(crate) fn encode(
    geo: &Geometry,
    file: &FilePlan,
    seed: Option<u32>,
) -> Result<Encoded, MkfsError> {
    if geo.features.incompat(IncompatFeatures::EXTENTS) {
        extents(geo, file, seed)
    } else {
        Ok(BlockMap::new(geo, file).build())
    }
}

fn all_extents(data: &[Run]) -> Vec<Extent> {
    let mut extents = Vec::new();
    let mut logical = 0u32;
    for run in data {
        let mut at = run.start;
        while at < run.end() {
            let len = u32::try_from(run.end() - at)
                .unwrap_or(WRITTEN_MAX)
                .min(WRITTEN_MAX);
            extents.push(Extent {
                block: FileBlock::new(logical),
                len,
                start: FsBlock::new(at),
                state: ExtentState::Written,
            });
            logical += len;
            at += u64::from(len);
        }
    }
    extents
}

fn extents(geo: &Geometry, file: &FilePlan, seed: Option<u32>) -> Result<Encoded, MkfsError> {
    let failed = |source| MkfsError::Format {
        what: "an extent tree",
        source,
    };
    let extents = all_extents(&file.data);
    let mut i_block = [0; 60];
    if extents.len() <= usize::from(capacity_root()) {
        write_leaf(&mut i_block, &extents, capacity_root(), 0).map_err(failed)?;
        return Ok(Encoded {
            i_block,
            blocks: Vec::new(),
        });
    }
    let room = capacity_block(geo.block_size);
    let places = file.map.iter().flat_map(|r| r.start..r.end());
    let mut blocks = Vec::new();
    let mut children = Vec::new();
    for (leaf, at) in extents.chunks(usize::from(room)).zip(places) {
        let mut bytes = vec![0; geo.block_size.len()];
        write_leaf(&mut bytes, leaf, room, 0).map_err(failed)?;
        if let Some(seed) = seed {
            stamp_extent_block(&mut bytes, seed).map_err(failed)?;
        }
        let first = leaf.first().map_or(FileBlock::new(0), |e| e.block);
        children.push(ExtentIndex {
            block: first,
            leaf: FsBlock::new(at),
        });
        blocks.push((at, bytes));
    }
    write_index(&mut i_block, &children, 1, capacity_root(), 0).map_err(failed)?;
    Ok(Encoded { i_block, blocks })
}

/// Builds direct and indirect blocks from the data runs, in order.
struct BlockMap<'a> {
    per: usize,
    data: Box<dyn Iterator<Item = u64> + 'a>,
    places: Box<dyn Iterator<Item = u64> + 'a>,
    blocks: Vec<(u64, Vec<u8>)>,
}

impl<'a> BlockMap<'a> {
    fn new(geo: &Geometry, file: &'a FilePlan) -> Self {
        Self {
            per: geo.block_size.len() / 4,
            data: Box::new(file.data.iter().flat_map(|r| r.start..r.end())),
            places: Box::new(file.map.iter().flat_map(|r| r.start..r.end())),
            blocks: Vec::new(),
        }
    }

    fn build(mut self) -> Encoded {
        let mut i_block = [0; 60];
        for (n, slot) in i_block.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let level = n.saturating_sub(11);
            let at = self.subtree(level);
            *slot = low32(at).to_le_bytes();
        }
        Encoded {
            i_block,
            blocks: self.blocks,
        }
    }

    /// The block that maps the next data at `level` of indirection; 0 if there is no data left.
    fn subtree(&mut self, level: usize) -> u64 {
        if level == 0 {
            return self.data.next().unwrap_or(0);
        }
        let first = self.subtree(level - 1);
        if first == 0 {
            return 0;
        }
        let at = self.places.next().unwrap_or(0);
        let mut bytes = low32(first).to_le_bytes().to_vec();
        for _ in 1..self.per {
            let next = self.subtree(level - 1);
            if next == 0 {
                break;
            }
            bytes.extend(low32(next).to_le_bytes());
        }
        bytes.resize(self.per * 4, 0);
        self.blocks.push((at, bytes));
        at
    }
}

/// Block-mapped files exist only on images whose block numbers fit (`64bit` needs `extent`).
pub(crate) fn low32(block: u64) -> u32 {
    u32::try_from(block).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::Params;

    fn geometry(list: &str) -> Geometry {
        let mut params = Params {
            block_size: Some(1024),
            ..Params::default()
        };
        params.features.apply(list).unwrap();
        crate::geometry::decide(&params, 64 << 20, "test", &mut Vec::new()).unwrap()
    }

    #[test]
    fn block_maps_use_exactly_the_counted_blocks() {
        let geo = geometry("^extent,^64bit");
        for len in [
            0, 1, 12, 13, 268, 269, 524, 525, 4096, 65804, 65805, 66061, 262_144,
        ] {
            let data = vec![Run { start: 1000, len }];
            let count = map_blocks(&geo, &data);
            let map = vec![Run {
                start: 500_000,
                len: count,
            }];
            let file = FilePlan { data, map };
            let encoded = encode(&geo, &file, None).unwrap();
            assert_eq!(encoded.blocks.len() as u64, count, "{len} blocks");
            let pointers: usize = encoded
                .blocks
                .iter()
                .map(|(_, b)| {
                    b.as_chunks::<4>()
                        .0
                        .iter()
                        .filter(|p| **p != [0; 4])
                        .count()
                })
                .sum();
            let direct = encoded
                .i_block
                .as_chunks::<4>()
                .0
                .iter()
                .filter(|p| **p != [0; 4]);
            // Every data block and every map block is named exactly once.
            assert_eq!(
                (pointers + direct.count()) as u64,
                len + count,
                "{len} blocks"
            );
        }
    }

    #[test]
    fn extent_trees_grow_a_level_when_the_root_is_full() {
        let geo = geometry("");
        let runs = |n: u64| {
            (0..n)
                .map(|i| Run {
                    start: 10 + 20 * i,
                    len: 7,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(map_blocks(&geo, &runs(4)), 0);
        assert_eq!(map_blocks(&geo, &runs(5)), 1);
        assert_eq!(
            map_blocks(
                &geo,
                &[Run {
                    start: 5,
                    len: 5 * 32768
                }]
            ),
            1
        );
        let data = runs(200);
        let count = map_blocks(&geo, &data);
        let file = FilePlan {
            data,
            map: vec![Run {
                start: 9000,
                len: count,
            }],
        };
        let encoded = encode(&geo, &file, Some(7)).unwrap();
        assert_eq!(encoded.blocks.len() as u64, count);
        let root = e4_format::extent::Node::parse(&encoded.i_block).unwrap();
        assert_eq!((root.depth(), root.len() as u64), (1, count));
    }
}
