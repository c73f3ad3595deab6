//! The pieces of pictures: colours for light and dark, text, bars, numbers with units.
//!
//! Decisions: colours are classes, so that a viewer's preference decides at the time of viewing; space that is
//! reserved is hatched, so that nothing depends on colour alone.

use std::fmt::Write;

use super::Theme;
use super::survey::Use;

pub(super) const WIDTH: f64 = 960.0;
pub(super) const MARGIN: f64 = 40.0;

/// A picture in the making.
pub(super) struct Svg {
    body: String,
    theme: Theme,
    title: String,
}

struct Colours {
    page: &'static str,
    text: &'static str,
    muted: &'static str,
    line: &'static str,
    uses: [&'static str; 5],
    hatch: &'static str,
}

const LIGHT: Colours = Colours {
    page: "#ffffff",
    text: "#1b2430",
    muted: "#66717f",
    line: "#d5dbe3",
    uses: ["#2f6fd6", "#f3b04a", "#1f9c88", "#7a5bc0", "#e9edf2"],
    hatch: "#c47d10",
};

const DARK: Colours = Colours {
    page: "#12161c",
    text: "#e8ebef",
    muted: "#98a3b1",
    line: "#333c48",
    uses: ["#6ba5ff", "#f6c269", "#45c5b0", "#a98cf0", "#242b35"],
    hatch: "#8a5a10",
};

impl Colours {
    fn style(&self) -> String {
        let mut css = format!(
            ".page{{fill:{}}}.t{{fill:{}}}.m{{fill:{}}}.l{{stroke:{};fill:none}}.hatch{{stroke:{}}}",
            self.page, self.text, self.muted, self.line, self.hatch
        );
        for (r#use, colour) in Use::ALL.iter().zip(self.uses) {
            let _ = write!(css, ".{}{{fill:{colour}}}", r#use.key());
        }
        css
    }
}

/// Text as it may stand in a picture.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

impl Svg {
    pub(super) fn new(title: &str, theme: Theme) -> Self {
        Self {
            body: String::new(),
            theme,
            title: title.to_owned(),
        }
    }

    pub(super) fn raw(&mut self, element: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(element);
        self.body.push('\n');
    }

    /// Text; `class` is `t` (text) or `m` (muted), `anchor` is start, middle or end.
    pub(super) fn text(
        &mut self,
        (x, y): (f64, f64),
        size: f64,
        class: &str,
        anchor: &str,
        text: &str,
    ) {
        let weight = if size >= 20.0 {
            " font-weight=\"600\""
        } else {
            ""
        };
        let text = escape(text);
        self.raw(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" class=\"{class}\" text-anchor=\"{anchor}\"{weight}>{text}</text>"
        ));
    }

    /// A box in the colour of a use.
    pub(super) fn block(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), r#use: Use) {
        let key = r#use.key();
        self.raw(format_args!(
            "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" class=\"{key}\"/>"
        ));
        if r#use == Use::Unwritten {
            self.raw(format_args!(
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{w:.2}\" height=\"{h:.2}\" fill=\"url(#hatch)\"/>"
            ));
        }
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.raw(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"l\"/>"
        ));
    }

    /// A short upright line that stands out.
    pub(super) fn mark(&mut self, x: f64, (from, to): (f64, f64)) {
        let h = to - from;
        self.raw(format_args!(
            "<rect x=\"{:.2}\" y=\"{from:.2}\" width=\"2\" height=\"{h:.2}\" class=\"t\"/>",
            x - 1.0
        ));
    }

    pub(super) fn finish(self, height: f64) -> String {
        let (first, second) = match self.theme {
            Theme::Dark => (DARK.style(), String::new()),
            Theme::Light => (LIGHT.style(), String::new()),
            Theme::Auto => (
                LIGHT.style(),
                format!("@media (prefers-color-scheme: dark){{{}}}", DARK.style()),
            ),
        };
        let title = escape(&self.title);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" font-family=\"system-ui, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif\">\n\
             <title>{title}</title>\n<style>{first}{second}</style>\n\
             <defs><pattern id=\"hatch\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
             <line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"5\" class=\"hatch\" stroke-width=\"1.6\"/></pattern></defs>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" class=\"page\"/>\n{}</svg>\n",
            self.body
        )
    }
}

/// `1536` as `1.5 KiB`.
pub(super) fn bytes(n: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = n as f64;
    let mut unit = units.iter();
    let mut name = unit.next().unwrap_or(&"bytes");
    while value >= 1024.0 {
        let Some(next) = unit.next() else { break };
        value /= 1024.0;
        name = next;
    }
    if value >= 100.0 || value.fract() < 0.05 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}
