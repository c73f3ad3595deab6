//! `e4 aio-stress`: the classic tool's letters on a file inside an image.

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use e4::{Filesystem, OpenFlags};

use e4_format::ExtentState;

use crate::Outcome;
use crate::advice::Advise;
use crate::location::Location;
use crate::output::{ColorWhen, Common, Ui};
use crate::session::{self, Access};
use crate::size;
use crate::verbs::stress::verdict;
use crate::workload::actors::{Actor, Arena, Tally};
use crate::workload::aio_stress::{self, Options, Stage};
use crate::workload::oracle::Oracle;
use crate::workload::seed;
use crate::workload::stop::Stop;

/// Run the classic aio-stress on files inside an image.
///
/// Same letters, same access pattern, same units (a bare number after -s and -C counts MiB, after
/// -r and -a KiB). Beyond the classic tool: every sector is stamped with file, offset and generation and
/// verified by the read stages and at the end, failed writes count, randomness has a seed, threads
/// are real concurrency, and truncate, punch, fallocate and fsync can race along.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples (the first two lines are the case that exposed the completed-IO races of 2012):
  e4 fallocate -l 1g disk.img:/f
  e4 aio-stress -I 100000 -O -s 100m -n -t 1 -c 10 -o 2 -o 3 disk.img:/f
  e4 aio-stress -s 10m -t 20 disk.img:/f{0..19}
  e4 aio-stress -s 100m -c 10 -o 2 --truncate --punch --fsync disk.img:/f")]
pub struct AioStressArgs {
    /// The files, all in one image; created if missing
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// File size, MiB
    #[arg(short = 's', value_name = "SIZE", default_value = "1024m", value_parser = size::mib)]
    file_size: u64,
    /// Record size, KiB
    #[arg(short = 'r', value_name = "SIZE", default_value = "64k", value_parser = size::kib)]
    record: u64,
    /// Alignment of buffers and random offsets, KiB
    #[arg(short = 'a', value_name = "SIZE", default_value = "4k", value_parser = size::kib)]
    align: u64,
    /// Buffers per file and context
    #[arg(short = 'd', value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    depth: u64,
    /// Requests per file and context in one turn
    #[arg(short = 'i', value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    per_turn: u64,
    /// Most requests in one submission; files x -i x contexts if left out
    #[arg(short = 'b', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    batch: Option<u64>,
    /// Most turns per stage; reaching it ends the run
    #[arg(short = 'I', value_name = "N")]
    turns_max: Option<u64>,
    /// Contexts per file
    #[arg(short = 'c', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    contexts: u64,
    /// Offset between contexts, MiB
    #[arg(short = 'C', value_name = "SIZE", default_value = "2m", value_parser = size::mib)]
    context_offset: u64,
    /// Threads, at most files x contexts
    #[arg(short = 't', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    threads: u64,
    /// Add a stage: 0 write, 1 read, 2 random write, 3 random read; all four if none is given
    #[arg(short = 'o', value_name = "STAGE", action = ArgAction::Append, value_parser = clap::value_parser!(u8).range(0..=3))]
    stages: Vec<u8>,
    /// Direct I/O (always so here; accepted for old command lines)
    #[arg(short = 'O')]
    direct: bool,
    /// Synchronous: acknowledge writes only when they are durable
    #[arg(short = 'S')]
    sync: bool,
    /// No fsync between stages
    #[arg(short = 'n')]
    no_fsync: bool,
    /// No stonewalling: let every thread finish its stage
    #[arg(short = 'x')]
    no_stonewall: bool,
    /// Verify (always so here, unless --no-verify; accepted for old command lines)
    #[arg(short = 'v')]
    classic_verify: bool,
    /// Print submission latencies
    #[arg(short = 'l')]
    submit_latency: bool,
    /// Print completion latencies
    #[arg(short = 'L')]
    completion_latency: bool,
    /// Kind of buffer memory (shm, shmfs): accepted and ignored, buffers are always aligned
    #[arg(short = 'm', value_name = "KIND")]
    memory: Option<String>,
    /// Empty the files at the end
    #[arg(short = 'u')]
    unlink: bool,
    /// Neither stamp nor verify: write zeros, count short reads only
    #[arg(long)]
    no_verify: bool,
    /// Seed of the random offsets
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Truncate and preallocate the files meanwhile
    #[arg(long)]
    truncate: bool,
    /// Punch holes meanwhile
    #[arg(long)]
    punch: bool,
    /// Preallocate ranges meanwhile
    #[arg(long)]
    fallocate: bool,
    /// Call fsync meanwhile
    #[arg(long)]
    fsync: bool,
    /// Say more (-v means something else here)
    #[arg(long, action = ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long)]
    quiet: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN")]
    color: Option<ColorWhen>,
}

impl AioStressArgs {
    /// `-v` belongs to the classic tool, so the common options are spelled out.
    #[must_use]
    pub fn common(&self) -> Common {
        Common {
            verbose: self.verbose,
            quiet: self.quiet,
            color: self.color,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// Options that contradict each other, no space, or the image's.
pub fn run(args: &AioStressArgs, ui: &Ui) -> Outcome {
    let options = options(args)?;
    let (first, others) = args.locations.split_first().context("no file was given")?;
    if let Some(other) = others.iter().find(|l| l.image != first.image) {
        bail!(
            "{other}: all files must be in one image ({})",
            first.image.display()
        );
    }
    let fs = session::mount(&first.image, Access::Write, ui)?;
    let arena = open(args, &fs, &options)?;
    ui.say(&format!(
        "{} files of {}, {} contexts each, records of {}, {} requests per stage",
        args.locations.len(),
        size::human(args.file_size),
        options.contexts,
        size::human(options.record),
        size::grouped(aio_stress::requests_per_stage(&arena, &options)),
    ));
    let report = aio_stress::run(&fs, &arena, &options);
    for line in &report.lines {
        ui.say(line);
    }
    if args.submit_latency {
        ui.say(&format!("submission: {}", report.submit));
    }
    if args.completion_latency {
        ui.say(&format!("completion: {}", report.complete));
    }
    if report.cut_short {
        ui.say("-I was reached: the run ended there");
    }
    ui.detail(&format!("{:?}", fs.stats()));
    if options.verify {
        let units = arena.verify(&fs, &mut |_| ())?;
        ui.say(&format!("{} blocks verified", size::grouped(units)));
    }
    if args.unlink {
        for file in &arena.files {
            file.truncate(0)?;
        }
    }
    let status = verdict(&arena.tally, args.seed, ui);
    drop(arena);
    fs.unmount()?;
    Ok(status)
}

fn options(args: &AioStressArgs) -> Result<Options> {
    if args.record == 0
        || args.align == 0
        || !args.record.is_multiple_of(512)
        || !args.align.is_multiple_of(512)
    {
        bail!("record (-r) and alignment (-a) must be multiples of 512 bytes, and not 0");
    }
    let files = args.locations.len() as u64;
    let mut stages: Vec<Stage> = if args.stages.is_empty() {
        Stage::ALL.to_vec()
    } else {
        args.stages
            .iter()
            .map(|&o| Stage::ALL[usize::from(o)])
            .collect()
    };
    stages.sort_unstable();
    stages.dedup();
    let batch = args.batch.unwrap_or(files * args.per_turn * args.contexts);
    let actors = [
        (args.truncate, Actor::Truncate),
        (args.punch, Actor::Punch),
        (args.fallocate, Actor::Fallocate),
        (args.fsync, Actor::Fsync),
    ];
    Ok(Options {
        record: args.record,
        align: args.align,
        depth: args.depth,
        per_turn: args.per_turn.min(args.depth).min(batch),
        batch,
        turns_max: args.turns_max,
        contexts: args.contexts,
        context_offset: args.context_offset,
        threads: args.threads,
        stages,
        fsync_stages: !args.no_fsync,
        stonewall: !args.no_stonewall,
        verify: !args.no_verify,
        seed: args.seed,
        actors: actors
            .into_iter()
            .filter_map(|(on, actor)| on.then_some(actor))
            .collect(),
    })
}

fn open(args: &AioStressArgs, fs: &Filesystem, options: &Options) -> Result<Arena> {
    let mut files = Vec::new();
    for location in &args.locations {
        let flags = OpenFlags {
            dsync: args.sync,
            ..OpenFlags::create()
        };
        let file = fs
            .open_file(&location.path, flags)
            .or_try(|| format!("Is there room? e4 info {}", location.image.display()))?;
        files.push(file);
    }
    // Stamps are judged in units that records, random offsets and context offsets are multiples of.
    let unit = [options.align, options.context_offset]
        .iter()
        .fold(options.record, |a, &b| gcd(a, b));
    let sizes = vec![args.file_size; files.len()];
    let oracle = Oracle::new(seed::run_id(args.seed), unit.max(512), &sizes);
    for (i, file) in (0u32..).zip(&files) {
        // What earlier runs left in a file is not judged until it is overwritten.
        if file
            .extents()?
            .iter()
            .any(|e| e.state == ExtentState::Written)
        {
            oracle.assume_anything(i);
        }
    }
    Ok(Arena {
        files,
        sizes,
        oracle,
        log: None,
        stop: Stop::default(),
        tally: Tally::default(),
    })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
