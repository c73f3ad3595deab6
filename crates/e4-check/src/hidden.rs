//! Inodes no directory names: reserved ones, in use or not, and the numbers of quota files.
//!
//! Decision: where nobody ever looks at a field (the owner of an inode that is no file, say), it is not judged.

use crate::context::Check;
use crate::inodes::{Found, check_sectors, check_size_limit, claim_map};
use crate::problem::{Problem, Sum};
use crate::xattrs;
use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};
use e4_format::{FileType, InodeFlags, InodeNo};

const USER_QUOTA: u32 = 3;
const GROUP_QUOTA: u32 = 4;
const BOOT_LOADER: u32 = 5;
const RESIZE: u32 = 7;
const JOURNAL: u32 = 8;

/// True for the number of a journal or quota file in an image that does not have one.
pub(crate) fn is_vacant(c: &Check<'_>, ino: u32) -> bool {
    match ino {
        USER_QUOTA | GROUP_QUOTA => !c.sb.ro_compat().contains(RoCompatFeatures::QUOTA),
        JOURNAL => c.sb.journal_inum().is_none_or(|n| n.get() != JOURNAL),
        _ => false,
    }
}

/// True for inodes that are in use without a name: what only a path walk would look at does not matter in them.
pub(crate) fn is_unnamed(c: &Check<'_>, ino: InodeNo) -> bool {
    let reserved = ino.get() < c.sb.first_inode() && ino != InodeNo::ROOT;
    reserved || c.sb.orphan_file_inum() == Some(ino)
}

/// True if a reserved inode may have this type (`None` for a mode without one that is not 0).
pub(crate) fn may_be(c: &Check<'_>, ino: u32, kind: Option<FileType>) -> bool {
    match ino {
        BOOT_LOADER => kind != Some(FileType::Directory),
        RESIZE => kind == Some(FileType::Regular),
        _ => {
            let journal = c.sb.journal_inum().is_some_and(|n| n.get() == ino);
            kind == Some(FileType::Regular) && (journal || crate::inodes::is_quota(c, ino))
        }
    }
}

/// The list of bad blocks is blocks and nothing else.
pub(crate) fn check_bad_blocks(c: &mut Check<'_>, found: &Found<'_>) {
    let inode = &found.inode;
    check_extent_flag(c, found);
    for (field, value) in [
        ("mode", u64::from(inode.mode)),
        ("owner", u64::from(inode.uid & 0xFFFF)),
        ("group", u64::from(inode.gid & 0xFFFF)),
        ("link count", inode.links_count.into()),
        (
            "attribute block",
            inode.file_acl.map_or(0, |b| b.get() & 0xFFFF_FFFF),
        ),
    ] {
        report(c, found.ino, field, value);
    }
    if inode.flags.contains(InodeFlags::INLINE_DATA) {
        c.report(Problem::InlineData { inode: found.ino });
    }
    claim_map(c, found);
}

/// A journal or quota inode not in use has nothing.
pub(crate) fn check_vacant(c: &mut Check<'_>, found: &Found<'_>) {
    let inode = &found.inode;
    if found.ino.get() == JOURNAL {
        check_extent_flag(c, found);
    }
    let first = crate::map::pointers(&inode.i_block).first().copied();
    for (field, value) in [
        ("link count", u64::from(inode.links_count)),
        ("number of sectors", inode.sectors & 0xFFFF_FFFF),
        ("first block", first.unwrap_or(0).into()),
    ] {
        report(c, found.ino, field, value);
    }
}

/// A reserved inode that is no file: no blocks.
pub(crate) fn check_reserved(c: &mut Check<'_>, found: &Found<'_>) {
    xattrs::check_inode(c, found);
    check_size_limit(c, found);
    check_sectors(c, found, 0);
    if found.inode.flags.contains(InodeFlags::INDEX) {
        c.report(Problem::IndexFlag { inode: found.ino });
    }
    let resize = c.sb.compat().contains(CompatFeatures::RESIZE_INODE);
    if found.ino.get() == RESIZE && !resize {
        let mut slots = crate::map::pointers(&found.inode.i_block).into_iter();
        let value = slots.find(|p| *p != 0).unwrap_or(0);
        report(c, found.ino, "list of blocks", value.into());
    }
}

fn check_extent_flag(c: &mut Check<'_>, found: &Found<'_>) {
    if found.inode.has_extents() && !c.sb.incompat().contains(IncompatFeatures::EXTENTS) {
        c.report(Problem::ExtentFlag { inode: found.ino });
    }
}

fn report(c: &mut Check<'_>, inode: InodeNo, field: &'static str, value: u64) {
    if value != 0 {
        c.report(Problem::HiddenInode {
            inode,
            field,
            value,
        });
    }
}

fn was_ever_used(c: &Check<'_>, ino: InodeNo) -> bool {
    let place = c.sb.inode_location(ino);
    place.is_some_and(|p| p.index < crate::inodes::ever_used(c, p.group))
}

/// True for reserved inodes that are no files: nobody reads the size of their extra fields.
pub(crate) fn has_no_extra_fields(c: &Check<'_>, ino: InodeNo) -> bool {
    let n = ino.get();
    n < c.sb.first_inode() && ino != InodeNo::ROOT && c.sb.journal_inum() != Some(ino)
}

/// The checksum of an inode whose extra fields have an impossible size; it counts as having room for both halves
/// of the sum if it states four bytes or more.
pub(crate) fn check_sum(c: &mut Check<'_>, ino: InodeNo, bytes: &[u8]) {
    if !c.sb.has_metadata_csum() {
        return;
    }
    let half = |at: usize| {
        let b = bytes.get(at..).and_then(|b| b.first_chunk());
        b.map_or(0, |b| u16::from_le_bytes(*b))
    };
    let (low, high, wide) = (half(0x7C), half(0x82), half(0x80) >= 4);
    let mut plain = bytes.to_vec();
    for at in [0x7C, 0x82].into_iter().take(1 + usize::from(wide)) {
        if let Some(to) = plain.get_mut(at..at + 2) {
            to.fill(0);
        }
    }
    let generation = u32::from(half(0x66)) << 16 | u32::from(half(0x64));
    let seed = e4_format::csum_seed_for(&c.sb, ino, generation);
    let sum = e4_format::csum::crc32c(seed, &plain);
    let (expected, found) = if wide {
        (sum, u32::from(high) << 16 | u32::from(low))
    } else {
        (sum & 0xFFFF, low.into())
    };
    if expected != found {
        let (expected, found) = (Sum(expected), Sum(found));
        c.report(Problem::InodeChecksum {
            inode: ino,
            expected,
            found,
        });
    }
}

/// The superblock's numbers of quota files: reserved ones, or inodes nothing else uses.
pub(crate) fn check_quota_numbers(c: &mut Check<'_>) {
    let raw = c.sb.raw();
    let numbers = [
        ("user", raw.s_usr_quota_inum.get()),
        ("group", raw.s_grp_quota_inum.get()),
        ("project", raw.s_prj_quota_inum.get()),
    ];
    let quota = c.sb.ro_compat().contains(RoCompatFeatures::QUOTA);
    for (what, found) in numbers {
        let Some(ino) = InodeNo::new(found) else {
            continue;
        };
        let own = matches!(found, USER_QUOTA | GROUP_QUOTA);
        let reserved = found < c.sb.first_inode();
        // Without quota a free inode would be taken for one in use.
        let free = what == "project" && was_ever_used(c, ino);
        let taken = !quota && (c.inodes.get(ino).is_used() || free);
        if found > c.sb.inodes_count() || (!own && (reserved || taken)) {
            c.report(Problem::QuotaInode { what, found });
        }
    }
}
