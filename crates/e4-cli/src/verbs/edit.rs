//! `e4 edit`: a file of an image in one's editor.
//!
//! Decision: the image is closed while the editor runs, so that others can use it. What comes back takes the file's place only if
//! the file is still what was fetched; otherwise both stay, and the user hears where.

use std::io::{Read, Seek, Write};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use e4::surgery::PutOptions;
use e4::{Error, OpenFlags, Stat};

use crate::Outcome;
use crate::advice::Advise;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{Access, Session};
use crate::transfer;

/// Change a file of an image in an editor.
///
/// The file is fetched, $VISUAL (or $EDITOR, or vi) runs on the copy, and what it leaves takes the
/// file's place at once, with mode, owner and attributes as they were. If nothing was changed,
/// nothing is done; if somebody else changed the file meanwhile, or the editor failed, the file
/// stays and the edited copy is kept.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 edit disk.img:/etc/fstab
  EDITOR='sed -i s/old/new/' e4 edit disk.img:/etc/hostname")]
pub struct EditArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
    /// Start with an empty file if there is none
    #[arg(long)]
    create: bool,
}

/// Runs the verb.
///
/// # Errors
/// No such file, the editor failed, somebody changed the file meanwhile, or the image's.
pub fn run(args: &EditArgs, ui: &Ui) -> Outcome {
    let (before, stat) = fetch(args, ui)?;
    let suffix = format!("-{}", args.location.file_name());
    let mut copy = tempfile::Builder::new()
        .prefix("e4-")
        .suffix(&suffix)
        .tempfile()?;
    copy.write_all(&before)?;
    copy.flush()?;
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()))
        .unwrap_or_else(|| "vi".to_owned());
    // As git and others do it: the variable may be a command with arguments.
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("{editor} \"$1\""))
        .arg("e4-edit")
        .arg(copy.path())
        .status()
        .with_context(|| editor.clone())?;
    if !status.success() {
        let (_, kept) = copy.keep()?;
        bail!(
            "{editor}: {status}; {} is as it was, what was edited is in {}",
            args.location,
            kept.display()
        );
    }
    // By name: editors replace files.
    let mut after = Vec::new();
    let mut edited = std::fs::File::open(copy.path())?;
    edited.read_to_end(&mut after)?;
    if after == before && stat.is_some() {
        ui.note(&format!("{}: not changed", args.location));
        return Ok(Status::SUCCESS);
    }
    edited.rewind()?;
    let stored = store(args, &mut edited, stat, after.len() as u64, ui);
    if stored.is_err() {
        let (_, kept) = copy.keep()?;
        return stored.or_try(|| format!("What was edited is in {}", kept.display()));
    }
    stored
}

fn fetch(args: &EditArgs, ui: &Ui) -> Result<(Vec<u8>, Option<Stat>)> {
    let mut fetched = (Vec::new(), None);
    Session::run(ui, |session| {
        let fs = session.fs(&args.location.image, Access::Read)?;
        let file = match fs.open_file(&args.location.path, OpenFlags::read()) {
            Err(Error::NotFound { .. }) if args.create => return Ok(Status::SUCCESS),
            other => other?,
        };
        let whole = 0..file.size();
        transfer::copy_out(&fs, &file, &[whole], |_, bytes| {
            fetched.0.extend_from_slice(bytes);
            Ok(())
        })?;
        fetched.1 = Some(file.stat());
        Ok(Status::SUCCESS)
    })?;
    Ok(fetched)
}

fn store(
    args: &EditArgs,
    edited: &mut dyn Read,
    unchanged: Option<Stat>,
    len: u64,
    ui: &Ui,
) -> Outcome {
    Session::run(ui, |session| {
        let fs = session.fs(&args.location.image, Access::Write)?;
        let options = PutOptions {
            if_absent: unchanged.is_none(),
            unchanged,
            len: Some(len),
            ..PutOptions::default()
        };
        let done = fs.put(&args.location.path, edited, &options, &mut |_| {
            std::ops::ControlFlow::Continue(())
        })?;
        if done == e4::surgery::PutOutcome::LeftAlone {
            bail!("{}: somebody has created it meanwhile", args.location);
        }
        Ok(Status::SUCCESS)
    })
}
