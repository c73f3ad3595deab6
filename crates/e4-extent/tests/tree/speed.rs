//! Time for a lookup and for a bulk conversion. Printed always; judged in release builds only, with a
//! wide margin, because a shared machine is no stopwatch.

use std::sync::Arc;
use std::time::Instant;

use e4_extent::*;
use e4_format::FsBlock;
use e4_format::extent::{capacity_block, capacity_root};
use e4_format::units::BlockSize;

use crate::model::{Rng, Unwritten, Written, block, extent, ranges_of};
use crate::store::{Injected, MemStore, NODE_BASE};

/// A store as a metadata cache would be: an array of shared buffers.
struct Flat {
    root: [u8; ROOT_LEN],
    nodes: Vec<Option<Arc<[u8]>>>,
}

impl Flat {
    fn new() -> Self {
        let root = MemStore::new(capacity_block(BlockSize::KIB4), capacity_root()).root;
        Self {
            root,
            nodes: Vec::new(),
        }
    }

    fn slot(at: FsBlock) -> usize {
        usize::try_from(at.get() - NODE_BASE).unwrap()
    }
}

impl NodeRead for Flat {
    type Error = Injected;
    type Node = Arc<[u8]>;

    fn node_entries(&self) -> u16 {
        capacity_block(BlockSize::KIB4)
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        &self.root
    }

    fn read(&self, at: FsBlock) -> Result<Arc<[u8]>, Injected> {
        self.nodes
            .get(Self::slot(at))
            .cloned()
            .flatten()
            .ok_or(Injected)
    }
}

impl NodeStore for Flat {
    fn alloc_node(&mut self, _goal: FsBlock) -> Result<FsBlock, Injected> {
        self.nodes.push(None);
        Ok(FsBlock::new(NODE_BASE + self.nodes.len() as u64 - 1))
    }

    fn return_node(&mut self, _at: FsBlock) {}

    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<(), Injected> {
        self.nodes[Self::slot(at)] = Some(bytes.into());
        Ok(())
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Injected> {
        self.root = *root;
        Ok(())
    }

    fn free_node(&mut self, at: FsBlock) -> Result<(), Injected> {
        self.nodes[Self::slot(at)] = None;
        Ok(())
    }
}

fn judge(what: &str, got: f64, unit: &str, limit: f64) {
    eprintln!("speed: {what}: {got:.1} {unit} (goal {limit} {unit})");
    if !cfg!(debug_assertions) {
        assert!(
            got < limit * 5.0,
            "{what}: {got:.1} {unit}, goal {limit} {unit}"
        );
    }
}

#[test]
fn lookup_in_a_hundred_thousand_extents() {
    let mut store = Flat::new();
    for i in 0..100_000_usize {
        insert(&mut store, &extent(i * 3, 2, 1000 + 5 * i as u64, Written)).unwrap();
    }
    let mut rng = Rng(1);
    let blocks: Vec<_> = (0..1_000_000).map(|_| block(rng.below(300_000))).collect();
    let mut best = f64::MAX;
    for some in blocks.chunks(blocks.len() / 8) {
        let from = Instant::now();
        let hit = |at| matches!(lookup(&store, at).unwrap(), Mapping::Extent(_));
        let mapped = some.iter().filter(|&&at| hit(at)).count();
        best = best.min(from.elapsed().as_secs_f64() * 1e9 / some.len() as f64);
        assert!(mapped * 2 > some.len());
    }
    judge(
        "lookup, 100,000 extents, depth 2, best of 8 runs",
        best,
        "ns",
        200.0,
    );
}

/// A preallocated gigabyte.
fn gigabyte(blocks: usize) -> Flat {
    let mut store = Flat::new();
    for at in (0..blocks).step_by(32_767) {
        let len = u32::try_from((blocks - at).min(32_767)).unwrap();
        insert(&mut store, &extent(at, len, 5000 + at as u64, Unwritten)).unwrap();
    }
    store
}

#[test]
fn bulk_conversion_of_a_randomly_written_gigabyte() {
    let blocks = 262_144_usize;
    let mut order: Vec<usize> = (0..blocks).collect();
    Rng(3).shuffle(&mut order);
    let halves = [&order[..blocks / 2], &order[blocks / 2..]].map(|h| ranges_of(h.to_vec()));
    let mut best = [f64::MAX; 2];
    for _ in 0..5 {
        let mut store = gigabyte(blocks);
        for (ranges, best) in halves.iter().zip(&mut best) {
            let from = Instant::now();
            let (done, _) = convert(&mut store, ranges, ConvertOptions::default()).unwrap();
            *best = best.min(from.elapsed().as_secs_f64() * 1e3);
            assert_eq!(done.blocks, 131_072);
        }
        let census = verify(&store).unwrap();
        assert_eq!((census.extents.len(), census.depth), (8, 1));
    }
    for (best, name) in best.into_iter().zip(["first", "second"]) {
        judge(
            &format!("convert 131,072 random blocks, {name} half, best of 5"),
            best,
            "ms",
            30.0,
        );
    }
}

#[test]
fn conversions_one_by_one() {
    let mut store = gigabyte(32_767);
    let single: Vec<_> = (0..16_000).map(|i| ranges_of(vec![i * 2])).collect();
    let mut best = f64::MAX;
    for some in single.chunks(2000) {
        let from = Instant::now();
        for ranges in some {
            convert(&mut store, ranges, ConvertOptions::default()).unwrap();
        }
        best = best.min(from.elapsed().as_secs_f64() * 1e6 / some.len() as f64);
    }
    judge("convert one block alone, best of 8 runs", best, "us", 10.0);
}
