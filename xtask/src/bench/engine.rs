//! What the table cannot show: the processor time a conversion costs, the memory of unrecorded ranges, and what merging
//! k completed writes into one transaction buys.

use anyhow::{Context, Result};
use e4::device::{BackendChoice, Device, DirectChoice, MemoryDevice};
use e4::{FallocateMode, File, Filesystem, MountOptions, OpenFlags};
use e4_sync::{Arc, now};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::drive;
use super::job::{Job, Order, Plan};
use super::report::{Counts, Spread};
use super::systems::Bench;

/// What conversion adds to an overwrite, ns of processor time per write, by repetition.
#[derive(Serialize)]
pub(crate) struct Cost {
    pub(crate) writes: u64,
    pub(crate) unwritten_ns: Spread,
    pub(crate) written_ns: Spread,
    /// Unwritten less written; recording, commit and fsync included.
    pub(crate) added_ns: Spread,
    /// Written less written again: what the method can tell apart.
    pub(crate) noise_ns: Spread,
    /// Unwritten less written by the clock on the wall.
    pub(crate) added_wall_ns: Spread,
}

/// Memory of published, unrecorded ranges at its peak.
#[derive(Serialize)]
pub(crate) struct Memory {
    pub(crate) pattern: &'static str,
    pub(crate) peak_ranges: u64,
    pub(crate) overlay_bytes: u64,
    pub(crate) bytes_per_million: f64,
    /// The journal's room makes e4 record before there are more.
    pub(crate) commits_forced: u64,
}

/// One line of the merging table.
#[derive(Serialize)]
pub(crate) struct Merge {
    pub(crate) order: Order,
    /// Writes in flight.
    pub(crate) k: usize,
    /// Writes between two fsyncs; 0: one at the end.
    pub(crate) fsync_every: usize,
    pub(crate) per_second: f64,
    pub(crate) counts: Counts,
}

fn memory_fs(device: &Arc<MemoryDevice>) -> Result<Filesystem> {
    e4_mkfs::format(&**device, &e4_mkfs::Params::default(), &mut |_| {}).context("mkfs")?;
    // Everything in the calling thread: what it costs shows in that thread's clock.
    let options = MountOptions {
        background: false,
        commit_interval: None,
        ..MountOptions::default()
    };
    Ok(Filesystem::open(
        Arc::clone(device) as Arc<dyn Device>,
        &options,
    )?)
}

fn preallocated(fs: &Filesystem, name: &str, bytes: u64) -> Result<File> {
    let file = fs.open_file(name, OpenFlags::create())?;
    file.fallocate(FallocateMode::Allocate, 0, bytes)?;
    file.fsync()?;
    Ok(file)
}

/// Runs `work` with this thread on one processor.
fn on_one_cpu<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let all = sched_getaffinity(None).context("sched_getaffinity")?;
    let mut one = CpuSet::new();
    if let Some(cpu) = (0..CpuSet::MAX_CPU).rev().find(|&cpu| all.is_set(cpu)) {
        one.set(cpu);
    }
    sched_setaffinity(None, &one).context("sched_setaffinity")?;
    let result = work();
    sched_setaffinity(None, &all).context("sched_setaffinity")?;
    result
}

fn thread_seconds() -> f64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

/// Measures [`Cost`] on a device in memory.
pub(crate) fn cost(bytes: u64, repeat: usize) -> Result<Cost> {
    let device = Arc::new(MemoryDevice::new(bytes + bytes / 2));
    touch(&device)?;
    let job = Job::new("cost", "", 4096, bytes, repeat);
    let plan = job.plan();
    let writes = plan.writes();
    let (mut unwritten, mut written, mut again, mut wall) = (vec![], vec![], vec![], vec![]);
    on_one_cpu(|| {
        // One more than asked for: the first warms caches and branch predictors.
        for round in 0..=repeat {
            let fs = memory_fs(&device)?;
            let files = [preallocated(&fs, "/f", bytes)?];
            let pass = || -> Result<(f64, f64)> {
                let before = thread_seconds();
                let wall = drive::e4_files(&fs, &files, &plan, job.bs, job.depth)?;
                Ok((
                    (thread_seconds() - before) * 1e9 / writes as f64,
                    wall * 1e9 / writes as f64,
                ))
            };
            let (first, second, third) = (pass()?, pass()?, pass()?);
            if round > 0 {
                unwritten.push(first.0);
                written.push(second.0);
                again.push(third.0);
                wall.push(first.1 - second.1);
            }
            drop(files);
            fs.unmount()?;
        }
        Ok(())
    })?;
    let less = |a: &[f64], b: &[f64]| Spread::of(a.iter().zip(b).map(|(a, b)| a - b).collect());
    Ok(Cost {
        writes,
        added_ns: less(&unwritten, &written),
        noise_ns: less(&written, &again),
        added_wall_ns: Spread::of(wall),
        unwritten_ns: Spread::of(unwritten),
        written_ns: Spread::of(written),
    })
}

fn touch(device: &MemoryDevice) -> Result<()> {
    let chunk = vec![0x5a; 1 << 20];
    for at in (0..device.info().size).step_by(chunk.len()) {
        device.write_at(at, &chunk)?;
    }
    Ok(())
}

/// Measures [`Memory`] for ranges that do not touch, near and far.
pub(crate) fn memory(bytes: u64) -> Result<Vec<Memory>> {
    let gaps = |order| {
        let mut job = Job::new("memory", "", 4096, bytes, 1);
        (job.gaps, job.order) = (true, order);
        job
    };
    // The device is sparse: only what is written to takes memory.
    let mut far = Job::new("memory", "", 1 << 20, bytes * 32, 1);
    far.order = Order::Random;
    Ok(vec![
        peak("every second block, ascending", &gaps(Order::Sequential))?,
        peak("every second block, random", &gaps(Order::Random))?,
        peak("one block per MiB, random", &far)?,
    ])
}

fn peak(pattern: &'static str, job: &Job) -> Result<Memory> {
    let device = Arc::new(MemoryDevice::new(job.size + job.size / 4));
    let fs = memory_fs(&device)?;
    let file = preallocated(&fs, "/f", job.size)?;
    let commits = fs.stats().commits;
    let plan = job.plan();
    let mut most = fs.stats();
    for part in plan.threads.iter().flat_map(|t| t.chunks(1024)) {
        drive::e4_loop(&fs, &file, part, 4096, job.depth)?;
        let stats = fs.stats();
        if stats.unrecorded_runs > most.unrecorded_runs {
            most = stats;
        }
    }
    let commits_forced = fs.stats().commits - commits;
    drop(file);
    fs.unmount()?;
    Ok(Memory {
        pattern,
        peak_ranges: most.unrecorded_runs,
        overlay_bytes: most.overlay_bytes,
        bytes_per_million: most.overlay_bytes as f64 * 1e6 / most.unrecorded_runs.max(1) as f64,
        commits_forced,
    })
}

/// Measures [`Merge`]: k writes in flight, and k writes per transaction, in both orders.
pub(crate) fn merges(bench: &Bench, bytes: u64) -> Result<Vec<Merge>> {
    let mut lines = Vec::new();
    for order in [Order::Sequential, Order::Random] {
        for k in [1, 8, 64] {
            for fsync_every in [0, k] {
                lines.push(merge(bench, bytes, order, k, fsync_every)?);
            }
        }
    }
    Ok(lines)
}

fn merge(bench: &Bench, bytes: u64, order: Order, k: usize, fsync_every: usize) -> Result<Merge> {
    bench.format()?;
    let device = drive::open(&bench.image, BackendChoice::Auto, DirectChoice::Auto)?;
    let fs = Filesystem::open(device, &MountOptions::default())?;
    let files = [preallocated(&fs, "/f", bytes)?];
    let mut job = Job::new("merge", "", 4096, bytes, 1);
    (job.order, job.depth) = (order, k);
    let plan = job.plan();
    let plan = if fsync_every == 0 {
        plan
    } else {
        plan.cut(4096 * k.min(8))
    };
    let before = (fs.stats(), files[0].extents()?.len() as u64);
    let start = now();
    if fsync_every == 0 {
        drive::e4_files(&fs, &files, &plan, job.bs, k)?;
    } else {
        for part in plan.threads.iter().flat_map(|t| t.chunks(fsync_every)) {
            drive::e4_loop(&fs, &files[0], part, job.bs, k)?;
            files[0].fsync()?;
        }
    }
    let per_second = plan.writes() as f64 / start.elapsed().as_secs_f64();
    let after = (fs.stats(), files[0].extents()?.len() as u64);
    let mut counts = Counts::default();
    counts.add(&before.0, before.1, &after.0, after.1, plan.writes());
    verify_and_close(fs, &files, &plan)?;
    Ok(Merge {
        order,
        k,
        fsync_every,
        per_second,
        counts,
    })
}

fn verify_and_close(fs: Filesystem, files: &[File], plan: &Plan) -> Result<()> {
    drive::verify(files, plan)?;
    Ok(fs.unmount()?)
}
