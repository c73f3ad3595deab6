//! The picture of a whole image: totals, every part of it in order, how free space is cut up, how files are.

use super::Theme;
use super::survey::{Cell, Survey, Use};
use super::svg::{MARGIN, Svg, WIDTH, bytes};
use crate::size::grouped;

const COLUMNS: u64 = 64;
/// Cells a picture has at most.
pub(super) const CELLS: u64 = COLUMNS * 24;
const LABELS: f64 = 70.0;
const GAP: f64 = 1.5;

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

pub(super) fn draw(survey: &Survey, theme: Theme) -> String {
    let mut svg = Svg::new(&format!("Map of {}", survey.name), theme);
    svg.text((MARGIN, 52.0), 26.0, "t", "start", &survey.name);
    let label = match survey.label.as_str() {
        "" => String::new(),
        label => format!("“{label}”  ·  "),
    };
    let used = percent(survey.blocks - survey.total(Use::Free), survey.blocks);
    let groups = if survey.groups == 1 {
        "group"
    } else {
        "groups"
    };
    let subtitle = format!(
        "{label}ext4  ·  {}  ·  blocks of {}  ·  {} block {groups}  ·  {used:.0} % in use",
        bytes(survey.blocks * survey.block_size),
        bytes(survey.block_size),
        grouped(survey.groups.into()),
    );
    svg.text((MARGIN, 78.0), 14.0, "m", "start", &subtitle);
    totals(&mut svg, survey);
    let y = grid(&mut svg, survey, 196.0);
    let y = panels(&mut svg, survey, y + 58.0);
    svg.finish(y + 30.0)
}

/// One bar of everything, and the legend below it.
fn totals(svg: &mut Svg, survey: &Survey) {
    let full = WIDTH - 2.0 * MARGIN;
    let mut x = MARGIN;
    for r#use in Use::ALL {
        let w = full * survey.total(r#use) as f64 / survey.blocks.max(1) as f64;
        svg.block((x, 100.0), (w, 14.0), r#use);
        x += w;
    }
    let step = full / Use::ALL.len() as f64;
    for (n, r#use) in Use::ALL.into_iter().enumerate() {
        let x = MARGIN + step * n as f64;
        svg.block((x, 132.0), (13.0, 13.0), r#use);
        svg.text((x + 20.0, 143.0), 13.0, "t", "start", r#use.label());
        let total = survey.total(r#use);
        let amount = format!(
            "{}  ·  {:.1} %",
            bytes(total * survey.block_size),
            percent(total, survey.blocks)
        );
        svg.text((x + 20.0, 161.0), 12.0, "m", "start", &amount);
    }
}

/// Every part of the image in order, rows from left to right. Returns where it ends.
fn grid(svg: &mut Svg, survey: &Survey, top: f64) -> f64 {
    let side = (WIDTH - 2.0 * MARGIN - LABELS) / COLUMNS as f64;
    let height = side * 1.15;
    let rows = (survey.cells.len() as u64).div_ceil(COLUMNS);
    for row in 0..rows {
        let y = top + row as f64 * height;
        let at = row * COLUMNS * survey.blocks_per_cell * survey.block_size;
        if row % 4 == 0 {
            svg.text(
                (MARGIN + LABELS - 12.0, y + height * 0.7),
                11.0,
                "m",
                "end",
                &bytes(at),
            );
        }
        let first = (row * COLUMNS) as usize;
        let cells = survey.cells.iter().skip(first).take(COLUMNS as usize);
        for (column, cell) in cells.enumerate() {
            let x = MARGIN + LABELS + column as f64 * side;
            draw_cell(svg, (x, y), (side - GAP, height - GAP), cell);
            let begin = (first + column) as u64 * survey.blocks_per_cell;
            let end = begin + survey.blocks_per_cell;
            let group = begin.div_ceil(survey.blocks_per_group) * survey.blocks_per_group;
            // Where groups are smaller than a few cells, marks would only hide them.
            let apart = survey.blocks_per_group >= 3 * survey.blocks_per_cell;
            if apart && group < end && group > 0 {
                svg.mark(x - GAP / 2.0, (y - 1.5, y + height));
            }
        }
    }
    let end = top + rows as f64 * height;
    let lines = if survey.groups > 1 && survey.blocks_per_group >= 3 * survey.blocks_per_cell {
        "; lines begin block groups"
    } else {
        ""
    };
    let legend = format!(
        "Each cell is {}, filled from below by use; rows run from the beginning to the end of the image{lines}.",
        bytes(survey.blocks_per_cell * survey.block_size),
    );
    let place = (MARGIN + LABELS, end + 18.0);
    svg.text(place, 11.5, "m", "start", &legend);
    end
}

fn draw_cell(svg: &mut Svg, (x, y): (f64, f64), (w, h): (f64, f64), cell: &Cell) {
    let whole: u64 = cell.iter().sum();
    if whole == 0 {
        return;
    }
    svg.block((x, y), (w, h), Use::Free);
    let mut bottom = y + h;
    for r#use in [Use::Tables, Use::Other, Use::Data, Use::Unwritten] {
        let part = cell[r#use as usize];
        if part > 0 {
            // A single block still shows.
            let tall = (h * part as f64 / whole as f64).max(0.8).min(bottom - y);
            bottom -= tall;
            svg.block((x, bottom), (w, tall), r#use);
        }
    }
}

/// One line of a panel: name, share of the bar, text behind it.
type Bar = (String, f64, String);

/// Free space by length of run, files by number of extents. Returns where they end.
fn panels(svg: &mut Svg, survey: &Survey, top: f64) -> f64 {
    let mut from = 0;
    let mut free: Vec<Bar> = Vec::new();
    for bucket in &survey.free_runs {
        let name = match (from, bucket.up_to) {
            (0, to) => format!("up to {}", bytes(to)),
            (from, u64::MAX) => format!("over {}", bytes(from)),
            (_, to) => format!("to {}", bytes(to)),
        };
        from = bucket.up_to;
        let share = percent(bucket.blocks, survey.total(Use::Free)) / 100.0;
        let text = format!(
            "{}  in {} {}",
            bytes(bucket.blocks * survey.block_size),
            grouped(bucket.runs),
            if bucket.runs == 1 { "run" } else { "runs" }
        );
        free.push((name, share, text));
    }
    let mut most = 0;
    let mut files: Vec<Bar> = Vec::new();
    for (limit, count) in &survey.files_by_extents {
        let name = match (most, *limit) {
            (0, _) => "1 or none".to_owned(),
            (most, u64::MAX) => format!("over {most}"),
            (most, limit) => format!("{} – {limit}", most + 1),
        };
        most = *limit;
        let share = percent(*count, survey.files) / 100.0;
        files.push((name, share, format!("{} files", grouped(*count))));
    }
    let longest = format!(
        "longest run {}",
        bytes(survey.longest_free * survey.block_size)
    );
    let half = WIDTH / 2.0 + 10.0;
    panel(
        svg,
        (MARGIN, top),
        ("Free space, by length of run", &longest),
        Use::Other,
        &free,
    );
    let all = format!(
        "{} files, {} extents",
        grouped(survey.files),
        grouped(survey.extents)
    );
    panel(
        svg,
        (half, top),
        ("Files, by number of extents", &all),
        Use::Data,
        &files,
    );
    top + 34.0 + 22.0 * free.len().max(files.len()) as f64
}

fn panel(
    svg: &mut Svg,
    (x, y): (f64, f64),
    (title, about): (&str, &str),
    colour: Use,
    bars: &[Bar],
) {
    let width = WIDTH / 2.0 - MARGIN - 10.0;
    svg.text((x, y), 15.0, "t", "start", title);
    svg.text((x + width, y), 12.0, "m", "end", about);
    svg.line((x, y + 9.0), (x + width, y + 9.0));
    for (n, (name, share, text)) in bars.iter().enumerate() {
        let y = y + 22.0 + 22.0 * n as f64;
        svg.text((x + 92.0, y + 11.0), 12.0, "m", "end", name);
        let full = width - 104.0 - 150.0;
        svg.block((x + 104.0, y), (full, 13.0), Use::Free);
        if *share > 0.0 {
            svg.block((x + 104.0, y), ((full * share).max(1.0), 13.0), colour);
        }
        svg.text(
            (x + 104.0 + full + 10.0, y + 11.0),
            12.0,
            "t",
            "start",
            text,
        );
    }
}
