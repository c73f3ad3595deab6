//! `e4 crashlab`: every state that a program's files can be in after a power cut, each judged by the program's own checker.
//!
//! [`script`]: operations, read from standard input and run on a simulated disk; [`program`]: a program of its own, on a
//! FUSE mount of one; [`history`]: what either did and said; [`states`]: the power cut everywhere, the files of each
//! state copied out, the checker run on those not seen before.

mod history;
mod program;
mod script;
mod states;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{BAD, Common, GOOD, Ui};
use crate::size;

/// Run a program or a script of file operations, cut the power everywhere, run a checker on every legal outcome.
///
/// With --check, COMMAND is the program: it runs in an empty directory, a FUSE mount of a simulated disk, and each line
/// it prints is something a user has been told. Without, the operations come from standard input, no FUSE is needed, and
/// COMMAND is the checker.
///
/// The checker runs in a directory with the files as a crash left them (and recovery repaired them); it exits with 0
/// if its program could go on from there. E4_CRASH_SAID holds what the script had said by then, a line each.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Operations of a script, one per line (text in double quotes knows \\n, \\t, \\\\ and \\\"):
  create FILE              mkdir DIRECTORY
  write FILE OFFSET TEXT   append FILE TEXT
  truncate FILE SIZE       allocate FILE OFFSET LENGTH
  fsync FILE               fdatasync FILE          sync
  rename FROM TO           link OLD NEW            unlink FILE
  say TEXT                 what a user has been told: it must hold from here on
  # a comment

Examples:
  e4 crashlab --check ./check.sh -- ./my-database --once
  e4 crashlab -- ./check.sh < operations.txt
  e4 crashlab -- sh -c 'test ! -s log || grep -q end log' < operations.txt")]
pub struct CrashlabArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Size of the filesystem the files are in
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = size::bytes)]
    size: u64,
    /// Random reorderings per power cut, where there are too many writes to try all subsets
    #[arg(long, value_name = "N", default_value_t = 16)]
    reorderings: usize,
    /// Decides them
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Go on after the first state that the checker refuses
    #[arg(long)]
    all: bool,
    /// The checker and its arguments, separated by blanks; then COMMAND is the program to run
    #[arg(long, value_name = "CHECKER")]
    check: Option<String>,
    /// The program (with --check) or the checker (without), and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// A script that makes no sense or cannot be run, a program that fails, no FUSE for it, a checker that cannot be started.
pub fn run(args: &CrashlabArgs, ui: &Ui) -> Outcome {
    let (history, done, checker) = match &args.check {
        Some(check) => {
            let history = program::run(&args.command, args.size, args.seed)?;
            let checker = check.split_whitespace().map(str::to_owned).collect();
            (history, "1 program".to_owned(), checker)
        }
        None => {
            let steps = operations()?;
            let history = script::run(&steps, args.size, args.seed)?;
            let done = format!("{} operations", steps.len());
            (history, done, args.command.clone())
        }
    };
    let found = states::judge(&history, &checker, args)?;
    ui.say(&format!(
        "{done}, {} power cuts, {} states, {} different outcomes",
        found.cuts, found.states, found.outcomes
    ));
    for refused in &found.refused {
        ui.say(&format!("{BAD}refused{BAD:#} {refused}"));
    }
    if found.refused.is_empty() {
        ui.say(&format!("{GOOD}the checker accepts all of them{GOOD:#}"));
        return Ok(Status::SUCCESS);
    }
    Ok(Status::WRONG_DATA)
}

fn operations() -> anyhow::Result<Vec<script::Step>> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("the script on standard input")?;
    let steps = script::parse(&text)?;
    if steps.is_empty() {
        bail!("the script on standard input has no operations");
    }
    Ok(steps)
}

/// The program of a command line. A path with a slash is meant from where the user is, not from where it will run.
fn program_of(command: &[String]) -> anyhow::Result<PathBuf> {
    let program = command.first().context("no command")?;
    if !program.contains('/') {
        return Ok(program.into());
    }
    let path = Path::new(program).canonicalize();
    path.with_context(|| program.clone())
}
