//! The race lab: every named schedule of the completed-IO engine, found in the historical
//! algorithm that had it, and not found in e4.
//!
//! Two halves:
//! - A toy world ([`world`], [`op`]) in which the generations of the algorithm are short programs
//!   of atomic steps ([`cases`]), searched exhaustively or walked from a seed ([`explore`]). These
//!   are the negative controls: a control in which nothing is found is a failed test.
//! - The real engine ([`ours`]), led through the same schedules by parking it in its own callbacks.
//!   No sleeping: a schedule waits until an actor is parked, or asleep in the engine, and acts.
//!
//! [`demonstrate`] runs both and reports. The historical strategies exist only here, never in the
//! product.
//!
//! Not expressible at this level, and tested where they live: S17, S29, S35, S36 (allocation
//! credits, page locks, unlocked readers' copies, fast commit), S31 (reclaim does not exist in user
//! space), S39-S43 (splitting and the extent cache).

mod case;
mod cases;
mod effect;
mod explore;
mod op;
mod ours;
mod world;

pub use case::Strategy;
pub use ours::EngineSchedule;

use case::Verdict;

/// The outcome of one schedule under one strategy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RaceReport {
    /// Number and name, "S02 drained-list-flush".
    pub schedule: &'static str,
    /// Which algorithm.
    pub strategy: Strategy,
    /// The violated invariant and how it shows, if one was found.
    pub violated: Option<String>,
    /// What somebody who lost data would say; empty if nothing was found.
    pub user_sees: &'static str,
    /// The interleaving, "actor: step".
    pub steps: Vec<String>,
    /// The seed that leads there; searches that visit everything do not depend on it.
    pub seed: u64,
    /// Walks taken, or states visited, until then.
    pub effort: usize,
    /// Whether this is what the project claims: found in a control, absent elsewhere.
    pub as_claimed: bool,
}

/// Random walks before the search falls back to visiting every interleaving.
const WALKS: usize = 2_000;

/// Runs every schedule: the historical strategies by random walks from `seed`, what is supposed to
/// be clean by exhaustive search, and then e4's engine itself.
#[must_use]
pub fn demonstrate(seed: u64) -> Vec<RaceReport> {
    let mut reports: Vec<RaceReport> = cases::all().iter().map(|c| run_case(c, seed)).collect();
    reports.extend(ours::all().iter().map(|s| run_engine(s, seed)));
    reports.sort_by_key(|r| (r.schedule, r.strategy));
    reports
}

/// Runs the schedules of e4's engine alone.
#[must_use]
pub fn engine_schedules() -> &'static [EngineSchedule] {
    ours::all()
}

fn run_case(case: &case::Case, seed: u64) -> RaceReport {
    let outcome = match case.verdict {
        Verdict::Violates(_) => match explore::walk(case, seed, WALKS) {
            Some(found) => Err(found),
            None => explore::every(case),
        },
        Verdict::Clean => explore::every(case),
    };
    let as_claimed = match (&outcome, case.verdict) {
        (Ok(_), Verdict::Clean) => true,
        (Err(found), Verdict::Violates(what)) => found.what.starts_with(what),
        _ => false,
    };
    let (violated, steps, effort) = match outcome {
        Ok(states) => (None, Vec::new(), states),
        Err(found) => (Some(found.what.to_owned()), found.steps, found.effort),
    };
    RaceReport {
        schedule: case.schedule,
        strategy: case.strategy,
        user_sees: if violated.is_some() {
            case.user_sees
        } else {
            ""
        },
        violated,
        steps,
        seed,
        effort,
        as_claimed,
    }
}

fn run_engine(schedule: &EngineSchedule, seed: u64) -> RaceReport {
    let violated = schedule.run().err();
    RaceReport {
        schedule: schedule.name,
        strategy: Strategy::Engine,
        as_claimed: violated.is_none(),
        violated,
        user_sees: "",
        steps: Vec::new(),
        seed,
        effort: 1,
    }
}

#[cfg(test)]
mod matrix;
#[cfg(test)]
mod tests;
