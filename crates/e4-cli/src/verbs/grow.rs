//! `e4 grow`: makes the filesystem in an image larger, and the image with it.
//!
//! Decision: the file is made longer first (sparse), and only if the filesystem can follow; it is never made shorter. What
//! fails later leaves a longer file around a sound filesystem, and the command can be repeated.

use std::fs::OpenOptions;
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::Args;
use e4_format::Superblock;
use serde::Serialize;

use crate::Outcome;
use crate::advice::Advise;
use crate::exit::Status;
use crate::output::{self, Common, Ui};
use crate::session::{self, Access, Session};
use crate::size;

/// Make the filesystem in an image larger.
///
/// The image file is extended first, as a hole, and never shortened. Files stay as they are; the
/// journal makes each step whole, so that a crash leaves the old size or a larger one. How far an
/// image can grow was decided when it was made: mkfs reserves descriptor blocks for 1024 times the
/// size unless told otherwise (-E resize=).
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 grow disk.img 4G               to 4 GiB
  e4 grow disk.img +512M            half a gibibyte more
  e4 grow disk.img                  to the end of the file or device
  e4 grow --limit disk.img          how far it could")]
pub struct GrowArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// The new size in bytes, with suffix K, M, G ...; +N: that much more; without: all there is room for
    size: Option<Target>,
    /// Only say how far it can grow
    #[arg(long, conflicts_with = "size")]
    limit: bool,
    /// Say the sizes in JSON
    #[arg(long)]
    json: bool,
}

/// How large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// That many bytes.
    To(u64),
    /// That many bytes more.
    By(u64),
}

impl FromStr for Target {
    type Err = size::SizeError;

    fn from_str(text: &str) -> Result<Self, size::SizeError> {
        match text.strip_prefix('+') {
            Some(more) => size::bytes(more).map(Self::By),
            None => size::bytes(text).map(Self::To),
        }
    }
}

#[derive(Serialize)]
struct Sizes {
    block_size: u32,
    blocks_before: u64,
    blocks: u64,
    limit_blocks: u64,
    limited_by: &'static str,
}

/// Runs the verb.
///
/// # Errors
/// Beyond what the format allows (it says how far), smaller than it is, or the image's.
pub fn run(args: &GrowArgs, ui: &Ui) -> Outcome {
    let access = if args.limit {
        Access::Read
    } else {
        Access::Write
    };
    let device = session::device(&args.image, access, ui)?;
    let sb = session::superblock(&*device)?;
    let limit = e4::grow_limit(&sb);
    let bs = u64::from(sb.block_size().bytes());
    let before = sb.blocks_count();
    let sizes = |blocks| Sizes {
        block_size: sb.block_size().bytes(),
        blocks_before: before,
        blocks,
        limit_blocks: limit.blocks,
        limited_by: limit.why,
    };
    if args.limit {
        if args.json {
            output::json(&sizes(before))?;
        } else {
            ui.say(&format!(
                "{} bytes now, at most {}: {}",
                size::grouped(before * bs),
                size::grouped(limit.blocks.saturating_mul(bs)),
                limit.why
            ));
        }
        return Ok(Status::SUCCESS);
    }
    let wanted = wanted(args, &sb, device.info().size)?;
    if wanted > limit.blocks {
        return Err(too_far(&sb, wanted, limit)).or_try(|| {
            let most = limit.blocks.saturating_mul(bs);
            format!(
                "The most it can have: e4 grow {} {most}",
                args.image.display()
            )
        });
    }
    if wanted < before {
        bail!(
            "{}: has {} bytes already, and e4 does not shrink",
            args.image.display(),
            size::grouped(before * bs)
        );
    }
    // While the device is open its lock keeps others out.
    extend(args, wanted * bs)?;
    drop(device);
    let bar = ui.steps_bar("blocks", wanted - before);
    let mut after = before;
    Session::run(ui, |session| {
        let fs = session.fs(&args.image, Access::Write)?;
        after = fs.grow(wanted, &mut |blocks| {
            bar.set_position(blocks - before);
            ControlFlow::Continue(())
        })?;
        Ok(Status::SUCCESS)
    })?;
    bar.finish_and_clear();
    if args.json {
        output::json(&sizes(after))?;
    } else {
        let what = match after == before {
            true => "is as large as that",
            false => "has grown",
        };
        ui.say(&format!(
            "{}: {what}: {} blocks of {bs} bytes, {} before",
            args.image.display(),
            size::grouped(after),
            size::grouped(before)
        ));
    }
    Ok(Status::SUCCESS)
}

fn too_far(sb: &Superblock, wanted: u64, limit: e4::GrowLimit) -> anyhow::Error {
    let bs = u64::from(sb.block_size().bytes());
    anyhow::anyhow!(
        "cannot have {} bytes, at most {}: {}",
        size::grouped(wanted.saturating_mul(bs)),
        size::grouped(limit.blocks.saturating_mul(bs)),
        limit.why
    )
}

/// Blocks.
fn wanted(args: &GrowArgs, sb: &Superblock, device: u64) -> Result<u64> {
    let bs = u64::from(sb.block_size().bytes());
    let bytes = match args.size {
        None => device,
        Some(Target::To(bytes)) => bytes,
        Some(Target::By(more)) => sb
            .blocks_count()
            .checked_mul(bs)
            .and_then(|now| now.checked_add(more))
            .context("a size that does not fit 64 bits")?,
    };
    Ok(bytes / bs)
}

/// Makes the file so long, if it is a file and shorter.
fn extend(args: &GrowArgs, bytes: u64) -> Result<()> {
    let name = || args.image.display().to_string();
    let meta = std::fs::metadata(&args.image).with_context(name)?;
    if meta.file_type().is_block_device() || meta.len() >= bytes {
        return Ok(());
    }
    let file = OpenOptions::new()
        .write(true)
        .open(&args.image)
        .with_context(name)?;
    file.set_len(bytes).with_context(name)?;
    file.sync_all().with_context(name)
}
