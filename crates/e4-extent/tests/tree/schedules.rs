//! A table of splits and conversions: description, extents before, ranges, extents after.

use e4_extent::*;
use e4_format::FsBlock;
use e4_format::extent::Extent;

use crate::model::{Unwritten as U, Written as W, extent, range};
use crate::store::MemStore;

type Row = (
    &'static str,
    &'static [(usize, u32, u64, e4_format::ExtentState)],
    &'static [(usize, usize)],
    &'static [(usize, u32, u64, e4_format::ExtentState)],
);

const TABLE: &[Row] = &[
    (
        "whole extent",
        &[(0, 10, 100, U)],
        &[(0, 10)],
        &[(0, 10, 100, W)],
    ),
    (
        "front",
        &[(0, 10, 100, U)],
        &[(0, 3)],
        &[(0, 3, 100, W), (3, 7, 103, U)],
    ),
    (
        "back",
        &[(0, 10, 100, U)],
        &[(7, 10)],
        &[(0, 7, 100, U), (7, 3, 107, W)],
    ),
    (
        "middle: one extent becomes three",
        &[(0, 10, 100, U)],
        &[(4, 6)],
        &[(0, 4, 100, U), (4, 2, 104, W), (6, 4, 106, U)],
    ),
    (
        "closing the gap merges both sides",
        &[(0, 4, 100, W), (4, 2, 104, U), (6, 4, 106, W)],
        &[(4, 6)],
        &[(0, 10, 100, W)],
    ),
    (
        "physically apart stays apart",
        &[(0, 4, 100, W), (4, 2, 204, U), (6, 4, 106, W)],
        &[(4, 6)],
        &[(0, 4, 100, W), (4, 2, 204, W), (6, 4, 106, W)],
    ),
    (
        "written stays",
        &[(0, 4, 100, W)],
        &[(1, 3)],
        &[(0, 4, 100, W)],
    ),
    (
        "a hole stays a hole",
        &[(8, 2, 100, U)],
        &[(0, 8)],
        &[(8, 2, 100, U)],
    ),
    (
        "across a hole and three states",
        &[(2, 2, 100, U), (6, 2, 200, W), (8, 4, 300, U)],
        &[(0, 10)],
        &[
            (2, 2, 100, W),
            (6, 2, 200, W),
            (8, 2, 300, W),
            (10, 2, 302, U),
        ],
    ),
    (
        "several ranges in one extent",
        &[(0, 10, 100, U)],
        &[(1, 2), (3, 4), (8, 10)],
        &[
            (0, 1, 100, U),
            (1, 1, 101, W),
            (2, 1, 102, U),
            (3, 1, 103, W),
            (4, 4, 104, U),
            (8, 2, 108, W),
        ],
    ),
    (
        "the longest unwritten extent, converted but for its last block",
        &[(0, 32_767, 100, U)],
        &[(0, 32_766)],
        &[(0, 32_766, 100, W), (32_766, 1, 32_866, U)],
    ),
    (
        "written extents fill up to the limit",
        &[(0, 32_768, 100, W), (32_768, 10, 32_868, U)],
        &[(32_768, 32_773)],
        &[
            (0, 32_768, 100, W),
            (32_768, 5, 32_868, W),
            (32_773, 5, 32_873, U),
        ],
    ),
    (
        "a merge past the limit fills the left extent",
        &[(0, 32_760, 100, W), (32_760, 20, 32_860, U)],
        &[(32_760, 32_780)],
        &[(0, 32_768, 100, W), (32_768, 12, 32_868, W)],
    ),
];

fn extents(cells: &[(usize, u32, u64, e4_format::ExtentState)]) -> Vec<Extent> {
    cells
        .iter()
        .map(|&(at, len, start, state)| extent(at, len, start, state))
        .collect()
}

#[test]
fn conversion_table() {
    for (name, before, ranges, after) in TABLE {
        let ranges: Vec<ConvertRange> = ranges
            .iter()
            .map(|&(from, to)| ConvertRange::unchecked(range(from, to)))
            .collect();
        for (entries, root, fill) in [(340, 4, 340), (4, 2, 1), (4, 2, 4), (3, 2, 2)] {
            let mut store = MemStore::build(entries, root, &extents(before), fill);
            convert(&mut store, &ranges, ConvertOptions::default()).unwrap();
            assert_eq!(verify(&store).unwrap().extents, extents(after), "{name}");
            // And again: nothing more happens (I-4).
            let was = store.clone();
            let (again, _) = convert(&mut store, &ranges, ConvertOptions::default()).unwrap();
            assert_eq!(again.blocks, 0, "{name}");
            assert!(store.same_tree(&was), "{name}");
        }
    }
}

/// The range was unmapped and mapped anew while its write was on the way: its data is not there.
#[test]
fn blocks_that_moved_are_not_converted() {
    let mut store = MemStore::build(340, 4, &[extent(0, 4, 100, U), extent(4, 4, 500, U)], 340);
    let ranges = [ConvertRange::checked(range(2, 6), FsBlock::new(102))];
    let (done, _) = convert(&mut store, &ranges, ConvertOptions::default()).unwrap();
    assert_eq!((done.blocks, done.moved), (2, vec![range(4, 6)]));
    let expected = [
        extent(0, 2, 100, U),
        extent(2, 2, 102, W),
        extent(4, 4, 500, U),
    ];
    assert_eq!(verify(&store).unwrap().extents, expected);
}

#[test]
fn what_was_done_is_reported() {
    let before = [extent(2, 2, 100, U), extent(6, 2, 200, W)];
    let mut store = MemStore::build(340, 4, &before, 340);
    let ranges = [
        ConvertRange::unchecked(range(0, 3)),
        ConvertRange::unchecked(range(5, 12)),
    ];
    let (done, _) = convert(&mut store, &ranges, ConvertOptions::default()).unwrap();
    assert_eq!((done.blocks, done.already), (1, 2));
    assert_eq!(done.holes, [range(0, 2), range(5, 6), range(8, 12)]);
}

#[test]
fn disorder_is_refused() {
    let mut store = MemStore::new(340, 4);
    let convert_ranges = |store: &mut MemStore, ranges: &[(usize, usize)]| {
        let ranges: Vec<_> = ranges
            .iter()
            .map(|&(a, b)| ConvertRange::unchecked(range(a, b)))
            .collect();
        convert(store, &ranges, ConvertOptions::default())
    };
    for (ranges, index) in [
        (&[(4, 6), (5, 7)][..], 1),
        (&[(3, 3)], 0),
        (&[(4, 5), (1, 2)], 1),
    ] {
        assert_eq!(
            convert_ranges(&mut store, ranges),
            Err(TreeError::BadRanges { index })
        );
    }
    for (len, state) in [(0, W), (32_769, W), (32_768, U)] {
        let bad = insert(&mut store, &extent(0, len, 1, state));
        assert!(matches!(bad, Err(TreeError::BadExtent { .. })));
    }
}
