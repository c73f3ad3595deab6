//! Every layout of a small file, every range, every operation, every point of failure.
//!
//! Nodes hold three to five entries and trees are built with different fills, so files of a few blocks
//! reach depth 3. `E4_EXHAUSTIVE=1` takes longer files.

use e4_extent::*;
use e4_format::extent::Extent;

use crate::model::{
    Cell, Model, Unwritten, Written, assert_merged, block, extent, range, ranges_of,
};
use crate::store::MemStore;

/// Calls `f` with every layout of `n` blocks: each a hole, unwritten or written, and each mapped block
/// behind another one either physically next to it or elsewhere.
pub(crate) fn layouts(n: usize, f: &mut impl FnMut(&Model)) -> u64 {
    fn grow(cells: &mut Vec<Cell>, n: usize, next: u64, f: &mut impl FnMut(&Model)) -> u64 {
        if cells.len() == n {
            f(&Model(cells.clone()));
            return 1;
        }
        let mut seen = 0;
        let follows = matches!(cells.last(), Some(Some(_)));
        cells.push(None);
        seen += grow(cells, n, next, f);
        cells.pop();
        for state in [Unwritten, Written] {
            for apart in [0, 100].into_iter().take(1 + usize::from(follows)) {
                cells.push(Some((next + apart, state)));
                seen += grow(cells, n, next + apart + 1, f);
                cells.pop();
            }
        }
        seen
    }
    grow(&mut Vec::new(), n, 1000, f)
}

/// How trees are built.
#[derive(Clone, Copy)]
pub(crate) struct Form {
    node_entries: u16,
    root_entries: u16,
    fill: usize,
    merged: bool,
}

const fn form(node_entries: u16, root_entries: u16, fill: usize, merged: bool) -> Form {
    Form {
        node_entries,
        root_entries,
        fill,
        merged,
    }
}

pub(crate) const FORMS: &[Form] = &[
    form(3, 2, 1, true),
    form(3, 2, 3, true),
    form(3, 2, 1, false),
    form(3, 2, 2, false),
    form(3, 2, 3, false),
    form(4, 4, 4, true),
    form(4, 4, 1, false),
    form(4, 4, 3, false),
    form(4, 2, 4, false),
    form(5, 3, 2, false),
];

impl Form {
    pub(crate) fn build(self, model: &Model) -> MemStore {
        let extents = if self.merged {
            model.extents()
        } else {
            model.single_extents()
        };
        MemStore::build(self.node_entries, self.root_entries, &extents, self.fill)
    }
}

pub(crate) fn size(normal: usize, long: usize) -> usize {
    if std::env::var_os("E4_EXHAUSTIVE").is_some() {
        long
    } else {
        normal
    }
}

/// Runs `op` with the k-th read and then the k-th allocation failing, for all k. `check` sees the
/// store after a success; after a failure the tree must be what it was.
pub(crate) fn with_failures<T, E: core::fmt::Debug>(
    before: &MemStore,
    reads: u64,
    allocs: u64,
    mut op: impl FnMut(&mut MemStore) -> Result<T, E>,
    mut check: impl FnMut(&MemStore, T),
) -> u64 {
    let mut runs = 0;
    for k in 0..reads {
        let mut store = before.clone();
        store.reset_counts();
        store.fail_read = Some(k);
        assert!(
            op(&mut store).is_err(),
            "read {k} of {reads} failed and nobody noticed"
        );
        assert!(
            store.same_tree(before),
            "changed by an operation whose read {k} failed"
        );
        runs += 1;
    }
    for k in 0..allocs {
        let mut store = before.clone();
        store.nodes_left = Some(k);
        match op(&mut store) {
            Ok(value) => check(&store, value),
            Err(_) => assert!(
                store.same_tree(before),
                "changed although allocation {k} failed"
            ),
        }
        runs += 1;
    }
    runs
}

/// All sets of blocks as sorted ranges.
pub(crate) fn subsets(n: usize) -> Vec<Vec<ConvertRange>> {
    let members = |mask: usize| (0..n).filter(|at| mask & (1 << at) != 0).collect();
    (1..1_usize << n)
        .map(|mask| ranges_of(members(mask)))
        .collect()
}

/// Checks everything about one conversion; the number of runs.
fn check_convert(model: &Model, before: &MemStore, ranges: &[ConvertRange]) -> u64 {
    let mut expected = model.clone();
    let mut blocks = 0;
    for r in ranges {
        blocks += expected.convert(r.blocks.start.get() as usize, r.blocks.end.get() as usize);
    }
    let options = ConvertOptions::default();
    let planned = plan_convert(before, ranges, options).unwrap();
    let mut store = before.clone();
    store.reset_counts();
    let (done, next) = convert(&mut store, ranges, options).unwrap();
    assert_eq!((done.blocks, next), (blocks, None));
    let reads = store.reads.get();
    let census = expected.check(&store);
    for r in ranges.iter().filter(|_| blocks > 0) {
        assert_merged_where_converted(model, &census, r.blocks);
    }
    if blocks == 0 {
        assert!(
            planned.plan.is_empty() && store.same_tree(before),
            "a no-op changed something"
        );
    }
    let credits = planned.plan.credits();
    assert_eq!(u64::from(credits.dirtied), store.writes);
    assert_eq!(u64::from(credits.allocated), store.allocs);
    assert_eq!(u64::from(credits.freed), store.frees);
    let charge = charge_of(before, ranges, options);
    assert!(
        charge.credits().covers(&credits),
        "{charge:?} {:?} {credits:?}",
        charge.credits()
    );
    let op = |s: &mut MemStore| convert(s, ranges, options);
    1 + with_failures(before, reads, store.allocs, op, |s, _| {
        drop(expected.check(s))
    })
}

/// Merging is promised around blocks that the conversion changed.
fn assert_merged_where_converted(model: &Model, census: &Census, asked: FileRange) {
    for at in asked.start.get()..asked.end.get() {
        if matches!(model.0[at as usize], Some((_, Unwritten))) {
            assert_merged(census, range(at as usize, at as usize + 1));
        }
    }
}

/// The charge a caller would make: leaves counted in the tree before the conversion.
pub(crate) fn charge_of(
    store: &MemStore,
    ranges: &[ConvertRange],
    options: ConvertOptions,
) -> ConvertCharge {
    let mut leaves: Vec<_> = Vec::new();
    let mut above: Vec<_> = Vec::new();
    for r in ranges {
        let mut at = r.blocks.start;
        while at < r.blocks.end {
            let way = path(store, at).unwrap();
            leaves.push(way.last().copied());
            above.extend_from_slice(way.split_last().map_or(&[], |(_, above)| above));
            at = lookup(store, at).unwrap().blocks().end;
        }
    }
    leaves.sort_unstable();
    leaves.dedup();
    above.sort_unstable();
    above.dedup();
    // Fewer than the index nodes there are: those on the way are a bound as well. Sometimes they are not counted.
    let index = match ranges.len() % 4 {
        0 => u32::MAX,
        _ => u32::try_from(above.len()).unwrap(),
    };
    // What an observer of the leaves would know; sometimes nobody has looked.
    let mut rooms = Rooms::of_nodes(store.node_entries());
    for at in &leaves {
        let room = at.map_or(0, |at| {
            let bytes = store.read(at).unwrap();
            let node = e4_format::extent::Node::view(&bytes).unwrap();
            store.node_entries() - node.header().entries
        });
        rooms.add(room);
    }
    if ranges.len().is_multiple_of(3) {
        rooms = Rooms::UNKNOWN;
    }
    ConvertCharge {
        shape: store.shape(),
        leaves: u32::try_from(leaves.len()).unwrap(),
        rooms,
        index,
        runs: u32::try_from(ranges.len()).unwrap(),
        in_flight: 0,
        extras: options.extras,
    }
}

#[test]
fn convert_every_set_of_blocks() {
    let n = size(5, 6);
    let sets = subsets(n);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let before = form.build(model);
            for ranges in &sets {
                runs += check_convert(model, &before, ranges);
            }
        }
    });
    eprintln!(
        "convert: {seen} layouts of {n} blocks x {} sets x {} forms: {runs} runs",
        sets.len(),
        FORMS.len()
    );
}

#[test]
fn convert_every_range_of_longer_files() {
    let n = size(6, 8);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in &[FORMS[2], FORMS[4], FORMS[7]] {
            let before = form.build(model);
            for from in 0..n {
                for to in from + 1..=n {
                    let ranges = [ConvertRange::unchecked(range(from, to))];
                    runs += check_convert(model, &before, &ranges);
                }
            }
        }
    });
    eprintln!("convert: {seen} layouts of {n} blocks, every range: {runs} runs");
}

#[test]
fn remove_every_range() {
    let n = size(5, 7);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let before = form.build(model);
            for from in 0..n {
                for to in from + 1..=n {
                    runs += check_remove(model, &before, from, to);
                }
            }
        }
    });
    eprintln!("remove: {seen} layouts of {n} blocks, every range: {runs} runs");
}

fn blocks_of(extents: &[Extent]) -> Vec<(u32, u64)> {
    let cells = |e: &Extent| {
        let (block, start) = (e.block.get(), e.start.get());
        (0..e.len).map(move |i| (block + i, start + u64::from(i)))
    };
    extents.iter().flat_map(cells).collect()
}

fn check_remove(model: &Model, before: &MemStore, from: usize, to: usize) -> u64 {
    let mut expected = model.clone();
    expected.remove(from, to);
    let gone: Vec<(u32, u64)> = (from..to)
        .filter_map(|at| model.0[at].map(|(start, _)| (block(at).get(), start)))
        .collect();
    let limits = RemoveLimits::default();
    let planned = plan_remove(before, range(from, to), limits).unwrap();
    let mut store = before.clone();
    store.reset_counts();
    let Removed {
        unmapped,
        remaining,
    } = remove(&mut store, range(from, to), limits).unwrap();
    let reads = store.reads.get();
    assert_eq!((blocks_of(&unmapped), remaining), (gone, None));
    expected.check(&store);
    assert!(planned.plan.is_empty() == unmapped.is_empty());
    let credits = planned.plan.credits();
    assert_eq!(u64::from(credits.allocated), store.allocs);
    let leaves = charge_of(
        before,
        &[ConvertRange::unchecked(range(from, to))],
        Default::default(),
    );
    let bound = credits_for_remove(before.shape(), leaves.leaves, limits.extras);
    assert!(bound.covers(&credits), "{bound:?} {credits:?}");
    let op = |s: &mut MemStore| remove(s, range(from, to), limits);
    let mut runs = with_failures(before, reads, store.allocs, op, |s, _| {
        drop(expected.check(s))
    });
    for limits in [
        RemoveLimits {
            leaves: 1,
            ..limits
        },
        RemoveLimits {
            extents: 1,
            ..limits
        },
        RemoveLimits {
            leaves: 2,
            extents: 2,
            extras: 0,
        },
    ] {
        runs += check_remove_in_steps(model, before, from, to, limits);
    }
    runs + 1
}

/// Removing bit by bit gives the same, and between any two steps the rest is still mapped.
fn check_remove_in_steps(
    model: &Model,
    before: &MemStore,
    from: usize,
    to: usize,
    limits: RemoveLimits,
) -> u64 {
    let mut store = before.clone();
    let mut todo = Some(range(from, to));
    let mut steps = 0;
    while let Some(now) = todo {
        let Removed {
            unmapped,
            remaining,
        } = remove(&mut store, now, limits).unwrap();
        assert!(unmapped.len() <= limits.extents as usize);
        let mut expected = model.clone();
        expected.remove(remaining.map_or(from, |r| r.end.get() as usize), to);
        expected.check(&store);
        assert!(remaining.is_none_or(|r| r.start == now.start && r.end < now.end));
        todo = remaining;
        steps += 1;
    }
    steps
}

#[test]
fn insert_into_every_hole() {
    let n = size(6, 7);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let before = form.build(model);
            for from in 0..n {
                for to in from + 1..=n {
                    runs += check_insert(model, &before, from, to);
                }
            }
        }
    });
    eprintln!("insert: {seen} layouts of {n} blocks, every range: {runs} runs");
}

fn check_insert(model: &Model, before: &MemStore, from: usize, to: usize) -> u64 {
    let len = u32::try_from(to - from).unwrap();
    let after_prev = from
        .checked_sub(1)
        .and_then(|p| model.0[p])
        .map(|(start, _)| start + 1);
    let before_next = model
        .0
        .get(to)
        .copied()
        .flatten()
        .and_then(|(start, _)| start.checked_sub(len.into()));
    let mut places = vec![5000];
    places.extend(after_prev);
    places.extend(before_next);
    let mut runs = 0;
    for state in [Unwritten, Written] {
        for &start in &places {
            let new = extent(from, len, start, state);
            if model.0[from..to].iter().any(Option::is_some) {
                let mut store = before.clone();
                assert!(matches!(
                    insert(&mut store, &new),
                    Err(TreeError::Overlap { .. })
                ));
                assert!(store.same_tree(before));
                runs += 1;
                continue;
            }
            let mut expected = model.clone();
            expected.insert(&new);
            let planned = plan_insert(before, &new).unwrap();
            let mut store = before.clone();
            store.reset_counts();
            insert(&mut store, &new).unwrap();
            let reads = store.reads.get();
            let census = expected.check(&store);
            assert_merged(&census, range(from, to));
            let (credits, bound) = (planned.credits(), credits_for_insert(before.shape()));
            assert!(bound.covers(&credits), "{bound:?} {credits:?}");
            let op = |s: &mut MemStore| insert(s, &new);
            runs += 1 + with_failures(before, reads, store.allocs, op, |s, ()| {
                drop(expected.check(s))
            });
        }
    }
    runs
}

#[test]
fn lookup_agrees_with_every_block() {
    let n = size(7, 8);
    let mut runs = 0_u64;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let store = form.build(model);
            for at in 0..n {
                runs += 1;
                let found = lookup(&store, block(at)).unwrap();
                assert!(found.blocks().contains(block(at)));
                match (found, model.0[at]) {
                    (Mapping::Extent(e), Some((start, state))) => {
                        assert_eq!(
                            (e.physical(block(at)).unwrap().get(), e.state),
                            (start, state)
                        );
                    }
                    (Mapping::Hole(hole), None) => {
                        let first = model.0[..at].iter().rposition(Option::is_some);
                        let next = model.0[at..].iter().position(Option::is_some);
                        let end = next.map_or(u32::MAX, |i| block(at + i).get());
                        assert_eq!(hole.start, block(first.map_or(0, |i| i + 1)));
                        assert_eq!(hole.end.get(), end);
                    }
                    other => panic!("block {at}: {other:?}"),
                }
                let next = next_extent(&store, block(at)).unwrap();
                let expected = (at..n).find(|&i| model.0[i].is_some());
                let got = next.map(|e| e.block.max(block(at)));
                assert_eq!(got, expected.map(block));
            }
        }
    });
    eprintln!("lookup: {seen} layouts of {n} blocks: {runs} lookups");
}
