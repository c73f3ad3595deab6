//! `e4 fallocate`: reserve blocks, punch and dig holes, zero, collapse and insert ranges; util-linux's letters.

use anyhow::Result;
use clap::Args;
use e4::{FallocateMode, File, OpenFlags};
use e4_format::ExtentState;

use crate::Outcome;
use crate::advice::Advise;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{Common, Ui};
use crate::session::{self, Access};
use crate::size;

/// Reserve blocks for a file, or take blocks away from its middle.
///
/// Reserved blocks are unwritten: they read as zeros and cost no I/O until data comes. A file that does
/// not exist is created (not by -p, -d, -c and -i).
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 fallocate -l 1G disk.img:/big            reserve 1 GiB
  e4 fallocate -n -o 1G -l 1G disk.img:/big   another one past the end, size unchanged
  e4 fallocate -p -o 4K -l 8K disk.img:/big   punch a hole of 8 KiB
  e4 fallocate -z -o 4K -l 8K disk.img:/big   make 8 KiB read as zeros and keep them reserved
  e4 fallocate -c -o 4K -l 8K disk.img:/big   cut 8 KiB out of the middle
  e4 fallocate -i -o 4K -l 8K disk.img:/big   put 8 KiB of hole into the middle
  e4 fallocate -d disk.img:/big               turn written zeros into holes")]
pub struct FallocateArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The file
    #[arg(value_name = "IMAGE:/PATH")]
    location: Location,
    /// Bytes, with suffix K, M, G ... (1024) or KB, MB ... (1000)
    #[arg(short, long, value_name = "BYTES", value_parser = size::bytes,
          required_unless_present = "dig_holes")]
    length: Option<u64>,
    /// Where the range begins
    #[arg(short, long, value_name = "BYTES", value_parser = size::bytes, default_value = "0")]
    offset: u64,
    /// Do not change the file's size
    #[arg(short = 'n', long)]
    keep_size: bool,
    /// Free the range's blocks: it reads as zeros afterwards (implies -n)
    #[arg(short = 'p', long)]
    punch_hole: bool,
    /// Make the range read as zeros; its blocks stay reserved
    #[arg(short = 'z', long, conflicts_with = "punch_hole")]
    zero_range: bool,
    /// Take the range out of the file: what lies behind it moves up. Whole blocks
    #[arg(short = 'c', long, conflicts_with_all = ["punch_hole", "zero_range", "keep_size"])]
    collapse_range: bool,
    /// Put a hole in at the offset: what lies there moves down. Whole blocks
    #[arg(short = 'i', long,
          conflicts_with_all = ["punch_hole", "zero_range", "keep_size", "collapse_range"])]
    insert_range: bool,
    /// Look for written blocks full of zeros and free them (implies -n)
    #[arg(short = 'd', long, conflicts_with_all =
          ["punch_hole", "keep_size", "zero_range", "collapse_range", "insert_range"])]
    dig_holes: bool,
}

/// Runs the verb.
///
/// # Errors
/// No space, no such file (-p, -d), or the image's.
pub fn run(args: &FallocateArgs, ui: &Ui) -> Outcome {
    let fs = session::mount(&args.location.image, Access::Write, ui)?;
    let create = !(args.punch_hole || args.dig_holes || args.collapse_range || args.insert_range);
    let flags = OpenFlags {
        write: true,
        create,
        mode: 0o644,
        ..OpenFlags::default()
    };
    let file = fs.open_file(&args.location.path, flags)?;
    if args.dig_holes {
        let freed = dig_holes(&file, args.offset, args.length)?;
        ui.note(&format!(
            "{}: {} bytes dug out",
            args.location,
            size::grouped(freed)
        ));
    } else {
        let mode = mode_of(args);
        let length = args.length.unwrap_or(0);
        file.fallocate(mode, args.offset, length).or_try(|| {
            let stat = fs.statfs();
            let free = stat.free_blocks.saturating_mul(u64::from(stat.block_size));
            format!(
                "{} bytes are free; a length must be greater than 0.",
                size::grouped(free)
            )
        })?;
    }
    file.fsync()?;
    drop(file);
    fs.unmount()?;
    Ok(Status::SUCCESS)
}

/// What the flags say; clap has refused what contradicts itself.
fn mode_of(args: &FallocateArgs) -> FallocateMode {
    match (args.zero_range, args.keep_size) {
        _ if args.punch_hole => FallocateMode::PunchHole,
        _ if args.collapse_range => FallocateMode::CollapseRange,
        _ if args.insert_range => FallocateMode::InsertRange,
        (true, true) => FallocateMode::ZeroRangeKeepSize,
        (true, false) => FallocateMode::ZeroRange,
        (false, true) => FallocateMode::AllocateKeepSize,
        (false, false) => FallocateMode::Allocate,
    }
}

/// Frees the written blocks that hold only zeros; returns how many bytes.
fn dig_holes(file: &File, offset: u64, length: Option<u64>) -> Result<u64> {
    let bs = u64::from(file.stat().block_size);
    let end = length
        .map_or(u64::MAX, |l| offset.saturating_add(l))
        .min(file.size());
    let mut block = vec![0u8; usize::try_from(bs)?];
    let mut freed = 0;
    for extent in file.extents()? {
        if extent.state != ExtentState::Written {
            continue;
        }
        let mut zeros: Option<u64> = None;
        for logical in extent.block.get()..extent.end() {
            let at = u64::from(logical) * bs;
            // Only whole blocks inside the range; the block the file ends in counts as whole.
            let inside = at >= offset && (at + bs <= end || end == file.size() && at < end);
            let all_zero = inside && {
                block.fill(0);
                file.read_at(at, &mut block)?;
                block.iter().all(|&b| b == 0)
            };
            match (all_zero, zeros) {
                (true, None) => zeros = Some(at),
                (false, Some(from)) => {
                    freed += punch(file, from, at)?;
                    zeros = None;
                }
                _ => {}
            }
        }
        if let Some(from) = zeros {
            freed += punch(file, from, u64::from(extent.end()) * bs)?;
        }
    }
    Ok(freed)
}

fn punch(file: &File, from: u64, to: u64) -> Result<u64> {
    file.fallocate(FallocateMode::PunchHole, from, to - from)?;
    Ok(to - from)
}
