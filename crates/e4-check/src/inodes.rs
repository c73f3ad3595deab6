//! Pass 1: every inode, its flags, its map, its size, its attributes.
//!
//! Decision: an inode is in use if it is reserved, has links, or waits on the list of orphans; the inode
//! bitmap is judged by that later. An inode that fails its checksum is still followed, so that one
//! flipped bit does not make its blocks look lost.

use crate::context::Check;
use crate::inode_table::{InodeState, Kind};
use crate::map::{self, Visitor};
use crate::problem::{Problem, Sum};
use crate::report::Pass;
use crate::{hidden, special, xattrs};
use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};
use e4_format::{
    BgFlags, Extent, ExtentState, FileBlock, FileType, FormatError, FsBlock, GroupNo, Inode,
    InodeFlags, InodeNo,
};

const BAD_BLOCKS: u32 = 1;
const ROOT: u32 = 2;
const RESIZE: u32 = 7;
/// Flag of AFS servers' inodes, which images without that feature do not have.
const IMAGIC: u32 = 0x2000;
/// Bytes of inode tables read at a time.
const CHUNK: usize = 256 << 10;

/// An inode and its bytes on disk.
pub(crate) struct Found<'a> {
    pub(crate) ino: InodeNo,
    pub(crate) inode: Inode,
    pub(crate) bytes: &'a [u8],
}

/// Checks all inodes.
pub(crate) fn check(c: &mut Check<'_>) {
    let total = u64::from(c.sb.groups());
    each(c, Pass::Inodes, total, &mut |c, ino, bytes| {
        check_one(c, ino, bytes)
    });
    xattrs::check_refcounts(c);
    c.tell(Pass::Inodes, total, total);
}

/// Calls `f` for every inode that was ever used, as far as its group can be believed.
pub(crate) fn each(
    c: &mut Check<'_>,
    pass: Pass,
    total: u64,
    f: &mut dyn FnMut(&mut Check<'_>, InodeNo, &[u8]),
) {
    for group in c.sb.group_numbers() {
        let used = ever_used(c, group);
        if used == 0 {
            continue;
        }
        c.tell(pass, group.get().into(), total);
        let Some(state) = c.groups.get(group.get() as usize).copied() else {
            continue;
        };
        let per_block = c.sb.inodes_per_block();
        let step = u32::try_from(CHUNK / c.sb.block_size().len())
            .unwrap_or(1)
            .max(1);
        let blocks = used.div_ceil(per_block);
        for at in (0..blocks).step_by(step as usize) {
            let count = step.min(blocks - at);
            let Some(start) = state.desc.inode_table.checked_add(at.into()) else {
                break;
            };
            let bytes = match c.disk.blocks(start, count.into()) {
                Ok(bytes) => bytes,
                Err(problem) => {
                    c.report(problem);
                    continue;
                }
            };
            let first = at * per_block;
            for (index, bytes) in (first..used).zip(bytes.chunks_exact(c.sb.inode_size())) {
                if let Some(ino) = c.inodes.number(group.get(), index) {
                    f(c, ino, bytes);
                }
            }
        }
    }
}

/// How many inodes at the start of a group's table may be in use.
pub(crate) fn ever_used(c: &Check<'_>, group: GroupNo) -> u32 {
    let per_group = c.sb.inodes_per_group();
    match c.groups.get(group.get() as usize) {
        Some(state) if state.inode_table => {
            if !c.sb.has_group_desc_csum() {
                per_group
            } else if state.has(BgFlags::INODE_UNINIT) {
                0
            } else {
                per_group.saturating_sub(state.desc.itable_unused)
            }
        }
        _ => 0,
    }
}

/// True for a hidden file that holds quotas.
pub(crate) fn is_quota(c: &Check<'_>, ino: u32) -> bool {
    let raw = c.sb.raw();
    c.sb.ro_compat().contains(RoCompatFeatures::QUOTA)
        && [
            &raw.s_usr_quota_inum,
            &raw.s_grp_quota_inum,
            &raw.s_prj_quota_inum,
        ]
        .iter()
        .any(|n| n.get() == ino)
}

fn check_one(c: &mut Check<'_>, ino: InodeNo, bytes: &[u8]) {
    let reserved = ino.get() < c.sb.first_inode();
    if !reserved && bytes.iter().all(|b| *b == 0) {
        return;
    }
    let Some(inode) = decode(c, ino, bytes) else {
        remember(c, ino, Kind::Used(None), 0);
        return;
    };
    let orphan = c.orphans.contains(&ino.get());
    check_leftover(c, ino, &inode, orphan);
    if reserved || inode.links_count > 0 {
        check_casefold(c, ino, &inode);
    }
    if inode.links_count == 0 && !reserved && !orphan {
        if inode.mode != 0 && inode.dtime == 0 {
            c.report(Problem::DeletedWithoutTime { inode: ino });
        }
        return;
    }
    let found = Found { ino, inode, bytes };
    match ino.get() {
        BAD_BLOCKS => {
            remember(c, ino, Kind::Used(None), found.inode.links_count);
            hidden::check_bad_blocks(c, &found);
        }
        n if reserved && hidden::is_vacant(c, n) => {
            remember(c, ino, Kind::Used(None), 0);
            hidden::check_vacant(c, &found);
        }
        RESIZE if c.sb.compat().contains(CompatFeatures::RESIZE_INODE) => {
            remember(
                c,
                ino,
                Kind::Used(Some(FileType::Regular)),
                found.inode.links_count,
            );
            if found.inode.flags.contains(InodeFlags::INLINE_DATA) {
                c.report(Problem::InlineData { inode: ino });
            }
            xattrs::check_inode(c, &found);
            check_size_limit(c, &found);
            special::check_resize_inode(c, &found.inode, ino);
        }
        n if reserved && n != ROOT && found.inode.file_type().is_none() => {
            remember(c, ino, Kind::Used(None), 0);
            let mode = found.inode.mode;
            if mode != 0 && !hidden::may_be(c, n, None) {
                c.report(Problem::ReservedInode { inode: ino, mode });
            }
            hidden::check_reserved(c, &found);
        }
        _ => check_used(c, &found, orphan),
    }
}

const fn is_device(kind: FileType) -> bool {
    !matches!(
        kind,
        FileType::Regular | FileType::Directory | FileType::Symlink
    )
}

fn check_casefold(c: &mut Check<'_>, ino: InodeNo, inode: &Inode) {
    let has = inode.flags.contains(InodeFlags::CASEFOLD);
    if has && !c.sb.incompat().contains(IncompatFeatures::CASEFOLD) {
        let value = inode.flags.bits();
        c.report(Problem::InodeField {
            inode: ino,
            field: "i_flags (casefold)",
            value,
        });
    }
}

/// A deletion time so long ago is the number of an inode: the next one on a list of orphans.
fn check_leftover(c: &mut Check<'_>, ino: InodeNo, inode: &Inode, orphan: bool) {
    let count = c.sb.inodes_count();
    let raw = c.sb.raw();
    let times = [raw.s_mtime.get(), raw.s_wtime.get(), raw.s_mkfs_time.get()];
    // Unless the image itself is from so long ago.
    let ancient = times.iter().any(|t| (1..count).contains(t));
    if (1..count).contains(&inode.dtime) && !orphan && !ancient {
        let dtime = inode.dtime;
        c.report(Problem::OrphanLeftover { inode: ino, dtime });
    }
}

fn remember(c: &mut Check<'_>, ino: InodeNo, kind: Kind, links: u16) {
    if let Some(state) = c.inodes.get_mut(ino) {
        *state = InodeState {
            kind,
            links,
            refs: state.refs,
        };
    }
}

/// Decodes an inode; what is impossible is reported (if the inode is in use) and left out.
fn decode(c: &mut Check<'_>, ino: InodeNo, bytes: &[u8]) -> Option<Inode> {
    let error = match Inode::decode(bytes, &c.sb, ino) {
        Ok(inode) => return Some(inode),
        Err(error) => error,
    };
    if let FormatError::InodeChecksum {
        expected, found, ..
    } = error
    {
        let (expected, found) = (Sum(expected), Sum(found));
        c.report(Problem::InodeChecksum {
            inode: ino,
            expected,
            found,
        });
    }
    let whole = bytes;
    let mut bytes = bytes.to_vec();
    for _ in 0..3 {
        let (problem, at, len) = match Inode::decode(&bytes, &c.lenient, ino) {
            Ok(inode) => return Some(inode),
            Err(FormatError::InodeExtraSize { found, room, .. }) => (
                Problem::InodeExtraSize {
                    inode: ino,
                    found,
                    room,
                },
                0x80,
                2,
            ),
            Err(FormatError::InodeSizeTooLarge { size, .. }) => {
                (Problem::InodeSize { inode: ino, size }, 0x6C, 4)
            }
            Err(_) => return None,
        };
        bytes.get_mut(at..at + len)?.fill(0);
        let reserved = ino.get() < c.sb.first_inode();
        if hidden::has_no_extra_fields(c, ino) && matches!(problem, Problem::InodeExtraSize { .. })
        {
            hidden::check_sum(c, ino, whole);
        } else if Inode::decode(&bytes, &c.lenient, ino)
            .map_or(true, |i| reserved || i.links_count > 0)
        {
            c.report(problem);
        }
    }
    None
}

fn check_used(c: &mut Check<'_>, found: &Found<'_>, orphan: bool) {
    let (ino, inode) = (found.ino, &found.inode);
    let kind = inode.file_type();
    remember(c, ino, Kind::Used(kind), inode.links_count);
    let reserved = ino.get() < c.sb.first_inode();
    if ino.get() == ROOT && kind != Some(FileType::Directory) {
        c.report(Problem::RootInvalid { inode: ino });
    } else if reserved && ino.get() != ROOT && !hidden::may_be(c, ino.get(), kind) {
        c.report(Problem::ReservedInode {
            inode: ino,
            mode: inode.mode,
        });
    } else if kind.is_none() {
        c.report(Problem::InodeMode {
            inode: ino,
            mode: inode.mode,
        });
        return;
    }
    if inode.dtime != 0 && !orphan && (!reserved || ino.get() == ROOT) {
        c.report(Problem::DeletionTime {
            inode: ino,
            dtime: inode.dtime,
        });
    }
    count(c, kind);
    check_flags(c, found);
    if !hidden::is_unnamed(c, ino) {
        check_fields(c, found);
    }
    check_times(c, found);
    xattrs::check_inode(c, found);
    match kind {
        Some(FileType::Regular | FileType::Directory) => {
            let map = claim_map(c, found);
            check_extent_of(c, found, &map, orphan);
        }
        Some(FileType::Symlink) => special::check_symlink(c, found),
        Some(_) => special::check_device(c, found),
        None => {}
    }
}

fn count(c: &mut Check<'_>, kind: Option<FileType>) {
    match kind {
        Some(FileType::Regular) => c.stats.regular_files += 1,
        Some(FileType::Directory) => c.stats.directories += 1,
        Some(FileType::Symlink) => c.stats.symlinks += 1,
        Some(_) => c.stats.special_files += 1,
        None => {}
    }
}

fn check_flags(c: &mut Check<'_>, found: &Found<'_>) {
    let (ino, inode) = (found.ino, &found.inode);
    let has = |flag| inode.flags.contains(flag);
    if has(InodeFlags::EXTENTS) && !c.sb.incompat().contains(IncompatFeatures::EXTENTS) {
        c.report(Problem::ExtentFlag { inode: ino });
    }
    if has(InodeFlags::INLINE_DATA) {
        c.report(Problem::InlineData { inode: ino });
    }
    if inode.flags.bits() & IMAGIC != 0 && !c.sb.compat().contains(CompatFeatures::IMAGIC_INODES) {
        let value = inode.flags.bits();
        c.report(Problem::InodeField {
            inode: ino,
            field: "i_flags (imagic)",
            value,
        });
    }
    // Nothing in an image without encryption can have the attribute that goes with the flag.
    let named = !matches!(inode.file_type(), Some(k) if is_device(k));
    if has(InodeFlags::ENCRYPT) && named && !c.sb.incompat().contains(IncompatFeatures::ENCRYPT) {
        let value = inode.flags.bits();
        c.report(Problem::InodeField {
            inode: ino,
            field: "i_flags (encrypted)",
            value,
        });
    }
    if has(InodeFlags::INDEX) {
        let possible = inode.file_type() == Some(FileType::Directory)
            && c.sb.compat().contains(CompatFeatures::DIR_INDEX);
        if !possible {
            c.report(Problem::IndexFlag { inode: ino });
        } else {
            c.stats.indexed_directories += 1;
        }
    }
}

/// Upper halves and left-overs that the image's features give no meaning must be zero.
fn check_fields(c: &mut Check<'_>, found: &Found<'_>) {
    let part = |at: usize, len: usize| {
        let bytes = found.bytes.get(at..at + len).unwrap_or_default();
        bytes.iter().rev().fold(0, |n, b| n << 8 | u32::from(*b))
    };
    let regular = found.inode.file_type() == Some(FileType::Regular);
    let huge = c.sb.ro_compat().contains(RoCompatFeatures::HUGE_FILE);
    let wide = c.sb.incompat().contains(IncompatFeatures::BIT64);
    for (field, at, len, meaningless) in [
        ("i_size_high", 0x6C, 4, !regular),
        ("i_obso_faddr", 0x70, 4, true),
        ("l_i_blocks_high", 0x74, 2, !huge),
        ("l_i_file_acl_high", 0x76, 2, !wide),
    ] {
        let value = part(at, len);
        if meaningless && value != 0 {
            c.report(Problem::InodeField {
                inode: found.ino,
                field,
                value,
            });
        }
    }
}

/// Seconds that are negative in 32 bits and yet belong to the last epoch: written before 1970 by a kernel that
/// got the epoch wrong.
fn check_times(c: &mut Check<'_>, found: &Found<'_>) {
    let word = |at: usize| {
        let bytes = found.bytes.get(at..).and_then(|b| b.first_chunk());
        bytes.map_or(0, |b| u32::from_le_bytes(*b))
    };
    let end = 128 + usize::from(found.inode.extra_isize);
    for (field, seconds, extra) in [
        ("i_atime", 0x08, 0x8C),
        ("i_ctime", 0x0C, 0x84),
        ("i_mtime", 0x10, 0x88),
        ("i_crtime", 0x90, 0x94),
    ] {
        if extra + 4 <= end && word(extra) & 3 == 3 && word(seconds) >> 31 == 1 {
            let inode = found.ino;
            c.report(Problem::InodeTime { inode, field });
        }
    }
}

/// What walking a map gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MapSummary {
    /// Data blocks and blocks of the map.
    pub(crate) blocks: u64,
    /// Runs of data.
    pub(crate) extents: u64,
    pub(crate) unwritten: u64,
    /// The logical block after the last mapped one.
    pub(crate) end: u32,
    /// The last written block.
    pub(crate) last_written: Option<u32>,
    /// Something was wrong, so the numbers above mean little.
    pub(crate) bad: bool,
}

/// Walks the map of a file and claims its blocks.
pub(crate) fn claim_map(c: &mut Check<'_>, found: &Found<'_>) -> MapSummary {
    let (ino, inode) = (found.ino, &found.inode);
    if inode.flags.contains(InodeFlags::INLINE_DATA) {
        return MapSummary {
            bad: true,
            ..MapSummary::default()
        };
    }
    let mut claim = Claim {
        ino,
        directory: inode.file_type() == Some(FileType::Directory),
        claims: &mut c.claims,
        bad: &mut c.bad_metadata,
        system: &c.system,
        found: &mut c.found,
        sum: MapSummary::default(),
        next: None,
    };
    map::walk(&c.disk, &c.sb, ino, inode, &mut claim);
    let sum = claim.sum;
    c.stats.extents += sum.extents;
    c.stats.unwritten_blocks += sum.unwritten;
    c.stats.fragmented_files += u32::from(sum.extents > 1);
    sum
}

struct Claim<'a> {
    ino: InodeNo,
    directory: bool,
    claims: &'a mut crate::claims::Claims,
    bad: &'a mut Vec<(u64, u64)>,
    system: &'a crate::ranges::RangeSet,
    found: &'a mut crate::report::Collector,
    sum: MapSummary,
    /// Where the next extent lies if it continues the last one.
    next: Option<u64>,
}

impl Claim<'_> {
    /// Claims blocks; false if some of them are metadata or claimed already.
    fn claim(&mut self, start: u64, len: u64, node: bool) -> bool {
        let mut at = start;
        let mut metadata: Option<(u64, u64)> = None;
        let mut again = 0;
        for (from, count) in self.system.overlap(start, len) {
            again += self.claims.claim(at, from - at);
            at = from + count;
            let (first, sum) = metadata.unwrap_or((from, 0));
            metadata = Some((first, sum + count));
        }
        again += self.claims.claim(at, start + len - at);
        // A bad block may lie anywhere; what lists them must not.
        let listed = !node && self.ino.get() == BAD_BLOCKS;
        if listed {
            self.bad.extend(metadata);
        }
        let metadata = metadata.filter(|_| !listed);
        if let Some((first, count)) = metadata {
            let (inode, block) = (self.ino, FsBlock::new(first));
            self.found.push(Problem::BlockIsMetadata {
                inode,
                block,
                count,
            });
        }
        // Who else claims them is found out in a pass of its own.
        self.sum.bad |= again > 0 || metadata.is_some();
        again == 0 && metadata.is_none()
    }
}

impl Visitor for Claim<'_> {
    fn node(&mut self, _: FileBlock, block: FsBlock) -> bool {
        self.sum.blocks += 1;
        self.claim(block.get(), 1, true)
    }

    fn data(&mut self, extent: Extent) {
        let len = u64::from(extent.len);
        self.sum.blocks += len;
        self.sum.extents += u64::from(self.next != Some(extent.start.get()));
        self.next = Some(extent.start.get() + len);
        self.sum.end = self.sum.end.max(extent.end());
        match extent.state {
            ExtentState::Written => {
                let last = extent.end().saturating_sub(1);
                self.sum.last_written = self.sum.last_written.max(Some(last));
            }
            ExtentState::Unwritten => {
                self.sum.unwritten += len;
                if self.directory {
                    let (inode, logical) = (self.ino, extent.block);
                    self.found
                        .push(Problem::UnwrittenDirectory { inode, logical });
                }
            }
        }
        self.claim(extent.start.get(), len, false);
    }

    fn problem(&mut self, problem: Problem) {
        self.sum.bad = true;
        self.found.push(problem);
    }
}

/// Compares sizes with what is mapped.
fn check_extent_of(c: &mut Check<'_>, found: &Found<'_>, map: &MapSummary, orphan: bool) {
    let (ino, inode) = (found.ino, &found.inode);
    let bs = c.sb.block_size();
    let size = inode.size;
    let regular = inode.file_type() == Some(FileType::Regular);
    if size > largest_file(c, inode) {
        c.report(Problem::InodeSize { inode: ino, size });
    }
    if regular && size >= 1 << 31 && !c.sb.ro_compat().contains(RoCompatFeatures::LARGE_FILE) {
        c.report(Problem::LargeFileFlag { inode: ino, size });
    }
    if map.bad {
        return;
    }
    let end = u64::from(map.end) << bs.log2();
    if !regular && (size != end || size == 0) {
        c.report(Problem::DirectorySize {
            inode: ino,
            size,
            expected: end,
        });
    }
    // A truncate that was not finished may have left blocks behind the end, as has a Merkle tree.
    let beyond = orphan || inode.flags.contains(InodeFlags::VERITY);
    if let Some(last) = map.last_written.filter(|_| regular && !beyond)
        && size < u64::from(last) << bs.log2()
    {
        let logical = FileBlock::new(last);
        c.report(Problem::BlocksBehindEnd {
            inode: ino,
            size,
            logical,
        });
    }
    check_sectors(c, found, map.blocks);
}

/// Reports a size beyond what the map could reach, the upper half counted whatever the type.
pub(crate) fn check_size_limit(c: &mut Check<'_>, found: &Found<'_>) {
    let high = found.bytes.get(0x6C..).and_then(|b| b.first_chunk());
    let high = high.map_or(0, |b| u32::from_le_bytes(*b));
    let size = u64::from(high) << 32 | (found.inode.size & 0xFFFF_FFFF);
    if size > largest_file(c, &found.inode) {
        let inode = found.ino;
        c.report(Problem::InodeSize { inode, size });
    }
}

/// Compares the count of sectors with the blocks found.
pub(crate) fn check_sectors(c: &mut Check<'_>, found: &Found<'_>, mapped: u64) {
    let (ino, inode) = (found.ino, &found.inode);
    let attributes = inode.file_acl.is_some_and(|b| c.is_data_block(b));
    let blocks = mapped + u64::from(attributes);
    let expected = blocks << (c.sb.block_size().log2() - 9);
    if inode.sectors != expected {
        c.report(Problem::SectorCount {
            inode: ino,
            found: inode.sectors,
            expected,
        });
    }
}

fn largest_file(c: &Check<'_>, inode: &Inode) -> u64 {
    let bs = c.sb.block_size();
    let per = u64::from(bs.bytes()) / 4;
    let blocks = if inode.has_extents() {
        u64::from(u32::MAX)
    } else {
        (12 + per + per * per)
            .saturating_add(per.saturating_pow(3))
            .min(u32::MAX.into())
    };
    blocks << bs.log2()
}
