//! S22 to S28: lifetime and accounting.

use crate::race::case::{Case, Strategy, Verdict, actor, one_unwritten};
use crate::race::op::Op::*;
use crate::race::world::World;

fn case(schedule: &'static str, strategy: Strategy, broken: &'static str) -> Case {
    let clean = strategy == Strategy::Ours;
    Case {
        schedule,
        strategy,
        targets: &[0],
        world: one_unwritten,
        actors: Vec::new(),
        prefix: &[],
        waiter: None,
        verdict: if clean {
            Verdict::Clean
        } else {
            Verdict::Violates(broken)
        },
        user_sees: "",
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend([Strategy::G0, Strategy::Ours].map(queued_work_owns_io_end));
    all.extend([Strategy::G2, Strategy::Ours].map(work_outlives_inode));
    all.extend([Strategy::Later, Strategy::Ours].map(two_defer_predicates));
    all.extend([Strategy::G0, Strategy::Ours].map(clobbered_io_end_pointer));
    all.extend([Strategy::G0, Strategy::Ours].map(counter_without_flag));
    all.extend([Strategy::Later, Strategy::Ours].map(empty_io_end));
    all.extend([Strategy::G0, Strategy::Ours].map(narrow_offset));
    all
}

fn queued_work_owns_io_end(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    // Ours: the list holds the io_end, the work holds the inode; nobody else frees.
    let worker: &[_] = if ours {
        &[WaitList, Splice, Convert]
    } else {
        &[StartWorkOf(0), Splice, Convert]
    };
    let truncate: &[_] = if ours {
        &[Splice, Convert]
    } else {
        &[Splice, Convert, FreeIoEnd(0)]
    };
    Case {
        actors: vec![
            actor("device", &[Arrive(0), Enqueue(0)]),
            actor("worker", worker),
            actor("truncate", truncate),
        ],
        world: |actors| {
            let mut world = one_unwritten(actors);
            world.io[0].target = Some(0);
            world
        },
        prefix: &[0, 0],
        user_sees: "crash",
        ..case("S22 queued-work-owns-io-end", strategy, "I-39")
    }
}

fn work_outlives_inode(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let worker: &[_] = if ours {
        // The slot is given back last, and the worker owns the inode until then.
        &[WaitList, Splice, Convert, TouchInode, FreeIoEnd(0)]
    } else {
        &[WaitList, Splice, Convert, FreeIoEnd(0), TouchInode]
    };
    Case {
        actors: vec![
            actor("device", &[Enqueue(0)]),
            actor("worker", worker),
            actor("evict", &[WaitAllFreed, FreeInode]),
        ],
        user_sees: "NULL dereference at eviction",
        ..case("S23 work-outlives-inode", strategy, "I-39")
    }
}

fn two_defer_predicates(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    // The completion path thinks nothing is deferred and ends writeback; the final put defers.
    let (device, worker): (&[_], &[_]) = if ours {
        (
            &[ArriveNot(0), Enqueue(0)],
            &[WaitList, Splice, ConvertGood, TouchInode, EndWriteback(0)],
        )
    } else {
        (
            &[ArriveNot(0), Enqueue(0), EndWriteback(0)],
            &[WaitList, Splice, ConvertGood, TouchInode],
        )
    };
    Case {
        actors: vec![
            actor("writer", &[StartWriteback(0), Submit(0)]),
            actor("device", device),
            actor("worker", worker),
            actor("evict", &[WaitWriteback(0), FreeInode]),
        ],
        prefix: &[0, 0],
        user_sees: "use after free in the worker",
        ..case("S24 two-defer-predicates", strategy, "I-39")
    }
}

fn clobbered_io_end_pointer(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let deliver = Deliver {
        w: 0,
        durable: false,
    };
    let first: &[_] = if ours {
        &[Flag(0), Submit(0), Arrive(0), ConvertIfFlagged(0), deliver]
    } else {
        &[
            PointAt(0),
            FlagCurrent,
            Submit(0),
            Arrive(0),
            ConvertIfFlagged(0),
            deliver,
        ]
    };
    Case {
        targets: &[0, 1],
        world: |actors| World::unwritten(2, 2, actors),
        actors: vec![
            actor("writer into unwritten space", first),
            actor("overwriter", &[PointAt(1), Submit(1), Arrive(1)]),
        ],
        user_sees: "the conversion is skipped: data reads as zeros",
        ..case("S25 clobbered-io-end-pointer", strategy, "I-27")
    }
}

fn counter_without_flag(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let submitter: &[_] = if ours {
        &[Pending(1), Flag(0), Submit(0)]
    } else {
        &[Flag(0), Submit(0)]
    };
    Case {
        actors: vec![
            actor("submitter", submitter),
            actor("device", &[Arrive(0), Enqueue(0)]),
            actor("worker", &[WaitList, Splice, Convert, Pending(-1)]),
            actor("reader", &[WaitConverted(0), WaitNonePending, Lookup(0)]),
        ],
        user_sees: "a direct reader hangs for ever",
        ..case("S26 counter-without-flag", strategy, "deadlock")
    }
}

fn empty_io_end(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let program: &[_] = if ours {
        &[AssertNotUnwritten(0), FreeIoEnd(0)]
    } else {
        &[Flag(0), AssertNotUnwritten(0), FreeIoEnd(0)]
    };
    Case {
        actors: vec![actor("device", program)],
        user_sees: "crash",
        ..case("S27 empty-io-end", strategy, "I-37")
    }
}

fn narrow_offset(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let convert = if ours {
        ConvertOne(0)
    } else {
        ConvertNarrow(0)
    };
    let deliver = Deliver {
        w: 0,
        durable: false,
    };
    Case {
        // Block 2 does not fit the toy's narrow type and wraps to 0.
        targets: &[2],
        world: |actors| World::unwritten(3, 1, actors),
        actors: vec![
            actor("submitter", &[Submit(0)]),
            actor("device", &[Arrive(0), Enqueue(0)]),
            actor("worker", &[WaitList, Splice, convert, deliver]),
        ],
        user_sees: "writes beyond 4 GiB of a sparse file fail or land elsewhere",
        ..case("S28 narrow-offset", strategy, "I-27")
    }
}
