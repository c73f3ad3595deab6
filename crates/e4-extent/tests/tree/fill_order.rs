//! I-7: whatever the order in which a preallocated file is written, it ends as one extent.

use e4_extent::*;

use crate::model::{Rng, Unwritten, Written, block, extent, range, ranges_of};
use crate::store::MemStore;

/// Converts all blocks in random order, `batch` at a time.
fn fill(store: &mut MemStore, blocks: usize, batch: usize, options: ConvertOptions, rng: &mut Rng) {
    let mut order: Vec<usize> = (0..blocks).collect();
    rng.shuffle(&mut order);
    for some in order.chunks(batch) {
        let ranges = ranges_of(some.to_vec());
        let mut from = 0;
        // In as many steps as the limit makes it.
        loop {
            let rest: Vec<ConvertRange> = ranges[from..].to_vec();
            let (_, next) = convert(store, &rest, options).unwrap();
            let Some(next) = next else { break };
            from = ranges.partition_point(|r| r.blocks.end <= next);
        }
    }
}

#[test]
fn random_order_ends_with_one_extent() {
    let mut runs = 0;
    for (entries, root) in [(3, 2), (4, 4), (6, 4), (84, 4), (340, 4)] {
        for batch in [1, 2, 7, 50, 1000] {
            for seed in 0..6 {
                let blocks = if entries < 6 { 150 } else { 1500 };
                let mut store = MemStore::new(entries, root);
                insert(&mut store, &extent(0, blocks, 1000, Unwritten)).unwrap();
                let extras = if seed % 2 == 0 { 16 } else { u32::MAX };
                let leaves_max = if seed % 3 == 0 { 5 } else { u32::MAX };
                let options = ConvertOptions { extras, leaves_max };
                fill(&mut store, blocks as usize, batch, options, &mut Rng(seed));
                let census = verify(&store).unwrap();
                if batch == 1 || extras == u32::MAX && leaves_max == u32::MAX {
                    assert_eq!(census.extents, [extent(0, blocks, 1000, Written)]);
                    assert_eq!((census.depth, store.nodes.len()), (0, 0));
                }
                // With few extras some borders stay: they are looked at once, when they change.
                assert!(
                    census.extents.len() <= 16,
                    "{} extents",
                    census.extents.len()
                );
                runs += 1;
            }
        }
    }
    eprintln!("random fill: {runs} runs");
}

/// A gigabyte in 4 KiB blocks: nine unwritten extents at first, eight written ones at last, because
/// written extents may be one block longer.
#[test]
fn random_order_ends_with_the_fewest_extents() {
    let blocks = 262_144_usize;
    let mut store = MemStore::new(340, 4);
    for at in (0..blocks).step_by(32_767) {
        let len = u32::try_from((blocks - at).min(32_767)).unwrap();
        insert(&mut store, &extent(at, len, 5000 + at as u64, Unwritten)).unwrap();
    }
    assert_eq!(verify(&store).unwrap().extents.len(), 9);
    let options = ConvertOptions {
        extras: u32::MAX,
        ..Default::default()
    };
    fill(&mut store, blocks, 4096, options, &mut Rng(5));
    let census = verify(&store).unwrap();
    assert_eq!(census.extents.len(), 8);
    assert_eq!(census.depth, 1);
}

/// S16: the extent grew after the write was submitted; only the block that was written converts.
#[test]
fn conversion_stays_exact_when_the_extent_has_grown() {
    let mut store = MemStore::new(340, 4);
    insert(&mut store, &extent(0, 1, 100, Unwritten)).unwrap();
    let written = [ConvertRange::checked(
        range(0, 1),
        e4_format::FsBlock::new(100),
    )];
    insert(&mut store, &extent(1, 1, 101, Unwritten)).unwrap();
    assert_eq!(
        lookup(&store, block(0)).unwrap(),
        Mapping::Extent(extent(0, 2, 100, Unwritten))
    );
    convert(&mut store, &written, ConvertOptions::default()).unwrap();
    let expected = [extent(0, 1, 100, Written), extent(1, 1, 101, Unwritten)];
    assert_eq!(verify(&store).unwrap().extents, expected);
}
