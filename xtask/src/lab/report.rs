//! What a run says at the end, and the table in docs/lab.md.

use anyhow::{Context, Result};
use std::fmt::{self, Write as _};
use std::time::Duration;

use super::mutants::Mutant;

/// What a run has done.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) explored: Option<String>,
    pub(crate) fuzzed: Option<String>,
    pub(crate) mutants: Vec<Mutant>,
    pub(crate) took: Duration,
}

impl Report {
    /// Bugs that nobody found.
    pub(crate) fn alive(&self) -> Vec<&str> {
        let alive = self.mutants.iter().filter(|m| m.killer.is_none());
        alive.map(|m| m.name.as_str()).collect()
    }

    /// Replaces the table in docs/lab.md.
    pub(crate) fn write_docs(&self) -> Result<()> {
        const BEGIN: &str = "<!-- mutants: begin -->\n";
        const END: &str = "<!-- mutants: end -->\n";
        let path = "docs/lab.md";
        let text = std::fs::read_to_string(path).context(path)?;
        let (head, rest) = text.split_once(BEGIN).context("no place for the table")?;
        let (_, tail) = rest.split_once(END).context("no end of the table")?;
        let mut table = String::from(
            "| planted bug | where | what is wrong | found by | s |\n|---|---|---|---|---|\n",
        );
        for m in &self.mutants {
            let (who, took) = match &m.killer {
                Some((who, _, took)) => (*who, format!("{:.1}", took.as_secs_f64())),
                None => ("**nobody**", String::new()),
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                table,
                "| {} | {} | {} | {who} | {took} |",
                m.name, m.place, m.story
            );
        }
        std::fs::write(path, [head, BEGIN, &table, END, tail].concat()).context(path)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "== lab, {:.0} s", self.took.as_secs_f64())?;
        if let Some(explored) = &self.explored {
            writeln!(f, "crash states: {explored}")?;
        }
        if let Some(fuzzed) = &self.fuzzed {
            writeln!(f, "fuzzing: {fuzzed}")?;
        }
        let killed = self.mutants.len() - self.alive().len();
        write!(f, "planted bugs: {killed} of {} found", self.mutants.len())?;
        for m in self.mutants.iter().filter(|m| m.killer.is_none()) {
            write!(f, "\nNOT FOUND: {} by {}", m.name, m.missed.join(", "))?;
        }
        Ok(())
    }
}
