//! `e4 trim`: gives the host back what an image does not use.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{self, Common, Ui};
use crate::session::{Access, Session};
use crate::size;

/// Tell the host which blocks of an image are free.
///
/// The free blocks of an image file become holes, so that it takes less room; those of a disk are
/// discarded. What is in files stays. A host that cannot do it costs nothing but the room.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 trim disk.img
  e4 trim -m 1M disk.img            only where at least 1 MiB is free in one piece")]
pub struct TrimArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// Leave alone what is shorter, in bytes with suffix K, M, G ...
    #[arg(short, long, value_name = "BYTES", value_parser = size::bytes, default_value = "0")]
    minimum: u64,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Trimmed {
    trimmed_bytes: u64,
}

/// Runs the verb.
///
/// # Errors
/// The image's.
pub fn run(args: &TrimArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| {
        let fs = session.fs(&args.image, Access::Write)?;
        let trimmed_bytes = fs.trim(0..u64::MAX, args.minimum)?;
        if args.json {
            output::json(&Trimmed { trimmed_bytes })?;
        } else {
            let bytes = size::grouped(trimmed_bytes);
            ui.say(&format!("{}: {bytes} bytes trimmed", args.image.display()));
        }
        Ok(Status::SUCCESS)
    })
}
