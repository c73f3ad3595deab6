//! `e4 stat`: one inode, as stat prints it, by a format, or as JSON.

use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use e4::Stat;
use e4_format::{FileType, Timestamp};
use serde::Serialize;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session::{self, Access};
use crate::verbs::{mode, time};

/// Show files' inodes.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Format sequences of -c:
  %n name   %N name, with a link's target   %s size in bytes   %b 512-byte sectors   %B 512
  %o block size   %i inode   %h links   %u user   %g group   %a mode (octal)   %A mode (text)
  %f raw mode (hex)   %F type   %w %x %y %z birth, access, modify, change   %W %X %Y %Z in seconds

Examples:
  e4 stat disk.img:/notes.txt
  e4 stat -c '%s %n' disk.img:/notes.txt
  e4 stat --json disk.img:/notes.txt | jq .size")]
pub struct StatArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// Print by this format, a line per file
    #[arg(short = 'c', long, value_name = "FORMAT")]
    format: Option<String>,
    /// As JSON: an object for one file, an array for several
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct JsonStat {
    name: String,
    inode: u32,
    r#type: &'static str,
    mode: String,
    links: u64,
    uid: u32,
    gid: u32,
    size: u64,
    sectors: u64,
    block_size: u32,
    flags: u32,
    generation: u32,
    accessed: String,
    modified: String,
    changed: String,
    created: String,
    target: Option<String>,
}

/// A file with what can only be asked of its filesystem.
struct Subject {
    name: String,
    stat: Stat,
    target: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// No such file, an unknown format sequence, or the image's.
pub fn run(args: &StatArgs, ui: &Ui) -> Outcome {
    let mut subjects = Vec::new();
    for location in &args.locations {
        let fs = session::mount(&location.image, Access::Read, ui)?;
        let stat = fs.stat(&location.path)?;
        let target = match stat.file_type {
            Some(FileType::Symlink) => {
                Some(String::from_utf8_lossy(&fs.read_link(&location.path)?).into_owned())
            }
            _ => None,
        };
        subjects.push(Subject {
            name: location.to_string(),
            stat,
            target,
        });
    }
    if args.json {
        let json: Vec<JsonStat> = subjects.iter().map(to_json).collect();
        match json.as_slice() {
            [one] => output::json(one)?,
            several => output::json(&several)?,
        }
        return Ok(Status::SUCCESS);
    }
    let mut out = anstream::stdout().lock();
    for subject in &subjects {
        match &args.format {
            Some(format) => writeln!(out, "{}", by_format(format, subject)?)?,
            None => print(&mut out, subject)?,
        }
    }
    out.flush()?;
    Ok(Status::SUCCESS)
}

fn print<W: Write>(out: &mut W, subject: &Subject) -> std::io::Result<()> {
    let s = &subject.stat;
    let link = subject.target.as_ref().map_or(String::new(), |t| {
        format!(" -> {}", output::name(t.as_bytes()))
    });
    writeln!(
        out,
        "  File: {}{link}",
        output::name(subject.name.as_bytes())
    )?;
    writeln!(
        out,
        "  Size: {:<14} Blocks: {:<10} IO Block: {:<6} {}",
        s.size,
        s.sectors,
        s.block_size,
        mode::type_name(s.file_type)
    )?;
    writeln!(
        out,
        " Inode: {:<14} Links: {:<11} Flags: {:#x}  Generation: {}",
        s.ino.get(),
        s.links,
        s.flags,
        s.generation
    )?;
    writeln!(
        out,
        "Access: ({:04o}/{})  Uid: {}  Gid: {}",
        s.mode,
        mode::text(s.file_type, s.mode),
        s.uid,
        s.gid
    )?;
    writeln!(out, "Access: {}", time::full(s.atime))?;
    writeln!(out, "Modify: {}", time::full(s.mtime))?;
    writeln!(out, "Change: {}", time::full(s.ctime))?;
    writeln!(
        out,
        " Birth: {}",
        birth(s).map_or("-".to_owned(), time::full)
    )
}

/// Inodes of 128 bytes do not have it.
fn birth(s: &Stat) -> Option<Timestamp> {
    (s.crtime != Timestamp::EPOCH).then_some(s.crtime)
}

fn by_format(format: &str, subject: &Subject) -> Result<String> {
    let s = &subject.stat;
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let piece = match chars.next() {
            Some('%') => "%".to_owned(),
            Some('n') => output::name(subject.name.as_bytes()).into_owned(),
            Some('N') => match &subject.target {
                Some(target) => format!("'{}' -> '{target}'", subject.name),
                None => format!("'{}'", subject.name),
            },
            Some('s') => s.size.to_string(),
            Some('b') => s.sectors.to_string(),
            Some('B') => "512".to_owned(),
            Some('o') => s.block_size.to_string(),
            Some('i') => s.ino.get().to_string(),
            Some('h') => s.links.to_string(),
            Some('u') => s.uid.to_string(),
            Some('g') => s.gid.to_string(),
            Some('a') => format!("{:o}", s.mode),
            Some('A') => mode::text(s.file_type, s.mode),
            Some('f') => format!("{:x}", s.mode | s.file_type.map_or(0, FileType::mode_bits)),
            Some('F') => mode::type_name(s.file_type).to_owned(),
            Some('w') => birth(s).map_or("-".to_owned(), time::full),
            Some('x') => time::full(s.atime),
            Some('y') => time::full(s.mtime),
            Some('z') => time::full(s.ctime),
            Some('W') => birth(s).map_or(0, |t| t.sec).to_string(),
            Some('X') => s.atime.sec.to_string(),
            Some('Y') => s.mtime.sec.to_string(),
            Some('Z') => s.ctime.sec.to_string(),
            other => bail!(
                "format (-c): %{} is not known",
                other.map_or(String::new(), String::from)
            ),
        };
        out.push_str(&piece);
    }
    Ok(out)
}

fn to_json(subject: &Subject) -> JsonStat {
    let s = &subject.stat;
    let date = |t: Timestamp| time::rfc3339(t.sec, t.nsec);
    JsonStat {
        name: subject.name.clone(),
        inode: s.ino.get(),
        r#type: mode::type_name(s.file_type),
        mode: format!("{:04o}", s.mode),
        links: u64::from(s.links),
        uid: s.uid,
        gid: s.gid,
        size: s.size,
        sectors: s.sectors,
        block_size: s.block_size,
        flags: s.flags,
        generation: s.generation,
        accessed: date(s.atime),
        modified: date(s.mtime),
        changed: date(s.ctime),
        created: date(s.crtime),
        target: subject.target.clone(),
    }
}
