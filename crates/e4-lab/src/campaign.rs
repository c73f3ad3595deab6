//! Workload after workload, power cut everywhere, on several threads.
//!
//! Each thread takes the next seed and explores it whole; nothing is shared but the totals. A seed's report does not
//! depend on the threads.

use e4_sim::Bound;
use e4_sim::explore::{self, ExploreReport, Params, Progress, shrink};
use e4_sync::{Arc, Duration, Mutex, Rank, now, thread};
use std::fmt;

/// When to stop, and how to go about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first seed.
    pub seed: u64,
    /// Stop when this many distinct states were judged; 0: no limit.
    pub states: u64,
    /// Stop after this time.
    pub time: Duration,
    /// Threads.
    pub threads: usize,
    /// Every that many states of a workload, ask e2fsck too; 0: never.
    pub fsck_every: u64,
    /// States per crash point.
    pub bound: Bound,
}

/// How many states per crash point a campaign looks at.
#[must_use]
pub fn bound() -> Bound {
    Bound {
        exhaustive: 4,
        reorderings: 6,
        torn: 3,
        seed: 1,
    }
}

/// What a campaign has done.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Workloads explored.
    pub workloads: u64,
    /// Their operations.
    pub operations: u64,
    /// Positions at which the power was cut.
    pub points: u64,
    /// States recovered and judged.
    pub states: u64,
    /// Different contents among them.
    pub distinct: u64,
    /// States passed over, because the same contents had been judged as strictly.
    pub repeats: u64,
    /// States judged by e2fsck as well.
    pub fscked: u64,
    /// States that were not judged: the superblock was torn.
    pub torn_superblocks: u64,
    /// How long it took.
    pub time: Duration,
    /// Processor time of this process meanwhile; less than the time by the threads if the machine was shared.
    pub cpu: Duration,
    /// The first workload that failed, and how.
    pub failure: Option<(Params, String)>,
}

impl Totals {
    fn add(&mut self, params: &Params, report: &ExploreReport) {
        self.workloads += 1;
        self.operations += report.operations;
        self.points += report.crash_points;
        self.states += report.states;
        self.distinct += report.distinct;
        self.repeats += report.repeats;
        self.fscked += report.fscked;
        self.torn_superblocks += report.torn_superblocks;
        if !report.is_clean() && self.failure.is_none() {
            self.failure = Some((params.clone(), report.to_string()));
        }
    }

    /// States judged per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.states as f64 / self.time.as_secs_f64().max(0.001)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "workloads {} - operations {} - crash points {} - states {} ({} distinct, {} repeats passed over, {} with torn \
             superblock not judged, {} judged by e2fsck) - {:.1} s, {:.1} s of processor - {:.0} states/s, {:.0} per second of processor - violations {}",
            self.workloads,
            self.operations,
            self.points,
            self.states,
            self.distinct,
            self.repeats,
            self.torn_superblocks,
            self.fscked,
            self.time.as_secs_f64(),
            self.cpu.as_secs_f64(),
            self.rate(),
            self.states as f64 / self.cpu.as_secs_f64().max(0.001),
            u8::from(self.failure.is_some()),
        )
    }
}

/// Processor time of this process; 0 where the host does not tell.
fn cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything: user and system time are the 12th and 13th words.
    let words = text.rsplit(')').next().unwrap_or_default();
    let ticks = words.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|word| word.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

struct Shared {
    next: u64,
    totals: Totals,
}

/// Explores until a limit is reached or something is wrong. `tell` hears of the totals now and then.
pub fn run(options: &Options, tell: impl Fn(&Totals) + Send + Sync + 'static) -> Totals {
    let begin = now();
    let shared = Arc::new(Mutex::new(
        Rank::LEAF,
        Shared {
            next: options.seed,
            totals: Totals::default(),
        },
    ));
    let tell = Arc::new(tell);
    let worker = |_| {
        let (shared, tell, options) = (Arc::clone(&shared), Arc::clone(&tell), options.clone());
        thread::spawn(move || {
            loop {
                let seed = {
                    let mut shared = shared.lock();
                    let totals = &shared.totals;
                    let enough = options.states > 0 && totals.distinct >= options.states;
                    if enough || totals.failure.is_some() || begin.elapsed() >= options.time {
                        return;
                    }
                    shared.next += 1;
                    shared.next - 1
                };
                let params = Params {
                    fsck_every: options.fsck_every,
                    ..Params::varied(seed)
                };
                let report = explore::run(&params, options.bound, &mut |_: Progress| {});
                let totals = {
                    let mut shared = shared.lock();
                    shared.totals.add(&params, &report);
                    shared.totals.time = begin.elapsed();
                    shared.totals.cpu = cpu();
                    shared.totals.clone()
                };
                tell(&totals);
            }
        })
    };
    let workers: Vec<_> = (0..options.threads.max(1)).map(worker).collect();
    for worker in workers {
        if worker.join().is_err() {
            let mut shared = shared.lock();
            let seed = shared.next;
            let what = format!("a thread panicked, at a seed up to {seed}");
            shared
                .totals
                .failure
                .get_or_insert((Params::varied(seed), what));
        }
    }
    let mut totals = shared.lock().totals.clone();
    totals.time = begin.elapsed();
    totals.cpu = cpu();
    totals
}

/// A failure made short, and the command that repeats it.
#[must_use]
pub fn explain(params: &Params, bound: Bound) -> String {
    match shrink(params, bound, 120) {
        Some(short) => format!(
            "{}\nshortened to {} steps in {} runs; repeat with:\n  cargo xtask lab --repeat {}",
            short.report,
            short.params.keep.as_ref().map_or(0, Vec::len),
            short.tried,
            short.params
        ),
        None => format!("it does not fail again; tried:\n  cargo xtask lab --repeat {params}"),
    }
}
