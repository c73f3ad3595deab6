//! S19 to S21: what becomes of errors.

use crate::race::case::{Case, Strategy, Verdict, actor, one_unwritten};
use crate::race::op::Op::*;

fn case(schedule: &'static str, strategy: Strategy, broken: &'static str) -> Case {
    Case {
        schedule,
        strategy,
        targets: &[0],
        world: one_unwritten,
        actors: Vec::new(),
        prefix: &[0],
        waiter: None,
        verdict: if broken.is_empty() {
            Verdict::Clean
        } else {
            Verdict::Violates(broken)
        },
        user_sees: "",
    }
}

pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let generations = [Strategy::V4, Strategy::G3, Strategy::Ours];
    all.extend(generations.map(convert_after_failed_write));
    all.extend(generations.map(aio_ok_conversion_failed));
    all.extend(generations.map(worker_swallows_error));
    all
}

fn convert_after_failed_write(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let convert = if ours { ConvertGood } else { Convert };
    Case {
        actors: vec![
            actor("submitter", &[Submit(0)]),
            actor("device", &[ArriveNot(0), Enqueue(0)]),
            actor("worker", &[WaitList, Splice, convert]),
            actor(
                "reader",
                &[WaitConverted(0), Lookup(0), ReadThrough, ExpectOurs],
            ),
        ],
        user_sees: "old disk contents become readable",
        ..case(
            "S19 convert-after-failed-write",
            strategy,
            if ours { "" } else { "I-1" },
        )
    }
}

fn aio_ok_conversion_failed(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let deliver = if ours {
        DeliverTruth(0)
    } else {
        Deliver {
            w: 0,
            durable: false,
        }
    };
    let fails = ConvertFails { w: 0, told: ours };
    Case {
        actors: vec![
            actor("submitter", &[Submit(0)]),
            actor("device", &[Arrive(0), Enqueue(0)]),
            actor("worker", &[WaitList, Splice, fails, deliver]),
        ],
        user_sees: "the application was told \"written\" and reads zeros",
        ..case(
            "S20 aio-ok-conversion-failed",
            strategy,
            if ours { "" } else { "I-33" },
        )
    }
}

fn worker_swallows_error(strategy: Strategy) -> Case {
    let ours = strategy == Strategy::Ours;
    let fails = ConvertFails { w: 0, told: ours };
    let punch: &[_] = if ours {
        &[WaitNonePending, LearnError, ProceedUnlessError]
    } else {
        &[Splice, Convert, LearnError, ProceedUnlessError]
    };
    Case {
        actors: vec![
            actor("submitter", &[Submit(0), Pending(1)]),
            actor("device", &[Arrive(0), Enqueue(0)]),
            actor("worker", &[WaitList, Splice, fails, Pending(-1)]),
            actor("punch", punch),
        ],
        prefix: &[0, 0, 1, 1, 2, 2],
        user_sees: "fsync or punch succeeds or fails depending on who won the race",
        ..case(
            "S21 worker-swallows-error",
            strategy,
            if ours { "" } else { "I-35" },
        )
    }
}
