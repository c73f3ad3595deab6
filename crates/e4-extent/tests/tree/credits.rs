//! Random and adversarial conversions never need more than their charge (S17, design rule 2).

use e4_extent::*;
use e4_format::extent::Extent;

use crate::exhaustive::charge_of;
use crate::model::{Rng, Unwritten, extent, ranges_of};
use crate::store::MemStore;

/// Unwritten extents of `len` blocks, apart from each other, in nodes filled with `fill` entries.
fn preallocated(entries: u16, count: usize, len: u32, fill: usize) -> MemStore {
    let stride = len as usize + 1;
    let extents: Vec<Extent> = (0..count)
        .map(|i| extent(i * stride, len, 1000 + 100 * i as u64, Unwritten))
        .collect();
    MemStore::build(entries, 4, &extents, fill)
}

/// Converts and compares; how much of the charged nodes was used, in percent.
fn compare(store: &mut MemStore, blocks: Vec<usize>, options: ConvertOptions) -> u64 {
    let ranges = ranges_of(blocks);
    let charge = charge_of(store, &ranges, options);
    store.reset_counts();
    convert(store, &ranges, options).unwrap();
    let used = Credits {
        dirtied: u32::try_from(store.writes).unwrap(),
        allocated: u32::try_from(store.allocs).unwrap(),
        freed: u32::try_from(store.frees).unwrap(),
    };
    assert!(
        charge.credits().covers(&used),
        "{charge:?} {:?} {used:?}",
        charge.credits()
    );
    assert!(u64::from(charge.new_nodes()) >= store.allocs);
    100 * store.allocs / u64::from(charge.new_nodes().max(1))
}

/// Every leaf full, every k-th extent split in the middle: the case the bound is made for.
#[test]
fn full_leaves_split_everywhere() {
    let mut tightest = 0;
    let mut runs = 0;
    for entries in [4, 5, 6, 10, 84, 340] {
        for leaves in [1, 2, 3, 5, 17, 90] {
            if leaves > 17 && entries < 6 {
                continue; // deeper than the format allows
            }
            for every in [1, 2, 3, 7, 40, usize::from(entries)] {
                for per_extent in 1..4_usize {
                    let count = leaves * usize::from(entries);
                    let store = preallocated(entries, count, 9, usize::from(entries));
                    for options in [
                        ConvertOptions::default(),
                        ConvertOptions {
                            extras: 0,
                            ..Default::default()
                        },
                    ] {
                        let hits = (0..count).step_by(every);
                        let blocks = hits
                            .flat_map(|i| (0..per_extent).map(move |k| i * 10 + 1 + 2 * k))
                            .collect();
                        tightest = tightest.max(compare(&mut store.clone(), blocks, options));
                        runs += 1;
                    }
                }
            }
        }
    }
    eprintln!("full leaves: {runs} conversions, at most {tightest} % of the charged nodes used");
    assert!(tightest >= 60, "the bound is loose: {tightest} %");
}

/// Index nodes full as well, one leaf in each hit: the case in which `ceil(n/h) + depth + 1` is too
/// little and the touched index nodes count.
#[test]
fn full_index_nodes_split_one_by_one() {
    let entries = 6_usize;
    let per_index = entries * entries;
    for indexes in [2, 4, 10, 24] {
        let store = preallocated(6, indexes * per_index, 9, entries);
        let blocks = (0..indexes).map(|i| i * per_index * 10 + 31).collect();
        compare(
            &mut store.clone(),
            blocks,
            ConvertOptions {
                extras: 0,
                ..Default::default()
            },
        );
    }
}

#[test]
fn random_bulk_conversions_stay_within_the_charge() {
    let mut rng = Rng(2024);
    let (mut runs, mut most) = (0, 0);
    for entries in [4, 5, 8, 20, 84] {
        for _ in 0..60 {
            let count_max = usize::from(entries) * if entries < 8 { 6 } else { 40 };
            let count = 1 + rng.below(count_max);
            let fill = usize::from(entries / 2) + rng.below(usize::from(entries / 2)) + 1;
            let len = 1 + u32::try_from(rng.below(if entries < 8 { 8 } else { 30 })).unwrap();
            let mut store = preallocated(entries, count, len, fill);
            let total = count * (len as usize + 1);
            for _ in 0..10 {
                let n = 1 + rng.below(total);
                let blocks = (0..n).map(|_| rng.below(total)).collect();
                let extras = u32::try_from(rng.below(40)).unwrap();
                let options = ConvertOptions {
                    extras,
                    ..Default::default()
                };
                most = most.max(compare(&mut store, blocks, options));
                runs += 1;
            }
        }
    }
    eprintln!("bulk: {runs} conversions, at most {most} % of the charged nodes used");
}

/// The two figures of the design, and what one 4 KiB write into a big file is charged.
#[test]
fn charges_are_as_small_as_the_design_says() {
    let shape = |depth, node_entries| Shape {
        depth,
        node_entries,
        root_entries: 4,
    };
    let charge = |shape, leaves, runs| ConvertCharge {
        shape,
        leaves,
        rooms: Rooms::UNKNOWN,
        index: u32::MAX,
        runs,
        in_flight: 0,
        extras: 8,
    };
    // A 64 MiB image with 1 KiB blocks, 8 groups: 16 separate writes into a file of one leaf.
    let small = charge(shape(1, 84), 1, 16).credits().blocks(8);
    // A randomly filled 1 GiB file with 4 KiB blocks: a quarter of a million blocks, every second one.
    let first_half = charge(shape(1, 340), 1, 131_072).credits().blocks(8);
    let second_half = charge(shape(2, 340), 772, 0).credits().blocks(8);
    let one_write = charge(shape(2, 340), 1, 1).credits().blocks(8);
    // A large file written at random: 4,000 leaves below 16 index nodes need a third level, and with it the shape
    // alone would charge for 1,360 index nodes that do not exist.
    let mut rooms = Rooms::of_nodes(340);
    (0..4000).for_each(|_| rooms.add(85));
    let counted = |index| ConvertCharge {
        rooms,
        index,
        ..charge(shape(3, 340), 4000, 10_000)
    };
    let (by_shape, by_count) = (counted(u32::MAX).credits(), counted(17).credits());
    assert!(
        by_shape.dirtied > 5_300 && by_count.dirtied < 4_030,
        "{by_count:?}"
    );
    assert!(by_count.allocated < 500, "{by_count:?}");
    eprintln!("charges: {small}, {first_half}, {second_half}, one write {one_write}");
    assert!(small <= 45 && first_half < 1_600 && second_half < 1_600 && one_write <= 40);
}

#[test]
fn blocks_of_a_handle() {
    let credits = Credits {
        dirtied: 3,
        allocated: 2,
        freed: 1,
    };
    assert_eq!(credits.blocks(100), 1 + 3 + 2 + 2 * 3);
    assert_eq!(credits.blocks(1), 1 + 3 + 2 + 2);
}
