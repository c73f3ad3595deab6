//! `e4 cat`: contents to standard output.

use std::io::{self, Write};

use clap::Args;
use e4::OpenFlags;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{self, Access};
use crate::transfer;

/// Write files' contents to standard output, one after the other.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 cat disk.img:/etc/hostname
  e4 cat disk.img:/backup.tar | tar t")]
pub struct CatArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
}

/// Runs the verb.
///
/// # Errors
/// No such file, the image's, or standard output's.
pub fn run(args: &CatArgs, ui: &Ui) -> Outcome {
    let mut out = io::stdout().lock();
    for location in &args.locations {
        let fs = session::mount(&location.image, Access::Read, ui)?;
        let file = fs.open_file(&location.path, OpenFlags::read())?;
        let whole = 0..file.size();
        transfer::copy_out(&fs, &file, &[whole], |_, bytes| out.write_all(bytes))?;
    }
    out.flush()?;
    Ok(Status::SUCCESS)
}
