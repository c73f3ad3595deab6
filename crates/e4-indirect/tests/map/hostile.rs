//! Maps that are none: they end, with an error or with what the pointers say, and never run away.

use std::ops::ControlFlow;

use e4_format::indirect::{DIRECT, set_pointer};
use e4_format::{FileBlock, FsBlock};
use e4_indirect::{MapError, RemoveLimits, lookup, plan_remove, walk};

use crate::store::MemStore;

const PER: u32 = 256;

/// A triple indirect block whose pointers all name the block itself: 2^24 places, one block.
fn loop_of_one() -> MemStore {
    let mut store = MemStore::new(PER);
    let mut node = vec![0; PER as usize * 4];
    for n in 0..PER {
        set_pointer(&mut node, n, Some(FsBlock::new(7))).unwrap();
    }
    store.nodes.insert(7, node);
    for slot in DIRECT..DIRECT + 3 {
        set_pointer(&mut store.root, slot, Some(FsBlock::new(7))).unwrap();
    }
    store
}

#[test]
fn a_loop_is_refused_by_whatever_visits_all_of_it() {
    let store = loop_of_one();
    let walked = walk(&store, 0..u32::MAX, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(walked, Err(MapError::Twice { .. })), "{walked:?}");
    let limits = RemoveLimits {
        nodes: 1 << 20,
        runs: 1 << 20,
    };
    let removed = plan_remove(&store, 0..u32::MAX, limits);
    assert!(matches!(removed, Err(MapError::Twice { .. })));
}

#[test]
fn a_lookup_ends_however_the_pointers_run() {
    let store = loop_of_one();
    for block in [12, 300, 70_000, 1 << 24] {
        let run = lookup(&store, FileBlock::new(block), u32::MAX).unwrap();
        assert_eq!(run.at, Some(FsBlock::new(7)));
    }
}

#[test]
fn blocks_that_cannot_be_read_are_errors() {
    let mut store = loop_of_one();
    store.nodes.clear();
    let found = lookup(&store, FileBlock::new(100), u32::MAX);
    assert!(matches!(found, Err(MapError::Read { .. })));
    let walked = walk(&store, 0..u32::MAX, &mut |_| ControlFlow::Continue(()));
    assert!(matches!(walked, Err(MapError::Read { .. })));
    let limits = RemoveLimits { nodes: 3, runs: 1 };
    let removed = plan_remove(&store, 0..u32::MAX, limits);
    assert!(matches!(removed, Err(MapError::Read { .. })));
}
