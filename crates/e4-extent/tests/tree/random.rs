//! Long random sequences, with real node sizes and with tiny ones, from empty to deep and back.

use e4_extent::*;
use e4_format::units::BlockSize;

use crate::exhaustive::charge_of;
use crate::model::{Model, Rng, Unwritten, Written, extent, range, ranges_of};
use crate::store::MemStore;

/// Physical blocks are handed out so that neighbours are often, but not always, contiguous.
struct Disk(u64);

impl Disk {
    fn take(&mut self, len: u32, rng: &mut Rng) -> u64 {
        let skip = if rng.below(3) == 0 { 7 } else { 0 };
        let at = self.0 + skip;
        self.0 = at + u64::from(len);
        at
    }
}

struct World {
    store: MemStore,
    model: Model,
    disk: Disk,
    rng: Rng,
    deepest: u16,
}

impl World {
    fn new(store: MemStore, blocks: usize, seed: u64) -> Self {
        let model = Model(vec![None; blocks]);
        Self {
            store,
            model,
            disk: Disk(1000),
            rng: Rng(seed),
            deepest: 0,
        }
    }

    fn blocks(&self) -> usize {
        self.model.0.len()
    }

    fn insert(&mut self, len_max: usize) {
        let from = self.rng.below(self.blocks());
        let hole = self.model.0[from..]
            .iter()
            .take(len_max)
            .take_while(|c| c.is_none())
            .count();
        if hole == 0 {
            return;
        }
        let len = u32::try_from(1 + self.rng.below(hole)).unwrap();
        let state = if self.rng.below(4) == 0 {
            Written
        } else {
            Unwritten
        };
        let new = extent(from, len, self.disk.take(len, &mut self.rng), state);
        let bound = credits_for_insert(self.store.shape());
        let plan = plan_insert(&self.store, &new).unwrap();
        assert!(
            bound.covers(&plan.credits()),
            "{bound:?} {:?}",
            plan.credits()
        );
        if plan.apply(&mut self.store).is_ok() {
            self.model.insert(&new);
        }
    }

    fn convert(&mut self, count: usize) {
        let blocks = (0..count).map(|_| self.rng.below(self.blocks())).collect();
        let ranges = ranges_of(blocks);
        let options = ConvertOptions {
            extras: self.rng.below(8) as u32,
            ..Default::default()
        };
        let charge = charge_of(&self.store, &ranges, options);
        self.store.reset_counts();
        match convert(&mut self.store, &ranges, options) {
            Ok((done, _)) => {
                let mut blocks = 0;
                for r in &ranges {
                    let (from, to) = (r.blocks.start.get() as usize, r.blocks.end.get() as usize);
                    blocks += self.model.convert(from, to);
                }
                assert_eq!(done.blocks, blocks);
            }
            Err(e) => {
                assert!(matches!(e, TreeError::NoNode { .. }) && self.store.nodes_left == Some(0))
            }
        }
        let used = Credits {
            dirtied: self.store.writes as u32,
            allocated: self.store.allocs as u32,
            freed: self.store.frees as u32,
        };
        assert!(
            charge.credits().covers(&used),
            "{charge:?} {:?} {used:?}",
            charge.credits()
        );
    }

    fn remove(&mut self, len_max: usize) {
        let from = self.rng.below(self.blocks());
        let to = (from + 1 + self.rng.below(len_max)).min(self.blocks());
        let limits = RemoveLimits {
            leaves: 1 + self.rng.below(4) as u32,
            ..Default::default()
        };
        let mut todo = Some(range(from, to));
        while let Some(now) = todo {
            match remove(&mut self.store, now, limits) {
                Ok(Removed { remaining, .. }) => {
                    let done_from = remaining.map_or(now.start, |r| r.end).get() as usize;
                    self.model.remove(done_from, now.end.get() as usize);
                    todo = remaining;
                }
                Err(e) => {
                    assert!(matches!(e, TreeError::NoNode { .. }));
                    return;
                }
            }
        }
    }

    fn check(&mut self) {
        let census = self.model.check(&self.store);
        self.deepest = self.deepest.max(census.depth);
    }
}

#[test]
fn tiny_nodes_long_sequences() {
    let mut deepest = 0;
    let mut steps = 0;
    for (seed, (node, root)) in [(3, 2), (4, 4), (5, 3), (8, 4), (12, 4), (84, 4)]
        .into_iter()
        .enumerate()
    {
        let mut world = World::new(
            MemStore::new(node, root),
            if node == 3 { 120 } else { 600 },
            7 + seed as u64,
        );
        for step in 0..10_000 {
            // Now and then space runs out for a while.
            world.store.nodes_left = (step % 500 > 450).then_some(0);
            match world.rng.below(10) {
                0..4 => world.insert(12),
                4..8 => {
                    let n = 1 + world.rng.below(20);
                    world.convert(n);
                }
                _ => world.remove(if step % 5000 > 4900 { 300 } else { 20 }),
            }
            if step % 4 == 0 {
                world.check();
            }
            steps += 1;
        }
        deepest = deepest.max(world.deepest);
    }
    assert!(deepest >= 3, "the trees stayed shallow: {deepest}");
    eprintln!("random, tiny nodes: {steps} operations, depth up to {deepest}");
}

/// One-block extents, physically apart, until the tree has three levels of blocks; then everything
/// goes, in random order, and the tree must end as an empty root.
#[test]
fn real_nodes_grow_deep_and_shrink_to_nothing() {
    let blocks = 36_000;
    let mut world = World::new(MemStore::of(BlockSize::KIB1), blocks, 99);
    let mut order: Vec<usize> = (0..blocks).collect();
    world.rng.shuffle(&mut order);
    for (i, &at) in order.iter().enumerate() {
        let new = extent(at, 1, 1000 + 2 * at as u64, Unwritten);
        insert(&mut world.store, &new).unwrap();
        world.model.insert(&new);
        if i % 2000 == 0 {
            world.check();
        }
    }
    world.check();
    assert_eq!(world.deepest, 3);
    for _ in 0..200 {
        world.convert(500);
    }
    world.check();
    let per_leaf = blocks / world.model.check(&world.store).leaves as usize;
    assert!(
        per_leaf >= 84 / 2,
        "leaves hold {per_leaf} extents of 84 after random insertion"
    );
    world.rng.shuffle(&mut order);
    for (i, &at) in order.iter().enumerate() {
        let gone = remove(&mut world.store, range(at, at + 1), RemoveLimits::default()).unwrap();
        assert_eq!(gone.unmapped.len(), 1);
        world.model.remove(at, at + 1);
        if i % 2000 == 0 {
            world.check();
        }
    }
    let census = world.model.check(&world.store);
    assert_eq!((census.depth, census.nodes.len()), (0, 0));
    eprintln!(
        "random order: {blocks} extents in, {per_leaf} of 84 per leaf at depth 3, all out again"
    );
}

/// A file that grows at its end has full leaves, and so has one written backwards.
#[test]
fn sequential_growth_packs_leaves_full() {
    let blocks = 20_000_usize;
    for backwards in [false, true] {
        let mut store = MemStore::of(BlockSize::KIB4);
        for i in 0..blocks {
            let at = if backwards { blocks - 1 - i } else { i };
            insert(&mut store, &extent(at, 1, 1000 + 2 * at as u64, Written)).unwrap();
        }
        let census = verify(&store).unwrap();
        assert_eq!(census.leaves as usize, blocks.div_ceil(340));
    }
}
