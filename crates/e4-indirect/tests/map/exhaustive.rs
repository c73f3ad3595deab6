//! Every range of a small map inserted into every small layout, and every range removed from it; and every failure.

use std::ops::Range;

use e4_format::indirect::blocks_max;
use e4_format::{FileBlock, FsBlock};
use e4_indirect::{INSERT_NODES_MAX, MapError, RemoveLimits, insert, plan_insert, plan_remove};

use crate::store::{MemStore, Model};

const PER: u32 = 2;

/// Removes a range step by step; what was unmapped must be what the array loses.
pub(crate) fn remove(
    store: &mut MemStore,
    model: &mut Model,
    range: Range<u32>,
    limits: RemoveLimits,
) {
    let mut rest = Some(range.clone());
    let mut steps = 0;
    while let Some(range) = rest {
        let step = plan_remove(store, range.clone(), limits).unwrap();
        assert!(step.plan.touched_blocks() <= limits.nodes as usize);
        assert!(step.unmapped.len() <= limits.runs as usize);
        let done = step.remaining.as_ref().map_or(range.start, |r| r.end);
        assert!(step.remaining.is_none() || done < range.end, "no progress");
        for run in &step.unmapped {
            assert!(run.blocks.start >= done && run.blocks.end <= range.end);
            for (block, at) in run.blocks.clone().zip(run.at.unwrap().get()..) {
                assert_eq!(model.blocks.remove(&block), Some(at), "block {block}");
            }
        }
        assert!(model.is_free(done, range.end - done), "blocks left behind");
        step.plan.apply(store).unwrap();
        store.check(model);
        rest = step.remaining;
        steps += 1;
        assert!(steps < 1000);
    }
    assert!(model.is_free(range.start, range.end - range.start));
}

/// Layouts: every `stride`-th block mapped, in runs of `len`, from `first` on.
fn layouts() -> Vec<(MemStore, Model)> {
    let end = blocks_max(PER);
    let mut all = vec![(MemStore::new(PER), Model::default())];
    for (first, stride, len) in [
        (0, 1, 1),
        (0, 3, 1),
        (1, 2, 1),
        (11, 3, 2),
        (13, 4, 2),
        (17, 5, 3),
        (0, 30, 20),
    ] {
        let (mut store, mut model) = (MemStore::new(PER), Model::default());
        let mut at = first;
        while at + len <= end {
            let to = 1000 + u64::from(at) * 2;
            insert(&mut store, FileBlock::new(at), len, FsBlock::new(to)).unwrap();
            model.insert(at, len, to);
            at += stride;
        }
        store.check(&model);
        all.push((store, model));
    }
    all
}

#[test]
fn every_range_removed_from_every_layout() {
    let end = blocks_max(PER);
    let limits = [(3, 1), (3, 100), (4, 3), (100, 100)];
    for (store, model) in layouts() {
        for start in 0..end {
            for stop in start + 1..=end + 1 {
                let (nodes, runs) = limits[(start + stop) as usize % limits.len()];
                let (mut store, mut model) = (store.clone(), model.clone());
                let limits = RemoveLimits { nodes, runs };
                remove(&mut store, &mut model, start..stop, limits);
            }
        }
    }
}

#[test]
fn every_range_inserted_into_every_layout_and_every_failure_leaves_it() {
    let end = blocks_max(PER);
    for (store, model) in layouts() {
        for start in 0..end {
            for len in 1..=end - start {
                let place = (FileBlock::new(start), len, FsBlock::new(500_000));
                let plan = plan_insert(&store, place.0, place.1, place.2);
                if !model.is_free(start, len) {
                    assert!(matches!(plan, Err(MapError::Overlap { .. })));
                    continue;
                }
                let plan = plan.unwrap();
                if len <= PER {
                    assert!(plan.touched_blocks() <= INSERT_NODES_MAX as usize);
                }
                for left in 0..plan.new_blocks() as u64 {
                    let mut starved = store.clone();
                    starved.blocks_left = Some(left);
                    let failed = plan.clone().apply(&mut starved);
                    assert!(matches!(failed, Err(MapError::NoBlock { .. })));
                    assert_eq!((starved.root, &starved.nodes), (store.root, &store.nodes));
                    starved.check(&model);
                }
                let (mut store, mut model) = (store.clone(), model.clone());
                plan.apply(&mut store).unwrap();
                model.insert(start, len, 500_000);
                store.check(&model);
            }
        }
    }
}

#[test]
fn out_of_reach() {
    let store = MemStore::new(PER);
    let end = blocks_max(PER);
    for (block, len) in [(end, 1), (end - 1, 2), (u32::MAX, 1), (3, 0)] {
        let plan = plan_insert(&store, FileBlock::new(block), len, FsBlock::new(9));
        assert!(matches!(plan, Err(MapError::OutOfReach { .. })), "{block}");
    }
    let plan = plan_insert(&store, FileBlock::new(0), 2, FsBlock::new(u32::MAX.into()));
    assert!(matches!(plan, Err(MapError::Encode(_))));
}
