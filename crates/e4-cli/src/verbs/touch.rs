//! `e4 touch`: sets times, creating files that do not exist.

use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use e4::{Error, NewInode, SetAttr};
use e4_format::{FileType, Timestamp};
use jiff::Zoned;
use jiff::civil::DateTime;

use crate::Outcome;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::Session;

/// Set the times of files, and create those that do not exist.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 touch disk.img:/stamp
  e4 touch -d 2026-01-31T12:00:00Z disk.img:/stamp
  e4 touch -d @0 disk.img:/stamp               seconds since 1970"
)]
pub struct TouchArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// The time of the last access only
    #[arg(short = 'a')]
    access: bool,
    /// The time of the last change only
    #[arg(short = 'm')]
    modification: bool,
    /// Do not create a file that does not exist
    #[arg(short = 'c', long)]
    no_create: bool,
    /// A symbolic link itself instead of what it points to
    #[arg(short = 'h', long)]
    no_dereference: bool,
    /// Print help (-h is taken, as in the tool of this name)
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// This time instead of now: RFC 3339, a local date and time, or @SECONDS
    #[arg(short, long, allow_hyphen_values = true)]
    date: Option<When>,
}

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct When(Timestamp);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |e: &dyn std::fmt::Display| format!("{text} is not a time: {e}");
        if let Some(seconds) = text.strip_prefix('@') {
            let sec = seconds.parse().map_err(|e| bad(&e))?;
            return Ok(Self(Timestamp { sec, nsec: 0 }));
        }
        let at = match text.parse::<jiff::Timestamp>() {
            Ok(at) => at,
            Err(_) => {
                let local: DateTime = text.parse().map_err(|e| bad(&e))?;
                let zoned: Zoned = local
                    .to_zoned(jiff::tz::TimeZone::system())
                    .map_err(|e| bad(&e))?;
                zoned.timestamp()
            }
        };
        let mut sec = at.as_second();
        let mut nsec = at.subsec_nanosecond();
        if nsec < 0 {
            sec -= 1;
            nsec += 1_000_000_000;
        }
        let nsec = nsec.unsigned_abs();
        Ok(Self(Timestamp { sec, nsec }))
    }
}

fn now() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        sec: now.as_secs().cast_signed(),
        nsec: now.subsec_nanos(),
    }
}

/// Runs the verb.
///
/// # Errors
/// No such directory, no space, or the image's.
pub fn run(args: &TouchArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &TouchArgs, session: &Session<'_>) -> Outcome {
    let time = args.date.map_or_else(now, |when| when.0);
    let both = args.access == args.modification;
    let change = SetAttr {
        atime: (both || args.access).then_some(time),
        mtime: (both || args.modification).then_some(time),
        ..SetAttr::default()
    };
    session.change(&args.locations, |fs, location| {
        let node = match fs.lookup(&location.path, !args.no_dereference) {
            Err(Error::NotFound { .. }) if args.no_create => return Ok(()),
            Err(Error::NotFound { .. }) => {
                fs.mknod(&location.path, &NewInode::new(FileType::Regular, 0o644))?
            }
            other => other?,
        };
        Ok(node.set_attr(&change).map(drop)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = |text: &str| text.parse::<When>().map(|w| (w.0.sec, w.0.nsec));
        assert_eq!(at("@77"), Ok((77, 0)));
        assert_eq!(at("@-5"), Ok((-5, 0)));
        assert_eq!(at("1970-01-02T00:00:00.5Z"), Ok((86400, 500_000_000)));
        assert_eq!(at("1969-12-31T23:59:59.5Z"), Ok((-1, 500_000_000)));
        assert!(at("yesterday").is_err());
    }
}
