//! The inodes of a fresh image and what is in them: root, lost+found, journal, resize inode, orphan
//! file, and the reserved inodes that are empty.

use crate::Stage;
use crate::error::MkfsError;
use crate::geometry::{Geometry, resize_inode_bytes};
use crate::mapping::{self, low32};
use crate::medium::Disk;
use crate::params::Params;
use crate::plan::{FilePlan, Plan};
use crate::superblock::Identity;
use e4_format::features::IncompatFeatures;
use e4_format::jbd2::{
    BlockHeader, BlockKind, JBD2_MAGIC, JournalSuperblock, RawJournalSuperblock,
};
use e4_format::{
    FileType, FormatError, FsBlock, GroupNo, Inode, InodeFlags, InodeNo, Superblock, Tid,
    Timestamp, csum_seed_for, dir, orphan,
};

const BAD_BLOCKS: u32 = 1;
const ROOT: u32 = 2;
const RESIZE: u32 = 7;
const JOURNAL: u32 = 8;
const LOST_AND_FOUND: u32 = 11;
const ORPHAN_FILE: u32 = 12;
/// Slot of the double indirect block in `i_block`.
const DIND_SLOT: usize = 13;

/// How many inodes are in use, all at the start of group 0.
pub(crate) fn used_inodes(plan: &Plan) -> u32 {
    if plan.orphan_file.is_some() {
        ORPHAN_FILE
    } else {
        LOST_AND_FOUND
    }
}

/// The journal as the superblock keeps a copy of it.
pub(crate) struct JournalMap {
    pub(crate) i_block: [u8; 60],
    pub(crate) size: u64,
}

struct Builder<'a> {
    geo: &'a Geometry,
    sb: &'a Superblock,
    plan: &'a Plan,
    params: &'a Params,
    id: &'a Identity,
}

/// What [`write`] leaves to its caller.
pub(crate) struct SystemInodes {
    /// The start of group 0's inode table, in whole blocks: not written yet.
    pub(crate) table: Vec<u8>,
    pub(crate) journal: Option<JournalMap>,
}

/// Writes all contents of the system files. Root and lost+found stay free inodes if the plan gives
/// them no blocks.
pub(crate) fn write(
    disk: &mut Disk<'_>,
    geo: &Geometry,
    sb: &Superblock,
    plan: &Plan,
    params: &Params,
    id: &Identity,
) -> Result<SystemInodes, MkfsError> {
    disk.progress(Stage::SystemFiles, 0, 1);
    let build = Builder {
        geo,
        sb,
        plan,
        params,
        id,
    };
    let used = used_inodes(plan);
    let bytes = (used as usize * sb.inode_size()).next_multiple_of(sb.block_size().len());
    let mut table = vec![0; bytes];
    let mut journal = None;
    for (n, slot) in (1..=used).zip(table.chunks_mut(sb.inode_size())) {
        let Some(ino) = InodeNo::new(n) else { continue };
        let mut inode = build.empty(n);
        match n {
            ROOT if !plan.root.data.is_empty() => build.root(disk, &mut inode)?,
            LOST_AND_FOUND if !plan.lost_and_found.data.is_empty() => {
                build.lost_and_found(disk, &mut inode)?;
            }
            RESIZE => build.resize(disk, &mut inode)?,
            JOURNAL => {
                build.journal(disk, &mut inode)?;
                journal = plan.journal.as_ref().map(|_| JournalMap {
                    i_block: inode.i_block,
                    size: inode.size,
                });
            }
            ORPHAN_FILE => build.orphan_file(disk, &mut inode)?,
            _ => {}
        }
        inode.encode(slot, sb, ino).map_err(failed("an inode"))?;
    }
    disk.progress(Stage::SystemFiles, 1, 1);
    Ok(SystemInodes { table, journal })
}

fn failed(what: &'static str) -> impl Fn(FormatError) -> MkfsError {
    move |source| MkfsError::Format { what, source }
}

fn number(raw: u32) -> InodeNo {
    InodeNo::new(raw).unwrap_or(InodeNo::ROOT)
}

impl Builder<'_> {
    /// A reserved inode nobody uses: zeros (and a checksum); the bad blocks inode has times besides.
    fn empty(&self, n: u32) -> Inode {
        let mut inode = Inode {
            extra_isize: 0,
            ..Inode::empty(self.sb)
        };
        if n == BAD_BLOCKS {
            self.put_times(&mut inode, false);
        }
        inode
    }

    fn put_times(&self, inode: &mut Inode, wide: bool) {
        let now = Timestamp {
            sec: self.id.time,
            nsec: 0,
        }
        .clamp_storable(wide);
        (inode.atime, inode.ctime, inode.mtime, inode.crtime) = (now, now, now, now);
    }

    fn file(&self, inode: &mut Inode, kind: FileType, permissions: u16, links: u16) {
        inode.extra_isize = self.sb.new_inode_extra_isize();
        inode.mode = kind.mode_bits() | permissions;
        inode.links_count = links;
        self.put_times(inode, inode.extra_isize > 0);
    }

    /// The inode's checksum seed, `None` without checksums.
    fn seed(&self, ino: u32) -> Option<u32> {
        self.sb
            .has_metadata_csum()
            .then(|| csum_seed_for(self.sb, number(ino), 0))
    }

    /// Maps `file`, writes the map's blocks, and accounts for both.
    fn map(
        &self,
        disk: &mut Disk<'_>,
        ino: u32,
        inode: &mut Inode,
        file: &FilePlan,
    ) -> Result<(), MkfsError> {
        let encoded = mapping::encode(self.geo, file, self.seed(ino))?;
        for (at, bytes) in &encoded.blocks {
            disk.write(*at, bytes)?;
        }
        if self.sb.incompat().contains(IncompatFeatures::EXTENTS) {
            inode.flags.insert(InodeFlags::EXTENTS);
        }
        inode.i_block = encoded.i_block;
        inode.size = file.data_blocks() << self.geo.block_size.log2();
        inode.sectors = file.all_blocks() << (self.geo.block_size.log2() - 9);
        Ok(())
    }

    fn root(&self, disk: &mut Disk<'_>, inode: &mut Inode) -> Result<(), MkfsError> {
        self.file(inode, FileType::Directory, 0o755, 3);
        (inode.uid, inode.gid) = self.params.root_owner;
        self.map(disk, ROOT, inode, &self.plan.root)?;
        let mut block = vec![0; self.geo.block_size.len()];
        let format = self.sb.dir_format();
        dir::init_first_block(&mut block, &format, InodeNo::ROOT, InodeNo::ROOT)
            .map_err(failed("the root directory"))?;
        let child = number(LOST_AND_FOUND);
        dir::insert(
            &mut block,
            &format,
            b"lost+found",
            child,
            FileType::Directory,
        )
        .map_err(failed("the root directory"))?;
        self.write_dir(disk, ROOT, &self.plan.root, vec![block])
    }

    fn lost_and_found(&self, disk: &mut Disk<'_>, inode: &mut Inode) -> Result<(), MkfsError> {
        let file = &self.plan.lost_and_found;
        self.file(inode, FileType::Directory, 0o700, 2);
        self.map(disk, LOST_AND_FOUND, inode, file)?;
        let format = self.sb.dir_format();
        let this = number(LOST_AND_FOUND);
        let mut blocks = Vec::new();
        for n in 0..file.data_blocks() {
            let mut block = vec![0; self.geo.block_size.len()];
            if n == 0 {
                dir::init_first_block(&mut block, &format, this, InodeNo::ROOT)
            } else {
                dir::init_block(&mut block, &format)
            }
            .map_err(failed("lost+found"))?;
            blocks.push(block);
        }
        self.write_dir(disk, LOST_AND_FOUND, file, blocks)
    }

    fn write_dir(
        &self,
        disk: &mut Disk<'_>,
        ino: u32,
        file: &FilePlan,
        blocks: Vec<Vec<u8>>,
    ) -> Result<(), MkfsError> {
        let seed = csum_seed_for(self.sb, number(ino), 0);
        let places = file.data.iter().flat_map(|r| r.start..r.end());
        for (at, mut block) in places.zip(blocks) {
            dir::stamp(&mut block, &self.sb.dir_format(), seed).map_err(failed("a directory"))?;
            disk.write(at, &block)?;
        }
        Ok(())
    }

    /// The journal: an empty log whose first transaction will be number 1. No feature is set: whoever
    /// mounts it first adds those it writes.
    fn journal(&self, disk: &mut Disk<'_>, inode: &mut Inode) -> Result<(), MkfsError> {
        let Some(file) = &self.plan.journal else {
            return Ok(());
        };
        self.file(inode, FileType::Regular, 0o600, 1);
        self.map(disk, JOURNAL, inode, file)?;
        let mut raw = RawJournalSuperblock::zeroed();
        raw.h_magic.set(JBD2_MAGIC);
        let mut header = [0; 12];
        let kind = BlockHeader {
            kind: BlockKind::SuperblockV2,
            tid: Tid::new(0),
        };
        kind.encode(&mut header)
            .map_err(failed("the journal superblock"))?;
        let [.., t0, t1, t2, t3, _, _, _, _] = header;
        raw.h_blocktype.set(u32::from_be_bytes([t0, t1, t2, t3]));
        raw.s_blocksize.set(self.geo.block_size.bytes());
        raw.s_maxlen.set(low32(file.data_blocks()));
        raw.s_first.set(1);
        raw.s_sequence.set(1);
        raw.s_nr_users.set(1);
        raw.s_uuid = self.id.uuid;
        let jsb = JournalSuperblock::from_raw(raw, self.geo.block_size)
            .map_err(failed("the journal superblock"))?;
        let mut block = vec![0; self.geo.block_size.len()];
        jsb.encode(&mut block)
            .map_err(failed("the journal superblock"))?;
        let at = file.data.first().map_or(0, |r| r.start);
        disk.write(at, &block)?;
        Ok(())
    }

    fn orphan_file(&self, disk: &mut Disk<'_>, inode: &mut Inode) -> Result<(), MkfsError> {
        let Some(file) = &self.plan.orphan_file else {
            return Ok(());
        };
        self.file(inode, FileType::Regular, 0o600, 1);
        self.map(disk, ORPHAN_FILE, inode, file)?;
        let seed = self.seed(ORPHAN_FILE);
        let mut block = vec![0; self.geo.block_size.len()];
        orphan::init(&mut block);
        for at in file.data.iter().flat_map(|r| r.start..r.end()) {
            orphan::stamp(&mut block, FsBlock::new(at), seed).map_err(failed("the orphan file"))?;
            disk.write(at, &block)?;
        }
        Ok(())
    }

    /// The resize inode holds the descriptor blocks kept for growth: its double indirect block names
    /// those of group 0, and each of these, used as an indirect block, names its copies in the other
    /// groups. A reserved block's slot is its number in the descriptor table.
    fn resize(&self, disk: &mut Disk<'_>, inode: &mut Inode) -> Result<(), MkfsError> {
        let Some(dind) = self.plan.resize_dind else {
            return Ok(());
        };
        self.file(inode, FileType::Regular, 0o600, 1);
        let per = u64::from(self.geo.block_size.bytes()) / 4;
        let backups: Vec<u64> = self
            .sb
            .group_numbers()
            .filter(|g| g.get() != 0 && self.sb.has_super_backup(*g))
            .filter_map(|g| self.sb.group_first_block(g))
            .map(FsBlock::get)
            .collect();
        let primary = self
            .sb
            .group_first_block(GroupNo::new(0))
            .map_or(0, FsBlock::get);
        let used = u64::from(self.sb.gdt_blocks());
        let reserved = u64::from(self.sb.reserved_gdt_blocks());
        let mut top = vec![0; self.geo.block_size.len()];
        for n in used..used + reserved {
            let at = primary + 1 + n;
            put_pointer(&mut top, n % per, at);
            let mut block = vec![0; self.geo.block_size.len()];
            for (slot, first) in (0..).zip(&backups) {
                put_pointer(&mut block, slot, first + 1 + n);
            }
            disk.write(at, &block)?;
        }
        disk.write(dind, &top)?;
        put_pointer(&mut inode.i_block, DIND_SLOT as u64, dind);
        let blocks = 1 + reserved * (1 + backups.len() as u64);
        inode.sectors = blocks << (self.geo.block_size.log2() - 9);
        inode.size = resize_inode_bytes(self.geo.block_size);
        Ok(())
    }
}

fn put_pointer(block: &mut [u8], slot: u64, to: u64) {
    let slot = usize::try_from(slot).unwrap_or(usize::MAX);
    if let Some(at) = block.as_chunks_mut::<4>().0.get_mut(slot) {
        *at = low32(to).to_le_bytes();
    }
}
