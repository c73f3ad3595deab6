//! `e4 truncate`: sets a size, absolutely or relative to the present one, as coreutils does.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use e4::{Error, OpenFlags};

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{Access, Session};
use crate::size::{self, SizeError};

/// Set a file's size.
///
/// Shrinking frees the blocks behind the end; growing adds a hole that reads as zeros. A file that
/// does not exist is created.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 truncate -s 0 disk.img:/log              empty it
  e4 truncate -s +1M disk.img:/log            1 MiB longer
  e4 truncate -s '<10M' disk.img:/log         at most 10 MiB
  e4 truncate -s %4K disk.img:/log            round up to a multiple of 4 KiB")]
pub struct TruncateArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// The size in bytes, with suffix K, M, G ...; or relative: +N longer, -N shorter, <N at most,
    /// >N at least, /N rounded down to a multiple, %N rounded up
    #[arg(short, long, allow_hyphen_values = true)]
    size: NewSize,
    /// Do not create a file that does not exist
    #[arg(short = 'c', long)]
    no_create: bool,
}

/// What `-s` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NewSize {
    /// `N`
    Exactly(u64),
    /// `+N`
    Longer(u64),
    /// `-N`
    Shorter(u64),
    /// `<N`
    AtMost(u64),
    /// `>N`
    AtLeast(u64),
    /// `/N`
    DownTo(u64),
    /// `%N`
    UpTo(u64),
}

/// Why `-s` was not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewSizeError {
    /// The number.
    Size(SizeError),
    /// Rounding to multiples of 0.
    ZeroMultiple,
}

impl fmt::Display for NewSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(error) => error.fmt(f),
            Self::ZeroMultiple => f.write_str("cannot round to a multiple of 0"),
        }
    }
}

impl std::error::Error for NewSizeError {}

impl FromStr for NewSize {
    type Err = NewSizeError;

    fn from_str(text: &str) -> Result<Self, NewSizeError> {
        let number = |t: &str| size::bytes(t.trim_start()).map_err(NewSizeError::Size);
        let text = text.trim_start();
        let mut chars = text.chars();
        let prefix = chars.next();
        let rest = chars.as_str();
        Ok(match prefix {
            Some('+') => Self::Longer(number(rest)?),
            Some('-') => Self::Shorter(number(rest)?),
            Some('<') => Self::AtMost(number(rest)?),
            Some('>') => Self::AtLeast(number(rest)?),
            Some(c @ ('/' | '%')) => match number(rest)? {
                0 => return Err(NewSizeError::ZeroMultiple),
                n if c == '/' => Self::DownTo(n),
                n => Self::UpTo(n),
            },
            _ => Self::Exactly(number(text)?),
        })
    }
}

impl NewSize {
    /// The new size of a file that has `old` bytes; `None` if it does not fit into 64 bits.
    #[must_use]
    pub fn of(self, old: u64) -> Option<u64> {
        Some(match self {
            Self::Exactly(n) => n,
            Self::Longer(n) => old.checked_add(n)?,
            Self::Shorter(n) => old.saturating_sub(n),
            Self::AtMost(n) => old.min(n),
            Self::AtLeast(n) => old.max(n),
            Self::DownTo(n) => old - old % n,
            Self::UpTo(n) => old.checked_next_multiple_of(n)?,
        })
    }
}

/// Runs the verb.
///
/// # Errors
/// Too large, or the image's.
pub fn run(args: &TruncateArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &TruncateArgs, session: &Session<'_>) -> Outcome {
    for location in &args.locations {
        let fs = session.fs(&location.image, Access::Write)?;
        let create = !args.no_create;
        let flags = OpenFlags {
            write: true,
            create,
            mode: 0o644,
            ..OpenFlags::default()
        };
        match fs.open_file(&location.path, flags) {
            Ok(file) => {
                let old = file.size();
                let size = args.size.of(old).unwrap_or(u64::MAX);
                file.truncate(size)?;
                session
                    .ui()
                    .detail(&format!("{location}: {old} -> {size} bytes"));
            }
            // As coreutils: with -c a missing file is no error.
            Err(Error::NotFound { .. }) if args.no_create => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Status::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_coreutils() {
        for (text, old, expect) in [
            ("0", 77, Some(0)),
            ("1K", 77, Some(1024)),
            ("+3", 77, Some(80)),
            ("-7", 77, Some(70)),
            ("-100", 77, Some(0)),
            ("<50", 77, Some(50)),
            ("<100", 77, Some(77)),
            (">100", 77, Some(100)),
            (">50", 77, Some(77)),
            ("/10", 77, Some(70)),
            ("%10", 77, Some(80)),
            ("%10", 80, Some(80)),
            ("+1", u64::MAX, None),
        ] {
            let size: NewSize = text.parse().expect(text);
            assert_eq!(size.of(old), expect, "{text} of {old}");
        }
    }

    #[test]
    fn refused() {
        assert_eq!("/0".parse::<NewSize>(), Err(NewSizeError::ZeroMultiple));
        assert!("".parse::<NewSize>().is_err());
        assert!("+".parse::<NewSize>().is_err());
        assert!("10Q".parse::<NewSize>().is_err());
    }
}
