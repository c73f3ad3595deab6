//! The maps for a terminal. What a letter means is said below it, and does not depend on colour.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::file::Shape;
use super::survey::{Survey, Use};
use super::svg::bytes;
use crate::output::{DIM, HEADING};
use crate::size::grouped;

const COLUMNS: usize = 64;
/// Cells a map has at most.
pub(super) const CELLS: u64 = COLUMNS as u64 * 16;

fn letter(r#use: Use) -> (char, Style) {
    match r#use {
        Use::Data => ('█', AnsiColor::Blue.on_default()),
        Use::Unwritten => ('▒', AnsiColor::Yellow.on_default()),
        Use::Other => ('▓', AnsiColor::Cyan.on_default()),
        Use::Tables => ('#', AnsiColor::Magenta.on_default()),
        Use::Free => ('·', Style::new().dimmed()),
    }
}

pub(super) fn image(survey: &Survey) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "{HEADING}{}{HEADING:#}  {}, blocks of {}, {} block groups",
        survey.name,
        bytes(survey.blocks * survey.block_size),
        bytes(survey.block_size),
        grouped(survey.groups.into())
    )?;
    for (row, cells) in survey.cells.chunks(COLUMNS).enumerate() {
        let at = (row * COLUMNS) as u64 * survey.blocks_per_cell * survey.block_size;
        write!(out, "{DIM}{:>9}{DIM:#} ", bytes(at))?;
        for cell in cells {
            // What takes most of the cell; free only if nothing else is there.
            let best = Use::ALL
                .into_iter()
                .take(4)
                .max_by_key(|u| cell[*u as usize]);
            let best = best.filter(|u| cell[*u as usize] > 0).unwrap_or(Use::Free);
            let (letter, style) = letter(best);
            write!(out, "{style}{letter}{style:#}")?;
        }
        writeln!(out)?;
    }
    for r#use in Use::ALL {
        let (letter, style) = letter(r#use);
        let total = survey.total(r#use);
        writeln!(
            out,
            "  {style}{letter}{style:#} {:<22} {:>10}  {:>5.1} %",
            r#use.label(),
            bytes(total * survey.block_size),
            total as f64 * 100.0 / survey.blocks.max(1) as f64
        )?;
    }
    let runs: u64 = survey.free_runs.iter().map(|r| r.runs).sum();
    writeln!(
        out,
        "  each letter is {}; free space in {} runs, the longest {}",
        bytes(survey.blocks_per_cell * survey.block_size),
        grouped(runs),
        bytes(survey.longest_free * survey.block_size)
    )?;
    let fragmented: u64 = survey.files_by_extents.iter().skip(1).map(|b| b.1).sum();
    writeln!(
        out,
        "  {} files in {} extents; {} files have more than one",
        grouped(survey.files),
        grouped(survey.extents),
        grouped(fragmented)
    )?;
    out.flush()
}

/// One row of a file's map: letters of what most of each column is.
fn row(shape: &Shape, span: u64, of: impl Fn(&super::file::Part) -> u64) -> Vec<Use> {
    let mut columns = vec![[0u64; 2]; COLUMNS];
    for part in &shape.parts {
        let mut at = of(part);
        let end = at.saturating_add(part.len).min(span);
        while at < end {
            let column = (u128::from(at) * COLUMNS as u128 / u128::from(span)) as usize;
            let next = (u128::from(span) * (column as u128 + 1)).div_ceil(COLUMNS as u128);
            let stop = end.min(u64::try_from(next).unwrap_or(end)).max(at + 1);
            if let Some([written, unwritten]) = columns.get_mut(column) {
                *(if part.written { written } else { unwritten }) += stop - at;
            }
            at = stop;
        }
    }
    let one = |[written, unwritten]: [u64; 2]| match (written, unwritten) {
        (0, 0) => Use::Free,
        (w, u) if w >= u => Use::Data,
        _ => Use::Unwritten,
    };
    columns.into_iter().map(one).collect()
}

pub(super) fn file(shape: &Shape) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "{HEADING}{}{HEADING:#}  {}, {} extents",
        crate::output::name(shape.path.as_bytes()),
        bytes(shape.size),
        grouped(shape.parts.len() as u64)
    )?;
    let span = shape.span();
    for (name, uses, whole) in [
        ("in the file", row(shape, span, |p| p.at), span),
        (
            "on the image",
            row(shape, shape.image_size.max(1), |p| p.on_image),
            shape.image_size,
        ),
    ] {
        write!(out, "  {name:<13}")?;
        for r#use in uses {
            let (letter, style) = letter(r#use);
            write!(out, "{style}{letter}{style:#}")?;
        }
        writeln!(out, " {DIM}{}{DIM:#}", bytes(whole))?;
    }
    for (r#use, name, amount) in [
        (Use::Data, "written", shape.bytes(true)),
        (Use::Unwritten, "reserved, unwritten", shape.bytes(false)),
        (Use::Free, "hole", shape.holes()),
    ] {
        let (letter, style) = letter(r#use);
        writeln!(
            out,
            "  {style}{letter}{style:#} {name:<20} {:>10}",
            bytes(amount)
        )?;
    }
    out.flush()
}
