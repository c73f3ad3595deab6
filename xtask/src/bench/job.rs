//! What is written: sizes, order, threads.
//!
//! Decision: every block of a pass is written exactly once, in an order that is fixed before the clock starts and
//! the same for every system and repetition.

use serde::Serialize;

/// The order of a pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Order {
    Random,
    Sequential,
}

/// One job.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) about: String,
    /// Bytes per write.
    pub(crate) bs: usize,
    /// Writes in flight per thread.
    pub(crate) depth: usize,
    pub(crate) threads: usize,
    /// Each thread its own file.
    pub(crate) many_files: bool,
    pub(crate) order: Order,
    /// Write every second block only, so that no two written ranges touch.
    pub(crate) gaps: bool,
    pub(crate) dsync: bool,
    /// Bytes preallocated, over all files.
    pub(crate) size: u64,
    /// At most this many writes per pass; 0: every block.
    pub(crate) max_writes: u64,
    /// Repeat over fresh preallocations until this many seconds of writing; 0: one pass.
    pub(crate) seconds: f64,
    pub(crate) repeat: usize,
}

impl Job {
    pub(crate) fn new(name: &str, about: &str, bs: usize, size: u64, repeat: usize) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            bs,
            depth: 32,
            threads: 1,
            many_files: false,
            order: Order::Random,
            gaps: false,
            dsync: false,
            size,
            max_writes: 0,
            seconds: 0.0,
            repeat,
        }
    }

    pub(crate) fn files(&self) -> usize {
        if self.many_files { self.threads } else { 1 }
    }

    pub(crate) fn file_size(&self) -> u64 {
        self.size / self.files() as u64 / self.bs as u64 * self.bs as u64
    }

    /// The byte offsets of each thread's writes.
    pub(crate) fn plan(&self) -> Plan {
        let step = if self.gaps { 2 } else { 1 };
        let blocks = self.file_size() / self.bs as u64;
        let mut all: Vec<u64> = (0..blocks)
            .step_by(step)
            .map(|block| block * self.bs as u64)
            .collect();
        let parts = self.threads;
        let mut threads = Vec::new();
        for part in 0..parts {
            // One file: disjoint shares of one permutation. Many files: a whole one each.
            if part == 0 || self.many_files {
                shuffle(&mut all, self.order, part as u64);
            }
            let share = if self.many_files {
                all.len()
            } else {
                all.len() / parts
            };
            let first = if self.many_files { 0 } else { part * share };
            let limit = (self.max_writes as usize) / parts;
            let share = if limit == 0 { share } else { share.min(limit) };
            threads.push(all[first..first + share].to_vec());
        }
        Plan { threads }
    }
}

fn shuffle(all: &mut [u64], order: Order, seed: u64) {
    if order == Order::Sequential {
        return;
    }
    let mut x = 0x9E37_79B9_7F4A_7C15_u64 ^ seed;
    for i in (1..all.len()).rev() {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        all.swap(i, (x % (i as u64 + 1)) as usize);
    }
}

/// Byte offsets, by thread.
pub(crate) struct Plan {
    pub(crate) threads: Vec<Vec<u64>>,
}

impl Plan {
    pub(crate) fn writes(&self) -> u64 {
        self.threads.iter().map(|t| t.len() as u64).sum()
    }

    /// The same, cut to a total of about `max` writes: for systems that would take minutes.
    pub(crate) fn cut(&self, max: usize) -> Self {
        let each = max / self.threads.len().max(1);
        let cut = |t: &Vec<u64>| t[..t.len().min(each)].to_vec();
        Self {
            threads: self.threads.iter().map(cut).collect(),
        }
    }
}

/// The jobs of the table. `gib` scales their files; `long` is the file of the long job.
pub(crate) fn jobs(quick: bool, repeat: usize, seconds: f64, long: u64) -> Vec<Job> {
    let gib: u64 = if quick { 1 << 28 } else { 1 << 30 };
    let k4 = 4096;
    let mut jobs = vec![Job::new(
        "4k",
        "4 KiB random, depth 32, every block once",
        k4,
        gib,
        repeat,
    )];
    let mut gaps = Job::new(
        "4k-gaps",
        "as 4k, every second block only: nothing merges",
        k4,
        gib,
        repeat,
    );
    gaps.gaps = true;
    jobs.push(gaps);
    jobs.push(Job::new(
        "64k",
        "64 KiB random, depth 32",
        64 << 10,
        gib,
        repeat,
    ));
    jobs.push(Job::new(
        "1m",
        "1 MiB random, depth 32",
        1 << 20,
        gib,
        repeat,
    ));
    for many_files in [false, true] {
        for threads in [1, 2, 4] {
            let what = if many_files { "files" } else { "one" };
            let about = if many_files {
                "a file each"
            } else {
                "one file"
            };
            let mut job = Job::new(
                &format!("threads-{threads}-{what}"),
                &format!("4 KiB random, {threads} x depth 32, {about}"),
                k4,
                gib / 2,
                repeat,
            );
            (job.threads, job.many_files) = (threads, many_files);
            jobs.push(job);
        }
    }
    let mut dsync = Job::new(
        "dsync",
        "4 KiB random, depth 32, O_DSYNC",
        k4,
        gib / 2,
        repeat,
    );
    (dsync.dsync, dsync.max_writes) = (true, if quick { 2048 } else { 16384 });
    jobs.push(dsync);
    let about = format!("as 4k for {seconds} s over fresh preallocations: commits fall into it");
    let mut job = Job::new("long", &about, k4, long, 1);
    job.seconds = seconds;
    jobs.push(job);
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(job: &Job) -> Vec<u64> {
        let mut all: Vec<u64> = job.plan().threads.concat();
        all.sort_unstable();
        all
    }

    #[test]
    fn every_block_once() {
        for threads in [1, 2, 4] {
            let mut job = Job::new("t", "", 4096, 1 << 20, 1);
            job.threads = threads;
            let each: Vec<u64> = (0..256).map(|b| b * 4096).collect();
            assert_eq!(offsets(&job), each, "one file, {threads} threads");
            assert_ne!(job.plan().threads.concat(), each, "it is shuffled");
            job.many_files = true;
            let writes = 256 / threads;
            for share in job.plan().threads {
                assert_eq!(share.len(), writes, "a file each, {threads} threads");
                assert!(share.iter().all(|&at| at < job.file_size()));
            }
        }
    }

    #[test]
    fn gaps_never_touch() {
        let mut job = Job::new("t", "", 4096, 1 << 20, 1);
        job.gaps = true;
        let all = offsets(&job);
        assert_eq!(all.len(), 128);
        assert!(all.windows(2).all(|w| w[1] - w[0] == 8192));
    }

    #[test]
    fn at_most_so_many() {
        let mut job = Job::new("t", "", 4096, 1 << 20, 1);
        (job.max_writes, job.threads) = (64, 2);
        assert_eq!(job.plan().writes(), 64);
        assert_eq!(job.plan().cut(10).writes(), 10);
    }
}
