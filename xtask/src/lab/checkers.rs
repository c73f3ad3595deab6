//! What can find a bug. Each is run without one first, and must pass.
//!
//! Decisions: a checker that does not return in time has found nothing: on a starved machine anything may be late. Who
//! claims a hang must see the deadlock (the named schedules do). What a checker found is found again by its *focus*
//! alone (a test's name, a workload's seed, a schedule), in a fraction of the time.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::build::Programs;

/// A checker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Checker {
    pub(crate) name: &'static str,
    how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// A run of e4-lab, with so many seconds to search.
    Hunt(u64),
    /// A test program: package, target.
    Suite(&'static str, &'static str),
}

/// What has found a bug, and will again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Killer {
    pub(crate) checker: Checker,
    /// The test, schedule or seed; empty: all of the checker.
    pub(crate) focus: String,
}

impl std::fmt::Display for Killer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Killer { checker, focus } = self;
        match focus.as_str() {
            "" => f.write_str(checker.name),
            focus => write!(f, "{}: {focus}", checker.name),
        }
    }
}

impl Killer {
    /// As displayed.
    pub(crate) fn parse(text: &str) -> Option<Killer> {
        let (name, focus) = text.split_once(": ").unwrap_or((text, ""));
        let checker = ALL.into_iter().find(|c| c.name == name)?;
        let focus = focus.to_owned();
        Some(Killer { checker, focus })
    }
}

const fn suite(name: &'static str, package: &'static str, target: &'static str) -> Checker {
    Checker {
        name,
        how: How::Suite(package, target),
    }
}

pub(crate) const EXPLORER: Checker = Checker {
    name: "crash explorer",
    how: How::Hunt(15),
};
pub(crate) const SCHEDULES: Checker = Checker {
    name: "named schedules",
    how: How::Hunt(0),
};
pub(crate) const DIRECTED: Checker = suite("directed schedules", "e4-sim", "directed");
pub(crate) const FAULTS: Checker = suite("faults and full disk", "e4-sim", "errors");
pub(crate) const JOURNAL: Checker = suite("journal model", "e4-journal", "e4_journal");
pub(crate) const TREES: Checker = suite("extent tree search", "e4-extent", "tree");
pub(crate) const MACHINE: Checker = suite("engine search", "e4-completion", "e4_completion");
pub(crate) const THREADS: Checker = suite("racing threads", "e4", "racing");
pub(crate) const ALLOCATOR: Checker = suite("allocator model", "e4", "e4");

const ALL: [Checker; 9] = [
    DIRECTED, EXPLORER, SCHEDULES, FAULTS, JOURNAL, TREES, MACHINE, THREADS, ALLOCATOR,
];

/// The checkers to try on a bug in this place, the likeliest first.
pub(crate) fn for_place(place: &str) -> Vec<Checker> {
    let module = place.split(' ').next_back().unwrap_or_default();
    let first: &[Checker] = match place.split(' ').next().unwrap_or_default() {
        "e4-journal" if matches!(module, "checkpoint" | "flush" | "handle") => {
            &[JOURNAL, FAULTS, EXPLORER]
        }
        "e4-journal" => &[EXPLORER, JOURNAL, FAULTS],
        "e4-completion" => &[SCHEDULES, EXPLORER, FAULTS, MACHINE],
        "e4-extent" => &[EXPLORER, TREES],
        "e4" if matches!(
            module,
            "data/inflight" | "data/sync" | "data/zero_out" | "data/charge"
        ) =>
        {
            &[FAULTS, DIRECTED, EXPLORER]
        }
        _ => &[DIRECTED, EXPLORER, FAULTS, ALLOCATOR, THREADS],
    };
    let rest = ALL.into_iter().filter(|c| !first.contains(c));
    first.iter().copied().chain(rest).collect()
}

/// What a checker found.
pub(crate) struct Found {
    pub(crate) killer: Killer,
    /// In words.
    pub(crate) what: String,
    pub(crate) took: Duration,
}

/// How long a checker may take. One that takes longer has found nothing.
const PATIENCE: Duration = Duration::from_secs(90);

/// The end of a run.
enum Ended {
    /// It found nothing.
    Clean,
    /// It found something, with this focus.
    Found { focus: String, what: String },
    /// It was stopped.
    Late,
}

/// Runs a checker against a bug.
pub(crate) fn hunt(programs: &Programs, killer: &Killer, bug: &str) -> Result<Option<Found>> {
    let begin = Instant::now();
    let Ended::Found { focus, what } = run(programs, killer, Some(bug))? else {
        return Ok(None);
    };
    let checker = killer.checker;
    Ok(Some(Found {
        killer: Killer { checker, focus },
        what,
        took: begin.elapsed(),
    }))
}

fn command(programs: &Programs, killer: &Killer, bug: Option<&str>) -> Result<Command> {
    let Killer { checker, focus } = killer;
    let mut command;
    match checker.how {
        How::Hunt(seconds) => {
            command = Command::new(&programs.lab);
            let name = match *checker {
                EXPLORER => "explorer",
                _ => "schedules",
            };
            let seconds = if bug.is_some() { seconds } else { 10 };
            command.args(["hunt", name, "--seconds", &seconds.to_string()]);
            if !focus.is_empty() {
                command.args(["--focus", focus]);
            }
        }
        How::Suite(package, target) => {
            command = Command::new(programs.test(package, target)?);
            command.arg("--test-threads=2");
            if !focus.is_empty() {
                command.args([focus, "--exact"]);
            }
        }
    }
    command
        .env_remove("E4_PLANTED")
        .env_remove("RUST_BACKTRACE");
    if let Some(bug) = bug {
        command.env("E4_PLANTED", bug);
    }
    Ok(command)
}

fn run(programs: &Programs, killer: &Killer, bug: Option<&str>) -> Result<Ended> {
    let place = std::env::temp_dir().join(format!(
        "e4-lab-{}-{}-{}.txt",
        std::process::id(),
        bug.unwrap_or("none"),
        killer.checker.name.replace(' ', "-")
    ));
    let whole_suite = matches!(killer.checker.how, How::Suite(..)) && killer.focus.is_empty();
    let begin = Instant::now();
    let file = File::create(&place).with_context(|| place.display().to_string())?;
    let mut command = command(programs, killer, bug)?;
    let mut child = command.stdout(file).stderr(Stdio::null()).spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        let seen = std::fs::read(&place).unwrap_or_default();
        let seen = String::from_utf8_lossy(&seen);
        if let Some(test) = first_failed(&seen).filter(|_| whole_suite) {
            // The rest of the suite may take long over a bug: only what has failed is run again, for its words.
            child.kill()?;
            child.wait()?;
            let focus = test.to_owned();
            let checker = killer.checker;
            return run(programs, &Killer { checker, focus }, bug);
        }
        if begin.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = std::fs::read(&place).unwrap_or_default();
    // Nothing can be done about a file that stays.
    let _ = std::fs::remove_file(&place);
    let text = String::from_utf8_lossy(&text);
    Ok(match status {
        None => Ended::Late,
        Some(status) => verdict(killer, status.success(), &text),
    })
}

fn verdict(killer: &Killer, success: bool, text: &str) -> Ended {
    let found = |focus: &str, what: &str| Ended::Found {
        focus: focus.to_owned(),
        what: what.to_owned(),
    };
    if let How::Hunt(_) = killer.checker.how {
        let last = text.lines().last().unwrap_or_default();
        let words: Vec<&str> = last.split('\t').collect();
        return match (words.as_slice(), success) {
            (["alive", ..], true) => Ended::Clean,
            (["killed", focus, what, ..], true) => found(focus, what),
            _ => found(&killer.focus, "the process dies"),
        };
    }
    match (success, first_failed(text)) {
        (true, _) => Ended::Clean,
        (false, Some(test)) => found(test, &first_words(text, test)),
        (false, None) => found(&killer.focus, "the process dies"),
    }
}

/// The test that failed first, in what a test program prints.
fn first_failed(text: &str) -> Option<&str> {
    text.lines().find_map(|line| {
        let name = line.strip_prefix("test ")?;
        name.strip_suffix(" ... FAILED")
    })
}

/// What a failed test says first.
fn first_words(text: &str, test: &str) -> String {
    let head = format!("---- {test} stdout ----");
    let behind = text.split_once(&head).map_or("", |(_, behind)| behind);
    let mut lines = behind.lines().filter(|l| !l.trim().is_empty()).skip(1);
    lines.next().unwrap_or(test).to_owned()
}

/// Every checker without a bug, two at a time.
pub(crate) fn must_pass(programs: &Programs) -> Result<()> {
    let one = |checker: &Checker| -> Result<()> {
        let all = Killer {
            checker: *checker,
            focus: String::new(),
        };
        match run(programs, &all, None)? {
            Ended::Clean => println!("passes without a bug: {}", checker.name),
            Ended::Late => bail!(
                "{}, without a planted bug: not over after {PATIENCE:?}; {}",
                checker.name,
                checker.again("")
            ),
            Ended::Found { focus, what } => bail!(
                "{}, without a planted bug: {focus}: {what}; {}",
                checker.name,
                checker.again(&focus)
            ),
        }
        Ok(())
    };
    // The two that take longest first.
    let order = [JOURNAL, EXPLORER, SCHEDULES, FAULTS, DIRECTED];
    let rest = ALL.into_iter().filter(|c| !order.contains(c));
    let order: Vec<Checker> = order.into_iter().chain(rest).collect();
    super::in_parallel(&order, one)
}

impl Checker {
    /// How to repeat what it found.
    fn again(self, focus: &str) -> String {
        match self.how {
            How::Hunt(_) if self == EXPLORER => {
                format!("repeat with: cargo xtask lab --no-mutants --seed {focus}")
            }
            How::Hunt(_) => "repeat with: cargo test -p e4-sim --lib race".to_owned(),
            How::Suite(package, target) => {
                let unit = target.replace('_', "-") == package;
                let target = if unit {
                    "--lib".to_owned()
                } else {
                    format!("--test {target}")
                };
                format!("repeat with: cargo test --profile lab -p {package} {target} {focus}")
            }
        }
    }
}
