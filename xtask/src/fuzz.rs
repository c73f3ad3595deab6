//! `cargo xtask fuzz`: every target over its corpus and seeded variations of it, on any toolchain.
//!
//! Decisions: each target runs in a process of its own, under a limit on its address space, so that one that asks for
//! too much memory or dies is a finding with a name. An input is written down before it runs; if the process dies, that
//! file is the finding. Time is processor time, which a busy machine does not stretch. For coverage-guided runs see
//! fuzz/README.md; the targets are the same.

use anyhow::{Context, Result, bail, ensure};
use e4_hostile::random::Random;
use e4_hostile::target::{self, MEMORY_LIMIT, TIME_LIMIT_MS, Target};
use e4_hostile::{corpus, vary};
use e4_sync::{Duration, now};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds per target; the corpus itself always runs
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
    /// Which variations
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run one input from a file
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
    /// Write what the corpus of the target(s) begins with below this directory, for coverage-guided fuzzers
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Run in this process (what the parent starts)
    #[arg(long, hide = true)]
    inside: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let targets: Vec<&Target> = match &args.target {
        None => target::ALL.iter().collect(),
        Some(name) => vec![target::by_name(name).with_context(|| {
            let names: Vec<_> = target::ALL.iter().map(|t| t.name).collect();
            format!("no target {name}; there are: {}", names.join(", "))
        })?],
    };
    if let Some(dir) = &args.corpus {
        return write_corpus(dir, &targets);
    }
    if let (Some(path), Some(target)) = (&args.input, targets.first()) {
        let input = std::fs::read(path).with_context(|| path.display().to_string())?;
        let (cpu, ()) = timed(|| (target.run)(&input))?;
        println!("{}: {} bytes, {cpu:?}", target.name, input.len());
        return Ok(());
    }
    if let (Some(note), Some(target)) = (&args.inside, targets.first()) {
        return inside(args, target, note);
    }
    println!(
        "{:18} {:>9} {:>9} {:>11} {:>10}",
        "target", "inputs", "per s", "slowest ms", "peak MiB"
    );
    let mut failed = Vec::new();
    for target in targets {
        if let Err(error) = child(args, target) {
            println!("{:18} FAILED: {error:#}", target.name);
            failed.push(target.name);
        }
    }
    ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
    Ok(())
}

fn write_corpus(dir: &Path, targets: &[&Target]) -> Result<()> {
    for target in targets {
        let dir = dir.join(target.name);
        std::fs::create_dir_all(&dir)?;
        let inputs = corpus::of(target)?;
        for (n, input) in inputs.iter().enumerate() {
            std::fs::write(dir.join(format!("made{n:04}")), input)?;
        }
        println!("{}: {} inputs", target.name, inputs.len());
    }
    Ok(())
}

/// Runs one target in a process of its own and reports how it died, if it did.
fn child(args: &Args, target: &Target) -> Result<()> {
    // In memory where there is a place for it: the note is written for every input.
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() {
        tempfile::tempdir_in(shm)?
    } else {
        tempfile::tempdir()?
    };
    let note = dir.path().join("input");
    let status = Command::new(std::env::current_exe()?)
        .args(["fuzz", "--target", target.name])
        .args([
            "--seconds",
            &args.seconds.to_string(),
            "--seed",
            &args.seed.to_string(),
        ])
        .arg("--inside")
        .arg(&note)
        .status()?;
    if status.success() {
        return Ok(());
    }
    let kept = Path::new("fuzz/artifacts").join(format!("{}-{}", target.name, args.seed));
    std::fs::create_dir_all("fuzz/artifacts")?;
    std::fs::copy(&note, &kept).context("the input that was running")?;
    bail!(
        "{status}; the input is {}, repeat with: cargo xtask fuzz --target {} --input {}",
        kept.display(),
        target.name,
        kept.display()
    )
}

/// The limit on the address space: the target's own, and what the program and the seed images need.
const REST: u64 = 512 << 20;

fn inside(args: &Args, target: &Target, note: &Path) -> Result<()> {
    let inputs = corpus::of(target)?;
    let limit = Some(MEMORY_LIMIT + REST);
    let hard = getrlimit(Resource::As).maximum;
    setrlimit(
        Resource::As,
        Rlimit {
            current: limit,
            maximum: hard,
        },
    )
    .context("limiting memory")?;
    let before = peak_kib()?;
    let start = now();
    let mut random = Random::new(args.seed);
    let (mut count, mut slowest, mut peak) = (0u64, Duration::ZERO, 0);
    for n in 0.. {
        let input = match inputs.get(n) {
            Some(input) => input.clone(),
            None if start.elapsed() >= Duration::from_secs(args.seconds) => break,
            None => {
                let (a, b) = (random.pick(&inputs), random.clone().pick(&inputs));
                let (a, b) = (
                    a.cloned().unwrap_or_default(),
                    b.cloned().unwrap_or_default(),
                );
                vary::vary(&mut random, &a, &b, target.max_len)
            }
        };
        std::fs::write(note, &input)?;
        let (cpu, ()) = timed(|| (target.run)(&input))?;
        let limit =
            Duration::from_millis(TIME_LIMIT_MS) * if cfg!(debug_assertions) { 4 } else { 1 };
        ensure!(cpu <= limit, "{}: {cpu:?} for one input", target.name);
        peak = peak_kib()?.saturating_sub(before) / 1024;
        ensure!(peak <= MEMORY_LIMIT >> 20, "{}: {peak} MiB", target.name);
        slowest = slowest.max(cpu);
        count += 1;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let slowest = slowest.as_secs_f64() * 1000.0;
    println!(
        "{:18} {count:>9} {rate:>9.0} {slowest:>11.1} {peak:>10}",
        target.name
    );
    Ok(())
}

/// Processor time of all threads of this process while `f` runs.
fn timed<T>(f: impl FnOnce() -> T) -> Result<(Duration, T)> {
    let cpu = || {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(
            u64::try_from(t.tv_sec).unwrap_or(0),
            u32::try_from(t.tv_nsec).unwrap_or(0),
        )
    };
    let before = cpu();
    let result = f();
    Ok((cpu().saturating_sub(before), result))
}

/// The most memory this process had resident, KiB.
fn peak_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmHWM:"))
        .context("no VmHWM")?;
    let number = line.split_whitespace().next().context("VmHWM is empty")?;
    Ok(number.parse()?)
}
