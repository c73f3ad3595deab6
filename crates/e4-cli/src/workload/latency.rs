//! Latencies: minimum, average, maximum, and the buckets aio-stress prints.

use std::fmt;

use e4_sync::Duration;

/// Upper bounds of the buckets, in milliseconds.
const BUCKETS_MS: [u64; 6] = [100, 250, 500, 1000, 5000, 10_000];

/// Collected latencies of one kind.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    count: u64,
    total: Duration,
    min: Option<Duration>,
    max: Duration,
    buckets: [u64; BUCKETS_MS.len()],
}

impl Latencies {
    /// Adds one.
    pub fn add(&mut self, latency: Duration) {
        self.count += 1;
        self.total += latency;
        self.min = Some(self.min.map_or(latency, |min| min.min(latency)));
        self.max = self.max.max(latency);
        let ms = latency.as_millis();
        if let Some(i) = BUCKETS_MS.iter().position(|&bound| ms < u128::from(bound)) {
            self.buckets[i] += 1;
        }
    }

    /// Adds all of another collection.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total += other.total;
        self.min = match (self.min, other.min) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.max = self.max.max(other.max);
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *mine += theirs;
        }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1000.0;
        let average = if self.count == 0 {
            0.0
        } else {
            ms(self.total) / self.count as f64
        };
        let min = ms(self.min.unwrap_or_default());
        write!(
            f,
            "min {min:.2} avg {average:.2} max {:.2} ms;",
            ms(self.max)
        )?;
        for (bound, count) in BUCKETS_MS.iter().zip(self.buckets) {
            write!(f, " {count} < {bound}")?;
        }
        Ok(())
    }
}
