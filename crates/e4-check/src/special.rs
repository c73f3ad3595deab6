//! Inodes that are no ordinary files: symlinks, devices, and the resize inode.

use crate::context::Check;
use crate::inodes::{Found, check_sectors, claim_map};
use crate::map::pointers;
use crate::problem::{Problem, Region};
use e4_format::{FileType, FsBlock, GroupNo, Inode, InodeFlags, InodeNo};

/// Slots of a block map, and the one of the double indirect block.
const SLOTS: usize = 15;
const DIND: usize = 13;
/// Slots that nobody minds in an inode without blocks.
const DEVICE_SLOTS: usize = 4;

/// A symlink holds its target in the inode, or in exactly one block; its length is the target's.
pub(crate) fn check_symlink(c: &mut Check<'_>, found: &Found<'_>) {
    let (ino, inode) = (found.ino, &found.inode);
    let bs = c.sb.block_size();
    let fixed = InodeFlags::IMMUTABLE.bits() | InodeFlags::APPEND.bits();
    if inode.flags.bits() & fixed != 0 {
        c.report(Problem::SpecialFlags { inode: ino });
    }
    let own = u64::from(inode.file_acl.is_some()) << (bs.log2() - 9);
    let invalid = Problem::SymlinkInvalid {
        inode: ino,
        size: inode.size,
    };
    if let Some(target) = inode.fast_symlink().filter(|_| inode.sectors <= own) {
        let terminated = inode.i_block.get(target.len()) == Some(&0);
        if target.is_empty() || target.contains(&0) || !terminated {
            c.report(invalid);
        }
        check_sectors(c, found, 0);
        return;
    }
    let map = claim_map(c, found);
    if map.bad {
        return;
    }
    check_sectors(c, found, map.blocks);
    let target = (map.end == 1).then(|| first_block(c, ino, inode)).flatten();
    let size = usize::try_from(inode.size).unwrap_or(usize::MAX);
    let matches = target.is_some_and(|bytes| {
        bytes
            .iter()
            .position(|b| *b == 0)
            .is_some_and(|end| end == size && end > 0)
    });
    if !matches {
        c.report(invalid);
    }
}

fn first_block(c: &mut Check<'_>, ino: InodeNo, inode: &Inode) -> Option<Vec<u8>> {
    let mut runs = crate::map::Runs::default();
    crate::map::walk(&c.disk, &c.sb, ino, inode, &mut runs);
    match c.disk.block(runs.physical(0)?) {
        Ok(bytes) => Some(bytes),
        Err(problem) => {
            c.report(problem);
            None
        }
    }
}

/// A device has its number in the first slots of `i_block`; behind them, as in pipes and sockets, is nothing.
pub(crate) fn check_device(c: &mut Check<'_>, found: &Found<'_>) {
    let (ino, inode) = (found.ino, &found.inode);
    let used = pointers(&inode.i_block);
    let rest = used.get(DEVICE_SLOTS..).unwrap_or_default();
    let flags = InodeFlags::EXTENTS.bits()
        | InodeFlags::INDEX.bits()
        | InodeFlags::IMMUTABLE.bits()
        | InodeFlags::APPEND.bits();
    if rest.iter().any(|p| *p != 0) {
        c.report(Problem::SpecialBlocks { inode: ino });
    }
    if inode.flags.bits() & flags != 0 {
        c.report(Problem::SpecialFlags { inode: ino });
    }
    if inode.size != 0 {
        c.report(Problem::SpecialSize {
            inode: ino,
            size: inode.size,
        });
    }
    check_sectors(c, found, 0);
}

/// The resize inode names the reserved descriptor blocks of group 0 in its double indirect block; each of
/// them, as an indirect block, names its copies in the other groups.
pub(crate) fn check_resize_inode(c: &mut Check<'_>, inode: &Inode, ino: InodeNo) {
    let slots = pointers(&inode.i_block);
    let only_dind = slots
        .iter()
        .take(SLOTS)
        .enumerate()
        .all(|(n, p)| (*p != 0) == (n == DIND));
    let plain = inode.file_type() == Some(FileType::Regular)
        && inode.links_count == 1
        && !inode.has_extents();
    let wrong = |block| Problem::ResizeInode {
        inode: ino,
        region: Region(block),
    };
    let dind = FsBlock::new(slots.get(DIND).copied().unwrap_or(0).into());
    if !plain || !only_dind || !c.is_data_block(dind) {
        c.report(wrong(None));
        return;
    }
    // A second claim is reported with the owner of the first.
    c.claims.claim(dind.get(), 1);
    let backups: Vec<u64> =
        c.sb.group_numbers()
            .skip(1)
            .filter(|g| c.sb.has_super_backup(*g))
            .filter_map(|g| c.sb.group_first_block(g))
            .map(FsBlock::get)
            .collect();
    let primary =
        c.sb.group_first_block(GroupNo::new(0))
            .map_or(0, FsBlock::get);
    let (gdt, reserve) = (
        u64::from(c.sb.gdt_blocks()),
        u64::from(c.sb.reserved_gdt_blocks()),
    );
    let per = u64::from(c.sb.block_size().bytes()) / 4;
    let mut top = vec![0; usize::try_from(per).unwrap_or(0)];
    for n in gdt..gdt + reserve {
        if let Some(slot) = usize::try_from(n % per).ok().and_then(|i| top.get_mut(i)) {
            *slot = primary + 1 + n;
        }
    }
    if names(c, dind, &top) != Names::Expected {
        c.report(wrong(Some(dind)));
    }
    for n in gdt..gdt + reserve {
        let at = FsBlock::new(primary + 1 + n);
        let copies: Vec<u64> = backups.iter().map(|first| first + 1 + n).collect();
        match names(c, at, &copies) {
            Names::Expected => {}
            // Nobody reads them before the filesystem grows that far, and who grows it looks first: no damage, yet.
            Names::Astray if n >= gdt + reserve / COMPARED => {
                c.report(Problem::ResizeReserve {
                    inode: ino,
                    block: at,
                });
            }
            Names::Astray | Names::Others => {
                c.report(wrong(Some(at)));
                return;
            }
        }
    }
    let own = u64::from(inode.file_acl.is_some_and(|b| c.is_data_block(b)));
    let expected =
        (1 + own + reserve * (1 + backups.len() as u64)) << (c.sb.block_size().log2() - 9);
    if inode.sectors != expected {
        c.report(Problem::SectorCount {
            inode: ino,
            found: inode.sectors,
            expected,
        });
    }
}

/// Of the reserved descriptor blocks, e2fsck compares the copies of the first quarter.
const COMPARED: u64 = 4;

/// How a block of pointers compares with what it should hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Names {
    /// Exactly that, and zeros everywhere else.
    Expected,
    /// As many, in the same places, but other blocks of the filesystem.
    Astray,
    /// Something else.
    Others,
}

fn names(c: &mut Check<'_>, block: FsBlock, expected: &[u64]) -> Names {
    let bytes = match c.disk.block(block) {
        Ok(bytes) => bytes,
        Err(problem) => {
            c.report(problem);
            return Names::Others;
        }
    };
    let wanted = expected.iter().copied().chain(std::iter::repeat(0));
    let mut worst = Names::Expected;
    for (found, wanted) in pointers(&bytes).into_iter().zip(wanted) {
        let found = u64::from(found);
        if found == wanted {
            continue;
        }
        if wanted == 0 || found == 0 || !c.sb.contains_range(FsBlock::new(found), 1) {
            return Names::Others;
        }
        worst = Names::Astray;
    }
    worst
}
