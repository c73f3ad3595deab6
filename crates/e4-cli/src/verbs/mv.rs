//! `e4 mv`: renames, and moves into directories, within an image.

use anyhow::{Result, bail};
use clap::Args;
use e4::{Error, RenameFlags};
use e4_format::FileType;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{Access, Session};

/// Rename files, or move them into a directory of the same image.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 mv disk.img:/new.conf disk.img:/app.conf    replaces what was there, at once
  e4 mv disk.img:/a disk.img:/b disk.img:/dir    into the directory
  e4 mv --exchange disk.img:/a disk.img:/b       they change places")]
pub struct MvArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to move, and last: where to
    #[arg(value_name = "IMAGE:/PATH", required = true, num_args = 2..)]
    locations: Vec<Location>,
    /// What exists is not replaced
    #[arg(short, long)]
    no_clobber: bool,
    /// The destination is a name even if it is a directory's
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// The two change places
    #[arg(long, conflicts_with = "no_clobber")]
    exchange: bool,
}

/// Runs the verb.
///
/// # Errors
/// Different images, no such file, what rename(2) refuses, or the image's.
pub fn run(args: &MvArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &MvArgs, session: &Session<'_>) -> Outcome {
    let Some((to, sources)) = args.locations.split_last() else {
        return Ok(Status::USAGE);
    };
    if sources.iter().any(|from| from.image != to.image) {
        bail!("e4 moves files within one image; use e4 cp -a, then e4 rm -r, between two");
    }
    let fs = session.fs(&to.image, Access::Write)?;
    let is_dir = || {
        fs.lookup(&to.path, true)
            .is_ok_and(|node| node.kind() == Some(FileType::Directory))
    };
    let into = !args.no_target_directory && !args.exchange && is_dir();
    if sources.len() > 1 && !into {
        bail!("{to} is not a directory");
    }
    sources.iter().try_for_each(|from| -> Result<()> {
        let how = match (args.exchange, args.no_clobber) {
            (true, _) => RenameFlags::Exchange,
            (_, true) => RenameFlags::NoReplace,
            _ => RenameFlags::Replace,
        };
        let path = match into {
            true => to.join(from.file_name()).path,
            false => to.path.clone(),
        };
        match fs.rename(&from.path, &path, how) {
            // As coreutils: not replacing is what was asked for.
            Err(Error::Exists { .. }) if args.no_clobber => Ok(()),
            other => Ok(other?),
        }
    })?;
    Ok(Status::SUCCESS)
}
