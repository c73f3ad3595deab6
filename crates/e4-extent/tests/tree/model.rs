//! The oracle: a file as an array of blocks, and how a tree is compared with it.

use e4_extent::{Census, ConvertRange, FileRange, iterate, verify};
use e4_format::FileBlock;
use e4_format::FsBlock;
use e4_format::extent::{Extent, ExtentState};

use crate::store::MemStore;

pub(crate) use ExtentState::{Unwritten, Written};

/// A mapped block: where, and in which state.
pub(crate) type Cell = Option<(u64, ExtentState)>;

/// A file as an array of blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Model(pub(crate) Vec<Cell>);

pub(crate) fn range(from: usize, to: usize) -> FileRange {
    FileRange::new(block(from), block(to))
}

pub(crate) fn block(n: usize) -> FileBlock {
    FileBlock::new(u32::try_from(n).unwrap())
}

pub(crate) fn extent(at: usize, len: u32, start: u64, state: ExtentState) -> Extent {
    Extent {
        block: block(at),
        len,
        start: FsBlock::new(start),
        state,
    }
}

impl Model {
    /// The blocks of `range` that are mapped in `state` become the other state; how many did.
    pub(crate) fn convert(&mut self, from: usize, to: usize) -> u64 {
        let mut done = 0;
        for (_, state) in self.0[from..to].iter_mut().flatten() {
            done += u64::from(*state == Unwritten);
            *state = Written;
        }
        done
    }

    pub(crate) fn remove(&mut self, from: usize, to: usize) {
        self.0[from..to].fill(None);
    }

    pub(crate) fn insert(&mut self, e: &Extent) {
        for i in 0..e.len {
            let cell = &mut self.0[(e.block.get() + i) as usize];
            assert!(cell.is_none());
            *cell = Some((e.start.get() + u64::from(i), e.state));
        }
    }

    /// The fewest extents this can be mapped with (for files shorter than the longest extent).
    pub(crate) fn extents(&self) -> Vec<Extent> {
        let mut out: Vec<Extent> = Vec::new();
        for (at, cell) in self.0.iter().enumerate() {
            let Some((start, state)) = *cell else {
                continue;
            };
            let one = extent(at, 1, start, state);
            match out.last_mut() {
                Some(last) if last.can_merge(&one) => last.len += 1,
                _ => out.push(one),
            }
        }
        out
    }

    /// One extent for each block: a legal tree, though none that we would leave.
    pub(crate) fn single_extents(&self) -> Vec<Extent> {
        let cell = |(at, cell): (usize, &Cell)| cell.map(|(start, s)| extent(at, 1, start, s));
        self.0.iter().enumerate().filter_map(cell).collect()
    }

    /// Asserts that the tree is sound, maps exactly this, and owns exactly the store's nodes.
    pub(crate) fn check(&self, store: &MemStore) -> Census {
        let census = verify(store).unwrap_or_else(|e| panic!("{e:?}\n{self:?}"));
        let mut mapped = vec![None; self.0.len()];
        for e in &census.extents {
            for i in 0..e.len {
                mapped[(e.block.get() + i) as usize] =
                    Some((e.start.get() + u64::from(i), e.state));
            }
        }
        assert_eq!(mapped, self.0);
        let iterated: Result<Vec<Extent>, _> = iterate(store, FileRange::ALL).collect();
        assert_eq!(iterated.unwrap(), census.extents);
        let mut nodes: Vec<u64> = census.nodes.iter().map(|n| n.get()).collect();
        nodes.sort_unstable();
        assert!(
            nodes.iter().eq(store.nodes.keys()),
            "nodes leaked or shared: {nodes:?}"
        );
        census
    }
}

/// Asserts that no border next to a changed block could go (I-7).
pub(crate) fn assert_merged(census: &Census, changed: FileRange) {
    for pair in census.extents.windows(2) {
        let border = pair[1].block;
        let beside = FileRange::new(FileBlock::new(border.get().saturating_sub(1)), border);
        let near = changed.contains(border) || beside.overlaps(changed);
        assert!(
            !(near && pair[0].can_merge(&pair[1])),
            "not merged: {pair:?} near {changed}"
        );
    }
}

/// SplitMix64: small, seedable, good enough to choose operations.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Sorted disjoint ranges covering exactly these blocks.
pub(crate) fn ranges_of(mut blocks: Vec<usize>) -> Vec<ConvertRange> {
    blocks.sort_unstable();
    blocks.dedup();
    let mut ranges: Vec<ConvertRange> = Vec::new();
    for at in blocks {
        match ranges.last_mut() {
            Some(r) if r.blocks.end == block(at) => r.blocks.end = block(at + 1),
            _ => ranges.push(ConvertRange::unchecked(range(at, at + 1))),
        }
    }
    ranges
}
