//! `e4 umount`: takes a mount away, and waits until the image is clean and closed.

use std::path::PathBuf;

use clap::Args;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{Common, Ui};

/// Unmount an image; returns when it is clean and closed
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 umount /mnt
  e4 umount -l /mnt          although files are open: wait for the last of them")]
pub struct UmountArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Where it is mounted
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
    /// Detach a busy tree
    #[arg(short, long)]
    lazy: bool,
}

/// Runs the verb.
///
/// # Errors
/// Nothing of ours there, busy, or the image is not clean afterwards.
pub fn run(args: &UmountArgs, ui: &Ui) -> Outcome {
    for dir in &args.dirs {
        let image = e4_fuse::umount(dir, args.lazy)?;
        ui.detail(&format!("{}: clean and closed", image.display()));
    }
    Ok(Status::SUCCESS)
}
