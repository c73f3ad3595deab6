//! `e4 rm`: removes names, with `-r` whole trees.

use anyhow::{Result, bail};
use clap::Args;
use e4::{Error, Filesystem};
use e4_format::FileType;

use super::tree;
use crate::Outcome;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::Session;

/// Remove files, or with -r directories and everything in them.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 rm disk.img:/log
  e4 rm -r disk.img:/tmp/build")]
pub struct RmArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to remove
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// Directories as well, with everything in them
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// What does not exist is no error
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such file, a directory without `-r`, the root, or the image's.
pub fn run(args: &RmArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &RmArgs, session: &Session<'_>) -> Outcome {
    session.change(&args.locations, |fs, location| {
        remove(fs, args, &location.path)
    })
}

fn remove(fs: &Filesystem, args: &RmArgs, path: &str) -> Result<()> {
    let node = match fs.lookup(path, false) {
        Ok(node) => node,
        Err(Error::NotFound { .. }) if args.force => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    if node.kind() != Some(FileType::Directory) {
        return Ok(fs.unlink(path)?);
    }
    if !args.recursive {
        bail!("is a directory; -r removes it with everything in it");
    }
    if node.ino() == e4_format::InodeNo::ROOT {
        bail!("is the root directory, which stays");
    }
    tree::bottom_up(&node, &mut |dir, name, node| {
        match node.kind() {
            Some(FileType::Directory) => dir.rmdir(name)?,
            _ => dir.unlink(name)?,
        }
        Ok(())
    })?;
    Ok(fs.rmdir(path)?)
}
