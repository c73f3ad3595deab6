//! Every planted bug against the checkers, until one finds it.

use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use super::build::Programs;
use super::{checkers, threads};

/// A planted bug, and who found it.
pub(crate) struct Mutant {
    pub(crate) name: String,
    pub(crate) place: String,
    pub(crate) story: String,
    /// The checker, what it saw, how long it took; `None`: nobody did.
    pub(crate) killer: Option<(&'static str, String, Duration)>,
    /// Checkers that had seen nothing before.
    pub(crate) missed: Vec<&'static str>,
}

/// Every bug, or those named.
pub(crate) fn hunt_all(programs: &Programs, only: &[String]) -> Result<Vec<Mutant>> {
    let out = Command::new(&programs.lab).arg("list").output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut todo: VecDeque<(usize, Mutant)> = VecDeque::new();
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
            todo.push_back((todo.len(), mutant));
        }
    }
    let (done, results) = mpsc::channel();
    let mut queues: Vec<VecDeque<_>> = (0..threads()).map(|_| VecDeque::new()).collect();
    let count = queues.len();
    for (n, item) in todo.into_iter().enumerate() {
        queues[n % count].push_back(item);
    }
    let mut mutants = std::thread::scope(|scope| -> Result<Vec<(usize, Mutant)>> {
        for queue in queues {
            let done = done.clone();
            scope.spawn(move || {
                for (n, mutant) in queue {
                    // Nobody listens any more after an error.
                    let _ = done.send(hunt(programs, mutant).map(|mutant| (n, mutant)));
                }
            });
        }
        drop(done);
        let mut all = Vec::new();
        for result in results {
            let (n, mutant) = result?;
            println!("{}", line(&mutant));
            all.push((n, mutant));
        }
        Ok(all)
    })?;
    mutants.sort_by_key(|(n, _)| *n);
    Ok(mutants.into_iter().map(|(_, mutant)| mutant).collect())
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

fn hunt(programs: &Programs, mut mutant: Mutant) -> Result<Mutant> {
    for checker in checkers::for_place(&mutant.place) {
        match checkers::run(programs, checker, Some(&mutant.name))? {
            Some(found) => {
                mutant.killer = Some((checker.name, found.what, found.took));
                break;
            }
            None => mutant.missed.push(checker.name),
        }
    }
    Ok(mutant)
}
