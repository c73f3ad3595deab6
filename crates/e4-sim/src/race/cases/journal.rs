//! S30, S32, S33, S34, S37, S38, S44: journal order, fairness, size, and writing the flag before the data.

use crate::race::case::{Case, Strategy, Verdict, actor, one_unwritten};
use crate::race::op::Op::*;
use crate::race::world::World;

fn case(schedule: &'static str, strategy: Strategy, broken: &'static str) -> Case {
    let clean = matches!(strategy, Strategy::Ours | Strategy::G3);
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
    all.extend([Strategy::G2, Strategy::G3, Strategy::Ours].map(reserved_behind_unreserved));
    all.extend([Strategy::G3, Strategy::Ours].map(unbounded_drain));
    all.extend([Strategy::Later, Strategy::Ours].map(osync_append_size));
    all.extend([Strategy::Later, Strategy::Ours].map(size_after_invalidate));
    all.extend([Strategy::G2, Strategy::Ours].map(written_before_data));
    all.extend([Strategy::Later, Strategy::Ours].map(partial_buffer_not_new));
    all.extend([Strategy::FlipFirst, Strategy::Ours].map(flip_before_write));
    all
}

fn reserved_behind_unreserved(strategy: Strategy) -> Case {
    // Write 0 has no reservation, write 1 has. The space comes back when write 1 is converted.
    let mut actors = vec![actor(
        "writer that waits for page 1",
        &[TakeJournalSpace, WaitConverted(1), GiveJournalSpace],
    )];
    match strategy {
        Strategy::G2 => actors.push(actor(
            "worker",
            &[
                TakeJournalSpace,
                ConvertOne(0),
                GiveJournalSpace,
                ConvertOne(1),
            ],
        )),
        // Two queues, as upstream did.
        Strategy::G3 => {
            actors.push(actor("reserved worker", &[ConvertOne(1)]));
            actors.push(actor(
                "worker",
                &[TakeJournalSpace, ConvertOne(0), GiveJournalSpace],
            ));
        }
        // Publishing needs no journal space at all.
        _ => actors.push(actor("worker", &[ConvertOne(0), ConvertOne(1)])),
    }
    Case {
        targets: &[0, 1],
        world: |actors| World::unwritten(2, 2, actors),
        actors,
        prefix: &[0],
        user_sees: "the journal stands still",
        ..case("S30 reserved-behind-unreserved", strategy, "deadlock")
    }
}

fn unbounded_drain(strategy: Strategy) -> Case {
    let mut drain = vec![Turn; 8];
    if strategy == Strategy::Ours {
        drain.insert(4, Yield);
    }
    Case {
        actors: vec![actor("worker", &drain)],
        verdict: if strategy == Strategy::Ours {
            Verdict::Clean
        } else {
            Verdict::Violates("I-21")
        },
        user_sees: "stall reports, a frozen CPU",
        ..case("S32 unbounded-drain", strategy, "I-21")
    }
}

fn osync_append_size(strategy: Strategy) -> Case {
    let deliver = Deliver {
        w: 0,
        durable: true,
    };
    let append: &[_] = if strategy == Strategy::Ours {
        &[
            Submit(0),
            Arrive(0),
            ConvertOne(0),
            SetSize(1),
            Commit,
            deliver,
        ]
    } else {
        &[
            Submit(0),
            Arrive(0),
            ConvertOne(0),
            Commit,
            SetSize(1),
            deliver,
        ]
    };
    Case {
        world: empty_file,
        actors: vec![actor("O_SYNC append", append)],
        user_sees: "an acknowledged append is gone after a power cut",
        ..case("S33 osync-append-size", strategy, "I-27")
    }
}

/// One preallocated block beyond the end of an empty file.
fn empty_file(actors: usize) -> World {
    let mut world = one_unwritten(actors);
    world.size = 0;
    world.committed_size = 0;
    world
}

fn size_after_invalidate(strategy: Strategy) -> Case {
    let append: &[_] = if strategy == Strategy::Ours {
        &[
            Submit(0),
            Arrive(0),
            ConvertOne(0),
            SetSize(1),
            InvalidatePage(0),
            DeliverTruth(0),
        ]
    } else {
        &[
            Submit(0),
            Arrive(0),
            ConvertOne(0),
            InvalidatePage(0),
            SetSize(1),
            DeliverTruth(0),
        ]
    };
    Case {
        world: empty_file,
        actors: vec![
            actor("extending direct write", append),
            actor("reader", &[ReadPage(0)]),
            actor(
                "second reader",
                &[WaitDelivered(0), ReadPage(0), ExpectData(0)],
            ),
        ],
        user_sees: "cached zeros over good data",
        ..case("S34 size-after-invalidate", strategy, "I-26")
    }
}

fn written_before_data(strategy: Strategy) -> Case {
    let writeback: &[_] = if strategy == Strategy::Ours {
        &[Fallocate(0), Submit(0), Arrive(0), ConvertOne(0)]
    } else {
        &[AllocateWritten(0), Submit(0), Arrive(0)]
    };
    Case {
        world: |actors| World::unwritten(0, 1, actors),
        actors: vec![
            actor("writeback of a hole", writeback),
            actor("direct reader", &[Lookup(0), ReadThrough, ExpectOurs]),
        ],
        user_sees: "old disk contents",
        ..case("S37 written-before-data", strategy, "I-1")
    }
}

fn partial_buffer_not_new(strategy: Strategy) -> Case {
    let prepare = PrepareHalf {
        w: 0,
        second: true,
        zero: strategy == Strategy::Ours,
    };
    Case {
        actors: vec![
            actor(
                "writer of half 2",
                &[prepare, Submit(0), Arrive(0), ConvertOne(0)],
            ),
            actor(
                "reader",
                &[WaitConverted(0), Lookup(0), ReadThrough, ExpectOurs],
            ),
        ],
        user_sees: "stale memory contents in the first half of the block",
        ..case("S38 partial-buffer-not-new", strategy, "I-1")
    }
}

fn flip_before_write(strategy: Strategy) -> Case {
    let write: &[_] = if strategy == Strategy::Ours {
        &[Submit(0), Arrive(0), ConvertOne(0), Commit]
    } else {
        &[Submit(0), ConvertOne(0), Commit, Arrive(0)]
    };
    Case {
        actors: vec![actor("writer", write), actor("power", &[PowerCut])],
        user_sees: "old disk contents after a crash",
        ..case("S44 flip-before-write", strategy, "I-28")
    }
}
