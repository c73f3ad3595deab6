//! `e4 rmdir`: removes empty directories.

use clap::Args;

use crate::Outcome;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::Session;

/// Remove empty directories.
#[derive(Args, Debug)]
pub struct RmdirArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The directories
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// The directories above as well, as far as they are empty then
    #[arg(short, long)]
    parents: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such directory, not empty, or the image's.
pub fn run(args: &RmdirArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &RmdirArgs, session: &Session<'_>) -> Outcome {
    session.change(&args.locations, |fs, location| {
        fs.rmdir(&location.path)?;
        let mut above = location.parent().to_owned();
        while args.parents && above != "/" {
            fs.rmdir(&above)?;
            let next = Location {
                image: location.image.clone(),
                path: above,
            };
            above = next.parent().to_owned();
        }
        Ok(())
    })
}
