//! The crash explorer: a seeded workload on the whole filesystem, the power cut at every write, and every
//! state the cut can leave judged after recovery.
//!
//! ```text
//!   workload   runs the operations on a SimDisk and writes what was promised into the ledger
//!   ledger     contents (History), sizes and names: what a crash at a position may leave
//!   verdict    mounts one crash state, reads it, checks it, compares it with the ledger
//!   planted    a disk that breaks the protocol on purpose: the explorer must see that
//!   shrink     a short history that fails too         spec    its parameters in one line of text
//!   fsck       the same states before e2fsck, which nobody here wrote
//! ```
//!
//! Decisions:
//! - Contents are tagged by sectors of 512 bytes, not by blocks of the filesystem: unaligned writes are judged
//!   as exactly as aligned ones, and a sector is never torn.
//! - One thread, no background threads, a fixed clock: a report is a function of [`Params`] and [`Bound`].
//! - Nothing is believed because the filesystem says so: what must be there comes from what was acknowledged,
//!   and structure is judged by [`e4_check`], which shares no code with it.
//!
//! Invariants judged: I-1, I-2, I-5, I-9, I-24, I-27 (with `O_DSYNC`), I-28, and 2.I as a whole.

mod fsck;
mod ledger;
mod planted;
mod shrink;
mod spec;
mod verdict;
mod workload;

pub use fsck::Fsck;
pub use planted::{Planted, PlantedDisk};
pub use shrink::{Shrunk, shrink};
pub use spec::SpecError;
pub use verdict::unsettled;

use crate::{Bound, Log, SimDisk, SimOptions};
use core::time::Duration;
use e4::{Filesystem, MountOptions};
use e4_sync::Arc;
use hashbrown::HashSet;
use ledger::Ledger;
use verdict::{Findings, Judge};

/// What to explore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// Decides everything random.
    pub seed: u64,
    /// Bytes of the image.
    pub size: u64,
    /// Bytes per block of the filesystem.
    pub block_size: u32,
    /// Changes to the features of `mke2fs -t ext4`, as after `-O`.
    pub features: &'static str,
    /// Operations of the workload.
    pub operations: usize,
    /// Files it works on: 1 to 8.
    pub files: u64,
    /// Blocks of a file in which it writes (files grow a little beyond).
    pub file_blocks: u64,
    /// Asynchronous writes kept in flight.
    pub depth: usize,
    /// Whether names change too, files are deleted and the filesystem is mounted anew.
    pub names: bool,
    /// Whether some of the writes go through the page cache.
    pub buffered: bool,
    /// The steps of the workload to take, ascending; `None`: all.
    pub keep: Option<Vec<u32>>,
    /// What is wrong with the disk.
    pub planted: Planted,
    /// Stop at the first thing that is wrong.
    pub stop_at_first: bool,
    /// Every that many states, cut the power again during recovery; 0: never.
    pub cut_recovery_every: u64,
    /// Every that many states, ask e2fsck; 0: never.
    pub fsck_every: u64,
}

impl Params {
    /// A workload that is explored in seconds in a debug build.
    #[must_use]
    pub fn small(seed: u64) -> Params {
        Params {
            seed,
            size: 8 << 20,
            block_size: 1024,
            features: "",
            operations: 60,
            files: 2,
            file_blocks: 32,
            depth: 6,
            names: false,
            buffered: false,
            keep: None,
            planted: Planted::Nothing,
            stop_at_first: false,
            cut_recovery_every: 0,
            fsck_every: 0,
        }
    }

    /// Another workload for every seed: block sizes, features, depths, names.
    #[must_use]
    pub fn varied(seed: u64) -> Params {
        let n = seed as usize;
        let (block_size, size) = [
            (1024, 8 << 20),
            (2048, 8 << 20),
            (1024, 8 << 20),
            (1024, 8 << 20),
            (2048, 8 << 20),
            (1024, 8 << 20),
            (1024, 8 << 20),
            // Costs four times as much: a larger log to search.
            (4096, 16 << 20),
        ][n % 8];
        Params {
            block_size,
            size,
            features: spec::FEATURES[n / 8 % spec::FEATURES.len()],
            operations: 90,
            files: [2, 3, 1, 4][n / 3 % 4],
            file_blocks: [8, 32, 64][n / 5 % 3],
            depth: [4, 12, 1][n / 2 % 3],
            names: !n.is_multiple_of(3),
            buffered: !n.is_multiple_of(2),
            cut_recovery_every: 97,
            ..Params::small(seed)
        }
    }

    /// Whether files are mapped by extents; else by pointers, and nothing can be preallocated.
    pub(super) fn has_extents(&self) -> bool {
        !self.features.split(',').any(|f| f == "^extent")
    }

    /// The steps to take.
    pub(super) fn steps(&self) -> Vec<u32> {
        match &self.keep {
            Some(keep) => keep.clone(),
            None => (0..self.operations as u32).collect(),
        }
    }

    /// What `e4 demo` explores: thousands of states within seconds of a release build.
    #[must_use]
    pub fn demo() -> Params {
        Params {
            operations: 120,
            files: 3,
            cut_recovery_every: 400,
            ..Params::small(1)
        }
    }

    /// The states per crash point that belong to [`Params::demo`].
    #[must_use]
    pub fn demo_bound() -> Bound {
        Bound {
            exhaustive: 2,
            reorderings: 2,
            torn: 1,
            seed: 1,
        }
    }
}

/// How far an exploration is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Crash points done.
    pub points: u64,
    /// Crash points in all.
    pub of: u64,
    /// States judged.
    pub states: u64,
}

/// The first thing that was found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed that shows it again.
    pub seed: u64,
    /// The position of the power cut in the disk's log.
    pub point: u64,
    /// Which state, and what is wrong with it.
    pub description: String,
}

/// What an exploration found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExploreReport {
    /// Operations of the workload that were run.
    pub operations: u64,
    /// Positions at which the power was cut.
    pub crash_points: u64,
    /// States judged, those of interrupted recoveries included.
    pub states: u64,
    /// Different contents of the disk among them.
    pub distinct: u64,
    /// States passed over: the same contents had been judged when no more was allowed.
    pub repeats: u64,
    /// Blocks that held what they must not: leaked contents of the disk, another block's data, damage,
    /// generations nobody had submitted.
    pub stale_blocks: u64,
    /// Blocks, sizes and files that were acknowledged durable and were not there.
    pub durable_writes_lost: u64,
    /// States that could not be mounted or read, and errors of the check afterwards.
    pub structural_errors: u64,
    /// States not judged because they could not be mounted with the superblock torn. It spans two sectors under one
    /// checksum and is written in place, by ext4 everywhere: a medium that tears it needs e2fsck.
    pub torn_superblocks: u64,
    /// Operations that failed, or read something wrong, before any power cut.
    pub failed_operations: u64,
    /// States that e2fsck has seen as well.
    pub fscked: u64,
    /// Why e2fsck did not run, if it should have.
    pub fsck_skipped: Option<String>,
    /// The first thing that was wrong.
    pub first_failure: Option<Failure>,
}

impl ExploreReport {
    /// True if nothing was wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.first_failure.is_none()
    }

    fn add(&mut self, seed: u64, point: u64, state: &str, found: Findings) {
        self.stale_blocks += found.stale;
        self.durable_writes_lost += found.lost;
        self.structural_errors += found.structural;
        self.failed_operations += found.operations;
        if self.first_failure.is_none()
            && let Some(what) = found.first
        {
            let description = format!("{state}: {what}");
            self.first_failure = Some(Failure {
                seed,
                point,
                description,
            });
        }
    }
}

impl core::fmt::Display for ExploreReport {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "crash points {} - states {} ({} distinct) - stale blocks {} - durable writes lost {} - structural errors {}",
            self.crash_points,
            self.states,
            self.distinct,
            self.stale_blocks,
            self.durable_writes_lost,
            self.structural_errors
        )?;
        if self.torn_superblocks > 0 {
            write!(
                f,
                " - not judged: superblock torn in {}",
                self.torn_superblocks
            )?;
        }
        if self.failed_operations > 0 {
            write!(f, " - failed operations {}", self.failed_operations)?;
        }
        match &self.first_failure {
            None => Ok(()),
            Some(first) => write!(
                f,
                "\nfirst: seed {} at {}: {}",
                first.seed, first.point, first.description
            ),
        }
    }
}

/// Explores: formats, runs the workload, cuts the power everywhere, judges.
///
/// # Panics
/// If the parameters cannot be formatted (too small an image, an unknown feature).
pub fn run(params: &Params, bound: Bound, progress: &mut dyn FnMut(Progress)) -> ExploreReport {
    let mut report = ExploreReport::default();
    let disk = formatted(params);
    let ledger = Ledger::new(disk.clock());
    let outcome = workload::run(params, &disk, &ledger);
    report.operations = outcome.operations;
    let end = disk.log().end();
    report.add(params.seed, end, "before the power cut", outcome.found);
    if params.stop_at_first && !report.is_clean() {
        return report;
    }
    let mut cut = Cut {
        params,
        judge: Judge::new(&ledger),
        fsck: (params.fsck_every > 0).then(Fsck::new),
        ledger: &ledger,
        contents: HashSet::new(),
        judged: HashSet::new(),
        report: &mut report,
    };
    cut.everywhere(&disk.log(), bound, progress);
    report
}

/// The workload over a disk on which metadata becomes durable before the data it refers to (S44): the
/// explorer must find stale blocks.
pub fn flip_before_data(params: &Params) -> ExploreReport {
    let params = Params {
        planted: Planted::LateData,
        stop_at_first: true,
        ..params.clone()
    };
    run(&params, Params::demo_bound(), &mut |_| {})
}

/// A poisoned disk with a new filesystem on it; its log begins behind the formatting.
///
/// # Panics
/// If the parameters cannot be formatted.
#[must_use]
pub fn formatted(params: &Params) -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::new(&SimOptions::new(params.size, params.seed)));
    let mut features = e4_mkfs::Features::ext4();
    features
        .apply(params.features)
        .expect("features that exist");
    // No two workloads share a state: every checksum depends on it.
    let mut uuid = [0xe4; 16];
    uuid[8..].copy_from_slice(&params.seed.to_le_bytes());
    let mkfs = e4_mkfs::Params {
        block_size: Some(params.block_size),
        // Few inodes: their tables are most of what a check reads.
        inodes: Some(64),
        features,
        uuid: Some(uuid),
        hash_seed: Some([0x4e; 16]),
        time: Some(CLOCK.as_secs().cast_signed()),
        ..e4_mkfs::Params::default()
    };
    e4_mkfs::format(&*disk, &mkfs, &mut |_| {}).expect("parameters that can be formatted");
    disk.settle();
    disk
}

/// Where the superblock lies, bytes.
const SUPERBLOCK: core::ops::Range<u64> = 1024..2048;

const CLOCK: Duration = Duration::from_secs(1_700_000_000);

fn clock() -> Duration {
    CLOCK
}

/// How the lab mounts: no threads, no timers, a clock that stands still.
#[must_use]
pub fn mount_options() -> MountOptions {
    MountOptions {
        background: false,
        commit_interval: None,
        metadata_cache: 4 << 20,
        // So few pages that writeback by pressure is part of every workload.
        cache_bytes: 64 << 10,
        clock,
        ..MountOptions::default()
    }
}

/// Cuts the power.
struct Cut<'a> {
    params: &'a Params,
    judge: Judge<'a>,
    fsck: Option<Fsck>,
    ledger: &'a Ledger,
    contents: HashSet<u64>,
    /// Contents, and how narrow the judgement was.
    judged: HashSet<(u64, usize)>,
    report: &'a mut ExploreReport,
}

impl Cut<'_> {
    fn everywhere(&mut self, log: &Log, bound: Bound, progress: &mut dyn FnMut(Progress)) {
        let points: Vec<_> = log.crash_points().collect();
        for point in &points {
            for image in log.states_at(*point, bound) {
                self.state(Arc::new(image));
                if self.params.stop_at_first && !self.report.is_clean() {
                    self.report.crash_points += 1;
                    return;
                }
            }
            self.report.crash_points += 1;
            progress(Progress {
                points: self.report.crash_points,
                of: points.len() as u64,
                states: self.report.states,
            });
        }
        if let Some(fsck) = &self.fsck {
            self.report.fsck_skipped = fsck.skipped().map(str::to_owned);
        }
    }

    fn state(&mut self, image: Arc<crate::CrashImage>) {
        let (number, position) = (self.report.states, image.position());
        if !self.is_news(image.fingerprint(), position) {
            return;
        }
        let every = |n: u64| n > 0 && number.is_multiple_of(n);
        let name = image.describe();
        let mut found = Findings::default();
        let unrecovered = every(self.params.fsck_every).then(|| fsck::saved(&image));
        if every(self.params.cut_recovery_every) {
            self.during_recovery(&image, position);
        }
        let device = Arc::clone(&image) as Arc<dyn e4_device::Device>;
        if !self.judge.state(device, position, &mut found) && image.is_torn(&SUPERBLOCK) {
            self.report.torn_superblocks += 1;
            return;
        }
        if let (Some(fsck), Some(unrecovered)) = (&mut self.fsck, unrecovered) {
            self.report.fscked += fsck.judge(unrecovered, &image, &mut found);
        }
        self.report.states += 1;
        self.report.add(self.params.seed, position, &name, found);
    }

    /// Whether these contents are to be judged: not if they were when no more was allowed.
    fn is_news(&mut self, fingerprint: u64, position: u64) -> bool {
        let key = (fingerprint, self.ledger.narrowings(position));
        if !self.judged.insert(key) {
            self.report.repeats += 1;
            return false;
        }
        self.contents.insert(fingerprint);
        self.report.distinct = self.contents.len() as u64;
        true
    }

    /// The power fails once more, at every write of the recovery from this state.
    fn during_recovery(&mut self, image: &crate::CrashImage, position: u64) {
        let disk = Arc::new(SimDisk::from_crash(
            image,
            &SimOptions::new(0, self.params.seed),
        ));
        // A recovery that fails is found by judging the state itself.
        drop(Filesystem::open(
            Arc::clone(&disk) as Arc<dyn e4_device::Device>,
            &mount_options(),
        ));
        let log = disk.log();
        let bound = Bound {
            exhaustive: 1,
            reorderings: 1,
            torn: 1,
            seed: self.params.seed,
        };
        for point in log.crash_points().collect::<Vec<_>>() {
            for again in log.states_at(point, bound) {
                // Both are differences: from what recovery found, and of that from the beginning.
                let fingerprint = image.fingerprint() ^ again.fingerprint();
                if !self.is_news(fingerprint, position) {
                    continue;
                }
                let name = format!(
                    "{}, then in recovery {}",
                    image.describe(),
                    again.describe()
                );
                let torn = again.is_torn(&SUPERBLOCK) || image.is_torn(&SUPERBLOCK);
                let mut found = Findings::default();
                if !self.judge.state(Arc::new(again), position, &mut found) && torn {
                    self.report.torn_superblocks += 1;
                    continue;
                }
                self.report.states += 1;
                self.report.add(self.params.seed, position, &name, found);
            }
        }
    }
}
