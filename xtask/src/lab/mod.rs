//! `cargo xtask lab`: crash states by the hundred thousand, every planted bug, everything else that tries to
//! break e4. `--hours` is the soak, with fresh seeds; without it the run is bounded, for CI.
//!
//! ```text
//!   build.rs    the lab's programs, with bugs that can be planted; proof that the product has none
//!   checkers.rs what can find a bug: runs of e4-lab, and test programs of the crates
//!   mutants.rs  every bug against the checkers, until one finds it
//!   soak.rs     the rounds of a soak            report.rs  what is left behind, and docs/lab.md
//! ```
//!
//! Decisions: bugs run in processes of their own, two at a time; one that dies is caught by that, for the same checkers
//! are first run without a bug and must pass. One that is late is caught by nobody. Anything that fails prints the
//! command that repeats it.

mod build;
mod checkers;
mod mutants;
mod report;
mod soak;

use anyhow::{Context, Result, anyhow, bail};
use e4_sync::atomic::{AtomicUsize, Ordering};
use std::process::Command;
use std::time::Instant;

use build::Programs;
use report::Report;

/// Options of `cargo xtask lab`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Soak: everything, again and again with fresh seeds, for so many hours; leaves target/lab/soak-*.md
    #[arg(long)]
    hours: Option<f64>,
    /// Repeat one exploration, as printed with a failure
    #[arg(long, value_name = "SPEC")]
    repeat: Option<String>,
    /// Distinct crash states to explore
    #[arg(long, default_value_t = 200_000)]
    states: u64,
    /// At most this many seconds for them
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these planted bugs. May be given several times
    #[arg(long, value_name = "BUG")]
    only: Vec<String>,
    /// No planted bugs
    #[arg(long)]
    no_mutants: bool,
    /// Nothing but crash states
    #[arg(long)]
    only_states: bool,
    /// No exploration, no runs without a bug: only the planted bugs
    #[arg(long)]
    mutants_only: bool,
    /// Write the table of planted bugs into docs/lab.md
    #[arg(long)]
    write_docs: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    build::product_has_no_bugs()?;
    let programs = Programs::build(args.repeat.is_none() && !args.only_states)?;
    if let Some(spec) = &args.repeat {
        let status = Command::new(&programs.lab).args(["repeat", spec]).status();
        std::process::exit(status.context("e4-lab")?.code().unwrap_or(1));
    }
    if let Some(hours) = args.hours {
        return soak::run(&programs, hours);
    }
    let begin = Instant::now();
    let mut report = Report::default();
    if !args.mutants_only {
        report.explored = Some(explore(&programs, args.seed, args.states, args.seconds)?);
        if !args.only_states {
            report.schedules = Some(schedules(&programs, args.seed)?);
            checkers::must_pass(&programs)?;
            report.fuzzed = Some(build::fuzz(1, args.seed)?);
        }
    }
    if !args.no_mutants && !args.only_states {
        report.mutants = mutants::hunt_all(&programs, &args.only)?;
    }
    report.took = begin.elapsed();
    println!("{report}");
    if args.write_docs {
        report.write_docs(args.only.is_empty())?;
    }
    let alive = report.alive();
    if !alive.is_empty() {
        bail!("nobody found: {}", alive.join(", "));
    }
    Ok(())
}

/// Explores; fails on a violation, which e4-lab has explained by then. Returns the line of totals.
fn explore(programs: &Programs, seed: u64, states: u64, seconds: u64) -> Result<String> {
    let out = Command::new(&programs.lab)
        .arg("explore")
        .args(["--seed", &seed.to_string()])
        .args(["--states", &states.to_string()])
        .args(["--seconds", &seconds.to_string()])
        .args(["--threads", &threads().to_string()])
        .args(["--fsck-every", "1000"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("e4-lab explore")?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        bail!("crash exploration:\n{text}");
    }
    let line = text.lines().find(|line| line.starts_with("explored"));
    let totals = line.and_then(|line| line.split('\t').nth(3));
    Ok(totals.context("e4-lab says nothing")?.to_owned())
}

/// Runs the named schedules against the algorithms of history and against e4's engine; what that comes to.
fn schedules(programs: &Programs, seed: u64) -> Result<String> {
    let mut command = Command::new(&programs.lab);
    let out = command.args(["schedules", "--seed", &seed.to_string()]);
    let out = out.output().context("e4-lab schedules")?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        bail!("schedules:\n{text}\nrepeat with: cargo test -p e4-sim --lib race");
    }
    Ok(text.lines().last().unwrap_or_default().to_owned())
}

/// Does something with each item, two (the machine's cores) at a time. The first error is returned when all are done.
fn in_parallel<T: Sync>(items: &[T], act: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let worker = || -> Result<()> {
            let mut result = Ok(());
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                result = result.and(act(item));
            }
            result
        };
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(worker)).collect();
        let ends = workers.into_iter().map(|worker| {
            let end = worker.join();
            end.unwrap_or_else(|_| Err(anyhow!("a worker panicked")))
        });
        ends.fold(Ok(()), Result::and)
    })
}

/// As [`in_parallel`], changing the items.
fn in_parallel_mut<T: Send + Sync + Clone>(
    items: &mut [T],
    act: impl Fn(&mut T) -> Result<()> + Sync,
) -> Result<()> {
    let cells: Vec<_> = items
        .iter_mut()
        .map(|item| e4_sync::Mutex::new(e4_sync::Rank::LEAF, item))
        .collect();
    in_parallel(&cells, |cell| {
        // Worked on outside the lock: nobody else takes this item.
        let mut item = cell.lock().clone();
        let end = act(&mut item);
        **cell.lock() = item;
        end
    })
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}
