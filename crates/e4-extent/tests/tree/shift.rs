//! Shifts and flips back to unwritten: every layout of a small file, every place, every point of failure, in one
//! step and in many.

use e4_extent::*;

use crate::exhaustive::{FORMS, layouts, size, with_failures};
use crate::model::{Model, Rng, Unwritten, Written, assert_merged, block, extent, range};
use crate::store::MemStore;

impl Model {
    /// The `by` blocks before `at`, which are a hole, go; what lies behind moves up.
    fn shift_left(&mut self, at: usize, by: usize) {
        self.0.drain(at - by..at);
        let len = self.0.len();
        self.0.resize(len + by, None);
    }

    /// `by` unmapped blocks come at `at`; the model grows.
    fn shift_right(&mut self, at: usize, by: usize) {
        let hole = std::iter::repeat_n(None, by);
        self.0.splice(at..at, hole);
    }

    fn unwrite(&mut self, from: usize, to: usize) -> u64 {
        let mut flipped = 0;
        for (_, state) in self.0[from..to].iter_mut().flatten() {
            flipped += u64::from(*state == Written);
            *state = Unwritten;
        }
        flipped
    }
}

fn tail(from: usize) -> FileRange {
    FileRange::new(block(from), FileRange::ALL.end)
}

fn leaves_of(store: &MemStore) -> u32 {
    verify(store).unwrap().leaves
}

fn assert_covered(bound: Credits, plan: &Plan) {
    let credits = plan.credits();
    assert!(bound.covers(&credits), "{bound:?} {credits:?}");
}

const STEPS: [ShiftLimits; 2] = [
    ShiftLimits {
        leaves: 2,
        extras: 0,
    },
    ShiftLimits {
        leaves: 3,
        extras: 2,
    },
];

#[test]
fn collapse_every_range() {
    let n = size(5, 6);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let built = form.build(model);
            for from in 0..n {
                for to in from + 1..=n {
                    let (mut before, mut holed) = (built.clone(), model.clone());
                    remove(&mut before, range(from, to), RemoveLimits::default()).unwrap();
                    holed.remove(from, to);
                    runs += check_left(&holed, &before, from, to);
                }
            }
        }
    });
    eprintln!("collapse: {seen} layouts of {n} blocks, every range: {runs} runs");
}

fn check_left(model: &Model, before: &MemStore, from: usize, to: usize) -> u64 {
    let by = u32::try_from(to - from).unwrap();
    let limits = ShiftLimits::default();
    let mut expected = model.clone();
    expected.shift_left(to, to - from);
    let plan = plan_shift_left(before, tail(to), by, limits).unwrap().plan;
    let bound = credits_for_shift(before.shape(), leaves_of(before), limits.extras);
    assert_covered(bound, &plan);
    let mut store = before.clone();
    store.reset_counts();
    assert_eq!(shift_left(&mut store, tail(to), by, limits), Ok(None));
    let (reads, allocs) = (store.reads.get(), store.allocs);
    let census = expected.check(&store);
    if !plan.is_empty() {
        assert_merged(&census, range(from, from + 1));
    }
    let op = |s: &mut MemStore| shift_left(s, tail(to), by, limits);
    let mut runs = with_failures(before, reads, allocs, op, |s, _| {
        drop(expected.check(s));
    });
    for limits in STEPS {
        let mut store = before.clone();
        let mut todo = Some(tail(to));
        while let Some(now) = todo {
            let bound = credits_for_shift(store.shape(), limits.leaves, limits.extras.max(1));
            let plan = plan_shift_left(&store, now, by, limits).unwrap().plan;
            assert_covered(bound, &plan);
            todo = shift_left(&mut store, now, by, limits).unwrap();
            assert!(todo.is_none_or(|rest| rest.start > now.start || now.start == block(to)));
            // Between two steps: the file with the hole further on.
            let hole_end = todo.map_or(model.0.len(), |rest| {
                (rest.start.get() as usize).min(model.0.len())
            });
            let mut between = model.clone();
            let moved: Vec<_> = between.0[to..hole_end.max(to)].to_vec();
            between.0[from..from + moved.len()].copy_from_slice(&moved);
            let hole = from + moved.len();
            between.0[hole..hole + to - from].fill(None);
            between.check(&store);
            runs += 1;
        }
    }
    runs + 1
}

#[test]
fn insert_at_every_block() {
    let n = size(4, 6);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let before = form.build(model);
            for at in 0..=n {
                for by in 1..=2 {
                    runs += check_right(model, &before, at, by);
                }
            }
        }
    });
    eprintln!("insert range: {seen} layouts of {n} blocks, every place: {runs} runs");
}

fn check_right(model: &Model, before: &MemStore, at: usize, by: usize) -> u64 {
    let blocks = u32::try_from(by).unwrap();
    let limits = ShiftLimits::default();
    let mut expected = model.clone();
    expected.shift_right(at, by);
    let plan = plan_shift_right(before, tail(at), blocks, limits)
        .unwrap()
        .plan;
    let bound = credits_for_shift(before.shape(), leaves_of(before), limits.extras);
    assert_covered(bound, &plan);
    let mut store = before.clone();
    store.reset_counts();
    assert_eq!(shift_right(&mut store, tail(at), blocks, limits), Ok(None));
    let (reads, allocs) = (store.reads.get(), store.allocs);
    expected.check(&store);
    let op = |s: &mut MemStore| shift_right(s, tail(at), blocks, limits);
    let mut runs = with_failures(before, reads, allocs, op, |s, _| {
        drop(expected.check(s));
    });
    for limits in STEPS {
        let mut store = before.clone();
        let mut todo = Some(tail(at));
        while let Some(now) = todo {
            let bound = credits_for_shift(store.shape(), limits.leaves, limits.extras);
            let plan = plan_shift_right(&store, now, blocks, limits).unwrap().plan;
            assert_covered(bound, &plan);
            todo = shift_right(&mut store, now, blocks, limits).unwrap();
            assert!(todo.is_none_or(|rest| rest.start == now.start && rest.end < now.end));
            let done_from = todo.map_or(at, |rest| rest.end.get() as usize);
            let mut between = model.clone();
            between.shift_right(done_from, by);
            between.check(&store);
            runs += 1;
        }
    }
    runs + 1
}

#[test]
fn unwrite_every_range() {
    let n = size(4, 6);
    let mut runs = 0;
    let seen = layouts(n, &mut |model| {
        for form in FORMS {
            let before = form.build(model);
            for from in 0..n {
                for to in from + 1..=n {
                    runs += check_unwrite(model, &before, from, to);
                }
            }
        }
    });
    eprintln!("unwrite: {seen} layouts of {n} blocks, every range: {runs} runs");
}

fn check_unwrite(model: &Model, before: &MemStore, from: usize, to: usize) -> u64 {
    let limits = UnwriteLimits::default();
    let mut expected = model.clone();
    let flipped = expected.unwrite(from, to);
    let plan = plan_unwrite(before, range(from, to), limits).unwrap().plan;
    let mut store = before.clone();
    store.reset_counts();
    let done = unwrite(&mut store, range(from, to), limits).unwrap();
    assert_eq!(done, (flipped, None));
    let (reads, allocs) = (store.reads.get(), store.allocs);
    assert_eq!(u64::from(plan.credits().dirtied), store.writes);
    let census = expected.check(&store);
    if flipped > 0 {
        for at in (from..to).filter(|&at| model.0[at].is_some_and(|(_, state)| state == Written)) {
            assert_merged(&census, range(at, at + 1));
        }
    } else {
        assert!(store.same_tree(before), "a no-op changed something");
    }
    let op = |s: &mut MemStore| unwrite(s, range(from, to), limits);
    let mut runs = with_failures(before, reads, allocs, op, |s, _| {
        drop(expected.check(s));
    });
    let mut store = before.clone();
    let mut at = Some(block(from));
    while let Some(now) = at {
        let limits = UnwriteLimits {
            leaves: 1,
            extras: 1,
        };
        let rest = FileRange::new(now, block(to));
        let (_, next) = unwrite(&mut store, rest, limits).unwrap();
        let done = next.map_or(to, |b| b.get() as usize);
        let mut between = model.clone();
        between.unwrite(from, done);
        between.check(&store);
        assert!(next.is_none_or(|next| next > now));
        at = next;
        runs += 1;
    }
    runs + 1
}

/// A written extent of the longest length has one block more than an unwritten one may have.
#[test]
fn the_longest_extents_flip() {
    let mut store = MemStore::new(4, 4);
    let longest = 32768;
    for i in 0..4_usize {
        let at = i * longest;
        insert(&mut store, &extent(at, 32768, 1000 + at as u64, Written)).unwrap();
    }
    let whole = range(0, 4 * longest);
    let (flipped, next) = unwrite(&mut store, whole, UnwriteLimits::default()).unwrap();
    assert_eq!((flipped, next), (4 * 32768, None));
    let census = verify(&store).unwrap();
    let blocks: u64 = census.extents.iter().map(|e| u64::from(e.len)).sum();
    assert!(census.extents.iter().all(|e| e.state == Unwritten));
    assert_eq!((blocks, census.extents.len()), (4 * 32768, 5));
}

/// A block behind the last addressable one, a gap that is not one, a file too short: refused, nothing changed.
#[test]
fn what_cannot_be_shifted() {
    let mut store = MemStore::new(4, 4);
    let last = u32::MAX as usize - 3;
    insert(&mut store, &extent(2, 2, 1000, Written)).unwrap();
    insert(&mut store, &extent(last, 2, 2000, Written)).unwrap();
    let before = store.clone();
    let limits = ShiftLimits::default();
    assert!(matches!(
        shift_right(&mut store, tail(1), 2, limits),
        Err(TreeError::BadExtent { .. })
    ));
    assert!(matches!(
        shift_left(&mut store, tail(3), 1, limits),
        Err(TreeError::Overlap { .. })
    ));
    assert!(matches!(
        shift_left(&mut store, tail(3), 4, limits),
        Err(TreeError::BadExtent { .. })
    ));
    assert!(store.same_tree(&before));
    assert_eq!(shift_right(&mut store, tail(1), 1, limits), Ok(None));
}

/// Random collapses, insertions and flips on deep trees with real and tiny nodes.
#[test]
fn random_shifts() {
    let mut deepest = 0;
    for (seed, (node, root)) in [(3, 2), (5, 3), (84, 4)].into_iter().enumerate() {
        let mut rng = Rng(41 + seed as u64);
        let blocks = if node == 3 { 120 } else { 400 };
        let mut model = Model(vec![None; blocks]);
        let mut store = MemStore::new(node, root);
        for step in 0..3000_u64 {
            let from = rng.below(blocks - 1);
            let to = (from + 1 + rng.below(12)).min(blocks);
            let limits = ShiftLimits {
                leaves: 2 + rng.below(4) as u32,
                extras: rng.below(3) as u32,
            };
            let by = u32::try_from(to - from).unwrap();
            match rng.below(8) {
                0 => {
                    remove(&mut store, range(from, to), RemoveLimits::default()).unwrap();
                    model.remove(from, to);
                    let mut todo = Some(tail(to));
                    while let Some(now) = todo {
                        todo = shift_left(&mut store, now, by, limits).unwrap();
                    }
                    model.shift_left(to, to - from);
                }
                1 => {
                    // What would fall off the end of the model goes first.
                    let kept = blocks - (to - from);
                    remove(&mut store, range(kept, blocks), RemoveLimits::default()).unwrap();
                    model.remove(kept, blocks);
                    let mut todo = Some(tail(from));
                    while let Some(now) = todo {
                        todo = shift_right(&mut store, now, by, limits).unwrap();
                    }
                    model.shift_right(from, to - from);
                    model.0.truncate(blocks);
                }
                2 => {
                    let limits = UnwriteLimits::default();
                    unwrite(&mut store, range(from, to), limits).unwrap();
                    model.unwrite(from, to);
                }
                _ => {
                    let hole = model.0[from..to].iter().take_while(|c| c.is_none()).count();
                    if hole > 0 {
                        let len = u32::try_from(1 + rng.below(hole)).unwrap();
                        let e = extent(from, len, 1000 + step * 16, Written);
                        insert(&mut store, &e).unwrap();
                        model.insert(&e);
                    }
                }
            }
            if step % 8 == 0 {
                deepest = deepest.max(model.check(&store).depth);
            }
        }
        model.check(&store);
    }
    assert!(deepest >= 4, "the trees stayed shallow: {deepest}");
}
