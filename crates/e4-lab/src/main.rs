//! `e4-lab`: started by `cargo xtask lab`, not by people.
//!
//! Output is for the task that started it: one line per result, words separated by tabs.

use anyhow::Context;
use clap::{Parser, Subcommand};
use e4_lab::campaign::{self, Options};
use e4_lab::hunt::Checker;
use e4_planted::Bug;
use e4_sim::explore::{self, Params};
use e4_sim::race;
use e4_sync::Duration;
use std::collections::BTreeSet;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "e4-lab", about = "The lab's runs; see `cargo xtask lab`")]
struct Cli {
    #[command(subcommand)]
    run: Run,
}

#[derive(Subcommand)]
enum Run {
    /// The planted bugs: name, place, what is wrong
    List,
    /// Runs one checker against the bug named by E4_PLANTED, or against none
    Hunt {
        /// explorer or schedules
        checker: String,
        /// Time for it, seconds
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Only this seed or schedule
        #[arg(long)]
        focus: Option<String>,
    },
    /// Runs the named schedules: algorithms of history, and e4's engine
    Schedules {
        /// For the walks through the former
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Explores crash states of new workloads
    Explore {
        /// First seed
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Stop at this many distinct states
        #[arg(long, default_value_t = 0)]
        states: u64,
        /// Stop after this many seconds
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Threads
        #[arg(long, default_value_t = 2)]
        threads: usize,
        /// Ask e2fsck every that many states
        #[arg(long, default_value_t = 0)]
        fsck_every: u64,
    },
    /// Repeats one exploration
    Repeat {
        /// As printed with a failure
        spec: Params,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().run {
        Run::List => {
            for bug in Bug::ALL {
                println!("{}\t{}\t{}", bug.name(), bug.place(), bug.story());
            }
            Ok(ExitCode::SUCCESS)
        }
        Run::Hunt {
            checker,
            seconds,
            focus,
        } => {
            let all = Checker::ALL;
            let checker = all.into_iter().find(|c| c.name() == checker);
            hunt(
                checker.context("no such checker")?,
                seconds,
                focus.as_deref(),
            );
            Ok(ExitCode::SUCCESS)
        }
        Run::Schedules { seed } => Ok(schedules(seed)),
        Run::Explore {
            seed,
            states,
            seconds,
            threads,
            fsck_every,
        } => Ok(explore(&Options {
            seed,
            states,
            time: Duration::from_secs(seconds),
            threads,
            fsck_every,
            bound: campaign::bound(),
        })),
        Run::Repeat { spec } => Ok(repeat(&spec)),
    }
}

fn hunt(checker: Checker, seconds: u64, focus: Option<&str>) {
    let found = checker.hunt(Duration::from_secs(seconds), focus);
    let plain = |text: &str| text.replace(['\n', '\t'], " ");
    match found {
        Some(find) => println!("killed\t{}\t{}", plain(&find.focus), plain(&find.what)),
        None => println!("alive"),
    }
}

fn schedules(seed: u64) -> ExitCode {
    let reports = race::demonstrate(seed);
    let wrong: Vec<_> = reports.iter().filter(|r| !r.as_claimed).collect();
    for report in &wrong {
        println!("violation\t{report:?}");
    }
    let names: BTreeSet<&str> = reports.iter().map(|r| r.schedule).collect();
    let searched: usize = reports.iter().map(|r| r.effort).sum();
    let controls = reports.iter().filter(|r| r.violated.is_some()).count();
    println!(
        "{} named schedules in {} runs, {searched} walks and states; {controls} historical algorithms caught, violations {}",
        names.len(),
        reports.len(),
        wrong.len()
    );
    if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn explore(options: &Options) -> ExitCode {
    let totals = campaign::run(options, |totals| {
        if totals.workloads.is_multiple_of(64) {
            eprintln!("{totals}");
        }
    });
    println!("explored\t{}\t{}\t{totals}", totals.points, totals.distinct);
    if let Some((params, what)) = &totals.failure {
        println!("violation\t{params}\t{}", what.replace(['\n', '\t'], " "));
        println!("{}", campaign::explain(params, options.bound));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn repeat(params: &Params) -> ExitCode {
    let report = explore::run(params, campaign::bound(), &mut |_| {});
    println!("{params}\n{report}");
    if !report.is_clean() {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
