//! `e4 chown`: changes owners. By number: the names of users are the host's, the image has its own.

use std::str::FromStr;

use clap::Args;
use e4::SetAttr;
use e4_format::FileType;

use super::tree;
use crate::Outcome;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::Session;

/// Change owner and group, by number.
#[derive(Args, Debug)]
#[command(
    disable_help_flag = true,
    after_long_help = "\
Examples:
  e4 chown 1000:1000 disk.img:/home/me
  e4 chown -R :33 disk.img:/srv/www          the group only"
)]
pub struct ChownArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// UID, UID:GID or :GID
    owner: Owner,
    /// The files
    #[arg(value_name = "IMAGE:/PATH", required = true)]
    locations: Vec<Location>,
    /// Everything below directories as well
    #[arg(short = 'R', long)]
    recursive: bool,
    /// A symbolic link itself instead of what it points to
    #[arg(short = 'h', long)]
    no_dereference: bool,
    /// Print help (-h is taken, as in the tool of this name)
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// What to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Owner {
    /// Both, with these for what was not said.
    #[must_use]
    pub fn with_defaults(self, uid: u32, gid: u32) -> (u32, u32) {
        (self.uid.unwrap_or(uid), self.gid.unwrap_or(gid))
    }
}

impl FromStr for Owner {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |t: &str| match t {
            "" => Ok(None),
            _ => t.parse().map(Some).map_err(|_| {
                format!("{t} is not a number; names of users are the host's, not the image's")
            }),
        };
        let (uid, gid) = text.split_once(':').unwrap_or((text, ""));
        let owner = Self {
            uid: id(uid)?,
            gid: id(gid)?,
        };
        match owner {
            Self {
                uid: None,
                gid: None,
            } => Err("neither owner nor group".to_owned()),
            _ => Ok(owner),
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// No such file, or the image's.
pub fn run(args: &ChownArgs, ui: &Ui) -> Outcome {
    Session::run(ui, |session| apply(args, session))
}

/// Runs the verb in a session.
///
/// # Errors
/// As [`run`].
pub(crate) fn apply(args: &ChownArgs, session: &Session<'_>) -> Outcome {
    let change = SetAttr {
        uid: args.owner.uid,
        gid: args.owner.gid,
        ..SetAttr::default()
    };
    session.change(&args.locations, |fs, location| {
        let top = fs.lookup(&location.path, !args.no_dereference)?;
        if args.recursive && top.kind() == Some(FileType::Directory) {
            tree::bottom_up(&top, &mut |_, _, node| {
                Ok(node.set_attr(&change).map(drop)?)
            })?;
        }
        Ok(top.set_attr(&change).map(drop)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_only() {
        let owner = |uid, gid| Ok(Owner { uid, gid });
        assert_eq!("7".parse::<Owner>(), owner(Some(7), None));
        assert_eq!("7:8".parse::<Owner>(), owner(Some(7), Some(8)));
        assert_eq!(":8".parse::<Owner>(), owner(None, Some(8)));
        assert!("me".parse::<Owner>().is_err());
        assert!(":".parse::<Owner>().is_err());
    }
}
