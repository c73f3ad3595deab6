//! `e4 chmod`: changes permissions.

use anyhow::Result;
use clap::Args;
use e4::{Node, SetAttr};
use e4_format::FileType;

use super::mode::Change;
use super::tree;
use crate::Outcome;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::Session;

/// Change permissions.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 chmod 640 disk.img:/etc/shadow
  e4 chmod -R u=rwX,go= disk.img:/home/me")]
pub struct ChmodArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Octal, or as in u+x,go-w
    #[arg(allow_hyphen_values = true)]
    mode: Change,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// Everything below directories as well
    #[arg(short = 'R', long)]
    recursive: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such file, or the image's.
pub fn run(args: &ChmodArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &ChmodArgs, session: &Session<'_>) -> Outcome {
    session.change(&args.locations, |fs, location| {
        let top = fs.lookup(&location.path, true)?;
        if args.recursive && top.kind() == Some(FileType::Directory) {
            tree::bottom_up(&top, &mut |_, _, node| match node.kind() {
                // Nobody looks at the permissions of a link.
                Some(FileType::Symlink) => Ok(()),
                _ => change(args, node),
            })?;
        }
        change(args, &top)
    })
}

fn change(args: &ChmodArgs, node: &Node) -> Result<()> {
    let dir = node.kind() == Some(FileType::Directory);
    let mode = args.mode.of(node.stat()?.mode, dir);
    node.set_attr(&SetAttr {
        mode: Some(mode),
        ..SetAttr::default()
    })?;
    Ok(())
}
