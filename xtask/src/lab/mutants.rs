//! Every planted bug against the checkers, until one finds it.
//!
//! Decision: whoever found a bug last time (docs/lab.md says who) is asked first, and only for what it found then; if
//! that fails, everybody is asked.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use super::build::Programs;
use super::checkers::{self, Found, Killer};
use super::report;

/// A planted bug, and who found it.
#[derive(Clone)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) story: String,
    /// Who found it, what it saw, how long it took; `None`: nobody did.
    pub(crate) killer: Option<(Killer, String, Duration)>,
    /// Checkers that had seen nothing before.
    pub(crate) missed: Vec<&'static str>,
}

/// Every bug, or those named.
pub(crate) fn hunt_all(programs: &Programs, only: &[String]) -> Result<Vec<Mutant>> {
    let out = Command::new(&programs.lab).arg("list").output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let known = report::known_killers()?;
    let mut mutants: Vec<Mutant> = Vec::new();
    for line in text.lines() {
        let mut words = line.split('\t').map(str::to_owned);
        let mut word = || words.next().context("e4-lab list");
        let mutant = Mutant {
            name: word()?,
            place: word()?,
            story: word()?,
            killer: None,
            missed: Vec::new(),
        };
        if only.is_empty() || only.contains(&mutant.name) {
            mutants.push(mutant);
        }
    }
    for name in only {
        let found = mutants.iter().find(|m| m.name == *name);
        found.with_context(|| format!("no planted bug is called {name}"))?;
    }
    super::in_parallel_mut(&mut mutants, |mutant| {
        hunt(programs, mutant, &known)?;
        println!("{}", line(mutant));
        Ok(())
    })?;
    Ok(mutants)
}

fn line(mutant: &Mutant) -> String {
    match &mutant.killer {
        Some((who, what, took)) => {
            let what: String = what.chars().take(160).collect();
            format!(
                "{}: {who}, {:.1} s: {what}",
                mutant.name,
                took.as_secs_f64()
            )
        }
        None => format!("{}: NOBODY", mutant.name),
    }
}

fn hunt(programs: &Programs, mutant: &mut Mutant, known: &HashMap<String, Killer>) -> Result<()> {
    let everybody = checkers::for_place(&mutant.place).into_iter();
    let everybody = everybody.map(|checker| Killer {
        checker,
        focus: String::new(),
    });
    let first = known.get(&mutant.name).cloned();
    for killer in first.into_iter().chain(everybody) {
        match checkers::hunt(programs, &killer, &mutant.name)? {
            Some(Found { killer, what, took }) => {
                mutant.killer = Some((killer, what, took));
                return Ok(());
            }
            None => mutant.missed.push(killer.checker.name),
        }
    }
    Ok(())
}
