//! Part (a): the heart on a real image.
//!
//! Decisions: the backing file is written once before anything is measured, so that the host's allocation
//! of it is in none of the numbers. The raw measurement leaves its stamps in all blocks, so the image
//! is made over old data: had a conversion ever run too early, those stamps would be read and
//! named. The final flush (fsync) is inside every time.

use std::path::Path;

use anyhow::Result;
use e4::Filesystem;
use e4_check::Options;
use e4_device::{AlignedBuf, Device, IoSlice, Op, OpenOptions, QueueId, Request, Token, Wait};
use e4_mkfs::{Medium, Params};
use e4_sync::atomic::Ordering;
use e4_sync::{Arc, Duration};

use super::{Claim, DemoArgs};
use crate::advice::Advise;
use crate::output::{DIM, HEADING, Ui};
use crate::session::{self, Access};
use crate::size;
use crate::workload::actors::{Actor, Arena};
use crate::workload::race::{Pattern, Race, shuffled};
use crate::workload::raw::{self, RawJob};

const LABEL: &str = "e4-demo";
const FILE: &str = "/demo";
const BLOCK: u64 = 4096;
const DEPTH: u32 = 32;
/// No measurement takes longer, however slow the disk.
const LIMIT: Duration = Duration::from_secs(5);

/// Runs part (a).
pub(super) fn run(args: &DemoArgs, seed: u64, ui: &Ui) -> Result<Vec<Claim>> {
    ui.say(&format!(
        "\n{HEADING}(a) Asynchronous direct writes into preallocated space{HEADING:#}"
    ));
    refuse_foreign(&args.image)?;
    let device = backing_file(args, ui)?;
    let order = shuffled(u32::try_from(args.size / BLOCK)?, seed);
    let race = race(args, seed, Pattern::Once(Arc::clone(&order)));
    let job = RawJob {
        block: BLOCK as usize,
        depth: DEPTH as usize,
        order: &order,
        limit: LIMIT,
        stamped: Some(seed),
        queue: QueueId(0),
    };
    let raw = raw::run(&*device, &job)?.iops();
    let params = Params {
        label: LABEL.to_owned(),
        medium: Medium::Unknown,
        ..Params::default()
    };
    e4_mkfs::format(&*device, &params, &mut |_| ())?;
    drop(device);

    let fs = session::mount(&args.image, Access::Write, ui)?;
    let arena = race.prepare(&fs, None)?;
    let before = arena.files[0].extents()?.len();
    let fresh = Measured::of(&race, &fs, &arena)?;
    let after = arena.files[0].extents()?.len();
    let again = Measured::of(&race, &fs, &arena)?;
    show_speed(raw, &fresh, &again, ui);
    show_merging(&fresh, before, after, ui);

    let wrong_before = arena.tally.mismatches().0;
    race_all(args, &race, &fs, &arena, ui);
    for file in 0..race.paths.len() {
        arena.sync(file as u32, false)?;
    }
    let units = arena.verify(&fs, &mut |_| ())?;
    let (arena, fs) = reopen(args, &race, arena, fs, ui)?;
    arena.verify(&fs, &mut |_| ())?;
    fs.unmount()?;
    let (wrong, wrong_examples) = arena.tally.mismatches();
    let (errors, error_examples) = arena.tally.errors();
    for example in wrong_examples.iter().chain(&error_examples) {
        ui.say(&format!("    {example}"));
    }
    debug_assert_eq!(wrong_before, 0, "the first passes do not read");
    let report = e4_check::check(
        &*session::device(&args.image, Access::Read, ui)?,
        &Options::default(),
        &mut |_| (),
    );
    Ok(vec![
        Claim::new(
            wrong == 0 && errors == 0,
            format!(
                "{} blocks verified in place and again from the disk: {wrong} sectors wrong, {errors} errors",
                size::grouped(units)
            ),
        ),
        Claim::new(
            report.is_clean(),
            format!(
                "e4 check: {}",
                if report.is_clean() {
                    "clean"
                } else {
                    "DAMAGED"
                }
            ),
        ),
    ])
}

/// An image that no demo made is not ours to overwrite.
fn refuse_foreign(image: &Path) -> Result<()> {
    if !image.exists() {
        return Ok(());
    }
    let ui = Ui::default();
    let ours = session::device(image, Access::Read, &ui)
        .and_then(|device| session::superblock(&*device))
        .is_ok_and(|sb| sb.label() == LABEL.as_bytes());
    if ours || std::fs::metadata(image)?.len() == 0 {
        return Ok(());
    }
    Err(anyhow::anyhow!(
        "{} exists and was not made by a demo",
        image.display()
    ))
    .or_try(|| "Name another one: e4 demo --image FILE".into())
}

/// Makes the backing file and writes all of it once.
fn backing_file(args: &DemoArgs, ui: &Ui) -> Result<Arc<dyn Device>> {
    const CHUNK: usize = 1 << 20;
    // Room for the journal, the bitmaps, and for blocks that are freed but not yet committed.
    let bytes = (args.size + args.size / 4 + (128 << 20)).next_multiple_of(CHUNK as u64);
    let options = OpenOptions {
        create: Some(bytes),
        ..OpenOptions::default()
    };
    let device = e4_device::open(&args.image, &options)
        .or_try(|| "Choose another place: e4 demo --image FILE".into())?;
    session::describe(&*device, ui);
    let bar = ui.bytes_bar(&format!("writing {}", args.image.display()), bytes);
    let mut requests = Vec::new();
    let mut done = Vec::new();
    for (i, at) in (0u64..).zip((0..bytes).step_by(CHUNK)) {
        let data = IoSlice::Owned(AlignedBuf::zeroed(CHUNK));
        requests.push(Request {
            token: Token(i),
            op: Op::Write { at, data },
        });
        device.submit(QueueId(0), &mut requests);
        if i % 8 == 7 {
            settle(&*device, 8, &mut done)?;
        }
        bar.inc(CHUNK as u64);
    }
    let rest = (bytes / CHUNK as u64 % 8) as usize;
    settle(&*device, rest, &mut done)?;
    device
        .flush()
        .or_try(|| "Is the disk full? Choose another place: e4 demo --image FILE".into())?;
    bar.finish_and_clear();
    Ok(device)
}

fn settle(device: &dyn Device, count: usize, done: &mut Vec<e4_device::Completion>) -> Result<()> {
    let mut left = count;
    while left > 0 {
        left = left.saturating_sub(device.poll(QueueId(0), done, Wait::One));
        for completion in done.drain(..) {
            completion
                .result
                .or_try(|| "Is the disk full? Choose another place: e4 demo --image FILE".into())?;
        }
    }
    Ok(())
}

fn race(args: &DemoArgs, seed: u64, pattern: Pattern) -> Race {
    Race {
        paths: vec![FILE.to_owned()],
        size: args.size - args.size % BLOCK,
        writers: 1,
        iodepth: DEPTH,
        block: BLOCK,
        pattern,
        run_max: 1,
        read_percent: 0,
        dsync: false,
        time: LIMIT,
        writes: None,
        actors: Vec::new(),
        seed,
    }
}

/// One pass of random writes, fsync included.
struct Measured {
    iops: f64,
    stats: e4::Stats,
}

impl Measured {
    fn of(race: &Race, fs: &Filesystem, arena: &Arena) -> Result<Self> {
        let (stats, writes) = (fs.stats(), arena.tally.writes.load(Ordering::Relaxed));
        arena.stop.lower();
        let start = e4_sync::now();
        race.run(fs, arena, &mut |_| ());
        arena.sync(0, false)?;
        let time = start.elapsed().as_secs_f64();
        let done = arena.tally.writes.load(Ordering::Relaxed) - writes;
        Ok(Self {
            iops: done as f64 / time.max(1e-9),
            stats: since(&stats, &fs.stats()),
        })
    }
}

/// What was counted between two snapshots; gauges are those of the second.
fn since(before: &e4::Stats, after: &e4::Stats) -> e4::Stats {
    let mut delta = *after;
    delta.conversions -= before.conversions;
    delta.blocks_published -= before.blocks_published;
    delta.recorded_ranges -= before.recorded_ranges;
    delta.records -= before.records;
    delta.tree_rebuilds -= before.tree_rebuilds;
    delta.commits -= before.commits;
    delta
}

fn show_speed(raw: f64, fresh: &Measured, again: &Measured, ui: &Ui) {
    let line = |what: &str, iops: f64, note: &str| {
        ui.say(&format!(
            "  {what:<34} {:>9}/s  {DIM}{note}{DIM:#}",
            size::grouped(iops as u64)
        ));
    };
    let of = |a: f64, b: f64| 100.0 * a / b.max(1e-9);
    line(
        "backing file, no filesystem",
        raw,
        "4 KiB random writes, 32 in flight, final flush included",
    );
    let note = format!("{:.0} % of the backing file", of(again.iops, raw));
    line("e4, written blocks", again.iops, &note);
    let note = format!(
        "{:.0} % of the backing file, {:.0} % of written blocks: conversion included",
        of(fresh.iops, raw),
        of(fresh.iops, again.iops)
    );
    line("e4, preallocated blocks", fresh.iops, &note);
}

fn show_merging(fresh: &Measured, before: usize, after: usize, ui: &Ui) {
    let s = &fresh.stats;
    let per = |a: u64, b: u64| a as f64 / b.max(1) as f64;
    ui.say(&format!(
        "  {} conversions became {} ranges in {} records ({:.0} conversions per record), {} transactions",
        size::grouped(s.conversions),
        size::grouped(s.recorded_ranges),
        size::grouped(s.records),
        per(s.conversions, s.records),
        size::grouped(s.commits),
    ));
    ui.say(&format!(
        "  extents of the file: {} when preallocated, {} after {} writes in random order",
        size::grouped(before as u64),
        size::grouped(after as u64),
        size::grouped(s.conversions),
    ));
}

/// The seed's test case: many contexts, truncate, punch and fsync racing.
fn race_all(args: &DemoArgs, race: &Race, fs: &Filesystem, arena: &Arena, ui: &Ui) {
    let race = Race {
        writers: 4,
        pattern: Pattern::Random,
        run_max: 32,
        read_percent: 10,
        time: Duration::from_secs(args.seconds),
        actors: vec![
            Actor::Truncate,
            Actor::Punch,
            Actor::Fallocate,
            Actor::Fsync,
        ],
        seed: race.seed ^ 2,
        ..race.clone()
    };
    arena.stop.lower();
    let bar = ui.steps_bar("racing", args.seconds * 10);
    race.run(fs, arena, &mut |_| bar.inc(1));
    bar.finish_and_clear();
    let t = &arena.tally;
    let get = |c: &e4_sync::atomic::AtomicU64| size::grouped(c.load(Ordering::Relaxed));
    ui.say(&format!(
        "  then {} s of racing: {} writes in all, {} reads judged, {} truncates, {} punches, {} fsyncs",
        args.seconds,
        get(&t.writes),
        get(&t.reads),
        get(&t.truncates),
        get(&t.punches),
        get(&t.syncs),
    ));
}

/// Unmounts and opens the image again: what is read now comes from the disk.
fn reopen(
    args: &DemoArgs,
    race: &Race,
    mut arena: Arena,
    fs: Filesystem,
    ui: &Ui,
) -> Result<(Arena, Filesystem)> {
    arena.files.clear();
    fs.unmount()?;
    let fs = session::mount(&args.image, Access::Read, ui)?;
    for path in &race.paths {
        arena.files.push(fs.open_file(path, e4::OpenFlags::read())?);
    }
    Ok((arena, fs))
}
