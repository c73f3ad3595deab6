//! `cargo xtask bench`: e4 beside the raw backing file, the kernel's ext4 and fuse2fs, in one run.
//!
//! ```text
//!   job.rs      what is written           scratch.rs  the image in RAM, and cleaning up
//!   systems.rs  who writes it             kernel.rs, fio.rs  the peers
//!   create.rs   small files
//!   drive.rs    the writing               engine.rs   costs that a table of rates does not show
//!   through.rs  through a mount           report.rs, table.rs  figures, ratios, aims; serde for scripts
//! ```
//!
//! Decisions:
//! - Within a repetition the systems take turns, in the opposite order every other time: noise hits all alike.
//! - What a system cannot do here is a line that says why, never a silent gap. An error of e4 ends the run.

mod create;
mod drive;
mod engine;
mod fio;
mod job;
mod kernel;
mod machine;
mod report;
mod scratch;
mod systems;
mod table;
mod through;

use anyhow::{Context, Result, bail};

use e4::device::DirectChoice;

use job::Job;
use kernel::Peer;
use report::{Counts, Report, Row, Spread};
use scratch::Scratch;
use systems::{ALL, Bench, Sample, System};

pub(crate) use scratch::janitor;
pub(crate) use through::serve;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Small files, 2 repetitions, a 3 s long job: to see that it works
    #[arg(long)]
    quick: bool,
    /// Print one JSON document instead of tables
    #[arg(long)]
    json: bool,
    /// Repetitions of each job
    #[arg(long)]
    repeat: Option<usize>,
    /// Seconds of writing in the long job
    #[arg(long)]
    seconds: Option<f64>,
    /// Only jobs whose name contains this; also: create, cost, memory, merging, fuse. May be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|o| o == name || (o != "4k" && name.contains(o)))
    }
}

/// Runs the benchmarks and prints them.
pub(crate) fn run(args: &Args) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!(
            "figures of a debug build mean nothing: use `cargo xtask bench`, which builds for release"
        );
    }
    let machine = machine::Machine::here();
    let repeat = args.repeat.unwrap_or(if args.quick { 2 } else { 5 }).max(1);
    let seconds = args.seconds.unwrap_or(if args.quick { 3.0 } else { 30.0 });
    let long = long_file(args.quick)?;
    let mut jobs = job::jobs(args.quick, repeat, seconds, long);
    jobs.retain(|job| args.wants(&job.name));
    let largest = jobs.iter().map(|j| j.size).max().unwrap_or(1 << 28);
    // Half as much again: metadata, and the middle where raw writes.
    let size = largest + (largest / 2).min(1 << 30);
    let scratch = Scratch::new()?;
    let mut report = Report {
        machine,
        load_at_end: [0.0; 3],
        settings: Vec::new(),
        jobs,
        rows: Vec::new(),
        conversion_cost: None,
        memory: Vec::new(),
        merging: Vec::new(),
        create: None,
        through: Vec::new(),
        aims: Vec::new(),
    };
    if !report.jobs.is_empty()
        || args.wants("merging")
        || args.wants("create")
        || args.wants("fuse")
    {
        eprintln!("filling a {} MiB image on /dev/shm", size >> 20);
        scratch.make_image(size)?;
        let mut bench = Bench {
            image: scratch.image(),
            mount_point: scratch.mount_point(),
            size,
            raw_direct: DirectChoice::Never,
            fuse_writes: if args.quick { 2048 } else { 8192 },
        };
        if !report.jobs.is_empty() {
            measure_jobs(&mut bench, &mut report)?;
        }
        if args.wants("create") {
            eprintln!("create");
            let files = if args.quick { 10_000 } else { 50_000 };
            report.create = Some(create::run(&bench, files, repeat)?);
        }
        if args.wants("fuse") {
            eprintln!("fuse");
            report.through = through::measure(&bench, args.quick, repeat)?;
        }
        if args.wants("merging") {
            eprintln!("merging");
            report.merging = engine::merges(&bench, if args.quick { 1 << 26 } else { 1 << 28 })?;
        }
    }
    drop(scratch);
    if args.wants("cost") {
        eprintln!("cost");
        let bytes = if args.quick { 1 << 28 } else { 1 << 30 };
        report.conversion_cost = Some(engine::cost(bytes, repeat)?);
    }
    if args.wants("memory") {
        eprintln!("memory");
        report.memory = engine::memory(if args.quick { 1 << 28 } else { 1 << 30 })?;
    }
    report.judge();
    report.load_at_end = machine::load();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report).context("JSON")?);
    } else {
        table::print(&report);
    }
    Ok(())
}

/// The file of the long job: as large as memory allows, so that one pass outlasts a commit interval.
fn long_file(quick: bool) -> Result<u64> {
    let gib: u64 = 1 << 30;
    if quick {
        return Ok(gib / 2);
    }
    // The rest is for the cost job, builders of page tables and the kernel.
    Ok((scratch::free_bytes()? / 2 / gib).clamp(1, 8) * gib)
}

fn measure_jobs(bench: &mut Bench, report: &mut Report) -> Result<()> {
    let absent = probe(bench, report);
    let jobs = std::mem::take(&mut report.jobs);
    if let Some(job) = jobs.iter().min_by_key(|j| j.size) {
        let mut small = job.clone();
        (small.threads, small.many_files, small.seconds, small.bs) = (1, false, 0.0, 4096);
        bench.choose_raw(&small, &small.plan().cut(1 << 17));
    }
    let direct = bench.raw_direct == DirectChoice::Always;
    let mode = if direct { "with O_DIRECT" } else { "buffered" };
    report
        .settings
        .push(format!("raw io_uring: {mode}, which is the faster here"));
    for job in &jobs {
        eprintln!("{}", job.name);
        measure_job(bench, job, &absent, report)?;
    }
    report.jobs = jobs;
    Ok(())
}

/// Finds out which peers there are; why not, for those that are not.
fn probe(bench: &Bench, report: &mut Report) -> Vec<(System, String)> {
    let mut absent = Vec::new();
    let mut missing = |system, why: &anyhow::Error| absent.push((system, format!("{why:#}")));
    let fio = fio::version();
    if let Err(why) = &fio {
        missing(System::RawFio, why);
    }
    let try_peer = |peer| {
        bench.format()?;
        kernel::probe(peer, &bench.image, &bench.mount_point)
    };
    match (try_peer(Peer::Kernel), &fio) {
        (Err(why), _) => {
            missing(System::Kernel, &why);
            missing(System::KernelFio, &why);
        }
        (Ok(()), Err(why)) => missing(System::KernelFio, why),
        (Ok(()), Ok(version)) => report.settings.push(format!("fio: {version}")),
    }
    if let Err(why) = try_peer(Peer::Fuse) {
        missing(System::Fuse, &why);
    }
    absent
}

fn measure_job(
    bench: &Bench,
    job: &Job,
    absent: &[(System, String)],
    report: &mut Report,
) -> Result<()> {
    let plan = job.plan();
    let mut systems: Vec<System> = ALL.into_iter().filter(|s| s.joins(job)).collect();
    let order = systems.clone();
    let mut why_not: Vec<(System, String)> = absent.to_vec();
    let mut taken: Vec<Sample> = Vec::new();
    for _ in 0..job.repeat {
        for &system in &systems {
            if why_not.iter().any(|(s, _)| *s == system) {
                continue;
            }
            match bench.measure(system, job, &plan) {
                Ok(samples) => taken.extend(samples),
                Err(e) if matches!(system, System::E4 | System::E4Uring) => {
                    return Err(e.context(format!("job {}, {}", job.name, system.rows()[0])));
                }
                Err(e) => why_not.push((system, format!("{e:#}"))),
            }
        }
        systems.reverse();
    }
    for system in order {
        let why = why_not
            .iter()
            .find(|(s, _)| *s == system)
            .map(|(_, why)| why.clone());
        for &name in system.rows() {
            let of_row = || taken.iter().filter(|s| s.row == name);
            let counts: Option<Counts> = of_row().next_back().and_then(|s| s.counts);
            report.rows.push(Row {
                job: job.name.clone(),
                system: name,
                block_size: job.bs,
                per_second: Spread::of(of_row().map(|s| s.rate).collect()),
                to_raw: None,
                to_e4_written: None,
                counts,
                absent: why.clone(),
            });
        }
    }
    report.relate(&job.name);
    Ok(())
}
