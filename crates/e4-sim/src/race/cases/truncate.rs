//! S12 to S18: truncate, fallocate, defrag and unaligned writes.

use crate::race::case::{Actor, Case, Strategy, Verdict, actor, one_unwritten, one_written};
use crate::race::op::Op::*;
use crate::race::world::World;

fn case(schedule: &'static str, strategy: Strategy, broken: &'static str) -> Case {
    Case {
        schedule,
        strategy,
        targets: &[0],
        world: one_written,
        actors: Vec::new(),
        prefix: &[],
        waiter: None,
        verdict: if broken.is_empty() {
            Verdict::Clean
        } else {
            Verdict::Violates(broken)
        },
        user_sees: "",
    }
}

fn truncate_after_wait() -> Actor {
    actor(
        "truncate",
        &[Lock, WaitNoDio, SetSize(0), Free(0), Reuse(0), Unlock],
    )
}

fn truncate_size_first() -> Actor {
    actor(
        "truncate",
        &[Lock, SetSize(0), WaitNoDio, Free(0), Reuse(0), Unlock],
    )
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend([Strategy::G0, Strategy::G3].map(dioread_vs_truncate));
    all.extend([Strategy::Later, Strategy::Ours].map(nojournal_truncate_skips_wait));
    all.extend([Strategy::G0, Strategy::Ours].map(overwrite_vs_truncate));
    all.extend([Strategy::G0, Strategy::Ours].map(defrag_vs_unlocked_read));
    all.extend([Strategy::V4, Strategy::Ours].map(fallocate_grows_pending_extent));
    all.extend([Strategy::G0, Strategy::Ours].map(unaligned_overlap));
    all
}

fn dioread_vs_truncate(strategy: Strategy) -> Case {
    let old = strategy == Strategy::G0;
    let reader: &[_] = &[
        Dio(1),
        CheckSize(0),
        Lookup(0),
        ReadThrough,
        ExpectOurs,
        Dio(-1),
    ];
    let truncate = if old {
        truncate_after_wait()
    } else {
        truncate_size_first()
    };
    Case {
        actors: vec![actor("reader", reader), truncate],
        user_sees: "one user reads another's new data",
        ..case(
            "S12 dioread-vs-truncate",
            strategy,
            if old { "I-1" } else { "" },
        )
    }
}

fn nojournal_truncate_skips_wait(strategy: Strategy) -> Case {
    let broken = strategy == Strategy::Later;
    let truncate = if broken {
        actor("truncate", &[Lock, SetSize(0), Free(0), Reuse(0), Unlock])
    } else {
        truncate_size_first()
    };
    Case {
        actors: vec![
            actor("submitter", &[Dio(1), Submit(0), Arrive(0), Dio(-1)]),
            truncate,
        ],
        prefix: &[0, 0],
        user_sees: "corruption, but only on file systems without a journal",
        ..case(
            "S13 nojournal-truncate-skips-wait",
            strategy,
            if broken { "I-14" } else { "" },
        )
    }
}

fn overwrite_vs_truncate(strategy: Strategy) -> Case {
    let old = strategy == Strategy::G0;
    let submitter: &[_] = if old {
        &[Lock, Submit(0), Unlock, Dio(1), Arrive(0), Dio(-1)]
    } else {
        &[Lock, Dio(1), Submit(0), Unlock, Arrive(0), Dio(-1)]
    };
    Case {
        actors: vec![actor("overwriter", submitter), truncate_size_first()],
        prefix: &[0, 0],
        user_sees: "another file is corrupted",
        ..case(
            "S14 overwrite-vs-truncate",
            strategy,
            if old { "I-14" } else { "" },
        )
    }
}

fn defrag_vs_unlocked_read(strategy: Strategy) -> Case {
    let old = strategy == Strategy::G0;
    let defrag: &[_] = if old {
        &[SwapWithDonor(0)]
    } else {
        &[HoldOff, WaitNoDio, SwapWithDonor(0), LetIn]
    };
    let reader: &[_] = &[EnterCounted, Lookup(0), ReadThrough, ExpectOurs, Dio(-1)];
    Case {
        actors: vec![actor("reader", reader), actor("defrag", defrag)],
        user_sees: "a read returns another file's data",
        ..case(
            "S15 defrag-vs-unlocked-read",
            strategy,
            if old { "I-1" } else { "" },
        )
    }
}

fn fallocate_grows_pending_extent(strategy: Strategy) -> Case {
    let old = strategy == Strategy::V4;
    let convert = if old { ConvertExtent(0) } else { ConvertOne(0) };
    Case {
        world: one_unwritten,
        actors: vec![
            actor("writer", &[Submit(0)]),
            actor("device", &[Arrive(0), Enqueue(0)]),
            actor("fallocate", &[Fallocate(1)]),
            actor("worker", &[WaitList, convert]),
            actor(
                "reader",
                &[WaitConverted(0), Lookup(1), ReadThrough, ExpectOurs],
            ),
        ],
        prefix: &[0, 1],
        user_sees: "the neighbouring block shows old disk contents",
        ..case(
            "S16 fallocate-grows-pending-extent",
            strategy,
            if old { "I-1" } else { "" },
        )
    }
}

fn unaligned_overlap(strategy: Strategy) -> Case {
    let old = strategy == Strategy::G0;
    let half = |w: u8, second: bool| {
        let prepare = PrepareHalf {
            w,
            second,
            zero: true,
        };
        let name = if second {
            "writer of half 2"
        } else {
            "writer of half 1"
        };
        let steps = [prepare, Submit(w), Arrive(w), ConvertOne(w)];
        let mut program = steps.to_vec();
        if !old {
            program.insert(0, Lock);
            program.push(Unlock);
        }
        actor(name, &program)
    };
    Case {
        targets: &[0, 0],
        world: |actors| World::unwritten(1, 2, actors),
        actors: vec![
            half(0, false),
            half(1, true),
            // Both were told; each half must hold what was written to it.
            actor(
                "reader",
                &[
                    WaitConverted(0),
                    WaitConverted(1),
                    Lookup(0),
                    ReadThrough,
                    ExpectHalves,
                ],
            ),
        ],
        user_sees: "freshly written bytes become zeros",
        ..case(
            "S18 unaligned-overlap",
            strategy,
            if old { "I-48" } else { "" },
        )
    }
}
