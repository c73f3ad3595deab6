//! `e4 get`: a file of the image to the host, holes kept as holes, complete or not at all.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use e4::OpenFlags;
use e4_format::FileType;

use crate::Outcome;
use crate::copy::{Copier, How, Keep, Place, Thing};
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{Access, Session};
use crate::transfer;

/// Copy a file of an image to the host.
///
/// It appears complete: it is written under another name first. Permissions are kept, but no set-id
/// bits; holes and unwritten ranges become holes.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 get disk.img:/notes.txt                 to ./notes.txt
  e4 get disk.img:/notes.txt /tmp/copy.txt
  e4 get -p disk.img:/bin/su su.bin          mode, owner and times as they are
  e4 get disk.img:/notes.txt -               to standard output
Whole trees: e4 cp -r.")]
pub struct GetArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file in the image
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
    /// Where to: a file, a directory, or - for standard output
    #[arg(default_value = ".")]
    local: PathBuf,
    /// Leave alone what exists: exit status 5, nothing changed
    #[arg(long, conflicts_with = "force")]
    if_absent: bool,
    /// Replace a symbolic link or device itself, instead of writing to it
    #[arg(short, long)]
    force: bool,
    /// Keep mode, owner and times
    #[arg(short, long)]
    preserve: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such file, the image's, or the host's.
pub fn run(args: &GetArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &GetArgs, session: &Session<'_>) -> Outcome {
    let fs = session.fs(&args.location.image, Access::Read)?;
    let node = fs.lookup(&args.location.path, true)?;
    match node.kind() {
        Some(FileType::Regular) => {}
        Some(FileType::Directory) => bail!(
            "{} is a directory; e4 cp -r copies it with what is in it",
            args.location
        ),
        _ => bail!(
            "{} is not a regular file; e4 cp -a copies it as what it is",
            args.location
        ),
    }
    if args.local == Path::new("-") {
        let file = node.open(OpenFlags::read())?;
        let bar = session
            .ui()
            .bytes_bar(args.location.file_name(), file.size());
        let mut out = io::stdout().lock();
        let whole = 0..file.size();
        transfer::copy_out(&fs, &file, &[whole], |_, bytes| {
            bar.inc(bytes.len() as u64);
            out.write_all(bytes)
        })?;
        out.flush()?;
        bar.finish_and_clear();
        return Ok(Status::SUCCESS);
    }
    let local = match args.local.is_dir() {
        true => args.local.join(args.location.file_name()),
        false => args.local.clone(),
    };
    let Some(name) = local.file_name().map(OsStr::to_owned) else {
        bail!("{}: is no name for a file", local.display());
    };
    let how = How {
        keep: if args.preserve {
            Keep::ATTRIBUTES
        } else {
            Keep::default()
        },
        if_absent: args.if_absent,
        force: args.force,
        ..How::default()
    };
    let thing = Thing::Image {
        fs,
        node,
        path: args.location.to_string(),
    };
    let place = Place::Host(local.parent().map(Path::to_owned).unwrap_or_default());
    let mut copier = Copier::new(&how, session.ui());
    copier.copy(
        &thing,
        &place,
        std::os::unix::ffi::OsStrExt::as_bytes(&*name),
    )?;
    match copier.counts().left_alone {
        0 => Ok(Status::SUCCESS),
        _ => Ok(Status::LEFT_ALONE),
    }
}
