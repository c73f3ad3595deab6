//! The soak: the whole ladder with fresh seeds until the time is over; leaves a report file.
//!
//! Decision: every round climbs the whole ladder, so that a soak of minutes shows the same as one of a night; what is
//! explored and fuzzed takes the share of the time that is left. The planted bugs are hunted once.

use anyhow::{Context, Result};
use std::time::{Duration, Instant, SystemTime};

use super::build::Programs;
use super::report::Report;
use super::{build, checkers, explore, mutants, schedules};

/// Seconds of exploration per round, at most.
const ROUND: u64 = 1200;
/// Seconds per fuzz target and round, at most.
const FUZZ: u64 = 30;

pub(crate) fn run(programs: &Programs, hours: f64) -> Result<()> {
    let (begin, time) = (Instant::now(), Duration::from_secs_f64(hours * 3600.0));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let path = format!("target/lab/soak-{}.md", since.as_secs());
    std::fs::create_dir_all("target/lab").context("target/lab")?;
    let mut text = format!("# Soak of {hours} hours\n\n");
    let mut round = 0;
    loop {
        // Rounds never share seeds, and neither do soaks.
        let seed = since.as_secs() * 1000 + round * 10_000_000_000;
        let left = time.saturating_sub(begin.elapsed()).as_secs();
        let result = one(programs, seed, left, round == 0);
        let part = match &result {
            Ok(report) => {
                format!("## Round {round}, first seed {seed}\n\n```text\n{report}\n```\n\n")
            }
            Err(error) => {
                format!(
                    "## Round {round}, first seed {seed}: FAILED\n\n```text\n{error:?}\n```\n\n"
                )
            }
        };
        print!("{part}");
        text.push_str(&part);
        let took = begin.elapsed().as_secs_f64() / 3600.0;
        let end = match &result {
            Ok(_) => format!("{} rounds in {took:.2} hours, 0 violations.\n", round + 1),
            Err(_) => format!("Stopped by a violation after {took:.2} hours.\n"),
        };
        std::fs::write(&path, format!("{text}{end}")).with_context(|| path.clone())?;
        result.with_context(|| path.clone())?;
        round += 1;
        if begin.elapsed() >= time {
            println!("{end}{path}");
            return Ok(());
        }
    }
}

fn one(programs: &Programs, seed: u64, left: u64, whole: bool) -> Result<Report> {
    let begin = Instant::now();
    let mut report = Report {
        explored: Some(explore(programs, seed, 0, (left / 3).clamp(1, ROUND))?),
        schedules: Some(schedules(programs, seed)?),
        ..Report::default()
    };
    checkers::must_pass(programs)?;
    report.fuzzed = Some(build::fuzz((left / 100).clamp(1, FUZZ), seed)?);
    if whole {
        report.mutants = mutants::hunt_all(programs, &[])?;
        let alive = report.alive();
        anyhow::ensure!(alive.is_empty(), "nobody found: {}", alive.join(", "));
    }
    report.took = begin.elapsed();
    Ok(report)
}
