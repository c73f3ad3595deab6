//! Figures: medians, spreads, ratios, and which aims they meet.
//!
//! Decision: a ratio is the median of the ratios of each repetition, not the ratio of the medians: the systems of one
//! repetition ran side by side and share its noise.

use serde::Serialize;

use super::create::Created;
use super::engine::{Cost, Memory, Merge};
use super::job::Job;
use super::machine::Machine;
use super::through::Through;

/// Median and extremes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// In the order they were taken.
    pub(crate) samples: Vec<f64>,
}

impl Spread {
    /// Of at least one sample; NaN of none.
    pub(crate) fn of(samples: Vec<f64>) -> Self {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        let (n, nan) = (sorted.len(), f64::NAN);
        let median = match n {
            0 => nan,
            _ => f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]),
        };
        let (min, max) = (sorted.first().copied(), sorted.last().copied());
        Self {
            median,
            min: min.unwrap_or(nan),
            max: max.unwrap_or(nan),
            samples,
        }
    }

    /// Of `self` to `other`, repetition by repetition.
    pub(crate) fn ratio(&self, other: &Self) -> Option<Self> {
        let pairs = self.samples.iter().zip(&other.samples);
        let ratios: Vec<f64> = pairs.map(|(a, b)| a / b).collect();
        (!ratios.is_empty()).then(|| Self::of(ratios))
    }

    /// The better of two, repetition by repetition.
    fn better(&self, other: &Self) -> Self {
        if self.samples.len() != other.samples.len() {
            return self.clone();
        }
        let pairs = self.samples.iter().zip(&other.samples);
        Self::of(pairs.map(|(a, b)| a.max(*b)).collect())
    }
}

/// What e4 did during the passes of a row, over all repetitions.
#[derive(Clone, Copy, Default, Debug, Serialize)]
pub(crate) struct Counts {
    pub(crate) passes: u64,
    pub(crate) writes: u64,
    pub(crate) conversions: u64,
    pub(crate) recorded_ranges: u64,
    pub(crate) records: u64,
    pub(crate) commits: u64,
    pub(crate) tree_rebuilds: u64,
    /// Of the last pass.
    pub(crate) extents_before: u64,
    pub(crate) extents_after: u64,
}

/// One row of the table.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) job: String,
    pub(crate) system: &'static str,
    pub(crate) block_size: usize,
    /// Writes per second; empty if the system is absent.
    pub(crate) per_second: Spread,
    pub(crate) to_raw: Option<Spread>,
    pub(crate) to_e4_written: Option<Spread>,
    /// Of the last repetition.
    pub(crate) counts: Option<Counts>,
    /// Why there is no figure.
    pub(crate) absent: Option<String>,
}

/// An aim of the project and what this run says of it.
#[derive(Serialize)]
pub(crate) struct Aim {
    pub(crate) job: String,
    pub(crate) aim: String,
    pub(crate) measured: Option<f64>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    /// `None`: this run cannot tell.
    pub(crate) met: Option<bool>,
}

/// Everything.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) load_at_end: [f64; 3],
    pub(crate) settings: Vec<String>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) rows: Vec<Row>,
    pub(crate) conversion_cost: Option<Cost>,
    pub(crate) memory: Vec<Memory>,
    pub(crate) merging: Vec<Merge>,
    pub(crate) create: Option<Created>,
    pub(crate) through: Vec<Through>,
    pub(crate) aims: Vec<Aim>,
}

impl Report {
    fn spread(&self, job: &str, system: &str) -> Option<&Spread> {
        let row = self
            .rows
            .iter()
            .find(|r| r.job == job && r.system == system)?;
        row.absent.is_none().then_some(&row.per_second)
    }

    /// The best that is known of two rows.
    fn best(&self, job: &str, system: &str) -> Option<Spread> {
        let second = format!("{system} (fio)");
        match (self.spread(job, system), self.spread(job, &second)) {
            (Some(a), Some(b)) => Some(a.better(b)),
            (a, b) => a.or(b).cloned(),
        }
    }

    /// Fills in the ratios of a job's rows, once all are there.
    pub(crate) fn relate(&mut self, job: &str) {
        let raw = self.best(job, "raw io_uring");
        let written = self.spread(job, "e4 written").cloned();
        for row in self
            .rows
            .iter_mut()
            .filter(|r| r.job == job && r.absent.is_none())
        {
            row.to_raw = raw.as_ref().and_then(|raw| row.per_second.ratio(raw));
            row.to_e4_written = written.as_ref().and_then(|w| row.per_second.ratio(w));
        }
    }

    /// Judges.
    pub(crate) fn judge(&mut self) {
        let mut aims = Vec::new();
        for job in ["4k", "long", "4k-gaps"] {
            let Some(ours) = self.spread(job, "e4 unwritten") else {
                continue;
            };
            let peers = [
                (0.95, "e4 written", self.spread(job, "e4 written").cloned()),
                (0.8, "raw", self.best(job, "raw io_uring")),
                (4.0, "kernel unwritten", self.best(job, "kernel unwritten")),
            ];
            for (least, name, peer) in peers {
                let ratio = peer.and_then(|peer| ours.ratio(&peer));
                aims.push(Aim {
                    job: job.to_owned(),
                    aim: format!("e4 unwritten >= {least} x {name}"),
                    measured: ratio.as_ref().map(|r| r.median),
                    min: ratio.as_ref().map(|r| r.min),
                    max: ratio.as_ref().map(|r| r.max),
                    met: ratio.map(|r| r.median >= least),
                });
            }
        }
        if let Some(cost) = &self.conversion_cost {
            let added = &cost.added_ns;
            aims.push(Aim {
                job: "cost".to_owned(),
                aim: "conversion adds <= 150 ns".to_owned(),
                measured: Some(added.median),
                min: Some(added.min),
                max: Some(added.max),
                met: Some(added.median <= 150.0),
            });
        }
        aims.extend(self.create.as_ref().map(Created::aim));
        self.aims = aims;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_extremes() {
        let s = Spread::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((s.median, s.min, s.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of(vec![4.0, 2.0]).median, 3.0);
        assert!(Spread::of(vec![]).median.is_nan());
    }

    #[test]
    fn ratios_pair_repetitions() {
        // Both halved in the second repetition by something else: the ratio does not care.
        let (ours, theirs) = (Spread::of(vec![90.0, 45.0]), Spread::of(vec![100.0, 50.0]));
        let ratio = ours.ratio(&theirs).map(|r| (r.min, r.max));
        assert_eq!(ratio, Some((0.9, 0.9)));
        assert!(ours.ratio(&Spread::of(vec![])).is_none());
        assert_eq!(
            ours.better(&Spread::of(vec![80.0, 60.0])).samples,
            [90.0, 60.0]
        );
    }
}
