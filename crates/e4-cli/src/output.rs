//! Everything the command prints: notes and progress on standard error, results on standard output.
//!
//! Decisions: standard output carries what was asked for and nothing else, so that it can be piped;
//! progress bars appear only if standard error is a terminal; names from an image are attacker
//! controlled, so a terminal never sees their control characters.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// If it goes to a terminal and `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The options every verb has.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// Say more: the I/O backend and why it was chosen, what recovery did (-vv: trace events)
    #[arg(short, long, action = clap::ArgAction::Count, display_order = 900)]
    pub verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, display_order = 901)]
    pub quiet: bool,
    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", display_order = 902)]
    pub color: Option<ColorWhen>,
}

impl Common {
    /// Options before the verb and behind it, together.
    #[must_use]
    pub fn and(&self, behind: &Self) -> Self {
        Self {
            verbose: self.verbose.saturating_add(behind.verbose),
            quiet: self.quiet || behind.quiet,
            color: behind.color.or(self.color),
        }
    }
}

/// Bold, for headings.
pub const HEADING: Style = Style::new().bold();
/// For what held.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For what did not.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// For what is less important.
pub const DIM: Style = Style::new().dimmed();
/// For directories, as ls does.
pub const DIRECTORY: Style = AnsiColor::Blue.on_default().bold();
/// For symbolic links, as ls does.
pub const LINK: Style = AnsiColor::Cyan.on_default().bold();

/// How much is said, and to whom.
#[derive(Clone, Debug, Default)]
pub struct Ui {
    verbose: u8,
    quiet: bool,
}

impl Ui {
    /// From the command line; also tells anstream about colours and starts tracing where asked.
    #[must_use]
    pub fn new(common: &Common) -> Self {
        match common.color {
            Some(ColorWhen::Always) => anstream::ColorChoice::Always.write_global(),
            Some(ColorWhen::Never) => anstream::ColorChoice::Never.write_global(),
            Some(ColorWhen::Auto) | None => {}
        }
        start_tracing(common.verbose);
        Self {
            verbose: common.verbose,
            quiet: common.quiet,
        }
    }

    /// True with `-v`.
    #[must_use]
    pub fn verbose(&self) -> bool {
        self.verbose > 0
    }

    /// True with `-q`.
    #[must_use]
    pub fn quiet(&self) -> bool {
        self.quiet
    }

    /// For people, unless `-q`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stderr(), "{text}");
        }
    }

    /// A result, unless `-q`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(anstream::stdout(), "{text}");
        }
    }

    /// For people who asked (`-v`).
    pub fn detail(&self, text: &str) {
        if self.verbose > 0 && !self.quiet {
            let _ = writeln!(anstream::stderr(), "{DIM}{text}{DIM:#}");
        }
    }

    /// A bar for `total` bytes; invisible if standard error is no terminal, with `-q`, or for small totals.
    #[must_use]
    pub fn bytes_bar(&self, label: &str, total: u64) -> ProgressBar {
        const WORTH_A_BAR: u64 = 64 << 20;
        if total < WORTH_A_BAR {
            return ProgressBar::hidden();
        }
        let template = "{msg} {wide_bar} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
        self.bar(label, total, template)
    }

    /// A bar for `total` steps of something.
    #[must_use]
    pub fn steps_bar(&self, label: &str, total: u64) -> ProgressBar {
        self.bar(label, total, "{msg} {wide_bar} {pos}/{len} {eta}")
    }

    fn bar(&self, label: &str, total: u64, template: &str) -> ProgressBar {
        if self.quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total).with_message(label.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar
    }
}

/// Trace events go to standard error with `-vv`, or as `E4_LOG` says (`E4_LOG=e4=debug`).
fn start_tracing(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let filter = match (std::env::var("E4_LOG"), verbose) {
        (Ok(directives), _) => EnvFilter::new(directives),
        (Err(_), 0 | 1) => return,
        (Err(_), 2) => EnvFilter::new("info,e4=debug,e4_device=debug,e4_journal=debug"),
        (Err(_), _) => EnvFilter::new("trace"),
    };
    // A second call (several verbs run by one test process) keeps the first subscriber.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .try_init();
}

/// Prints a value as indented JSON, with a newline.
///
/// # Errors
/// Standard output's.
pub fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}

/// A name from an image: as it is for a pipe, without control characters for a terminal.
#[must_use]
pub fn name(bytes: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(bytes);
    if io::stdout().is_terminal() && text.chars().any(char::is_control) {
        return text.replace(char::is_control, "?").into();
    }
    text
}

/// Text for standard error that may contain a name from an image.
#[must_use]
pub fn printable(text: &str) -> String {
    let ugly = |c: char| c.is_control() && c != '\n';
    text.replace(ugly, "?")
}

/// Columns padded to their widest cell.
#[derive(Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    left: Vec<bool>,
}

impl Table {
    /// `columns`: `<` for a column aligned left, anything else for right, one character each.
    #[must_use]
    pub fn new(columns: &str) -> Self {
        Self {
            rows: Vec::new(),
            left: columns.chars().map(|c| c == '<').collect(),
        }
    }

    /// Adds a row.
    pub fn row<I: IntoIterator<Item = S>, S: Into<String>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, without trailing blanks.
    #[must_use]
    pub fn render(&self) -> Vec<String> {
        let mut width = vec![0; self.left.len()];
        for row in &self.rows {
            for (w, cell) in width.iter_mut().zip(row) {
                *w = (*w).max(cell.chars().count());
            }
        }
        let line = |row: &Vec<String>| {
            let mut line = String::new();
            for (i, cell) in row.iter().enumerate() {
                if i > 0 {
                    line.push_str("  ");
                }
                let pad = width.get(i).map_or(0, |w| w - cell.chars().count());
                let left = self.left.get(i).copied().unwrap_or(false);
                if !left {
                    line.extend(std::iter::repeat_n(' ', pad));
                }
                line.push_str(cell);
                if left {
                    line.extend(std::iter::repeat_n(' ', pad));
                }
            }
            line.truncate(line.trim_end().len());
            line
        };
        self.rows.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded() {
        let mut table = Table::new("<>");
        table.row(["a", "1"]);
        table.row(["long", "1000"]);
        assert_eq!(table.render(), ["a        1", "long  1000"]);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\x1b[31mb\nc"), "a?[31mb\nc");
    }

    #[test]
    fn options_before_and_behind_the_verb_add_up() {
        let before = Common {
            verbose: 1,
            quiet: false,
            color: Some(ColorWhen::Never),
        };
        let behind = Common {
            verbose: 1,
            quiet: true,
            color: None,
        };
        let both = before.and(&behind);
        assert_eq!(
            (both.verbose, both.quiet, both.color),
            (2, true, Some(ColorWhen::Never))
        );
    }
}
