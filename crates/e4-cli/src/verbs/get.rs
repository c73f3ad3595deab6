//! `e4 get`: a file of the image to the host, holes kept as holes.

use std::fs::File as HostFile;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use e4::{File, Filesystem, OpenFlags};

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{self, Access};
use crate::transfer;

/// Copy a file of an image to the host.
///
/// Mode bits are kept; holes and unwritten ranges become holes.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 get disk.img:/notes.txt                 to ./notes.txt
  e4 get disk.img:/notes.txt /tmp/copy.txt
  e4 get disk.img:/notes.txt -               to standard output")]
pub struct GetArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file in the image
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
    /// Where to: a file, a directory, or - for standard output
    #[arg(default_value = ".")]
    local: PathBuf,
}

/// Runs the verb.
///
/// # Errors
/// No such file, the image's, or the host's.
pub fn run(args: &GetArgs, ui: &Ui) -> Outcome {
    let fs = session::mount(&args.location.image, Access::Read, ui)?;
    let file = fs.open_file(&args.location.path, OpenFlags::read())?;
    let bar = ui.bytes_bar(args.location.file_name(), file.size());
    if args.local == Path::new("-") {
        let mut out = io::stdout().lock();
        let whole = 0..file.size();
        transfer::copy_out(&fs, &file, &[whole], |_, bytes| {
            bar.inc(bytes.len() as u64);
            out.write_all(bytes)
        })?;
        out.flush()?;
    } else {
        let local = if args.local.is_dir() {
            args.local.join(args.location.file_name())
        } else {
            args.local.clone()
        };
        to_file(&fs, &file, &local, |n| bar.inc(n)).with_context(|| local.display().to_string())?;
    }
    bar.finish_and_clear();
    Ok(Status::SUCCESS)
}

fn to_file<P: FnMut(u64)>(
    fs: &Filesystem,
    file: &File,
    local: &Path,
    mut progress: P,
) -> Result<()> {
    let stat = file.stat();
    let host = HostFile::create(local)?;
    host.set_len(stat.size)?;
    let ranges = transfer::written_ranges(file, stat.block_size)?;
    transfer::copy_out(fs, file, &ranges, |at, bytes| {
        progress(bytes.len() as u64);
        host.write_all_at(bytes, at)
    })?;
    // No set-id bits: the image's users are not this host's.
    host.set_permissions(PermissionsExt::from_mode(u32::from(stat.mode & 0o777)))?;
    host.sync_all()?;
    Ok(())
}
