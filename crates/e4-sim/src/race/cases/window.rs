//! S01 to S11: bugs of the barrier and of the window between "data arrived" and "converted".

use crate::race::case::{Actor, Case, Strategy, Verdict, actor, one_unwritten};
use crate::race::op::Op::*;
use crate::race::world::World;

fn case(schedule: &'static str, strategy: Strategy, actors: Vec<Actor>) -> Case {
    Case {
        schedule,
        strategy,
        targets: &[0],
        world: one_unwritten,
        actors,
        prefix: &[],
        waiter: None,
        verdict: Verdict::Clean,
        user_sees: "",
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = vec![trylock_livelock(false), trylock_livelock(true)];
    all.extend([Strategy::V4, Strategy::G2, Strategy::G3].map(drained_list_flush));
    all.extend([Strategy::V4, Strategy::G2, Strategy::G3].map(fsync_vs_drained_list));
    all.extend([Strategy::V4, Strategy::G2, Strategy::G3].map(early_end_writeback));
    all.extend([Strategy::V4, Strategy::G3].map(direct_read_in_window));
    all.extend([Strategy::V4, Strategy::G3].map(buffered_read_after_reclaim));
    all.extend([Strategy::V4, Strategy::G3].map(submitted_not_covered));
    all.extend([Strategy::G0, Strategy::G3].map(count_dropped_early));
    all.extend([Strategy::G2, Strategy::Ours].map(endless_wait));
    all.extend([Strategy::G0, Strategy::Ours].map(cross_inode_head_of_line));
    all.extend([Strategy::G0, Strategy::G3].map(aio_before_conversion));
    all
}

fn trylock_livelock(fixed: bool) -> Case {
    let worker: &[_] = if fixed {
        &[WaitList, Splice, Convert, Dio(-1)]
    } else {
        &[WaitList, TryLock, Splice, Convert, Dio(-1), Unlock]
    };
    let strategy = if fixed { Strategy::V4 } else { Strategy::G0 };
    Case {
        verdict: if fixed {
            Verdict::Clean
        } else {
            Verdict::Violates("I-17")
        },
        prefix: &[0, 0, 1, 1],
        user_sees: "truncate never returns, a worker at 100 % CPU",
        ..case(
            "S01 trylock-livelock",
            strategy,
            vec![
                actor("submitter", &[Dio(1), Submit(0)]),
                actor("device", &[Arrive(0), Enqueue(0)]),
                actor("truncate", &[Lock, SetSize(0), WaitNoDio, Free(0), Unlock]),
                actor("worker", worker),
            ],
        )
    }
}

fn drained_list_flush(strategy: Strategy) -> Case {
    let (truncate, worker): (&[_], &[_]) = match strategy {
        Strategy::V4 => (
            &[SetSize(0), Splice, Convert, Free(0), Reuse(0)],
            &[WaitList, Splice, Convert],
        ),
        Strategy::G2 => (
            &[
                SetSize(0),
                Splice,
                Convert,
                WaitNonePending,
                Free(0),
                Reuse(0),
            ],
            &[WaitList, Splice, Convert, Pending(-1)],
        ),
        _ => (
            &[SetSize(0), WaitNoDio, Free(0), Reuse(0)],
            &[WaitList, Splice, Convert, Dio(-1)],
        ),
    };
    Case {
        verdict: verdict(strategy == Strategy::V4, "I-13"),
        prefix: &[0, 0, 0, 1, 1, 3, 3],
        user_sees: "truncate works; later the tree is damaged, or freed blocks come back as written",
        ..case(
            "S02 drained-list-flush",
            strategy,
            vec![
                actor("submitter", &[Pending(1), Dio(1), Submit(0)]),
                actor("device", &[Arrive(0), Enqueue(0)]),
                actor("truncate", truncate),
                actor("worker", worker),
            ],
        )
    }
}

fn verdict(broken: bool, what: &'static str) -> Verdict {
    if broken {
        Verdict::Violates(what)
    } else {
        Verdict::Clean
    }
}

/// fsync of buffered data, under the rules of a generation.
fn fsync(strategy: Strategy) -> Actor {
    let program: &[_] = match strategy {
        Strategy::V4 => &[
            StartWriteback(0),
            Submit(0),
            WaitWriteback(0),
            Splice,
            Convert,
            Commit,
            FsyncReturns(0),
        ],
        // The flush is left out: with it, whoever converts would lower the count.
        Strategy::G2 => &[
            StartWriteback(0),
            Pending(1),
            Submit(0),
            WaitWriteback(0),
            WaitNonePending,
            Commit,
            FsyncReturns(0),
        ],
        _ => &[
            StartWriteback(0),
            Submit(0),
            WaitWriteback(0),
            Commit,
            FsyncReturns(0),
        ],
    };
    actor("fsync", program)
}

fn fsync_vs_drained_list(strategy: Strategy) -> Case {
    let (device, worker): (&[_], &[_]) = match strategy {
        Strategy::G3 => (
            &[Arrive(0), Enqueue(0)],
            &[WaitList, Splice, Convert, EndWriteback(0)],
        ),
        Strategy::G2 => (
            &[Arrive(0), Enqueue(0), EndWriteback(0)],
            &[WaitList, Splice, Convert, Pending(-1)],
        ),
        _ => (
            &[Arrive(0), Enqueue(0), EndWriteback(0)],
            &[WaitList, Splice, Convert],
        ),
    };
    Case {
        verdict: verdict(strategy == Strategy::V4, "I-24"),
        user_sees: "fsync said yes, after a power cut the data reads as zeros",
        ..case(
            "S03 fsync-vs-drained-list",
            strategy,
            vec![
                fsync(strategy),
                actor("device", device),
                actor("worker", worker),
            ],
        )
    }
}

fn early_end_writeback(strategy: Strategy) -> Case {
    let mut actors = vec![fsync(strategy)];
    match strategy {
        Strategy::G3 => {
            actors.push(actor("device", &[Arrive(0), Enqueue(0)]));
            actors.push(actor(
                "worker",
                &[WaitList, Splice, Convert, EndWriteback(0)],
            ));
        }
        Strategy::G2 => {
            actors.push(actor("device", &[Arrive(0), EndWriteback(0), Enqueue(0)]));
            actors.push(actor("worker", &[WaitList, Splice, Convert, Pending(-1)]));
        }
        _ => actors.push(actor("device", &[Arrive(0), EndWriteback(0), Enqueue(0)])),
    }
    Case {
        verdict: verdict(strategy == Strategy::V4, "I-24"),
        user_sees: "fsync said yes, after a power cut the data reads as zeros",
        ..case("S04 early-end-writeback", strategy, actors)
    }
}

fn direct_read_in_window(strategy: Strategy) -> Case {
    let v4 = strategy == Strategy::V4;
    let (device, worker, reader): (&[_], &[_], &[_]) = if v4 {
        (
            &[Arrive(0), EndWriteback(0), Enqueue(0)],
            &[WaitList, Splice, Convert],
            &[
                WaitWriteback(0),
                SkipFlushIfEmpty,
                Splice,
                Convert,
                Lookup(0),
                ReadThrough,
                ExpectData(0),
            ],
        )
    } else {
        (
            &[Arrive(0), Enqueue(0)],
            &[WaitList, Splice, Convert, EndWriteback(0)],
            &[WaitWriteback(0), Lookup(0), ReadThrough, ExpectData(0)],
        )
    };
    Case {
        verdict: verdict(v4, "I-26"),
        prefix: &[0, 0],
        user_sees: "a direct read returns zeros for data just written",
        ..case(
            "S05 direct-read-in-window",
            strategy,
            vec![
                actor("writer", &[StartWriteback(0), Submit(0)]),
                actor("device", device),
                actor("worker", worker),
                actor("reader", reader),
            ],
        )
    }
}

fn buffered_read_after_reclaim(strategy: Strategy) -> Case {
    let v4 = strategy == Strategy::V4;
    let (device, worker): (&[_], &[_]) = if v4 {
        (
            &[Arrive(0), EndWriteback(0), Enqueue(0)],
            &[WaitList, Splice, Convert],
        )
    } else {
        (
            &[Arrive(0), Enqueue(0)],
            &[WaitList, Splice, Convert, EndWriteback(0)],
        )
    };
    Case {
        verdict: verdict(v4, "I-26"),
        prefix: &[0, 0],
        user_sees: "zeros in a file that was written, until the cache is dropped",
        ..case(
            "S06 buffered-read-after-reclaim",
            strategy,
            vec![
                actor("writer", &[StartWriteback(0), Submit(0)]),
                actor("device", device),
                actor("worker", worker),
                actor("memory pressure", &[Reclaim(0)]),
                actor("reader", &[ReadPage(0), ExpectData(0)]),
            ],
        )
    }
}

fn submitted_not_covered(strategy: Strategy) -> Case {
    let v4 = strategy == Strategy::V4;
    let mut actors = vec![actor("submitter", &[Dio(1), Submit(0)])];
    if v4 {
        actors.push(actor("device", &[Arrive(0)]));
        actors.push(actor(
            "truncate",
            &[SetSize(0), Splice, Convert, Free(0), Reuse(0)],
        ));
    } else {
        actors.push(actor("device", &[Arrive(0), Enqueue(0)]));
        actors.push(actor(
            "truncate",
            &[SetSize(0), WaitNoDio, Free(0), Reuse(0)],
        ));
        actors.push(actor("worker", &[WaitList, Splice, Convert, Dio(-1)]));
    }
    Case {
        verdict: verdict(v4, "I-14"),
        prefix: &[0, 0],
        user_sees: "another file is corrupted",
        ..case("S07 submitted-not-covered", strategy, actors)
    }
}

fn count_dropped_early(strategy: Strategy) -> Case {
    let old = strategy == Strategy::G0;
    let (device, worker): (&[_], &[_]) = if old {
        (
            &[Arrive(0), Dio(-1), Enqueue(0)],
            &[WaitList, Splice, Convert],
        )
    } else {
        (
            &[Arrive(0), Enqueue(0)],
            &[WaitList, Splice, Convert, Dio(-1)],
        )
    };
    Case {
        verdict: verdict(old, "I-13"),
        prefix: &[0, 0],
        user_sees: "error messages in the log, a damaged tree",
        ..case(
            "S08 count-dropped-early",
            strategy,
            vec![
                actor("submitter", &[Dio(1), Submit(0)]),
                actor("device", device),
                actor("truncate", &[SetSize(0), WaitNoDio, Free(0), Reuse(0)]),
                actor("worker", worker),
            ],
        )
    }
}

fn endless_wait(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let submitter: &[_] = &[EnterCounted, Dio(-1), Again];
    let truncate: &[_] = if ours {
        &[HoldOff, WaitNoDio, Free(0), LetIn]
    } else {
        &[WaitNoDio, Free(0)]
    };
    Case {
        verdict: verdict(!ours, "I-15"),
        waiter: Some(0),
        user_sees: "truncate never returns under load",
        ..case(
            "S09 endless-wait",
            strategy,
            vec![
                actor("truncate", truncate),
                actor("submitter 1", submitter),
                actor("submitter 2", submitter),
            ],
        )
    }
}

fn cross_inode_head_of_line(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    // Write 0 belongs to inode A, write 1 to inode B; one worker, first in, first out.
    let worker: &[_] = if ours {
        &[ConvertOne(0), ConvertOne(1)]
    } else {
        &[Lock, ConvertOne(0), Unlock, ConvertOne(1)]
    };
    Case {
        targets: &[0, 1],
        world: |actors| World::unwritten(2, 2, actors),
        verdict: verdict(!ours, "deadlock"),
        prefix: &[0],
        user_sees: "writer, worker and eviction stand still, then the whole machine",
        ..case(
            "S10 cross-inode-head-of-line",
            strategy,
            vec![
                // Holds A's lock, enters reclaim, which evicts B and waits for B's io_end.
                actor("writer of A", &[Lock, WaitConverted(1), Unlock]),
                actor("worker", worker),
            ],
        )
    }
}

fn aio_before_conversion(strategy: Strategy) -> Case {
    let old = strategy == Strategy::G0;
    let deliver = Deliver {
        w: 0,
        durable: false,
    };
    let (device, worker): (&[_], &[_]) = if old {
        (
            &[Arrive(0), DeliverTruth(0), Enqueue(0)],
            &[WaitList, Splice, Convert],
        )
    } else {
        (
            &[Arrive(0), Enqueue(0)],
            &[WaitList, Splice, Convert, deliver],
        )
    };
    Case {
        verdict: verdict(old, "I-26"),
        prefix: &[0],
        user_sees: "a read after the completed write returns zeros",
        ..case(
            "S11 aio-before-conversion",
            strategy,
            vec![
                actor("submitter", &[Submit(0)]),
                actor("device", device),
                actor("worker", worker),
                actor(
                    "reader",
                    &[WaitDelivered(0), Lookup(0), ReadThrough, ExpectData(0)],
                ),
            ],
        )
    }
}
