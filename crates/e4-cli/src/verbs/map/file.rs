//! The picture of one file: its extents in the order of the file, on the image, and which is which.

use std::fmt::Write;

use anyhow::Result;
use e4::{Filesystem, Node, OpenFlags};
use e4_format::ExtentState;

use super::Theme;
use super::survey::Use;
use super::svg::{MARGIN, Svg, WIDTH, bytes};
use crate::size::grouped;

/// Extents drawn at most; the rest would be narrower than anybody sees.
const MOST: usize = 3000;

/// One extent, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) at: u64,
    pub(super) on_image: u64,
    pub(super) len: u64,
    pub(super) written: bool,
}

/// Where a file lies.
pub(super) struct Shape {
    pub(super) path: String,
    pub(super) image: String,
    pub(super) size: u64,
    pub(super) image_size: u64,
    pub(super) parts: Vec<Part>,
}

impl Shape {
    pub(super) fn of(fs: &Filesystem, node: &Node, path: &str, image: &str) -> Result<Self> {
        let file = node.open(OpenFlags::read())?;
        let stat = file.stat();
        let block = u64::from(stat.block_size);
        let parts = file.extents()?.into_iter().map(|e| Part {
            at: u64::from(e.block.get()) * block,
            on_image: e.start.get() * block,
            len: u64::from(e.len) * block,
            written: e.state == ExtentState::Written,
        });
        Ok(Self {
            path: path.to_owned(),
            image: image.to_owned(),
            size: stat.size,
            image_size: fs.statfs().blocks * block,
            parts: parts.collect(),
        })
    }

    /// Bytes in extents of either state.
    pub(super) fn bytes(&self, written: bool) -> u64 {
        let parts = self.parts.iter().filter(|p| p.written == written);
        parts.map(|p| p.len).sum()
    }

    /// Bytes of the file that have no block.
    pub(super) fn holes(&self) -> u64 {
        let inside = |p: &Part| p.len.min(self.size.saturating_sub(p.at));
        self.size
            .saturating_sub(self.parts.iter().map(inside).sum())
    }

    /// What the picture of the file spans: space reserved behind its end as well.
    pub(super) fn span(&self) -> u64 {
        let end = self.parts.last().map_or(0, |p| p.at + p.len);
        self.size.max(end).max(1)
    }
}

fn state(part: &Part) -> Use {
    if part.written {
        Use::Data
    } else {
        Use::Unwritten
    }
}

pub(super) fn draw(shape: &Shape, theme: Theme) -> String {
    let mut svg = Svg::new(&format!("Map of {} in {}", shape.path, shape.image), theme);
    svg.text((MARGIN, 52.0), 26.0, "t", "start", &shape.path);
    let extents = if shape.parts.len() == 1 {
        "extent"
    } else {
        "extents"
    };
    let subtitle = format!(
        "in {}  ·  {}  ·  {} {extents}",
        shape.image,
        bytes(shape.size),
        grouped(shape.parts.len() as u64)
    );
    svg.text((MARGIN, 78.0), 14.0, "m", "start", &subtitle);
    for (n, (r#use, name, amount)) in [
        (Use::Data, "Written", shape.bytes(true)),
        (Use::Unwritten, "Reserved, unwritten", shape.bytes(false)),
        (Use::Free, "Hole: reads as zeros", shape.holes()),
    ]
    .into_iter()
    .enumerate()
    {
        let x = MARGIN + 230.0 * n as f64;
        svg.block((x, 100.0), (13.0, 13.0), r#use);
        let text = format!("{name}  ·  {}", bytes(amount));
        svg.text((x + 20.0, 111.0), 13.0, "t", "start", &text);
    }
    bars(&mut svg, shape);
    svg.finish(430.0)
}

fn bars(svg: &mut Svg, shape: &Shape) {
    let full = WIDTH - 2.0 * MARGIN;
    let (upper, lower, tall) = (170.0, 338.0, 30.0);
    let span = shape.span();
    let in_file = |at: u64| MARGIN + full * (at as f64 / span as f64);
    let on_image = |at: u64| MARGIN + full * (at as f64 / shape.image_size.max(1) as f64);
    svg.text((MARGIN, upper - 10.0), 13.0, "t", "start", "In the file");
    svg.text(
        (MARGIN, lower + tall + 22.0),
        13.0,
        "t",
        "start",
        "On the image",
    );
    svg.text(
        (MARGIN + full, upper - 10.0),
        12.0,
        "m",
        "end",
        &bytes(span),
    );
    let image_size = bytes(shape.image_size);
    svg.text(
        (MARGIN + full, lower + tall + 22.0),
        12.0,
        "m",
        "end",
        &image_size,
    );
    svg.block((MARGIN, upper), (full, tall), Use::Free);
    svg.block((MARGIN, lower), (full, tall), Use::Free);
    let step = shape.parts.len().div_ceil(MOST).max(1);
    let drawn = shape.parts.iter().step_by(step);
    // Ribbons first, so that the bars lie over their ends.
    for part in drawn.clone() {
        let (a, b) = (
            in_file(part.at),
            in_file(part.at + part.len).max(in_file(part.at) + 0.6),
        );
        let (c, d) = (
            on_image(part.on_image),
            on_image(part.on_image + part.len).max(on_image(part.on_image) + 0.6),
        );
        let (top, bottom) = (upper + tall, lower);
        let (one, two) = (top + 70.0, bottom - 70.0);
        let mut path = String::new();
        let _ = write!(
            path,
            "M{a:.2} {top} C{a:.2} {one} {c:.2} {two} {c:.2} {bottom} L{d:.2} {bottom} C{d:.2} {two} {b:.2} {one} {b:.2} {top} Z"
        );
        let key = state(part).key();
        svg.raw(format_args!(
            "<path d=\"{path}\" class=\"{key}\" opacity=\"0.28\"/>"
        ));
    }
    for part in drawn {
        let w = (in_file(part.at + part.len) - in_file(part.at)).max(0.6);
        svg.block((in_file(part.at), upper), (w, tall), state(part));
        let w = (on_image(part.on_image + part.len) - on_image(part.on_image)).max(0.6);
        svg.block((on_image(part.on_image), lower), (w, tall), state(part));
    }
    if shape.size < span && shape.size > 0 {
        let x = in_file(shape.size);
        svg.line((x, upper - 4.0), (x, upper + tall + 4.0));
        svg.text((x, upper - 10.0), 11.0, "m", "middle", "end of file");
    }
    if step > 1 {
        let text = format!("one of every {step} extents is drawn");
        svg.text((MARGIN + full, 78.0), 12.0, "m", "end", &text);
    }
}
