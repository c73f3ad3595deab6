//! What a run says at the end, and what it writes into docs/lab.md.

use anyhow::{Context, Result, ensure};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use super::checkers::Killer;
use super::mutants::Mutant;

const DOCS: &str = "docs/lab.md";

/// What a run has done.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) explored: Option<String>,
    pub(crate) schedules: Option<String>,
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

    /// Replaces the figures and the table in docs/lab.md; after a run with some of the bugs (not `whole`), their rows.
    pub(crate) fn write_docs(&self, whole: bool) -> Result<()> {
        let text = std::fs::read_to_string(DOCS).context(DOCS)?;
        let mut rows: Vec<String> = self.mutants.iter().map(row).collect();
        if !whole {
            let (_, old, _) = section(&text, "mutants")?;
            let name = |row: &str| row.split(" | ").next().unwrap_or_default().to_owned();
            let old = old.lines().skip(2).map(|line| {
                let new = rows.iter().find(|row| name(row) == name(line));
                new.cloned().unwrap_or_else(|| line.to_owned())
            });
            rows = old.collect();
        }
        let mut table = String::from(HEAD);
        rows.iter().for_each(|row| {
            table.push_str(row);
            table.push('\n');
        });
        let mut text = replaced(&text, "mutants", &table)?;
        if whole && self.explored.is_some() {
            text = replaced(&text, "figures", &format!("```text\n{self}\n```\n"))?;
        }
        std::fs::write(DOCS, text).context(DOCS)
    }
}

const HEAD: &str =
    "| planted bug | where | what is wrong | found by | s |\n|---|---|---|---|---|\n";

fn row(m: &Mutant) -> String {
    let (who, took) = match &m.killer {
        Some((who, _, took)) => (who.to_string(), format!("{:.1}", took.as_secs_f64())),
        None => ("**nobody**".to_owned(), String::new()),
    };
    format!(
        "| {} | {} | {} | {who} | {took} |",
        m.name, m.place, m.story
    )
}

/// Who found each bug when the table was written.
pub(crate) fn known_killers() -> Result<HashMap<String, Killer>> {
    let text = std::fs::read_to_string(DOCS).context(DOCS)?;
    let (_, table, _) = section(&text, "mutants")?;
    let rows = table.lines().skip(2).filter_map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let name = cells.next()?.to_owned();
        Some((name, Killer::parse(cells.nth(2)?)?))
    });
    Ok(rows.collect())
}

/// A part of the page between its marks: what is before it, it, what is behind.
fn section<'a>(text: &'a str, name: &str) -> Result<(&'a str, &'a str, &'a str)> {
    let (begin, end) = (
        format!("<!-- {name}: begin -->\n"),
        format!("<!-- {name}: end -->\n"),
    );
    let at = text.find(&begin).map(|at| at + begin.len());
    let at = at.with_context(|| format!("{DOCS}: no place for {name}"))?;
    let to = text.find(&end);
    let to = to.with_context(|| format!("{DOCS}: no end of {name}"))?;
    ensure!(at <= to, "{DOCS}: {name} end before they begin");
    let (before, rest) = text.split_at(at);
    let (inside, behind) = rest.split_at(to - at);
    Ok((before, inside, behind))
}

fn replaced(text: &str, name: &str, inside: &str) -> Result<String> {
    let (before, _, behind) = section(text, name)?;
    Ok([before, inside, behind].concat())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab, {:.0} s", self.took.as_secs_f64())?;
        let parts = [
            ("crash states", &self.explored),
            ("schedules", &self.schedules),
            ("fuzzing", &self.fuzzed),
        ];
        for (name, part) in parts {
            if let Some(part) = part {
                write!(f, "\n{name}: {}", part.replace(" - ", "\n    "))?;
            }
        }
        if !self.mutants.is_empty() {
            let killed = self.mutants.len() - self.alive().len();
            let time: Duration = self
                .mutants
                .iter()
                .filter_map(|m| Some(m.killer.as_ref()?.2))
                .sum();
            write!(
                f,
                "\nplanted bugs: {killed} of {} found, in {:.0} s by those who found them",
                self.mutants.len(),
                time.as_secs_f64()
            )?;
        }
        for m in self.mutants.iter().filter(|m| m.killer.is_none()) {
            write!(f, "\nNOT FOUND: {} by {}", m.name, m.missed.join(", "))?;
        }
        Ok(())
    }
}
