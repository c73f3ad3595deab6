//! `e4 crashlab`: every state that a program's files can be in after a power cut, each judged by the program's own checker.
//!
//! [`script`]: the operations, read from standard input and run on a simulated disk; [`states`]: the power cut everywhere,
//! the files of each state copied out, the checker run on those not seen before.

mod script;
mod states;

use std::io::Read;

use anyhow::{Context, bail};
use clap::Args;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{BAD, Common, GOOD, Ui};
use crate::size;

/// Run a script of file operations, cut the power everywhere, run a checker on every legal outcome.
///
/// The checker runs in a directory with the files as a crash left them (and recovery repaired them); it exits with 0
/// if its program could go on from there. E4_CRASH_SAID holds what the script had said by then, a line each.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Operations, one per line (text in double quotes knows \\n, \\t, \\\\ and \\\"):
  create FILE              mkdir DIRECTORY
  write FILE OFFSET TEXT   append FILE TEXT
  truncate FILE SIZE       allocate FILE OFFSET LENGTH
  fsync FILE               fdatasync FILE          sync
  rename FROM TO           link OLD NEW            unlink FILE
  say TEXT                 what a user has been told: it must hold from here on
  # a comment

Examples:
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
    /// The checker and its arguments
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// A script that makes no sense or cannot be run, a checker that cannot be started.
pub fn run(args: &CrashlabArgs, ui: &Ui) -> Outcome {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("the script on standard input")?;
    let steps = script::parse(&text)?;
    if steps.is_empty() {
        bail!("the script on standard input has no operations");
    }
    let history = script::run(&steps, args.size, args.seed)?;
    let found = states::judge(&history, args)?;
    ui.say(&format!(
        "{} operations, {} power cuts, {} states, {} different outcomes",
        steps.len(),
        found.cuts,
        found.states,
        found.outcomes
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
