//! From a workload that fails to a short one that fails too.
//!
//! Decision: steps are left out, never changed. Each draws its random numbers from a generator of its own, so
//! the others stay what they were, and the kept steps' numbers are the whole description. What fails in the end need not
//! be what failed first; any violation is one.

use super::{ExploreReport, Params, run};
use crate::Bound;

/// A short failing workload.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What to run; [`Params::keep`] is set.
    pub params: Params,
    /// What it reports.
    pub report: ExploreReport,
    /// Workloads tried.
    pub tried: usize,
}

/// Shortens a failing workload, in at most `tries` runs. `None` if it does not fail.
#[must_use]
pub fn shrink(params: &Params, bound: Bound, tries: usize) -> Option<Shrunk> {
    let fails = |keep: &[u32]| {
        let params = Params {
            keep: Some(keep.to_vec()),
            stop_at_first: true,
            fsck_every: 0,
            ..params.clone()
        };
        let report = run(&params, bound, &mut |_| {});
        (!report.is_clean()).then_some((params, report))
    };
    let mut keep = params.steps();
    let (mut best, mut report) = fails(&keep)?;
    let (mut tried, mut size) = (1, keep.len().div_ceil(2));
    while size > 0 {
        let mut from = 0;
        while from < keep.len() && tried < tries {
            let mut fewer = keep.clone();
            fewer.drain(from..keep.len().min(from + size));
            tried += 1;
            match fails(&fewer) {
                Some(found) => {
                    (best, report) = found;
                    keep = fewer;
                }
                None => from += size,
            }
        }
        size = if size == 1 { 0 } else { size.div_ceil(2) };
    }
    Some(Shrunk {
        params: best,
        report,
        tried,
    })
}
