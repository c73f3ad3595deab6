//! A read-only fsck that shares no code with the filesystem it judges: only the format and the device.
//!
//! [`check`] reads the whole image's metadata and says what is wrong with it. It never writes.
//!
//! Passes: superblock, descriptors, journal; every inode and its map; who owns what is claimed twice; every
//! directory; connectivity and links; bitmaps and counts.
//!
//! Invariants:
//! - Nothing in an image makes it panic, or run without bound: each inode, map node and directory block is
//!   visited a bounded number of times, cycles end, and what is repeated beyond the image's size is given up
//!   and reported.
//! - Memory: one bit per block and eight bytes per inode, both only for groups in use; what directories
//!   need; and a bounded list of problems. A replayed journal adds at most its own length.
//! - With the log not replayed it judges what is on disk, like `e2fsck -fn`; on request it replays the log
//!   into memory and judges what a mount would see.
//!
//! Its verdict is compared with that of `e2fsck -fn` by the crate `e4-hostile`; where the two differ and why is
//! listed in `docs/check-agreement.md`.

mod bitmaps;
mod claims;
mod context;
mod directories;
mod groups;
mod hidden;
mod htree;
mod inode_table;
mod inodes;
mod journal;
mod links;
mod map;
mod names;
mod orphans;
mod owners;
pub mod problem;
mod ranges;
mod reader;
mod replay;
mod report;
mod special;
mod superblock;
mod xattrs;

pub use problem::{Location, Problem, Severity};
pub use report::{Options, Pass, Progress, Report, Stats, Verdict};

use claims::Claims;
use context::Check;
use e4_device::Device;
use e4_format::Superblock;
use inode_table::InodeTable;
use reader::Reader;
use report::Collector;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Checks an image. Everything that is wrong, failing reads included, is in the report.
pub fn check(device: &dyn Device, options: &Options, progress: &mut dyn FnMut(Progress)) -> Report {
    let mut found = Collector::new(options.max_problems);
    let Some(sb) = superblock::load(device, None, &mut found) else {
        return found.finish(Stats::default());
    };
    let reader = Reader::new(device, sb.block_size());
    let mut c = context(reader, sb, found, progress);
    if options.replay {
        c = match replayed(c, device) {
            Ok(c) => c,
            Err(report) => return *report,
        };
    } else {
        groups::check(&mut c);
        journal::check(&mut c, false);
    }
    let now = options.now.unwrap_or_else(clock);
    superblock::check_state(&c.sb, now, &mut c.found);
    superblock::check_backups(device, &c.sb, &mut c.found);
    orphans::load(&mut c);
    inodes::check(&mut c);
    hidden::check_quota_numbers(&mut c);
    owners::check(&mut c);
    directories::check(&mut c);
    links::check(&mut c);
    bitmaps::check(&mut c);
    c.found.finish(c.stats)
}

/// Seconds since 1970.
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(u64::MAX, |d| d.as_secs())
}

/// A fresh check of an image with this superblock.
fn context<'a>(
    disk: Reader<'a>,
    sb: Superblock,
    found: Collector,
    progress: &'a mut dyn FnMut(Progress),
) -> Check<'a> {
    let lenient = superblock::lenient(&sb);
    let stats = Stats {
        block_size: sb.block_size().bytes(),
        blocks: sb.blocks_count(),
        inodes: sb.inodes_count(),
        ..Stats::default()
    };
    Check {
        claims: Claims::new(
            sb.first_data_block().into(),
            sb.blocks_per_group(),
            sb.groups(),
        ),
        inodes: InodeTable::new(sb.inodes_per_group(), sb.groups()),
        disk,
        sb,
        lenient,
        found,
        stats,
        groups: Vec::new(),
        system: ranges::RangeSet::default(),
        dirs: BTreeMap::new(),
        xattrs: HashMap::new(),
        orphans: HashSet::new(),
        bad_metadata: Vec::new(),
        progress,
    }
}

/// Replays the log into memory, then begins anew with what is there now.
fn replayed<'a>(mut c: Check<'a>, device: &dyn Device) -> Result<Check<'a>, Box<Report>> {
    // To find the journal the descriptors are needed; what is wrong with them counts afterwards.
    let before = std::mem::replace(&mut c.found, Collector::new(0));
    groups::check(&mut c);
    c.found = before;
    journal::check(&mut c, true);
    let Check {
        disk,
        sb,
        mut found,
        progress,
        ..
    } = c;
    let sb = match disk.replayed_superblock() {
        None => sb,
        Some(bytes) => match superblock::load(device, Some(bytes), &mut found) {
            Some(sb) if sb.block_size() == disk.block_size() => sb,
            _ => return Err(Box::new(found.finish(Stats::default()))),
        },
    };
    let mut c = context(disk, sb, found, progress);
    groups::check(&mut c);
    Ok(c)
}
