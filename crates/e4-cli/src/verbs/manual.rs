//! `e4 manual`: the command's manual pages, one per verb, made of what `--help` says.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::Outcome;
use crate::args::Cli;
use crate::exit::Status;
use crate::output::{Common, Ui};

/// Write the manual pages (e4.1, e4-mkfs.1 ...) into a directory.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Example:
  e4 manual ~/.local/share/man/man1")]
pub struct ManualArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The directory, made if it does not exist
    directory: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// The host's.
pub fn run(args: &ManualArgs, _ui: &Ui) -> Outcome {
    let to = &args.directory;
    std::fs::create_dir_all(to).with_context(|| to.display().to_string())?;
    clap_mangen::generate_to(Cli::command(), to).with_context(|| to.display().to_string())?;
    Ok(Status::SUCCESS)
}
