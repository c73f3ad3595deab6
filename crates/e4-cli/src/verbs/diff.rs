//! `e4 diff`: what differs between two images, for people, for programs, or as a container layer.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use e4_export::{
    Change, ChangeKind, DiffOptions, Difference, Facts, Progress, What, diff, write_layer,
};
use serde::Serialize;

use super::build_output::Output;
use super::export::refuse_compressed;
use super::time;
use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, BAD, Common, DIM, GOOD, Ui};
use crate::session;
use crate::size;

/// What can be left out of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Ignore {
    Contents,
    Target,
    Device,
    Mode,
    Owner,
    Mtime,
    Xattrs,
    Links,
}

impl From<Ignore> for What {
    fn from(ignore: Ignore) -> Self {
        match ignore {
            Ignore::Contents => Self::Contents,
            Ignore::Target => Self::Target,
            Ignore::Device => Self::Device,
            Ignore::Mode => Self::Mode,
            Ignore::Owner => Self::Owner,
            Ignore::Mtime => Self::Time,
            Ignore::Xattrs => Self::Xattrs,
            Ignore::Links => Self::Links,
        }
    }
}

/// Show what differs between the trees of two images, or of two directories in images.
///
/// One line per name: A added, D deleted, M modified (and in what), T of another type. Metadata are compared first, contents
/// where type and size agree. Both images are only read.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Exit status, as diff: 0 the same, 1 different, 2 could not compare.

Examples:
  e4 diff old.img new.img
  e4 diff --ignore mtime old.img:/etc new.img:/etc
  e4 diff --json old.img new.img | jq -r '.changes[].path'
  e4 diff --oci-layer change.tar old.img new.img     what turns old into new; then for instance
  e4 export old.img old.tar && e4 build -o again.img old.tar change.tar")]
pub struct DiffArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The first image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    a: Location,
    /// The second
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    b: Location,
    /// Do not compare these
    #[arg(long, value_enum, value_name = "WHAT", value_delimiter = ',')]
    ignore: Vec<Ignore>,
    /// Take files of equal size and time to hold the same, without reading them
    #[arg(long)]
    quick: bool,
    /// Only the exit status
    #[arg(long)]
    brief: bool,
    /// Write what turns the first into the second as a layer with whiteouts; - is standard output
    #[arg(long, value_name = "TAR", conflicts_with_all = ["json", "brief"])]
    oci_layer: Option<PathBuf>,
    /// Replace a layer that exists
    #[arg(long, requires = "oci_layer")]
    force: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
///
/// # Errors
/// The images', or the output's.
pub fn run(args: &DiffArgs, ui: &Ui) -> Outcome {
    let fs = [
        session::look(&args.a.image, ui)?,
        session::look(&args.b.image, ui)?,
    ];
    let tops = [
        fs[0].lookup(&args.a.path, true)?,
        fs[1].lookup(&args.b.path, true)?,
    ];
    let bar = ui.steps_bar("comparing", 0);
    let mut watch = |p: Progress| {
        bar.set_position(p.names);
        ControlFlow::Continue(())
    };
    let options = DiffOptions {
        ignore: args.ignore.iter().map(|i| What::from(*i)).collect(),
        quick: args.quick,
    };
    let found = diff((&fs[0], &tops[0]), (&fs[1], &tops[1]), &options, &mut watch)?;
    bar.finish_and_clear();
    if let Some(to) = &args.oci_layer {
        layer(args, to, &found, (&fs[1], &tops[1]), ui)?;
    } else if args.json {
        output::json(&to_json(args, &found))?;
    } else if !args.brief {
        print(&found, ui)?;
    }
    Ok(if found.changes.is_empty() {
        Status::DIFF_SAME
    } else {
        Status::DIFF_DIFFERENT
    })
}

fn layer(
    args: &DiffArgs,
    to: &Path,
    found: &Difference,
    b: (&e4::Filesystem, &e4::Node),
    ui: &Ui,
) -> Result<()> {
    let mut watch = |_| ControlFlow::Continue(());
    let report = if to == Path::new("-") {
        let out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
        write_layer(found, b, out, &mut watch)?
    } else {
        refuse_compressed(to)?;
        let output = Output::new(to, args.force)?;
        let file = File::create(output.path())
            .with_context(|| format!("creating {}", output.path().display()))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let report = write_layer(found, b, &mut out, &mut watch)?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        if report.lost_count == 0 {
            output.publish()?;
        }
        report
    };
    for what in &report.lost {
        ui.note(&output::printable(&format!("not in the layer: {what}")));
    }
    if report.lost_count > 0 {
        bail!("the layer would not make the second tree");
    }
    ui.detail(&format!("{} members", size::grouped(report.names)));
    Ok(())
}

fn print(found: &Difference, ui: &Ui) -> io::Result<()> {
    let mut out = BufWriter::new(anstream::stdout().lock());
    let (mut added, mut removed, mut changed) = (0u64, 0u64, 0u64);
    for change in &found.changes {
        let (letter, style, about) = match &change.kind {
            ChangeKind::Added(facts) => {
                added += 1;
                ('A', GOOD, about(facts))
            }
            ChangeKind::Removed(facts) => {
                removed += 1;
                ('D', BAD, about(facts))
            }
            ChangeKind::Changed { from, to, what } => {
                changed += 1;
                let letter = if what.contains(&What::Type) { 'T' } else { 'M' };
                (letter, output::HEADING, differences(from, to, what))
            }
        };
        let path = output::name(&change.path);
        writeln!(
            out,
            "{style}{letter}{style:#}  /{path}  {DIM}{about}{DIM:#}"
        )?;
    }
    out.flush()?;
    if !found.changes.is_empty() {
        ui.detail(&format!(
            "{} added, {} deleted, {} modified",
            size::grouped(added),
            size::grouped(removed),
            size::grouped(changed)
        ));
    }
    Ok(())
}

fn about(facts: &Facts) -> String {
    if facts.type_name() == "file" {
        return format!("{}, {} bytes", facts.type_name(), size::grouped(facts.size));
    }
    facts.type_name().to_owned()
}

/// What changed, with the values where they are short.
fn differences(from: &Facts, to: &Facts, what: &BTreeSet<What>) -> String {
    let one = |w: &What| match w {
        What::Type => format!("{} -> {}", from.type_name(), to.type_name()),
        What::Contents if from.size != to.size => format!(
            "contents ({} -> {} bytes)",
            size::grouped(from.size),
            size::grouped(to.size)
        ),
        What::Mode => format!("mode {:04o} -> {:04o}", from.mode, to.mode),
        What::Owner => format!("owner {}:{} -> {}:{}", from.uid, from.gid, to.uid, to.gid),
        other => other.to_string(),
    };
    what.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[derive(Serialize)]
struct Json {
    a: String,
    b: String,
    changes: Vec<JsonChange>,
}

#[derive(Serialize)]
struct JsonChange {
    path: String,
    /// The path's bytes in hexadecimal, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    change: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    what: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<JsonFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<JsonFacts>,
}

#[derive(Serialize)]
struct JsonFacts {
    r#type: &'static str,
    inode: u32,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    modified: String,
}

impl From<&Facts> for JsonFacts {
    fn from(f: &Facts) -> Self {
        Self {
            r#type: f.type_name(),
            inode: f.ino.get(),
            mode: format!("{:04o}", f.mode),
            uid: f.uid,
            gid: f.gid,
            size: f.size,
            modified: time::rfc3339(f.mtime.sec, f.mtime.nsec),
        }
    }
}

fn to_json(args: &DiffArgs, found: &Difference) -> Json {
    let one = |change: &Change| {
        let (kind, what, from, to) = match &change.kind {
            ChangeKind::Added(to) => ("added", Vec::new(), None, Some(to)),
            ChangeKind::Removed(from) => ("removed", Vec::new(), Some(from), None),
            ChangeKind::Changed { from, to, what } => {
                let what = what.iter().map(ToString::to_string).collect();
                ("changed", what, Some(from), Some(to))
            }
        };
        let raw = std::str::from_utf8(&change.path).is_err();
        let hex = || change.path.iter().map(|b| format!("{b:02x}")).collect();
        JsonChange {
            path: format!("/{}", String::from_utf8_lossy(&change.path)),
            path_hex: raw.then(hex),
            change: kind,
            what,
            from: from.map(JsonFacts::from),
            to: to.map(JsonFacts::from),
        }
    };
    Json {
        a: args.a.to_string(),
        b: args.b.to_string(),
        changes: found.changes.iter().map(one).collect(),
    }
}
