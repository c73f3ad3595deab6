//! `e4 extents`: which blocks a file has, and whether they hold data.

use std::io::Write;

use clap::Args;
use e4::OpenFlags;
use e4_format::{Extent, ExtentState};
use serde::Serialize;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, DIM, HEADING, Table, Ui};
use crate::session::{self, Access};
use crate::size;

/// Show which blocks a file has, and whether they are written.
///
/// An unwritten extent is space reserved without data: it reads as zeros, whatever is on disk.
/// All numbers are filesystem blocks.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 extents disk.img:/big
  e4 extents --json disk.img:/big | jq '[.extents[] | select(.written)] | length'")]
pub struct ExtentsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listing {
    name: String,
    inode: u32,
    size: u64,
    block_size: u32,
    written_blocks: u64,
    unwritten_blocks: u64,
    extents: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    logical: u32,
    physical: u64,
    length: u32,
    written: bool,
}

impl From<&Extent> for Row {
    fn from(e: &Extent) -> Self {
        Self {
            logical: e.block.get(),
            physical: e.start.get(),
            length: e.len,
            written: e.state == ExtentState::Written,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// No such file, or the image's.
pub fn run(args: &ExtentsArgs, ui: &Ui) -> Outcome {
    let fs = session::mount(&args.location.image, Access::Read, ui)?;
    let file = fs.open_file(&args.location.path, OpenFlags::read())?;
    let rows: Vec<Row> = file.extents()?.iter().map(Row::from).collect();
    let sum = |written: bool| -> u64 {
        rows.iter()
            .filter(|r| r.written == written)
            .map(|r| u64::from(r.length))
            .sum()
    };
    let stat = file.stat();
    let listing = Listing {
        name: args.location.to_string(),
        inode: stat.ino.get(),
        size: stat.size,
        block_size: stat.block_size,
        written_blocks: sum(true),
        unwritten_blocks: sum(false),
        extents: rows,
    };
    if args.json {
        output::json(&listing)?;
    } else {
        print(&listing)?;
    }
    Ok(Status::SUCCESS)
}

fn print(listing: &Listing) -> std::io::Result<()> {
    let mut table = Table::new(">>>><");
    table.row(["#", "logical", "physical", "length", "state"]);
    for (i, r) in listing.extents.iter().enumerate() {
        let last = u64::from(r.length).saturating_sub(1);
        table.row([
            i.to_string(),
            format!("{}..{}", r.logical, u64::from(r.logical) + last),
            format!("{}..{}", r.physical, r.physical + last),
            r.length.to_string(),
            if r.written { "written" } else { "unwritten" }.to_owned(),
        ]);
    }
    let mut out = anstream::stdout().lock();
    let mut lines = table.render().into_iter();
    if let Some(heading) = lines.next() {
        writeln!(out, "{HEADING}{heading}{HEADING:#}")?;
    }
    for (line, r) in lines.zip(&listing.extents) {
        let style = if r.written {
            anstyle::Style::new()
        } else {
            DIM
        };
        writeln!(out, "{style}{line}{style:#}")?;
    }
    writeln!(
        out,
        "{} extents; {} blocks written, {} unwritten; file size {} bytes, blocks of {}",
        size::grouped(listing.extents.len() as u64),
        size::grouped(listing.written_blocks),
        size::grouped(listing.unwritten_blocks),
        size::grouped(listing.size),
        listing.block_size
    )?;
    out.flush()
}
