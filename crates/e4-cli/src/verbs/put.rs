//! `e4 put`: a file of the host into the image.
//!
//! Decision: the blocks are reserved before the data flow (one extent where the space allows it), and
//! the command returns only once everything is durable.

use std::fs::File as HostFile;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use e4::{FallocateMode, File, Filesystem, OpenFlags};
use e4_format::FileType;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{self, Access};
use crate::size;
use crate::transfer;

/// Copy a file of the host into an image, creating it or replacing its contents.
///
/// A new file gets the mode of the original; an existing one keeps its own. On return the contents
/// are durable.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 put notes.txt disk.img:/notes.txt
  e4 put notes.txt disk.img:/                into the directory, under its own name
  tar c dir | e4 put - disk.img:/dir.tar     from standard input")]
pub struct PutArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file to copy, or - for standard input
    local: PathBuf,
    /// Where to: a file, or a directory
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
}

/// Runs the verb.
///
/// # Errors
/// The host's, no space, or the image's.
pub fn run(args: &PutArgs, ui: &Ui) -> Outcome {
    let from_stdin = args.local == Path::new("-");
    let (mut source, mode, len): (Box<dyn Read>, u16, Option<u64>) = if from_stdin {
        (Box::new(io::stdin().lock()), 0o644, None)
    } else {
        open_host(&args.local)?
    };
    let fs = session::mount(&args.location.image, Access::Write, ui)?;
    let location = destination(&fs, args)?;
    let flags = OpenFlags {
        mode,
        truncate: true,
        ..OpenFlags::create()
    };
    let file = fs.open_file(&location.path, flags)?;
    let bar = ui.bytes_bar(location.file_name(), len.unwrap_or(0));
    let written = fill(&fs, &file, &mut source, len, |n| bar.inc(n));
    bar.finish_and_clear();
    let written = written.with_context(|| location.to_string())?;
    drop(file);
    fs.unmount()?;
    ui.detail(&format!("{location}: {} bytes", size::grouped(written)));
    Ok(Status::SUCCESS)
}

fn open_host(local: &Path) -> Result<(Box<dyn Read>, u16, Option<u64>)> {
    let name = || local.display().to_string();
    let host = HostFile::open(local).with_context(name)?;
    let meta = host.metadata().with_context(name)?;
    if meta.is_dir() {
        bail!("{} is a directory; put copies single files", name());
    }
    let mode = (meta.permissions().mode() & 0o7777) as u16;
    let len = meta.is_file().then_some(meta.len());
    Ok((Box::new(host), mode, len))
}

/// A directory as destination means: into it, under the original's name.
fn destination(fs: &Filesystem, args: &PutArgs) -> Result<Location> {
    let into_dir = args.location.path.ends_with('/')
        || fs
            .stat(&args.location.path)
            .is_ok_and(|s| s.file_type == Some(FileType::Directory));
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

fn fill<P: FnMut(u64)>(
    fs: &Filesystem,
    file: &File,
    source: &mut dyn Read,
    len: Option<u64>,
    progress: P,
) -> Result<u64> {
    if let Some(len) = len.filter(|&len| len > 0) {
        file.fallocate(FallocateMode::Allocate, 0, len)?;
    }
    let mut source = source;
    let written = transfer::copy_in(fs, file, &mut source, progress)?;
    if file.size() != written {
        // The original shrank while it was copied.
        file.truncate(written)?;
    }
    file.fsync()?;
    Ok(written)
}
