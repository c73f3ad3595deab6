//! `e4 cp`: files and trees between the host and images, and between images.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use e4_format::FileType;

use super::chown::Owner;
use super::put::placed;
use crate::Outcome;
use crate::copy::{Copier, How, Keep, Place, Thing};
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session::{Access, Session};

/// Copy files and trees into images, out of them, and between them.
///
/// Each file appears complete or not at all. A tree that is cut in the middle has the files that were
/// finished, and what fits one journal transaction is there wholly or not at all: run it again.
/// Without -p or -a new files in an image belong to root, and new files on the host have no set-id
/// bits. Holes stay holes.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 cp -a rootfs/. disk.img:/               all of it: owners, times, attributes, links, devices
  e4 cp -r site/ disk.img:/srv/www           into /srv/www/site if /srv/www exists
  e4 cp -a disk.img:/etc backup/             out of an image (owners and devices as root only)
  e4 cp -a old.img:/home new.img:/           from one image to another
  e4 cp --if-absent a b c disk.img:/etc      what exists stays as it is")]
pub struct CpArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// What to copy, and last: where to. IMAGE:/PATH in an image, anything else on the host
    #[arg(value_name = "PATH | IMAGE:/PATH", required = true, num_args = 2..)]
    paths: Vec<String>,
    /// Directories with what is in them; links and special files as such
    #[arg(short, long, visible_short_alias = 'R')]
    recursive: bool,
    /// As -r, and keep everything: mode, owner, times, extended attributes, hard links
    #[arg(short, long)]
    archive: bool,
    /// Keep mode, owner and times
    #[arg(short, long)]
    preserve: bool,
    /// Owner and group of everything copied into an image, by number
    #[arg(long, value_name = "UID:GID")]
    owner: Option<Owner>,
    /// Leave alone what exists; exit status 5 if that was everything
    #[arg(
        short = 'n',
        long,
        visible_alias = "no-clobber",
        conflicts_with = "force"
    )]
    if_absent: bool,
    /// Replace whatever has the name: a symbolic link instead of what it points to, a device, a fifo
    #[arg(short, long)]
    force: bool,
    /// The destination is a name even if it is a directory's
    #[arg(short = 'T', long)]
    no_target_directory: bool,
    /// Say in JSON how much was copied
    #[arg(long)]
    json: bool,
}

/// One end of a copy.
#[derive(Clone, PartialEq, Eq, Debug)]
enum End {
    Host(PathBuf),
    Image(Location),
}

impl End {
    fn parse(text: &str) -> Result<Self> {
        match text.parse::<Location>() {
            Ok(location) if location.image.is_file() || !Path::new(text).exists() => {
                Ok(Self::Image(location))
            }
            _ if text.contains(":/") && !Path::new(text).exists() => {
                bail!("{text}: neither a file of the host nor IMAGE:/PATH")
            }
            _ => Ok(Self::Host(PathBuf::from(text))),
        }
    }

    /// The name a copy gets in a directory; empty: the contents of this directory are meant.
    fn name(&self) -> Vec<u8> {
        match self {
            Self::Host(path) => match path.as_os_str().as_bytes() {
                bytes if bytes.ends_with(b"/.") || bytes == b"." => Vec::new(),
                _ => path.file_name().unwrap_or_default().as_bytes().to_vec(),
            },
            Self::Image(location) => match location.file_name() {
                "." => Vec::new(),
                name => name.as_bytes().to_vec(),
            },
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// No such file, a directory without `-r`, no space, the host's or the images'.
pub fn run(args: &CpArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &CpArgs, session: &Session<'_>) -> Outcome {
    let ends: Vec<End> = args
        .paths
        .iter()
        .map(|p| End::parse(p))
        .collect::<Result<_>>()?;
    let Some((to, sources)) = ends.split_last() else {
        return Ok(Status::USAGE);
    };
    let on_host = |end: &End| matches!(end, End::Host(_));
    if on_host(to) && sources.iter().any(on_host) {
        bail!("neither end is in an image: write IMAGE:/PATH, or use cp");
    }
    let how = How {
        recursive: args.recursive || args.archive,
        keep: match (args.archive, args.preserve) {
            (true, _) => Keep::ALL,
            (false, true) => Keep::ATTRIBUTES,
            (false, false) => Keep::default(),
        },
        if_absent: args.if_absent,
        force: args.force,
        owner: args.owner.map(|owner| owner.with_defaults(0, 0)),
        mode: None,
    };
    // The destination first: an image that is read and written is opened once, to be written.
    let target = Target::find(to, session, args)?;
    if sources.len() > 1 && !target.is_dir {
        bail!("{} is not a directory", args.paths.last().map_or("", |p| p));
    }
    let mut copier = Copier::new(&how, session.ui());
    let mut previous: Option<&Location> = None;
    for source in sources {
        if let End::Image(location) = source {
            if previous.is_some_and(|other| other.image != location.image) {
                copier.forget_links();
            }
            previous = Some(location);
        }
        let thing = thing(source, session, how.recursive)?;
        let name = source.name();
        match (&target.is_dir, name.is_empty()) {
            // DIR/. means what is in it.
            (true, true) => {
                if !how.recursive {
                    bail!("{}: is a directory; -r copies what is in it", thing.name());
                }
                copier.copy_contents(&thing, &target.inside)?;
            }
            (true, false) => copier.copy(&thing, &target.inside, &name)?,
            (false, _) => copier.copy(&thing, &target.place, &target.name)?,
        }
    }
    let counts = copier.counts();
    if args.json {
        output::json(&counts)?;
    } else {
        session.ui().detail(&format!(
            "{} files, {} directories, {} links, {} others, {} bytes",
            counts.files, counts.directories, counts.links, counts.others, counts.bytes
        ));
    }
    let nothing = counts.files + counts.directories + counts.links + counts.others == 0;
    match counts.left_alone {
        n if n > 0 && nothing => Ok(Status::LEFT_ALONE),
        _ => Ok(Status::SUCCESS),
    }
}

fn thing(end: &End, session: &Session<'_>, keep_link: bool) -> Result<Thing> {
    match end {
        End::Host(path) => Ok(Thing::Host(path.clone())),
        End::Image(location) => {
            let fs = session.fs(&location.image, Access::Read)?;
            let node = fs.lookup(&location.path, !keep_link)?;
            Ok(Thing::Image {
                fs,
                node,
                path: location.to_string(),
            })
        }
    }
}

/// Where copies go.
struct Target {
    /// It is an existing directory, and copies go into it.
    is_dir: bool,
    inside: Place,
    /// Else: a name in a directory.
    place: Place,
    name: Vec<u8>,
}

impl Target {
    fn find(end: &End, session: &Session<'_>, args: &CpArgs) -> Result<Self> {
        match end {
            End::Host(path) => {
                let parent = match path.parent() {
                    Some(parent) if parent != Path::new("") => parent.to_owned(),
                    _ => PathBuf::from("."),
                };
                let name = path.file_name().unwrap_or(OsStr::new("."));
                Ok(Self {
                    is_dir: path.is_dir() && !args.no_target_directory,
                    inside: Place::Host(path.clone()),
                    place: Place::Host(parent),
                    name: name.as_bytes().to_vec(),
                })
            }
            End::Image(location) => {
                let fs = session.fs(&location.image, Access::Write)?;
                let (place, name) = placed(&fs, location, args.force)?;
                let found = fs.lookup(&location.path, true).ok();
                let dir = found.filter(|node| node.kind() == Some(FileType::Directory));
                let is_root = location.file_name().is_empty();
                Ok(Self {
                    is_dir: dir.is_some() && (is_root || !args.no_target_directory),
                    inside: match dir {
                        Some(dir) => Place::Image {
                            dir,
                            path: location.path.clone(),
                        },
                        None => place.clone(),
                    },
                    place,
                    name,
                })
            }
        }
    }
}
