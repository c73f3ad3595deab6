//! `e4 mkdir`: makes directories.

use anyhow::Result;
use clap::Args;
use e4::{Error, Filesystem, SetAttr};
use e4_format::FileType;

use super::mode::Change;
use crate::Outcome;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::Session;

/// Make directories.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 mkdir disk.img:/srv
  e4 mkdir -p disk.img:/var/lib/data -m 700")]
pub struct MkdirArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The directories
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// Those above as well, and no error if it exists
    #[arg(short, long)]
    parents: bool,
    /// Permissions, as for chmod, instead of 755
    #[arg(short, long)]
    mode: Option<Change>,
}

/// Runs the verb.
///
/// # Errors
/// It exists, the one above does not, no space, or the image's.
pub fn run(args: &MkdirArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &MkdirArgs, session: &Session<'_>) -> Outcome {
    session.change(&args.locations, |fs, location| {
        if args.parents {
            make_parents(fs, location.path.trim_end_matches('/'))?;
            match fs.mkdir(&location.path, 0o755) {
                Err(Error::Exists { .. }) if is_dir(fs, &location.path) => return Ok(()),
                other => other?,
            }
        } else {
            fs.mkdir(&location.path, 0o755)?;
        }
        if let Some(mode) = &args.mode {
            let change = SetAttr {
                mode: Some(mode.of(0o777, true)),
                ..SetAttr::default()
            };
            fs.set_attr(&location.path, true, &change)?;
        }
        Ok(())
    })
}

fn is_dir(fs: &Filesystem, path: &str) -> bool {
    fs.lookup(path, true)
        .is_ok_and(|node| node.kind() == Some(FileType::Directory))
}

fn make_parents(fs: &Filesystem, path: &str) -> Result<()> {
    let slashes = path.match_indices('/').map(|(at, _)| at);
    for above in slashes.map(|at| &path[..at]).filter(|p| !p.is_empty()) {
        match fs.mkdir(above, 0o755) {
            Ok(()) => {}
            Err(Error::Exists { .. }) if is_dir(fs, above) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
