//! `e4 ls`: a directory's entries, with ls's letters.
//!
//! Owners are shown as numbers: the names would be those of this host, not of the image.

use std::cmp::Ordering;
use std::io::Write;

use anyhow::Result;
use clap::{ArgAction, Args};
use e4::{DirEntryInfo, Filesystem, Stat};
use e4_format::FileType;
use serde::Serialize;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, DIRECTORY, LINK, Table, Ui};
use crate::session::{self, Access};
use crate::size;
use crate::verbs::{mode, time};

/// List a directory of an image.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 ls disk.img                    the root directory
  e4 ls -lh disk.img:/var/log
  e4 ls --json disk.img:/ | jq -r '.[] | select(.size > 1000000) | .name'"
)]
pub struct LsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// IMAGE:/PATH; a bare IMAGE means its root directory
    #[arg(value_name = "IMAGE:/PATH", required = true, value_parser = Location::parse_or_root)]
    locations: Vec<Location>,
    /// Long format: mode, links, owner, group, size, time
    #[arg(short)]
    long: bool,
    /// Names that begin with a dot, too
    #[arg(short)]
    all: bool,
    /// As -a, without . and ..
    #[arg(short = 'A')]
    almost_all: bool,
    /// Inode numbers
    #[arg(short)]
    inode: bool,
    /// Sizes as 1.5K, 20M, 3G
    #[arg(short = 'h')]
    human: bool,
    /// The directory itself, not what is in it
    #[arg(short)]
    directory: bool,
    /// Largest first
    #[arg(short = 'S')]
    by_size: bool,
    /// Newest first
    #[arg(short = 't')]
    by_time: bool,
    /// Reverse the order
    #[arg(short)]
    reverse: bool,
    /// One name per line (always so)
    #[arg(short = '1', hide = true)]
    one: bool,
    /// As JSON, an array of entries
    #[arg(long)]
    json: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

struct Entry {
    info: DirEntryInfo,
    /// `None` if the entry's inode could not be read.
    stat: Option<Stat>,
    target: Option<Vec<u8>>,
}

#[derive(Serialize)]
struct JsonEntry {
    name: String,
    inode: u32,
    r#type: &'static str,
    mode: Option<String>,
    links: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    sectors: Option<u64>,
    modified: Option<String>,
    target: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// No such file, or the image's.
pub fn run(args: &LsArgs, ui: &Ui) -> Outcome {
    let several = args.locations.len() > 1;
    let mut json = Vec::new();
    for (i, location) in args.locations.iter().enumerate() {
        let fs = session::mount(&location.image, Access::Read, ui)?;
        let mut entries = entries(&fs, location, args)?;
        entries.sort_by(|a, b| order(a, b, args));
        if args.json {
            json.extend(entries.iter().map(to_json));
            continue;
        }
        let mut out = anstream::stdout().lock();
        if several {
            let gap = if i > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{location}:")?;
        }
        print(&mut out, &entries, args)?;
        out.flush()?;
    }
    if args.json {
        output::json(&json)?;
    }
    Ok(Status::SUCCESS)
}

fn entries(fs: &Filesystem, location: &Location, args: &LsArgs) -> Result<Vec<Entry>> {
    let stat = fs.stat(&location.path)?;
    if stat.file_type != Some(FileType::Directory) || args.directory {
        let name = match location.file_name() {
            "" => "/",
            name => name,
        };
        let info = DirEntryInfo {
            name: name.as_bytes().to_vec(),
            ino: stat.ino,
            file_type: stat.file_type,
        };
        let target = link_target(fs, &location.path, stat.file_type);
        return Ok(vec![Entry {
            info,
            stat: Some(stat),
            target,
        }]);
    }
    let needs_stat = args.long || args.json || args.by_size || args.by_time;
    let shown = |info: &DirEntryInfo| match info.name.as_slice() {
        b"." | b".." => args.all && !args.almost_all,
        name => !name.starts_with(b".") || args.all || args.almost_all || args.json,
    };
    let found = fs.read_dir(&location.path)?;
    let entries = found.into_iter().filter(shown).map(|info| {
        // A name that is no UTF-8 cannot be a path here; its entry is shown without its inode.
        let path = std::str::from_utf8(&info.name)
            .ok()
            .map(|name| location.join(name).path);
        let stat = match &path {
            Some(path) if needs_stat => fs.stat(path).ok(),
            _ => None,
        };
        let target = path.and_then(|path| {
            let wanted = args.long || args.json;
            if wanted {
                link_target(fs, &path, info.file_type)
            } else {
                None
            }
        });
        Entry { info, stat, target }
    });
    Ok(entries.collect())
}

fn link_target(fs: &Filesystem, path: &str, file_type: Option<FileType>) -> Option<Vec<u8>> {
    if file_type != Some(FileType::Symlink) {
        return None;
    }
    fs.read_link(path).ok()
}

fn order(a: &Entry, b: &Entry, args: &LsArgs) -> Ordering {
    let size = |e: &Entry| e.stat.as_ref().map_or(0, |s| s.size);
    let modified = |e: &Entry| e.stat.as_ref().map(|s| s.mtime);
    let by_key = if args.by_size {
        size(b).cmp(&size(a))
    } else if args.by_time {
        modified(b).cmp(&modified(a))
    } else {
        Ordering::Equal
    };
    let order = by_key.then_with(|| a.info.name.cmp(&b.info.name));
    if args.reverse { order.reverse() } else { order }
}

fn print<W: Write>(out: &mut W, entries: &[Entry], args: &LsArgs) -> std::io::Result<()> {
    if args.long {
        let sectors: u64 = entries
            .iter()
            .filter_map(|e| e.stat.as_ref())
            .map(|s| s.sectors)
            .sum();
        if !args.directory {
            writeln!(
                out,
                "total {}",
                if args.human {
                    size::human(sectors * 512)
                } else {
                    (sectors / 2).to_string()
                }
            )?;
        }
    }
    let mut table = Table::new(if args.inode { "><>>>><" } else { "<>>>><" });
    for entry in entries {
        let mut cells = Vec::new();
        if args.inode {
            cells.push(entry.info.ino.get().to_string());
        }
        if args.long {
            cells.extend(long(entry, args));
        }
        table.row(cells);
    }
    let prefixes = table.render();
    for (entry, prefix) in entries.iter().zip(prefixes) {
        let style = match entry.info.file_type {
            Some(FileType::Directory) => DIRECTORY,
            Some(FileType::Symlink) => LINK,
            _ => anstyle::Style::new(),
        };
        let gap = if prefix.is_empty() { "" } else { "  " };
        let name = output::name(&entry.info.name);
        write!(out, "{prefix}{gap}{style}{name}{style:#}")?;
        match &entry.target {
            Some(target) => writeln!(out, " -> {}", output::name(target))?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}

fn long(entry: &Entry, args: &LsArgs) -> [String; 6] {
    let Some(s) = &entry.stat else {
        let letter = mode::type_letter(entry.info.file_type);
        return [
            format!("{letter}?????????"),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
            "?".into(),
        ];
    };
    [
        mode::text(s.file_type, s.mode),
        s.links.to_string(),
        s.uid.to_string(),
        s.gid.to_string(),
        if args.human {
            size::human(s.size)
        } else {
            s.size.to_string()
        },
        time::short(s.mtime),
    ]
}

fn to_json(entry: &Entry) -> JsonEntry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let s = entry.stat.as_ref();
    JsonEntry {
        name: text(&entry.info.name),
        inode: entry.info.ino.get(),
        r#type: mode::type_name(entry.info.file_type),
        mode: s.map(|s| format!("{:04o}", s.mode)),
        links: s.map(|s| u64::from(s.links)),
        uid: s.map(|s| s.uid),
        gid: s.map(|s| s.gid),
        size: s.map(|s| s.size),
        sectors: s.map(|s| s.sectors),
        modified: s.map(|s| time::rfc3339(s.mtime.sec, s.mtime.nsec)),
        target: entry.target.as_deref().map(text),
    }
}
