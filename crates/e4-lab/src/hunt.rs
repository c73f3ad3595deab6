//! The checkers that run in this process, against whatever bug it carries.

use crate::campaign;
use e4_sim::explore::{self, Params};
use e4_sim::{Bound, race};
use e4_sync::{Duration, now};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A kind of checker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checker {
    /// Crash states of seeded workloads; see [`e4_sim::explore`].
    Explorer,
    /// The engine led through the named schedules; see [`e4_sim::race`].
    Schedules,
}

/// What was found wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Find {
    /// What finds it again: a seed of the explorer, a schedule's number.
    pub focus: String,
    /// In words.
    pub what: String,
}

impl Checker {
    /// All.
    pub const ALL: [Checker; 2] = [Checker::Explorer, Checker::Schedules];

    /// For tables and arguments.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Checker::Explorer => "explorer",
            Checker::Schedules => "schedules",
        }
    }

    /// What the checker finds wrong within `time`; only with this `focus`, if one is given.
    #[must_use]
    pub fn hunt(self, time: Duration, focus: Option<&str>) -> Option<Find> {
        match (self, focus) {
            (Checker::Explorer, None) => explorer(time),
            (Checker::Explorer, Some(seed)) => seed.parse().ok().and_then(workload),
            (Checker::Schedules, focus) => schedules(focus),
        }
    }
}

fn explorer(time: Duration) -> Option<Find> {
    let begin = now();
    (1..)
        .take_while(|_| begin.elapsed() <= time)
        .find_map(workload)
}

/// Few states of many workloads first: most bugs are not shy.
const QUICK: u64 = 24;

fn workload(seed: u64) -> Option<Find> {
    let quick = Bound {
        exhaustive: 2,
        reorderings: 2,
        torn: 1,
        seed: 1,
    };
    let bound = if seed <= QUICK {
        quick
    } else {
        campaign::bound()
    };
    let params = Params {
        stop_at_first: true,
        ..Params::varied(seed)
    };
    let run = || explore::run(&params, bound, &mut |_| {});
    let what = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(report) => report.first_failure?.description,
        Err(panic) => format!("a panic: {}", words(&*panic)),
    };
    Some(Find {
        focus: seed.to_string(),
        what: format!("{params}: {what}"),
    })
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| Some((*panic.downcast_ref::<&str>()?).to_owned()));
    text.unwrap_or_default()
}

fn schedules(focus: Option<&str>) -> Option<Find> {
    let all = race::engine_schedules().iter();
    let mut wanted = all.filter(|s| focus.is_none_or(|focus| s.name() == focus));
    let found = wanted.find_map(|schedule| {
        let outcome = catch_unwind(AssertUnwindSafe(|| schedule.run()));
        let what = match outcome {
            Ok(outcome) => outcome.err()?,
            Err(panic) => format!("a panic: {}", words(&*panic)),
        };
        Some((schedule.name(), what))
    });
    found.map(|(name, what)| Find {
        focus: name.to_owned(),
        what,
    })
}
