//! Writes what `mke2fs -t ext4` writes, without mke2fs.
//!
//! [`format()`] takes a device and [`Params`]; `Params::default()` gives what mke2fs from e2fsprogs 1.47.1
//! on gives for the size: has_journal ext_attr resize_inode dir_index orphan_file filetype extent 64bit
//! flex_bg metadata_csum_seed sparse_super large_file huge_file dir_nlink extra_isize metadata_csum.
//!
//! Decisions:
//! - The layout is decided completely ([`MkfsError`] names the parameter at fault) before the first write.
//! - The old superblock is destroyed first and the new one written last, each behind a flush, so that a
//!   power cut in between leaves nothing that looks like a filesystem.
//! - Nothing but metadata with content is written: on a medium known to be zero a 16 TiB image costs its
//!   descriptor tables and bitmaps. On an unknown medium inode tables and journal are read and zeroed
//!   where they are not zero (an old log behind the new one could otherwise be replayed).
//! - Given uuid, hash seed and time, the result is a pure function of size and parameters.
//!
//! What dumpe2fs shows different from mke2fs 1.47, with reasons (`tests/like_mke2fs.rs` fails on any other):
//! - *Lifetime writes*: what this formatter wrote.
//! - *Places of single-group images' bitmaps*: mke2fs leaves a hole of a flex group's size between
//!   bitmaps and tables of an incomplete flex group; here they are packed.
//! - *Place of the journal*: both put it into the middle, but the group may differ by one or two.
//! - Inodes per group are at least 16, so that all system inodes lie in group 0.
//! - Journal, orphan file and directory blocks follow from the places above, and with them the free block
//!   lists of the groups they lie in.
//!
//! A builder that fills an image before it is written begins with a [`Draft`] instead.
//!
//! Not written: meta_bg, bigalloc, inline_data, quota, mmp, casefold, encrypt, ea_inode, large_dir,
//! external journals. Asking for them is an error that says so.

mod content;
mod draft;
mod error;
mod feature_list;
mod geometry;
mod mapping;
mod medium;
mod params;
mod plan;
mod space;
mod superblock;
mod system_files;

pub use content::GroupUsage;
pub use draft::{Draft, SystemTable};
pub use error::MkfsError;
pub use feature_list::Features;
pub use params::{Medium, Params, Usage};

use e4_device::Device;
use e4_format::Superblock;

/// What a formatter is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// Zeroing inode tables and journal of a medium that may hold anything.
    Zeroing,
    /// Writing bitmaps.
    Groups,
    /// Writing journal, directories and the other system files.
    SystemFiles,
    /// Writing descriptor tables and copies of the superblock.
    Descriptors,
}

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The current stage.
    pub stage: Stage,
    /// Groups (or copies) done in this stage.
    pub done: u64,
    /// Groups (or copies) of this stage.
    pub total: u64,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Report {
    /// The superblock, as on the device.
    pub superblock: Superblock,
    /// Blocks of the journal; 0 without one.
    pub journal_blocks: u64,
    /// Blocks that can never hold files.
    pub overhead_blocks: u64,
    /// Bytes written to the device.
    pub written: u64,
    /// What was left out or decided otherwise than asked, for people.
    pub notes: Vec<String>,
}

/// Formats `device`. Everything on it is lost.
///
/// # Errors
/// A parameter that makes no sense (named in the message; nothing was written), or the device's.
pub fn format(
    device: &dyn Device,
    params: &Params,
    progress: &mut dyn FnMut(Progress),
) -> Result<Report, MkfsError> {
    let mut notes = Vec::new();
    let info = device.info();
    let geo = geometry::decide(params, info.size, &info.name, &mut notes)?;
    let id = superblock::Identity::of(params)?;
    let sb = superblock::build(&geo, params, &id)?;
    let plan = plan::plan(&geo, &sb, true)?;
    let disk = medium::Disk::new(device, geo.block_size, progress);
    let written = content::write(disk, &geo, sb, &plan, params, &id)?;
    Ok(Report {
        superblock: written.superblock,
        journal_blocks: geo.journal_blocks.unwrap_or(0),
        overhead_blocks: plan.overhead,
        written: written.bytes,
        notes,
    })
}
