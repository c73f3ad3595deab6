//! `e4 ln`: links, hard and symbolic.

use anyhow::{Context, bail};
use clap::Args;
use e4::{Error, Filesystem, RenameFlags};
use e4_format::FileType;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{Access, Session};

/// Give a file one more name, or make a symbolic link.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 ln disk.img:/a disk.img:/b            one more name for /a
  e4 ln -s ../lib disk.img:/usr/lib64      a symbolic link; its target is any text")]
pub struct LnArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// IMAGE:/PATH of the file; with -s the text of the link
    target: String,
    /// The new name
    #[arg(value_name = "IMAGE:/PATH")]
    link: Location,
    /// A symbolic link
    #[arg(short, long)]
    symbolic: bool,
    /// Replace what has the name
    #[arg(short, long)]
    force: bool,
}

/// Runs the verb.
///
/// # Errors
/// Different images, no such file, the name exists, or the image's.
pub fn run(args: &LnArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &LnArgs, session: &Session<'_>) -> Outcome {
    let fs = session.fs(&args.link.image, Access::Write)?;
    let mut link = args.link.clone();
    let mut name = args.target.trim_end_matches('/').rsplit('/');
    if let (Ok(node), Some(name)) = (fs.lookup(&link.path, true), name.next())
        && node.kind() == Some(FileType::Directory)
    {
        link = link.join(name);
    }
    let made = match args.symbolic {
        true => symbolic(&fs, &link, args),
        false => match args.target.parse::<Location>() {
            Ok(from) if from.image == link.image => hard(&fs, &from, &link, args.force),
            _ => bail!("hard links stay within one image: write IMAGE:/PATH twice"),
        },
    };
    made.with_context(|| link.to_string())?;
    Ok(Status::SUCCESS)
}

fn hard(fs: &Filesystem, from: &Location, link: &Location, force: bool) -> e4::Result<()> {
    if !force {
        return fs.link(&from.path, &link.path);
    }
    let target = fs.lookup(&from.path, false)?;
    let dir = fs.lookup(link.parent(), true)?;
    dir.link_over(link.file_name().as_bytes(), &target, None)
}

fn symbolic(fs: &Filesystem, link: &Location, args: &LnArgs) -> e4::Result<()> {
    let target = args.target.as_bytes();
    match fs.symlink(target, &link.path) {
        Err(Error::Exists { .. }) if args.force => {}
        made => return made.map(drop),
    }
    // Under a name of its own first: at no time is there no link.
    let aside = format!("{}/.e4-ln-{}", link.parent(), std::process::id());
    fs.symlink(target, &aside)?;
    let renamed = fs.rename(&aside, &link.path, RenameFlags::Replace);
    if renamed.is_err() {
        fs.unlink(&aside)?;
    }
    renamed
}
