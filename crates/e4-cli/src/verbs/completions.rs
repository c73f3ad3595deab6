//! `e4 completions`: what a shell needs to complete the command's verbs and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Outcome;
use crate::args::Cli;
use crate::exit::Status;
use crate::output::{Common, Ui};

/// Write completions for a shell to standard output.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 completions bash > /usr/share/bash-completion/completions/e4
  e4 completions zsh > ~/.zfunc/_e4
  e4 completions fish > ~/.config/fish/completions/e4.fish")]
pub struct CompletionsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Which shell
    shell: Shell,
}

/// Runs the verb.
///
/// # Errors
/// Standard output's.
pub fn run(args: &CompletionsArgs, _ui: &Ui) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "e4", &mut text);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &text)?;
    Ok(Status::SUCCESS)
}
