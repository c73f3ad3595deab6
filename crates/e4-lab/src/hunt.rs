//! The checkers that run in this process, against whatever bug it carries.

use crate::campaign;
use e4_sim::explore::{self, Params};
use e4_sim::{Bound, race};
use e4_sync::{Duration, now};

/// A kind of checker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checker {
    /// Crash states of seeded workloads; see [`e4_sim::explore`].
    Explorer,
    /// The engine led through the named schedules; see [`e4_sim::race`].
    Schedules,
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

    /// What the checker finds wrong within `time`.
    #[must_use]
    pub fn hunt(self, time: Duration) -> Option<String> {
        match self {
            Checker::Explorer => explorer(time),
            Checker::Schedules => schedules(),
        }
    }
}

fn explorer(time: Duration) -> Option<String> {
    let begin = now();
    // Few states of many workloads first: most bugs are not shy.
    let quick = Bound {
        exhaustive: 2,
        reorderings: 2,
        torn: 1,
        seed: 1,
    };
    let bounds = (0..).map(|n| if n < 24 { quick } else { campaign::bound() });
    for (seed, bound) in (1..).zip(bounds) {
        if begin.elapsed() > time {
            return None;
        }
        let params = Params {
            stop_at_first: true,
            ..Params::varied(seed)
        };
        let report = explore::run(&params, bound, &mut |_| {});
        if let Some(failure) = report.first_failure {
            return Some(format!("{params}: {}", failure.description));
        }
    }
    None
}

fn schedules() -> Option<String> {
    let found = race::engine_schedules()
        .iter()
        .find_map(|schedule| Some((schedule.name(), schedule.run().err()?)));
    found.map(|(name, what)| format!("{name}: {what}"))
}
