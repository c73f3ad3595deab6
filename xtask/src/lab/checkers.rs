//! What can find a bug. Each is run without one first, and must pass.

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
pub(crate) const FAULTS: Checker = suite("faults and full disk", "e4-sim", "errors");
pub(crate) const JOURNAL: Checker = suite("journal model", "e4-journal", "e4_journal");
pub(crate) const TREES: Checker = suite("extent tree search", "e4-extent", "tree");
pub(crate) const MACHINE: Checker = suite("engine search", "e4-completion", "e4_completion");
pub(crate) const THREADS: Checker = suite("racing threads", "e4", "racing");
pub(crate) const ALLOCATOR: Checker = suite("allocator model", "e4", "e4");

const ALL: [Checker; 8] = [
    EXPLORER, SCHEDULES, FAULTS, JOURNAL, TREES, MACHINE, THREADS, ALLOCATOR,
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
            &[FAULTS, EXPLORER]
        }
        _ => &[EXPLORER, FAULTS, THREADS, ALLOCATOR],
    };
    let rest = ALL.into_iter().filter(|c| !first.contains(c));
    first.iter().copied().chain(rest).collect()
}

/// What a checker found: in words, and how long it took.
pub(crate) struct Found {
    pub(crate) what: String,
    pub(crate) took: Duration,
}

/// How long a checker may take before its silence counts as a hang.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a checker against a bug, or against none.
pub(crate) fn run(
    programs: &Programs,
    checker: Checker,
    bug: Option<&str>,
) -> Result<Option<Found>> {
    let mut command = match checker.how {
        How::Hunt(seconds) => {
            let mut command = Command::new(&programs.lab);
            let name = if checker == EXPLORER {
                "explorer"
            } else {
                "schedules"
            };
            let seconds = if bug.is_some() { seconds } else { 10 };
            command.args(["hunt", name, "--seconds", &seconds.to_string()]);
            command
        }
        How::Suite(package, target) => {
            let mut command = Command::new(programs.test(package, target)?);
            command.arg("--test-threads=2");
            command
        }
    };
    command
        .env_remove("E4_PLANTED")
        .env_remove("RUST_BACKTRACE");
    if let Some(bug) = bug {
        command.env("E4_PLANTED", bug);
    }
    let place = std::env::temp_dir().join(format!(
        "e4-lab-{}-{}-{}.txt",
        std::process::id(),
        bug.unwrap_or("none"),
        checker.name.replace(' ', "-")
    ));
    let begin = Instant::now();
    let file = File::create(&place).with_context(|| place.display().to_string())?;
    let mut child = command.stdout(file).stderr(Stdio::null()).spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begin.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = std::fs::read(&place).unwrap_or_default();
    // Nothing can be done about a file that stays.
    let _ = std::fs::remove_file(&place);
    let text = String::from_utf8_lossy(&text);
    let what = match status {
        None => Some("it hangs".to_owned()),
        Some(status) => verdict(checker, status.success(), &text),
    };
    let took = begin.elapsed();
    Ok(what.map(|what| Found { what, took }))
}

fn verdict(checker: Checker, success: bool, text: &str) -> Option<String> {
    if let How::Hunt(_) = checker.how {
        let words: Vec<&str> = text
            .lines()
            .last()
            .unwrap_or_default()
            .split('\t')
            .collect();
        return match (words.as_slice(), success) {
            (["alive", ..], true) => None,
            (["killed", _, what, ..], true) => Some((*what).to_owned()),
            _ => Some("the process dies".to_owned()),
        };
    }
    let failed = text.lines().find_map(|line| {
        let name = line.strip_prefix("test ")?;
        name.strip_suffix(" ... FAILED")
    });
    match (success, failed) {
        (true, _) => None,
        (false, Some(test)) => Some(test.to_owned()),
        (false, None) => Some("the process dies".to_owned()),
    }
}

/// Every checker without a bug.
pub(crate) fn must_pass(programs: &Programs) -> Result<()> {
    for checker in ALL {
        if let Some(found) = run(programs, checker, None)? {
            bail!("{}, without a planted bug: {}", checker.name, found.what);
        }
        println!("passes without a bug: {}", checker.name);
    }
    Ok(())
}
