//! `e4 stress`: everything at once, verified; and the judgement of an image after kill -9.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use e4::{Filesystem, OpenFlags};
use e4_sync::Duration;
use e4_sync::atomic::Ordering;

use crate::Outcome;
use crate::advice::Advise;
use crate::exit::Status;
use crate::output::{BAD, Common, GOOD, Ui};
use crate::session::{self, Access};
use crate::size;
use crate::workload::ack_log::{AckLog, Findings, Verdicts};
use crate::workload::actors::{Actor, Arena, Tally};
use crate::workload::race::{Pattern, Race};
use crate::workload::seed;

/// Race asynchronous writers with truncate, punch, preallocation and fsync, and verify every sector.
///
/// Every sector is stamped with run, file, offset and generation. Reads are judged while the race
/// is on and again at the end, from a fresh mount: old data, lost writes, misplaced or foreign bytes all
/// count as wrong. The image's own files are left alone; the race uses /e4-stress-0, /e4-stress-1 ...
#[derive(Args, Debug)]
#[command(after_long_help = "\
With --ack-log, what was begun and what fsync promised is kept in a file beside the image. After
kill -9 (or a power cut) --verify-log recovers the image and compares:

  e4 stress disk.img --seconds 60 --ack-log acks & sleep 3; kill -9 $!
  e4 stress disk.img --verify-log acks

Examples:
  e4 stress disk.img --seconds 10
  e4 stress disk.img --writers 4 --iodepth 64 --bs 4K --seed 1234   the same operations again")]
pub struct StressArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// How long to race
    #[arg(long, value_name = "N", default_value_t = 10)]
    seconds: u64,
    /// End after this many writes, if that comes first
    #[arg(long, value_name = "N")]
    writes: Option<u64>,
    /// Writing threads, each with a context of its own
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=256))]
    writers: u32,
    /// Operations in flight per writer
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    iodepth: u32,
    /// Size of the smallest operation; a multiple of 512
    #[arg(long, value_name = "BYTES", default_value = "4K", value_parser = size::bytes)]
    bs: u64,
    /// Files to race on
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    files: u32,
    /// Size of each; by the free space if left out, at most 64M
    #[arg(long, value_name = "BYTES", value_parser = size::bytes)]
    size: Option<u64>,
    /// Largest operation, in multiples of --bs
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    run_max: u32,
    /// Operations of a hundred that are reads
    #[arg(long, value_name = "PERCENT", default_value_t = 15, value_parser = clap::value_parser!(u32).range(0..=100))]
    reads: u32,
    /// Acknowledge writes only when they are durable (O_DSYNC)
    #[arg(long)]
    dsync: bool,
    /// Leave truncate out of the race
    #[arg(long)]
    no_truncate: bool,
    /// Leave punch out
    #[arg(long)]
    no_punch: bool,
    /// Leave preallocation out
    #[arg(long)]
    no_fallocate: bool,
    /// Leave fsync out
    #[arg(long)]
    no_fsync: bool,
    /// Repeats the operations of a run; random if left out, and printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Journal what is begun and what fsync promises to this file
    #[arg(long, value_name = "FILE")]
    ack_log: Option<PathBuf>,
    /// Do not race: judge the image by a log of an earlier run
    #[arg(long, value_name = "FILE", conflicts_with = "ack_log")]
    verify_log: Option<PathBuf>,
}

/// Runs the verb.
///
/// # Errors
/// No space, an image in use, or the host's; wrong data is a status, not an error.
pub fn run(args: &StressArgs, ui: &Ui) -> Outcome {
    if let Some(log) = &args.verify_log {
        let verdicts = Verdicts::read(log)?;
        return verify_log(args, &verdicts, ui);
    }
    if args.bs == 0 || !args.bs.is_multiple_of(512) {
        bail!("--bs: {} is not a multiple of 512", args.bs);
    }
    let fs = session::mount(&args.image, Access::Write, ui)?;
    let race = race(args, &fs)?;
    ui.say(&format!(
        "racing on {} files of {}, {} writers x {} in flight, seed {}",
        race.paths.len(),
        size::human(race.size),
        race.writers,
        race.iodepth,
        race.seed
    ));
    let log = match &args.ack_log {
        None => None,
        Some(path) => {
            let files: Vec<(String, u64)> =
                race.paths.iter().map(|p| (p.clone(), race.size)).collect();
            Some(AckLog::create(path, race.run_id(), race.block, &files)?)
        }
    };
    let arena = race.prepare(&fs, log)?;
    let time = wait(&race, &fs, &arena, args.seconds, ui);
    report(&arena, &fs, time, ui);
    for file in 0..race.paths.len() {
        if let Err(error) = arena.sync(file as u32, false) {
            arena.tally.error("final fsync", &error);
        }
    }
    verify(&arena, &fs, "in place", ui)?;
    let arena = remount(args, &race, arena, fs, ui)?;
    Ok(verdict(&arena.tally, race.seed, ui))
}

fn race(args: &StressArgs, fs: &Filesystem) -> Result<Race> {
    let stat = fs.statfs();
    let block = u64::from(stat.block_size);
    let size = match args.size {
        Some(size) => size,
        None => {
            // Half of the space: freed blocks come back only with the next commit.
            let share = stat.available_blocks * block / 2 / u64::from(args.files);
            (64 << 20).min(share)
        }
    };
    let size = size - size % args.bs;
    if size < args.bs * 16 {
        return Err(anyhow::anyhow!(
            "{} has too little room for {} files",
            args.image.display(),
            args.files
        ))
        .or_try(|| "Use fewer (--files) or smaller (--size) files, or a larger image.".into());
    }
    let actor = |leave_out: bool, actor: Actor| (!leave_out).then_some(actor);
    Ok(Race {
        paths: (0..args.files).map(|i| format!("/e4-stress-{i}")).collect(),
        size,
        writers: args.writers,
        iodepth: args.iodepth,
        block: args.bs,
        pattern: Pattern::Random,
        run_max: args.run_max,
        read_percent: args.reads,
        dsync: args.dsync,
        time: Duration::from_secs(args.seconds),
        writes: args.writes,
        actors: [
            actor(args.no_truncate, Actor::Truncate),
            actor(args.no_punch, Actor::Punch),
            actor(args.no_fallocate, Actor::Fallocate),
            actor(args.no_fsync, Actor::Fsync),
        ]
        .into_iter()
        .flatten()
        .collect(),
        seed: args.seed.unwrap_or_else(seed::fresh),
    })
}

fn wait(race: &Race, fs: &Filesystem, arena: &Arena, seconds: u64, ui: &Ui) -> Duration {
    let start = e4_sync::now();
    let bar = ui.steps_bar("racing", seconds * 10);
    let time = race.run(fs, arena, &mut |tally| {
        let tenths = start.elapsed().as_millis() / 100;
        bar.set_position(u64::try_from(tenths).unwrap_or(u64::MAX));
        let writes = tally.writes.load(Ordering::Relaxed);
        bar.set_message(format!("{} writes", size::grouped(writes)));
    });
    bar.finish_and_clear();
    time
}

fn report(arena: &Arena, fs: &Filesystem, time: Duration, ui: &Ui) {
    let get = |c: &e4_sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
    let t = &arena.tally;
    let seconds = time.as_secs_f64().max(1e-9);
    ui.say(&format!(
        "{} writes ({} bytes) in {seconds:.1} s: {}/s; {} verified reads",
        size::grouped(get(&t.writes)),
        size::human(get(&t.written)),
        size::grouped((get(&t.writes) as f64 / seconds) as u64),
        size::grouped(get(&t.reads)),
    ));
    ui.say(&format!(
        "{} truncates, {} punches, {} preallocations, {} syncs meanwhile",
        size::grouped(get(&t.truncates)),
        size::grouped(get(&t.punches)),
        size::grouped(get(&t.fallocates)),
        size::grouped(get(&t.syncs)),
    ));
    let s = fs.stats();
    ui.detail(&format!("{s:?}"));
}

fn verify(arena: &Arena, fs: &Filesystem, how: &str, ui: &Ui) -> Result<()> {
    let total = arena.sizes.iter().sum();
    let bar = ui.bytes_bar("verifying", total);
    let units = arena.verify(fs, &mut |n| bar.inc(n))?;
    bar.finish_and_clear();
    let wrong = arena.tally.mismatches().0;
    ui.say(&format!(
        "{} blocks read back {how}; sectors wrong so far: {wrong}",
        size::grouped(units)
    ));
    Ok(())
}

/// Unmounts, mounts again and verifies once more: now from the disk alone.
fn remount(args: &StressArgs, race: &Race, arena: Arena, fs: Filesystem, ui: &Ui) -> Result<Arena> {
    let Arena {
        files,
        sizes,
        oracle,
        log,
        stop,
        tally,
    } = arena;
    drop(files);
    fs.unmount()?;
    if let Some(log) = &log {
        log.check()?;
    }
    let fs = session::mount(&args.image, Access::Read, ui)?;
    let open = |path: &String| fs.open_file(path, OpenFlags::read());
    let files = race.paths.iter().map(open).collect::<Result<_, _>>()?;
    let arena = Arena {
        files,
        sizes,
        oracle,
        log,
        stop,
        tally,
    };
    verify(&arena, &fs, "from a fresh mount", ui)?;
    Ok(arena)
}

/// What is said at the end, and the exit status that goes with it.
pub(super) fn verdict(tally: &Tally, seed: u64, ui: &Ui) -> Status {
    let (errors, error_examples) = tally.errors();
    let (wrong, wrong_examples) = tally.mismatches();
    for example in error_examples.iter().chain(&wrong_examples) {
        ui.say(&format!("  {BAD}{example}{BAD:#}"));
    }
    if wrong > 0 {
        ui.say(&format!(
            "{BAD}{wrong} sectors wrong{BAD:#}, {errors} errors; repeat with --seed {seed}"
        ));
        return Status::WRONG_DATA;
    }
    if errors > 0 {
        ui.say(&format!(
            "{BAD}{errors} operations failed{BAD:#}, no wrong data; repeat with --seed {seed}"
        ));
        return Status::FAILED;
    }
    ui.say(&format!(
        "{GOOD}no wrong sector, no error{GOOD:#} (seed {seed})"
    ));
    Status::SUCCESS
}

fn verify_log(args: &StressArgs, verdicts: &Verdicts, ui: &Ui) -> Outcome {
    let fs = session::mount(&args.image, Access::Write, ui)?;
    let mut findings = Findings::default();
    for (i, (path, _)) in (0u32..).zip(&verdicts.header.files) {
        let file = fs
            .open_file(path, OpenFlags::read())
            .with_context(|| path.clone())?;
        let read = |at: u64, buf: &mut [u8]| {
            let mut got = 0;
            while got < buf.len() {
                match file.read_at(at + got as u64, &mut buf[got..])? {
                    0 => break,
                    n => got += n,
                }
            }
            Ok(())
        };
        findings.merge(verdicts.judge(i, read)?);
    }
    fs.unmount()?;
    for example in &findings.examples {
        ui.say(&format!("  {BAD}{example}{BAD:#}"));
    }
    let clean = findings.lost == 0 && findings.stale == 0;
    let style = if clean { GOOD } else { BAD };
    ui.say(&format!(
        "{} completed operations and {} promises of fsync in the log; {} blocks durable; \
         {style}durable writes lost {}, stale sectors {}{style:#}",
        size::grouped(verdicts.completed),
        size::grouped(verdicts.syncs),
        size::grouped(findings.durable_units),
        findings.lost,
        findings.stale,
    ));
    Ok(if clean {
        Status::SUCCESS
    } else {
        Status::WRONG_DATA
    })
}
