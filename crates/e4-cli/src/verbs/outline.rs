//! `e4 tree`: a directory and what is below it, drawn as tree(1) draws it.
//!
//! Decision: the names are collected before anything is drawn, because whether a line is the last of its directory is known
//! only then: some 60 bytes per name shown.

use std::io::{BufWriter, Write};

use clap::{ArgAction, Args};
use e4_export::{Descend, Step, walk};
use e4_format::FileType;

use super::mode;
use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, DIRECTORY, LINK, Ui};
use crate::session;
use crate::size;

/// Draw a directory and everything below it.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 tree disk.img
  e4 tree -L 2 -d disk.img:/usr"
)]
pub struct OutlineArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image, or a directory in it
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    location: Location,
    /// Names that begin with a dot, too
    #[arg(short)]
    all: bool,
    /// Only directories
    #[arg(short)]
    directories: bool,
    /// At most this many levels
    #[arg(short = 'L', value_name = "N")]
    level: Option<usize>,
    /// Permissions
    #[arg(short = 'p')]
    permissions: bool,
    /// Sizes
    #[arg(short)]
    size: bool,
    /// Sizes for people: 1.5K, 234M
    #[arg(short = 'h')]
    human: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

struct Line {
    depth: usize,
    name: Box<[u8]>,
    target: Option<Vec<u8>>,
    file_type: Option<FileType>,
    mode: u16,
    size: u64,
}

/// Runs the verb.
///
/// # Errors
/// No such directory, or the image's.
pub fn run(args: &OutlineArgs, ui: &Ui) -> Outcome {
    let fs = session::look(&args.location.image, ui)?;
    let top = fs.lookup(&args.location.path, true)?;
    let limit = args.level.unwrap_or(usize::MAX);
    let mut lines: Vec<Line> = Vec::new();
    walk(&fs, &top, &mut |step, item| {
        if step == Step::Leave {
            return Ok(Descend::Yes);
        }
        let name = item.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let hidden = item.depth > 0 && name.starts_with(b".") && !args.all;
        if hidden || item.depth > limit || (args.directories && step == Step::Visit) {
            return Ok(Descend::No);
        }
        let link = item.stat.file_type == Some(FileType::Symlink);
        lines.push(Line {
            depth: item.depth,
            name: name.into(),
            target: link.then(|| item.node.read_link().ok()).flatten(),
            file_type: item.stat.file_type,
            mode: item.stat.mode,
            size: item.stat.size,
        });
        Ok(if item.depth < limit {
            Descend::Yes
        } else {
            Descend::No
        })
    })?;
    draw(args, &lines)?;
    Ok(Status::SUCCESS)
}

fn draw(args: &OutlineArgs, lines: &[Line]) -> std::io::Result<()> {
    // From the end: a line is the last of its directory if no later one of its depth comes before a shallower one.
    let mut last = vec![false; lines.len()];
    let mut open: Vec<bool> = Vec::new();
    for (line, last) in lines.iter().zip(&mut last).rev() {
        open.resize(line.depth + 1, false);
        if let Some(more) = open.get_mut(line.depth) {
            *last = !*more;
            *more = true;
        }
    }
    let mut out = BufWriter::new(anstream::stdout().lock());
    let (mut directories, mut files) = (0u64, 0u64);
    let mut ended: Vec<bool> = Vec::new();
    for (line, last) in lines.iter().zip(last) {
        if line.depth == 0 {
            writeln!(out, "{DIRECTORY}{}{DIRECTORY:#}", args.location)?;
            continue;
        }
        match line.file_type {
            Some(FileType::Directory) => directories += 1,
            _ => files += 1,
        }
        ended.truncate(line.depth - 1);
        for ended in &ended {
            out.write_all(if *ended { "    " } else { "│   " }.as_bytes())?;
        }
        ended.push(last);
        let corner = if last { "└── " } else { "├── " };
        let mut about = Vec::new();
        if args.permissions {
            about.push(mode::text(line.file_type, line.mode));
        }
        if args.human {
            about.push(format!("{:>6}", size::human(line.size)));
        } else if args.size {
            about.push(format!("{:>11}", line.size));
        }
        let about = match about.is_empty() {
            true => String::new(),
            false => format!("[{}]  ", about.join(" ")),
        };
        let style = match line.file_type {
            Some(FileType::Directory) => DIRECTORY,
            Some(FileType::Symlink) => LINK,
            _ => anstyle::Style::new(),
        };
        let name = output::name(&line.name);
        write!(out, "{corner}{about}{style}{name}{style:#}")?;
        match &line.target {
            Some(target) => writeln!(out, " -> {}", output::name(target))?,
            None => writeln!(out)?,
        }
    }
    let some = |n: u64, one: &str, more: &str| {
        format!("{} {}", size::grouped(n), if n == 1 { one } else { more })
    };
    let directories = some(directories, "directory", "directories");
    match args.directories {
        true => writeln!(out, "\n{directories}")?,
        false => writeln!(out, "\n{directories}, {}", some(files, "file", "files"))?,
    }
    out.flush()
}
