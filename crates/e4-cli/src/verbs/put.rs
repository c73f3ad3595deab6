//! `e4 put`: a file of the host into the image, complete or not at all.
//!
//! Decision: what it replaces is written over as cp does (mode, owner and attributes stay), but atomically as install does: the
//! old file or the new one. Other names of the old file keep the old contents.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use e4::Filesystem;
use e4_format::FileType;

use super::chown::Owner;
use super::mode::Change;
use crate::Outcome;
use crate::copy::{Copier, How, Keep, Place, Thing};
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{Access, Session};
use crate::size;

/// Copy a file of the host into an image, creating it or taking another's place.
///
/// The file appears complete: after a crash at any moment its name stands for the old file or for the
/// whole new one. On return it is durable. A new file gets the mode of the original and belongs to
/// root; one that replaces another gets that one's mode, owner and attributes. Other names of the
/// replaced file (hard links) keep its contents.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 put notes.txt disk.img:/notes.txt
  e4 put notes.txt disk.img:/                    into the directory, under its own name
  e4 put --if-absent default.conf disk.img:/etc/app.conf
  e4 put -m 600 --owner 33:33 key disk.img:/srv/key
  tar c dir | e4 put - disk.img:/dir.tar         from standard input
Whole trees: e4 cp -r. Several changes at once: e4 batch.")]
pub struct PutArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file to copy, or - for standard input
    local: PathBuf,
    /// Where to: a file, or a directory
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
    /// Leave alone what exists: exit status 5, nothing changed
    #[arg(long, conflicts_with = "force")]
    if_absent: bool,
    /// Replace whatever has the name: a symbolic link instead of what it points to, a device, a fifo
    #[arg(short, long)]
    force: bool,
    /// Permissions, as for chmod, whatever the original has
    #[arg(short, long)]
    mode: Option<Change>,
    /// Owner and group, by number
    #[arg(long, value_name = "UID:GID")]
    owner: Option<Owner>,
    /// Keep mode, owner and times of the original
    #[arg(short, long)]
    preserve: bool,
}

/// Runs the verb.
///
/// # Errors
/// The host's, no space, or the image's.
pub fn run(args: &PutArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &PutArgs, session: &Session<'_>) -> Outcome {
    let thing = match args.local == Path::new("-") {
        true => Thing::Stdin,
        false => Thing::Host(args.local.clone()),
    };
    // Before the image is touched: most mistakes are about the name of the original.
    let meta = thing.meta(true)?;
    if meta.kind == FileType::Directory {
        bail!(
            "{} is a directory; e4 cp -r copies it with what is in it",
            thing.name()
        );
    }
    let fs = session.fs(&args.location.image, Access::Write)?;
    let location = destination(&fs, args)?;
    let how = How {
        keep: if args.preserve {
            Keep::ATTRIBUTES
        } else {
            Keep::default()
        },
        if_absent: args.if_absent,
        force: args.force,
        owner: args.owner.map(|owner| owner.with_defaults(0, 0)),
        mode: args.mode.as_ref().map(|mode| mode.of(meta.mode, false)),
        ..How::default()
    };
    let (place, name) = placed(&fs, &location, args.force)?;
    let mut copier = Copier::new(&how, session.ui());
    copier.copy(&thing, &place, &name)?;
    let counts = copier.counts();
    if counts.left_alone > 0 {
        session
            .ui()
            .detail(&format!("{location}: exists, and was left alone"));
        return Ok(Status::LEFT_ALONE);
    }
    if !meta.stream {
        let bytes = size::grouped(counts.bytes);
        session.ui().detail(&format!("{location}: {bytes} bytes"));
    }
    Ok(Status::SUCCESS)
}

/// Directory and name a location stands for; a symbolic link there is followed unless `keep_link`.
pub(crate) fn placed(
    fs: &Filesystem,
    location: &Location,
    keep_link: bool,
) -> Result<(Place, Vec<u8>)> {
    let (dir, name) = fs.place(&location.path, !keep_link)?;
    let path = location.parent().to_owned();
    Ok((Place::Image { dir, path }, name))
}

/// A directory as destination means: into it, under the original's name.
fn destination(fs: &Filesystem, args: &PutArgs) -> Result<Location> {
    let into_dir = args.location.path.ends_with('/')
        || fs
            .lookup(&args.location.path, true)
            .is_ok_and(|node| node.kind() == Some(FileType::Directory));
    if !into_dir {
        return Ok(args.location.clone());
    }
    let name = args.local.file_name().and_then(|name| name.to_str());
    match name {
        Some(name) if args.local != Path::new("-") => Ok(args.location.join(name)),
        _ => bail!(
            "{} is a directory; say what the file shall be called",
            args.location
        ),
    }
}
