//! Trees that lie: whatever the bytes, no panic, no endless walk, no node changed or freed twice.

use std::sync::Arc;

use e4_extent::*;
use e4_format::FileBlock;
use e4_format::extent::{Extent, ExtentIndex, write_index, write_leaf};

use crate::model::{Rng, Unwritten, Written, block, extent, range, ranges_of};
use crate::store::MemStore;

fn tree(entries: u16, count: usize, fill: usize) -> MemStore {
    let extents: Vec<Extent> = (0..count)
        .map(|i| {
            extent(
                i * 5,
                4,
                1000 + 10 * i as u64,
                if i % 3 == 0 { Written } else { Unwritten },
            )
        })
        .collect();
    MemStore::build(entries, 4, &extents, fill)
}

/// Everything one can do to a tree. The store panics on a double free or a write to a foreign block.
fn poke(store: &MemStore, rng: &mut Rng) -> bool {
    let mut fine = true;
    let at = block(rng.below(400));
    fine &= lookup(store, at).is_ok_and(|m| m.blocks().contains(at));
    fine &= next_extent(store, at).is_ok();
    let seen = iterate(store, FileRange::ALL)
        .take(100_000)
        .filter(Result::is_ok)
        .count();
    assert!(seen < 100_000, "endless iteration");
    fine &= verify(store).is_ok();
    let ranges = ranges_of((0..20).map(|_| rng.below(400)).collect());
    fine &= convert(&mut store.clone(), &ranges, ConvertOptions::default()).is_ok();
    fine &= plan_zero_out(store, &ranges, &[]).is_ok();
    let from = rng.below(300);
    let holes = range(from, from + 100);
    fine &= remove(&mut store.clone(), holes, RemoveLimits::default()).is_ok();
    fine &= remove(
        &mut store.clone(),
        FileRange::ALL,
        RemoveLimits {
            leaves: 2,
            extents: 3,
            extras: 4,
        },
    )
    .is_ok();
    let new = extent(5 * rng.below(80) + 4, 1, 77, Written);
    let _ = insert(&mut store.clone(), &new);
    fine
}

#[test]
fn flipped_bytes_do_no_harm() {
    let mut rng = Rng(4711);
    let (mut runs, mut noticed) = (0, 0);
    for (entries, count, fill) in [(4, 3, 4), (4, 40, 3), (6, 80, 6), (6, 80, 2)] {
        let sound = tree(entries, count, fill);
        let places: Vec<u64> = sound.nodes.keys().copied().collect();
        for _ in 0..6000 {
            let mut store = sound.clone();
            for _ in 0..1 + rng.below(3) {
                let which = rng.below(places.len() + 1);
                let value = match rng.below(4) {
                    0 => 0,
                    1 => 0xff,
                    _ => rng.next() as u8,
                };
                if which == places.len() {
                    let i = rng.below(60);
                    store.root[i] = value;
                } else {
                    let mut bytes = store.nodes[&places[which]].to_vec();
                    let i = rng.below(bytes.len());
                    bytes[i] = value;
                    store.nodes.insert(places[which], bytes.into());
                }
            }
            noticed += u32::from(!poke(&store, &mut rng));
            runs += 1;
        }
    }
    eprintln!("hostile: {runs} damaged trees, {noticed} noticed to be");
    assert!(noticed > runs / 10);
}

/// Two index entries with one child, a child that is its own grandparent, a child of the wrong level.
#[test]
fn shared_and_cyclic_nodes_are_refused() {
    let mut store = MemStore::new(6, 4);
    let leaf = e4_format::FsBlock::new(1 << 20);
    let mut bytes = vec![0; 84];
    write_leaf(&mut bytes, &[extent(0, 4, 100, Unwritten)], 6, 0).unwrap();
    store.nodes.insert(leaf.get(), Arc::from(&bytes[..]));
    let twice = [
        ExtentIndex {
            block: block(0),
            leaf,
        },
        ExtentIndex {
            block: block(10),
            leaf,
        },
    ];
    write_index(&mut store.root, &twice, 1, 4, 0).unwrap();
    let all = [ConvertRange::unchecked(range(0, 20))];
    assert!(matches!(
        convert(&mut store, &all, ConvertOptions::default()),
        Err(TreeError::Damaged { .. })
    ));
    assert!(matches!(
        remove(&mut store, FileRange::ALL, RemoveLimits::default()),
        Err(TreeError::Damaged { .. })
    ));
    assert!(lookup(&store, block(12)).is_err());

    let own = [ExtentIndex {
        block: FileBlock::new(0),
        leaf,
    }];
    write_index(&mut bytes, &own, 1, 6, 0).unwrap();
    store.nodes.insert(leaf.get(), Arc::from(&bytes[..]));
    write_index(&mut store.root, &own, 2, 4, 0).unwrap();
    assert!(matches!(
        lookup(&store, block(0)),
        Err(TreeError::Damaged { .. })
    ));
    assert!(plan_convert(&store, &all, ConvertOptions::default()).is_err());
    write_index(&mut store.root, &own, 5, 4, 0).unwrap();
    assert!(lookup(&store, block(0)).is_err() && verify(&store).is_err());
}

/// Keys lower than the child's first block are legal for the kernel. We accept and repair them.
#[test]
fn inexact_keys_are_accepted_and_repaired() {
    let mut store = tree(4, 30, 3);
    let verify_before = verify(&store).unwrap();
    assert_eq!(verify_before.depth, 2);
    // Lower the key of each leaf but the first in every index node by two blocks of the hole.
    for bytes in store.nodes.values_mut() {
        let node = e4_format::extent::Node::parse(bytes).unwrap();
        if node.is_leaf() {
            continue;
        }
        let lowered: Vec<ExtentIndex> = node
            .indexes()
            .enumerate()
            .map(|(i, c)| {
                let by = u32::from(i > 0);
                ExtentIndex {
                    block: FileBlock::new(c.block.get() - by),
                    leaf: c.leaf,
                }
            })
            .collect();
        let (depth, max) = (node.depth(), node.header().max);
        let mut new = vec![0; bytes.len()];
        write_index(&mut new, &lowered, depth, max, 0).unwrap();
        *bytes = new.into();
    }
    assert!(matches!(
        verify(&store),
        Err(TreeError::Damaged {
            damage: Damage::Key { .. },
            ..
        })
    ));
    // The hole in front of such a leaf takes an extent.
    for at in (4..145).step_by(5) {
        insert(&mut store, &extent(at, 1, 9000 + 2 * at as u64, Written)).unwrap();
    }
    let census = verify(&store).unwrap();
    assert_eq!(census.extents.len(), verify_before.extents.len() + 29);
}
