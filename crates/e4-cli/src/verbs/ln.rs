//! `e4 ln`: links, hard and symbolic.

use anyhow::{Context, bail};
use clap::Args;
use e4::Error;
use e4_format::FileType;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{self, Access};

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
    let fs = session::mount(&args.link.image, Access::Write, ui)?;
    let mut link = args.link.clone();
    let mut name = args.target.trim_end_matches('/').rsplit('/');
    if let (Ok(node), Some(name)) = (fs.lookup(&link.path, true), name.next())
        && node.kind() == Some(FileType::Directory)
    {
        link = link.join(name);
    }
    let make = || match args.symbolic {
        true => fs.symlink(args.target.as_bytes(), &link.path).map(drop),
        false => match args.target.parse::<Location>() {
            Ok(from) if from.image == link.image => fs.link(&from.path, &link.path),
            _ => Err(Error::Invalid {
                what: "hard links stay within one image: write IMAGE:/PATH twice",
            }),
        },
    };
    let mut made = make();
    if args.force && matches!(made, Err(Error::Exists { .. })) {
        made = fs.unlink(&link.path).and_then(|()| make());
    }
    fs.unmount()?;
    if let Err(Error::Invalid { what }) = &made {
        bail!("{what}");
    }
    made.with_context(|| link.to_string())?;
    Ok(Status::SUCCESS)
}
