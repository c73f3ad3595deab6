//! `e4 setfattr` and `e4 getfattr`: extended attributes, in the notation of the tools of these names.

use std::io::Write;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use clap::Args;
use e4::XattrSet;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session::{self, Access, Session};

/// Set or remove an extended attribute.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 setfattr -n user.origin -v backup disk.img:/f
  e4 setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 disk.img:/bin/ping
  e4 setfattr -x user.origin disk.img:/f"
)]
pub struct SetfattrArgs {
    // Not `Common`: -v is the value, as in the tool of this name.
    /// Say more
    #[arg(long, action = clap::ArgAction::Count, display_order = 900)]
    verbose: u8,
    /// Say nothing but results and errors
    #[arg(short, long, display_order = 901)]
    quiet: bool,
    /// The attribute's full name: user.NAME, trusted.NAME, security.NAME
    #[arg(
        short,
        long,
        required_unless_present = "remove",
        conflicts_with = "remove"
    )]
    name: Option<String>,
    /// Its value: text, or 0x and hexadecimal digits
    #[arg(short, long, default_value = "")]
    value: Value,
    /// Remove this attribute
    #[arg(short = 'x', long, value_name = "NAME")]
    remove: Option<String>,
    /// A symbolic link itself instead of what it points to
    #[arg(short = 'h', long)]
    no_dereference: bool,
    /// Print help (-h is taken, as in the tool of this name)
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
}

/// Show extended attributes.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 getfattr disk.img:/f                  the names in user.
  e4 getfattr -d -m - disk.img:/f          all, with values
  e4 getfattr -n user.origin --only-values disk.img:/f"
)]
pub struct GetfattrArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// This attribute only
    #[arg(short, long)]
    name: Option<String>,
    /// Values as well
    #[arg(short, long)]
    dump: bool,
    /// Names that begin like this instead of user.; - for all
    #[arg(short, long = "match", default_value = "user.", value_name = "PREFIX")]
    matching: String,
    /// The bytes of the values and nothing else
    #[arg(long)]
    only_values: bool,
    /// A symbolic link itself instead of what it points to
    #[arg(short = 'h', long)]
    no_dereference: bool,
    /// Print help (-h is taken, as in the tool of this name)
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
}

impl SetfattrArgs {
    /// The options every verb has.
    pub(crate) fn common(&self) -> Common {
        Common {
            verbose: self.verbose,
            quiet: self.quiet,
            ..Common::default()
        }
    }
}

/// The bytes of a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value(Vec<u8>);

impl FromStr for Value {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("0s") || text.starts_with("0S") {
            return Err("values in base64 are not understood; use 0x".to_owned());
        }
        let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) else {
            return Ok(Self(text.as_bytes().to_vec()));
        };
        let digits: Option<Vec<u32>> = hex.chars().map(|c| c.to_digit(16)).collect();
        match digits.filter(|d| d.len() % 2 == 0) {
            Some(digits) => Ok(Self(
                digits
                    .chunks(2)
                    .map(|d| d.iter().fold(0_u8, |n, d| n << 4 | *d as u8))
                    .collect(),
            )),
            None => Err(format!("{text} is not a sequence of hexadecimal bytes")),
        }
    }
}

/// As getfattr shows a value: quoted if it is text, else in hexadecimal.
fn shown(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(char::is_control) => {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
        }
        _ => value.iter().fold("0x".to_owned(), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        }),
    }
}

/// Runs `setfattr`.
///
/// # Errors
/// No such file or attribute, no space, or the image's.
pub fn set(args: &SetfattrArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs `setfattr` in a session.
///
/// # Errors
/// As [`set`].
pub(crate) fn apply(args: &SetfattrArgs, session: &Session<'_>) -> Outcome {
    session.change(&args.locations, |fs, location| {
        let node = fs.lookup(&location.path, !args.no_dereference)?;
        match (&args.remove, &args.name) {
            (Some(name), _) => node.remove_xattr(name.as_bytes())?,
            (None, Some(name)) => {
                node.set_xattr(name.as_bytes(), &args.value.0, XattrSet::Any)?;
            }
            (None, None) => {}
        }
        Ok(())
    })
}

/// Runs `getfattr`.
///
/// # Errors
/// No such file or attribute, or the image's.
pub fn get(args: &GetfattrArgs, ui: &Ui) -> Outcome {
    let mut out = anstream::stdout().lock();
    for location in &args.locations {
        let fs = session::mount(&location.image, Access::Read, ui)?;
        let node = fs.lookup(&location.path, !args.no_dereference)?;
        let mut names = match &args.name {
            Some(name) => vec![name.as_bytes().to_vec()],
            None => node.list_xattr()?,
        };
        names.sort();
        let prefix = args.matching.as_bytes();
        names.retain(|n| args.name.is_some() || prefix == b"-" || n.starts_with(prefix));
        if names.is_empty() {
            continue;
        }
        if !args.only_values {
            writeln!(out, "# file: {location}")?;
        }
        for name in names {
            let text = output::name(&name);
            if !(args.dump || args.name.is_some() || args.only_values) {
                writeln!(out, "{text}")?;
                continue;
            }
            let value = node
                .get_xattr(&name)?
                .ok_or_else(|| anyhow!("{location}: no attribute {text}"))?;
            if args.only_values {
                out.write_all(&value)?;
            } else {
                writeln!(out, "{text}={}", shown(&value))?;
            }
        }
        if !args.only_values {
            writeln!(out)?;
        }
    }
    Ok(Status::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        let value = |text: &str| text.parse::<Value>().map(|v| v.0);
        assert_eq!(value("text"), Ok(b"text".to_vec()));
        assert_eq!(value("0x00ff10"), Ok(vec![0, 255, 16]));
        assert!(value("0x123").is_err());
        assert!(value("0xzz").is_err());
        assert!(value("0sAAAA").is_err());
        assert_eq!(shown(b"a\"b"), "\"a\\\"b\"");
        assert_eq!(shown(&[1, 255]), "0x01ff");
    }
}
