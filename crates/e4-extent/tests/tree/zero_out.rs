//! Converting when no node can be had: zeroing exactly what is not covered (I-5, S39, S40).

use e4_extent::*;

use crate::exhaustive::{FORMS, layouts, size, subsets};
use crate::model::{Model, Unwritten, Written, extent, range, ranges_of};
use crate::store::MemStore;

/// Carries a zero-out through, for one layout, set of ranges and set of busy blocks.
fn run(model: &Model, before: &MemStore, ranges: &[ConvertRange], busy: &[FileRange]) -> Outcome {
    let mut store = before.clone();
    store.nodes_left = Some(0);
    if convert(&mut store, ranges, ConvertOptions::default()).is_ok() {
        return Outcome::Easy;
    }
    assert!(store.same_tree(before));
    let plan = plan_zero_out(&store, ranges, busy).unwrap();
    let mut blocks: Vec<usize> = Vec::new();
    let mut expected = model.clone();
    for r in ranges {
        let (from, to) = (r.blocks.start.get() as usize, r.blocks.end.get() as usize);
        expected.convert(from, to);
        blocks.extend(from..to);
    }
    for zero in &plan.zero {
        assert!(
            !busy.iter().any(|b| b.overlaps(zero.blocks)),
            "a busy block is zeroed"
        );
        for (i, at) in (zero.blocks.start.get()..zero.blocks.end.get()).enumerate() {
            // Unwritten now, not covered by data, at the place named: nothing else may be zeroed.
            let cell = expected.0[at as usize];
            assert_eq!(cell, Some((zero.at.get() + i as u64, Unwritten)));
            expected.0[at as usize] = Some((zero.at.get() + i as u64, Written));
            blocks.push(at as usize);
        }
    }
    if !plan.stuck.is_empty() {
        assert!(!busy.is_empty(), "stuck although nothing is busy");
        return Outcome::Stuck;
    }
    let all = ranges_of(blocks);
    convert(&mut store, &all, ConvertOptions::default()).expect("no node is needed now");
    expected.check(&store);
    Outcome::Zeroed
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Easy,
    Zeroed,
    Stuck,
}

#[test]
fn zeroing_makes_every_conversion_possible() {
    let n = size(5, 6);
    let (sets, mut easy, mut zeroed, mut stuck) = (subsets(n), 0_u64, 0_u64, 0_u64);
    layouts(n, &mut |model| {
        for form in FORMS {
            let store = form.build(model);
            for ranges in &sets {
                for busy_at in 0..=n {
                    let covered = ranges
                        .iter()
                        .any(|r| r.blocks.overlaps(range(busy_at, busy_at + 1)));
                    if busy_at < n && covered {
                        continue;
                    }
                    let busy = [range(busy_at, busy_at + 1)];
                    let busy = if busy_at < n { &busy[..] } else { &[] };
                    match run(model, &store, ranges, busy) {
                        Outcome::Easy => easy += 1,
                        Outcome::Zeroed => zeroed += 1,
                        Outcome::Stuck => stuck += 1,
                    }
                }
            }
        }
    });
    assert!(
        zeroed > 1000 && stuck > 0,
        "the cases were not reached: {zeroed} {stuck}"
    );
    eprintln!("zero-out: {easy} needed none, {zeroed} went through, {stuck} stuck for busy blocks");
}

/// A full leaf of the real size, one block wanted in each of many extents.
#[test]
fn a_full_leaf_takes_conversions_without_a_node() {
    let extents: Vec<_> = (0..340)
        .map(|i| extent(i * 16, 8, 1000 + 100 * i as u64, Unwritten))
        .collect();
    let mut store = MemStore::build(340, 4, &extents, 340);
    store.nodes_left = Some(0);
    let mut ranges = ranges_of((0..340).step_by(7).map(|i| i * 16 + 3).collect());
    assert!(matches!(
        convert(&mut store, &ranges, ConvertOptions::default()),
        Err(TreeError::NoNode { .. })
    ));
    let plan = plan_zero_out(&store, &ranges, &[]).unwrap();
    assert!(plan.stuck.is_empty());
    assert_eq!(
        plan.zero.iter().map(|z| z.blocks.len()).sum::<u32>(),
        7 * ranges.len() as u32
    );
    ranges.extend(
        plan.zero
            .iter()
            .map(|z| ConvertRange::checked(z.blocks, z.at)),
    );
    ranges.sort_by_key(|r| r.blocks.start);
    convert(&mut store, &ranges, ConvertOptions::default()).unwrap();
    assert_eq!(verify(&store).unwrap().extents.len(), 340);
}

/// A neighbouring leaf with room takes the overflow: no zeroing, no node.
#[test]
fn a_neighbour_with_room_is_used_first() {
    let full = (0..340).map(|i| extent(i * 16, 8, 1000 + 100 * i as u64, Unwritten));
    let half = (340..500).map(|i| extent(i * 16, 8, 1000 + 100 * i as u64, Unwritten));
    let extents: Vec<_> = full.chain(half).collect();
    let mut store = MemStore::build(340, 4, &extents, 340);
    store.nodes_left = Some(0);
    let ranges = ranges_of(vec![3, 163]);
    let (done, _) = convert(&mut store, &ranges, ConvertOptions::default()).unwrap();
    assert_eq!(done.blocks, 2);
    assert_eq!(verify(&store).unwrap().extents.len(), 504);
}
