//! The soak: the whole ladder with fresh seeds until the time is over; leaves a report file.

use anyhow::{Context, Result};
use std::time::{Duration, Instant, SystemTime};

use super::build::Programs;
use super::{build, checkers, explore, mutants};

/// Seconds of exploration per round.
const ROUND: u64 = 1200;

pub(crate) fn run(programs: &Programs, hours: f64) -> Result<()> {
    let (begin, time) = (Instant::now(), Duration::from_secs_f64(hours * 3600.0));
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let path = format!("target/lab/soak-{}.md", since.as_secs());
    std::fs::create_dir_all("target/lab").context("target/lab")?;
    let mut text = format!("# Soak of {hours} hours\n\n");
    let mut round = 0;
    while begin.elapsed() < time {
        // Rounds never share seeds, and neither do soaks.
        let seed = since.as_secs() * 1000 + round * 10_000_000_000;
        let left = time
            .saturating_sub(begin.elapsed())
            .as_secs()
            .clamp(1, ROUND);
        let result = one(programs, seed, left, round == 0);
        let line = match &result {
            Ok(line) => format!("- round {round}, first seed {seed}: {line}\n"),
            Err(error) => format!("- round {round}, first seed {seed}: **failed**\n\n{error:?}\n"),
        };
        print!("{line}");
        text.push_str(&line);
        std::fs::write(&path, &text).with_context(|| path.clone())?;
        result?;
        round += 1;
    }
    println!("{path}");
    Ok(())
}

fn one(programs: &Programs, seed: u64, seconds: u64, whole: bool) -> Result<String> {
    let mut line = explore(programs, seed, 0, seconds)?;
    checkers::must_pass(programs)?;
    let fuzzed = build::fuzz(30, seed)?;
    line.push_str(&format!("; fuzzing: {fuzzed}"));
    if whole {
        let mutants = mutants::hunt_all(programs, &[])?;
        let killed = mutants.iter().filter(|m| m.killer.is_some()).count();
        line.push_str(&format!(
            "; planted bugs found: {killed} of {}",
            mutants.len()
        ));
    }
    Ok(line)
}
