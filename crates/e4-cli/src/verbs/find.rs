//! `e4 find`: names below a directory that pass tests, written as find(1) writes them.
//!
//! Decision: a well-defined part of find: tests that must all hold, each possibly negated, and one way of printing. What
//! is not in it (`-o`, `-exec`, `-delete` ...) is refused by name, never ignored. Dates and owners are those of the image.

mod expression;

use std::io::{self, BufWriter, Write};

use clap::Args;
use e4::Stat;
use e4_export::{Descend, ExportError, Item, Step, walk};
use serde::Serialize;

use super::du::absolute;
use super::{mode, time};
use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session;
use expression::{Action, Expression};

/// Find files below a directory, by tests as find(1) has them.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Tests, all of which must hold; ! or -not in front of one negates it:
  -name PATTERN   -iname PATTERN   -path PATTERN      wildcards * ? [a-z]
  -type LETTERS       f d l b c p s, several with commas
  -size [+-]N[cwbkMG] rounded up to the unit; blocks of 512 bytes without one
  -mtime [+-]DAYS     -mmin [+-]MINUTES     -newer /PATH (in the image)
  -perm MODE          exactly; -perm -MODE all of these bits, -perm /MODE any; octal
  -uid [+-]N  -gid [+-]N  -links [+-]N  -inum [+-]N  -empty
Depth: -maxdepth N  -mindepth N
Printing: -print (the default)  -print0  -ls  --json

Examples:
  e4 find disk.img -name '*.conf' -newer /etc/hostname
  e4 find disk.img:/usr -type f -perm /6000 -ls      set-id programs
  e4 find disk.img -type f -size +100M -print0 | xargs -0 ...")]
pub struct FindArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    location: Location,
    /// Tests
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "EXPRESSION"
    )]
    expression: Vec<String>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    /// The path's bytes in hexadecimal, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
    inode: u32,
    r#type: &'static str,
    mode: String,
    links: u32,
    uid: u32,
    gid: u32,
    size: u64,
    modified: String,
}

/// Runs the verb.
///
/// # Errors
/// An expression that is none, no such directory, or the image's.
pub fn run(args: &FindArgs, ui: &Ui) -> Outcome {
    let wanted = Expression::parse(&args.expression)?;
    let fs = session::look(&args.location.image, ui)?;
    let top = fs.lookup(&args.location.path, false)?;
    let wanted = wanted.resolve(&fs)?;
    // Raw bytes where nobody looks at them.
    let mut raw = BufWriter::new(io::stdout().lock());
    let mut rows = Vec::new();
    let mut failed: io::Result<()> = Ok(());
    walk(&fs, &top, &mut |step, item| {
        if step == Step::Leave {
            return Ok(Descend::Yes);
        }
        let path = absolute(&args.location.path, item.path);
        if item.depth >= wanted.min_depth && wanted.holds(&path, item)? {
            failed = match wanted.action {
                Action::Print => line(&mut raw, &[output::name(&path).as_bytes(), b"\n"]),
                Action::Print0 => line(&mut raw, &[&path, b"\0"]),
                Action::Ls => {
                    let text = long(&path, item);
                    line(&mut raw, &[text.as_bytes(), b"\n"])
                }
                Action::Json => {
                    rows.push(row(&path, item.stat));
                    Ok(())
                }
            };
            if failed.is_err() {
                return Err(ExportError::Cancelled);
            }
        }
        Ok(if item.depth < wanted.max_depth {
            Descend::Yes
        } else {
            Descend::No
        })
    })
    .or_else(|e| if failed.is_err() { Ok(()) } else { Err(e) })?;
    failed?;
    raw.flush()?;
    drop(raw);
    if wanted.action == Action::Json {
        output::json(&rows)?;
    }
    Ok(Status::SUCCESS)
}

fn line(out: &mut dyn Write, parts: &[&[u8]]) -> io::Result<()> {
    parts.iter().try_for_each(|part| out.write_all(part))
}

fn long(path: &[u8], item: &Item<'_>) -> String {
    let s = item.stat;
    let target = item.node.read_link().ok();
    let target = target.map_or(String::new(), |t| format!(" -> {}", output::name(&t)));
    format!(
        "{:>9} {:>6} {} {:>3} {:<8} {:<8} {:>10} {} {}{target}",
        s.ino.get(),
        s.sectors.div_ceil(2),
        mode::text(s.file_type, s.mode),
        s.links,
        s.uid,
        s.gid,
        s.size,
        time::short(s.mtime),
        output::name(path)
    )
}

fn row(path: &[u8], s: &Stat) -> Row {
    let hex = || path.iter().map(|b| format!("{b:02x}")).collect();
    Row {
        path: String::from_utf8_lossy(path).into_owned(),
        path_hex: std::str::from_utf8(path).is_err().then(hex),
        inode: s.ino.get(),
        r#type: mode::type_name(s.file_type),
        mode: format!("{:04o}", s.mode),
        links: s.links,
        uid: s.uid,
        gid: s.gid,
        size: s.size,
        modified: time::rfc3339(s.mtime.sec, s.mtime.nsec),
    }
}
