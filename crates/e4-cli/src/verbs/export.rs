//! `e4 export`: an image's tree as a tar archive or a directory of the host.
//!
//! Decision: the destination decides: `-` or a file name is an archive, an existing directory or a name that ends with a slash is
//! a directory. An archive appears under its name when it is complete. Compression is left to its own tools.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use e4_export::{HostOptions, Progress, Report, to_directory, to_tar};
use serde::Serialize;

use super::build_output::Output;
use crate::Outcome;
use crate::advice::Advise;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session;
use crate::size;

/// Copy an image's tree into a tar archive or a directory.
///
/// Archives have their members in path order, times to the nanosecond, owners by number, extended attributes, ACLs, hard
/// links, devices and holes (pax, with GNU's sparse format 1.0); equal trees give equal bytes. An empty /lost+found is
/// left out. The image is only read, also if its journal has to be replayed.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit status: 0 everything was copied; 1 it failed, or the destination could not take something (each is named).

Examples:
  e4 export disk.img tree.tar
  e4 export disk.img:/etc - | tar tv             a part of it, to standard output
  e4 export disk.img - | zstd > tree.tar.zst
  e4 export disk.img tree/                       into a directory that is new or empty")]
pub struct ExportArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    location: Location,
    /// A tar file, a directory (existing, or ending with /), or - for a tar archive on standard output
    #[arg(default_value = "-")]
    to: PathBuf,
    /// Replace an archive that exists
    #[arg(long)]
    force: bool,
    /// Into a directory: everything belongs to you, without set-id bits; always so unless you are root
    #[arg(long)]
    no_same_owner: bool,
    /// Into a directory: leave out extended attributes and ACLs
    #[arg(long)]
    no_xattrs: bool,
    /// A summary as JSON, if it is not in the way of the archive
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json<'a> {
    names: u64,
    content_bytes: u64,
    lost: &'a [String],
    lost_count: u64,
}

/// Runs the verb.
///
/// # Errors
/// The image's, or the destination's.
pub fn run(args: &ExportArgs, ui: &Ui) -> Outcome {
    let pipe = args.to == Path::new("-");
    if pipe && args.json {
        bail!("--json and an archive do not both fit on standard output");
    }
    if pipe && io::stdout().is_terminal() {
        return Err(anyhow::anyhow!("will not write an archive to a terminal"))
            .or_try(|| format!("e4 export {} tree.tar", args.location));
    }
    let fs = session::look(&args.location.image, ui)?;
    let top = fs.lookup(&args.location.path, true)?;
    let used = fs.statfs();
    let total = (used.blocks - used.free_blocks.min(used.blocks)) * u64::from(used.block_size);
    let bar = ui.bytes_bar("exporting", total);
    let mut watch = |p: Progress| {
        bar.set_position(p.bytes);
        ControlFlow::Continue(())
    };
    let text = args.to.as_os_str().as_encoded_bytes();
    let report = if pipe {
        let out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
        to_tar(&fs, &top, out, &mut watch)?
    } else if text.ends_with(b"/") || args.to.is_dir() {
        let root = rustix::process::geteuid().is_root();
        let options = HostOptions {
            owners: root && !args.no_same_owner,
            xattrs: !args.no_xattrs,
        };
        to_directory(&fs, &top, &args.to, options, &mut watch)?
    } else {
        to_file(args, |out| Ok(to_tar(&fs, &top, out, &mut watch)?))?
    };
    bar.finish_and_clear();
    tell(args, &report, ui)?;
    Ok(if report.lost_count == 0 {
        Status::SUCCESS
    } else {
        Status::FAILED
    })
}

fn to_file(
    args: &ExportArgs,
    write: impl FnOnce(&mut BufWriter<File>) -> Result<Report>,
) -> Result<Report> {
    refuse_compressed(&args.to)?;
    let output = Output::new(&args.to, args.force)?;
    let file = File::create(output.path())
        .with_context(|| format!("creating {}", output.path().display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let report = write(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    output.publish()?;
    Ok(report)
}

/// A plain archive must not be called what it is not.
pub(super) fn refuse_compressed(to: &Path) -> Result<()> {
    let name = to.to_string_lossy();
    let packed = [".gz", ".tgz", ".zst", ".xz", ".bz2", ".lz4"];
    if packed.iter().any(|end| name.ends_with(end)) {
        return Err(anyhow::anyhow!("{name}: archives are written uncompressed"))
            .or_try(|| "write to - and pipe it through gzip, zstd or xz".into());
    }
    Ok(())
}

fn tell(args: &ExportArgs, report: &Report, ui: &Ui) -> Result<()> {
    for what in &report.lost {
        ui.note(&output::printable(&format!("not kept: {what}")));
    }
    let more = report.lost_count - report.lost.len() as u64;
    if more > 0 {
        ui.note(&format!("not kept: {} more", size::grouped(more)));
    }
    if args.json {
        output::json(&Json {
            names: report.names,
            content_bytes: report.bytes,
            lost: &report.lost,
            lost_count: report.lost_count,
        })?;
    } else {
        ui.detail(&format!(
            "{} names, {} of contents",
            size::grouped(report.names),
            size::human(report.bytes)
        ));
    }
    Ok(())
}
