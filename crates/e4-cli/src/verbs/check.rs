//! `e4 check`: a read-only fsck, with fsck's exit status.
//!
//! Decision: the image is never changed. If its journal has to be replayed, that happens in memory, and what is
//! judged is the image the next mount will see.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use e4_check::{Options, Pass, Progress, Report, Severity, Verdict};
use e4_device::Device;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{self, BAD, Common, DIM, GOOD, Ui};
use crate::session::{self, Access};
use crate::size;

/// Check an image for errors, changing nothing.
///
/// Superblock and backups, descriptors, journal, every inode with its extents, directories with
/// their htrees, links, bitmaps, counts, orphans, every checksum. Shares no code with the filesystem it
/// judges beyond the format itself.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit status, as fsck:
  0  clean (with warnings at most)
  4  errors found, and left alone
  8  could not be examined: no image, not ext4, or too damaged to go on

Examples:
  e4 check disk.img
  e4 check --json disk.img | jq -r '.problems[].kind' | sort | uniq -c")]
pub struct CheckArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// Check even if the image says it is clean (always so)
    #[arg(short)]
    force: bool,
    /// Change nothing (always so)
    #[arg(short)]
    no_change: bool,
    /// Judge what is on disk now, even if a journal waits to be replayed
    #[arg(long)]
    no_replay: bool,
    /// Show at most this many problems
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// The image cannot be opened.
pub fn run(args: &CheckArgs, ui: &Ui) -> Outcome {
    let device = session::device(&args.image, Access::Read, ui)?;
    let dirty = session::superblock(&*device).is_ok_and(|sb| sb.needs_recovery());
    let replay = dirty && !args.no_replay;
    if replay {
        ui.note("the journal has to be replayed; judging the image as it will be then");
    }
    let report = check(
        &*device,
        &Options {
            replay,
            max_problems: args.max,
            ..Options::default()
        },
        ui,
    );
    if args.json {
        output::json(&report)?;
    } else {
        print(&report, ui)?;
    }
    Ok(status(report.verdict))
}

/// What fsck would answer.
#[must_use]
pub fn status(verdict: Verdict) -> Status {
    match verdict {
        Verdict::Clean | Verdict::Dirty => Status::FSCK_CLEAN,
        Verdict::Damaged => Status::FSCK_ERRORS_LEFT,
        Verdict::Unusable => Status::FSCK_OPERATIONAL,
    }
}

fn check(device: &dyn Device, options: &Options, ui: &Ui) -> Report {
    let bar = ui.steps_bar("checking", 0);
    let mut show = |p: Progress| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        bar.set_message(match p.pass {
            Pass::Structure => "structure",
            Pass::Inodes => "inodes",
            Pass::Owners => "owners",
            Pass::Directories => "directories",
            Pass::Links => "links",
            Pass::Bitmaps => "bitmaps",
            _ => "checking",
        });
    };
    let report = e4_check::check(device, options, &mut show);
    bar.finish_and_clear();
    report
}

fn print(report: &Report, ui: &Ui) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    for problem in &report.problems {
        let style = match problem.severity() {
            Severity::Error | Severity::Fatal => BAD,
            Severity::Note if !ui.verbose() => continue,
            Severity::Note | Severity::Warning => DIM,
        };
        let text = output::printable(&problem.to_string());
        writeln!(out, "{style}{:<8}{style:#}{text}", problem.severity())?;
    }
    if report.omitted > 0 {
        writeln!(out, "... and {} more", size::grouped(report.omitted))?;
    }
    let s = &report.stats;
    let (style, verdict) = match report.verdict {
        Verdict::Clean => (GOOD, "clean"),
        Verdict::Dirty => (
            GOOD,
            "clean once its journal is replayed and its orphans are gone",
        ),
        Verdict::Damaged => (BAD, "damaged; repair a copy with e2fsck"),
        Verdict::Unusable => (BAD, "too damaged to be examined completely"),
    };
    writeln!(
        out,
        "{}/{} inodes, {}/{} blocks, {} files ({} fragmented), {} directories, {} extents: \
         {style}{verdict}{style:#}",
        size::grouped(u64::from(s.inodes_used)),
        size::grouped(u64::from(s.inodes)),
        size::grouped(s.blocks_used),
        size::grouped(s.blocks),
        size::grouped(u64::from(s.regular_files)),
        size::grouped(u64::from(s.fragmented_files)),
        size::grouped(u64::from(s.directories)),
        size::grouped(s.extents),
    )?;
    out.flush()
}
