//! `e4 du`: what the files of a tree occupy, counted as du(1) counts.
//!
//! Decision: sums are built on the way back up, so memory is that of the path; a file with several names counts where it is met first.

use std::collections::HashSet;
use std::io::{BufWriter, Write};

use anyhow::Result;
use clap::{ArgAction, Args};
use e4_export::{Descend, ExportError, Step, walk};
use e4_format::FileType;
use serde::Serialize;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session;
use crate::size;

/// Show how much space the files below a directory occupy, directories first added up.
///
/// Numbers are KiB, rounded up, unless -h or -b says otherwise.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 du -sh disk.img
  e4 du -h -d 1 disk.img:/usr
  e4 du --json -d 1 disk.img | jq -r 'max_by(.bytes).path'"
)]
pub struct DuArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image, or a file in it
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    location: Location,
    /// Only the total
    #[arg(short, long)]
    summarize: bool,
    /// Sizes for people: 1.5K, 234M
    #[arg(short, long)]
    human_readable: bool,
    /// Files too, not only directories
    #[arg(short, long)]
    all: bool,
    /// Show at most this many levels below the top
    #[arg(short = 'd', long, value_name = "N", conflicts_with = "summarize")]
    max_depth: Option<usize>,
    /// Sizes of files instead of the space they occupy, in bytes
    #[arg(short = 'b', long)]
    bytes: bool,
    /// Count files with several names each time
    #[arg(short = 'l', long)]
    count_links: bool,
    /// As JSON, in bytes
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    bytes: u64,
}

/// Runs the verb.
///
/// # Errors
/// No such file, or the image's.
pub fn run(args: &DuArgs, ui: &Ui) -> Outcome {
    let fs = session::look(&args.location.image, ui)?;
    let top = fs.lookup(&args.location.path, false)?;
    let limit = if args.summarize {
        0
    } else {
        args.max_depth.unwrap_or(usize::MAX)
    };
    let mut out = BufWriter::new(anstream::stdout().lock());
    let mut rows = Vec::new();
    let mut sums: Vec<u64> = Vec::new();
    let mut seen = HashSet::new();
    let mut failed: Result<(), std::io::Error> = Ok(());
    walk(&fs, &top, &mut |step, item| {
        let stat = item.stat;
        let own = if args.bytes {
            stat.size
        } else {
            stat.sectors * 512
        };
        let directory = stat.file_type == Some(FileType::Directory);
        let linked = stat.links > 1 && !directory && !args.count_links;
        let bytes = match step {
            Step::Enter => {
                sums.push(own);
                return Ok(Descend::Yes);
            }
            Step::Visit if linked && !seen.insert(stat.ino) => return Ok(Descend::Yes),
            Step::Visit => own,
            Step::Leave => sums.pop().unwrap_or(0),
        };
        if let Some(above) = sums.last_mut() {
            *above = above.saturating_add(bytes);
        }
        if item.depth > limit || !(directory || args.all || item.depth == 0) {
            return Ok(Descend::Yes);
        }
        let path = absolute(&args.location.path, item.path);
        if args.json {
            rows.push(Row {
                path: String::from_utf8_lossy(&path).into_owned(),
                bytes,
            });
        } else {
            let text = match (args.human_readable, args.bytes) {
                (true, _) => size::human(bytes),
                (false, true) => bytes.to_string(),
                (false, false) => bytes.div_ceil(1024).to_string(),
            };
            failed = writeln!(out, "{text}\t{}", output::name(&path));
        }
        match failed {
            Ok(()) => Ok(Descend::Yes),
            Err(_) => Err(ExportError::Cancelled),
        }
    })
    .or_else(|e| if failed.is_err() { Ok(()) } else { Err(e) })?;
    failed?;
    out.flush()?;
    drop(out);
    if args.json {
        output::json(&rows)?;
    }
    Ok(Status::SUCCESS)
}

/// The path in the image of something below `top`.
pub(super) fn absolute(top: &str, below: &[u8]) -> Vec<u8> {
    let mut path = top.trim_end_matches('/').as_bytes().to_vec();
    if !below.is_empty() || path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(below);
    path
}
