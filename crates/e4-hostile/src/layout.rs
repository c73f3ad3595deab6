//! A sound image as a list of pieces: what there is to damage, where it lies, and whose checksum covers it.
//!
//! Decision: a piece is an absolute place taken from the sound image. So any number of mutations can follow one
//! another without anybody having to understand what the ones before left behind.

use e4_format::dir::DirFormat;
use e4_format::extent::Node;
use e4_format::features::CompatFeatures;
use e4_format::htree::{DxKind, DxNode, DxRootInfo};
use e4_format::jbd2::{BlockHeader, BlockKind};
use e4_format::{
    BgFlags, FileType, FsBlock, GroupDesc, GroupNo, Inode, InodeFlags, InodeNo, Superblock,
};

use crate::bytes::get32;

/// What a piece is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// The primary superblock.
    Superblock,
    /// A group descriptor of the primary table.
    Descriptor,
    /// The block bitmap of a group.
    BlockBitmap,
    /// The inode bitmap of a group.
    InodeBitmap,
    /// An inode in use.
    Inode,
    /// An inode not in use.
    FreeInode,
    /// A directory block without index.
    Directory,
    /// The root of an htree.
    HtreeRoot,
    /// An inner node of an htree.
    HtreeNode,
    /// A node of an extent tree.
    ExtentNode,
    /// A block of block numbers.
    Indirect,
    /// A block of attributes.
    Xattr,
    /// A block of the orphan file.
    Orphan,
    /// The journal's superblock.
    JournalSuperblock,
    /// A descriptor block of the log.
    JournalDescriptor,
    /// A revoke block of the log.
    JournalRevoke,
    /// A commit block of the log.
    JournalCommit,
    /// A block of the log without a header of its own.
    JournalData,
    /// A backup of the superblock.
    BackupSuperblock,
    /// A block of a backup of the descriptors.
    BackupDescriptors,
    /// A block kept for growing the descriptor table.
    ReservedDescriptors,
    /// Contents of a file or of a symlink.
    Data,
    /// A block nobody uses, the boot block included.
    Unused,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 23] = [
        Self::Superblock,
        Self::Descriptor,
        Self::BlockBitmap,
        Self::InodeBitmap,
        Self::Inode,
        Self::FreeInode,
        Self::Directory,
        Self::HtreeRoot,
        Self::HtreeNode,
        Self::ExtentNode,
        Self::Indirect,
        Self::Xattr,
        Self::Orphan,
        Self::JournalSuperblock,
        Self::JournalDescriptor,
        Self::JournalRevoke,
        Self::JournalCommit,
        Self::JournalData,
        Self::BackupSuperblock,
        Self::BackupDescriptors,
        Self::ReservedDescriptors,
        Self::Data,
        Self::Unused,
    ];
}

/// One piece of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// What it is.
    pub class: Class,
    /// First byte in the image.
    pub at: usize,
    /// Bytes.
    pub len: usize,
    /// Its block.
    pub block: u64,
    /// Group (descriptors, bitmaps) or inode (the rest); 0 if neither.
    pub owner: u32,
    /// Where the owning inode lies, for its generation; 0 if there is none.
    pub inode_at: usize,
    /// Type of an inode.
    pub kind: Option<FileType>,
}

/// The pieces of an image.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The sound image's superblock.
    pub sb: Superblock,
    /// Every piece, by class and place.
    pub pieces: Vec<Piece>,
    /// Where the journal's superblock lies, for the log's checksum seed.
    pub journal_at: Option<usize>,
    /// Blocks of the image that hold anything, for choosing block numbers.
    pub used_blocks: Vec<u64>,
}

/// The resize inode.
const RESIZE: u32 = 7;

/// At most so many blocks of file contents and of unused space are listed: they are all alike.
const SAMPLE: usize = 64;

impl Layout {
    /// Surveys a sound image; `None` if it turns out not to be one.
    #[must_use]
    pub fn of(image: &[u8]) -> Option<Self> {
        let sb = Superblock::parse(image.get(1024..2048)?.first_chunk()?).ok()?;
        let mut survey = Survey {
            image,
            sb: &sb,
            pieces: Vec::new(),
            journal_at: None,
        };
        survey.filesystem()?;
        for n in 1..=sb.inodes_count() {
            survey.inode(n);
        }
        let (mut pieces, journal_at) = (survey.pieces, survey.journal_at);
        let used_blocks = used_blocks(&sb, &pieces);
        unused(image, &sb, &used_blocks, &mut pieces);
        pieces.sort_by_key(|p| (p.class, p.at));
        pieces.dedup_by_key(|p| (p.class, p.at));
        Some(Self {
            sb,
            pieces,
            journal_at,
            used_blocks,
        })
    }

    /// The pieces of a class.
    #[must_use]
    pub fn of_class(&self, class: Class) -> &[Piece] {
        let from = self.pieces.partition_point(|p| p.class < class);
        let to = self.pieces.partition_point(|p| p.class <= class);
        self.pieces.get(from..to).unwrap_or_default()
    }
}

fn used_blocks(sb: &Superblock, pieces: &[Piece]) -> Vec<u64> {
    let bs = sb.block_size().len();
    let mut used: Vec<u64> = pieces
        .iter()
        .flat_map(|p| (p.at / bs..(p.at + p.len).div_ceil(bs)).map(|b| b as u64))
        .collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// Blocks that belong to nothing, a sample of them.
fn unused(image: &[u8], sb: &Superblock, used: &[u64], pieces: &mut Vec<Piece>) {
    let bs = sb.block_size().len();
    let mut left = SAMPLE;
    for group in sb.group_numbers() {
        let Some(desc) = group_desc(image, sb, group) else {
            continue;
        };
        let Some(map) = block_at(image, sb, desc.block_bitmap.get()) else {
            continue;
        };
        let first = sb.group_first_block(group).map_or(0, FsBlock::get);
        for bit in 0..sb.blocks_in_group(group) as usize {
            let block = first + bit as u64;
            let free = map.get(bit / 8).is_some_and(|b| b >> (bit % 8) & 1 == 0);
            if !free || left == 0 || used.binary_search(&block).is_ok() {
                continue;
            }
            left -= 1;
            pieces.push(Piece {
                class: Class::Unused,
                at: usize::try_from(block).unwrap_or(0) * bs,
                len: bs,
                block,
                owner: 0,
                inode_at: 0,
                kind: None,
            });
        }
    }
}

fn block_at<'a>(image: &'a [u8], sb: &Superblock, block: u64) -> Option<&'a [u8]> {
    let bs = sb.block_size().len();
    image
        .get(usize::try_from(block).ok()?.checked_mul(bs)?..)?
        .get(..bs)
}

fn group_desc(image: &[u8], sb: &Superblock, group: GroupNo) -> Option<GroupDesc> {
    let (n, offset) = sb.desc_location(group)?;
    let table = block_at(image, sb, sb.gdt_block(n)?.get())?;
    GroupDesc::decode(table.get(offset..)?, sb, group).ok()
}

struct Survey<'a> {
    image: &'a [u8],
    sb: &'a Superblock,
    pieces: Vec<Piece>,
    journal_at: Option<usize>,
}

impl Survey<'_> {
    fn add(&mut self, class: Class, block: u64, offset: usize, len: usize, owner: u32) {
        let bs = self.sb.block_size().len();
        self.pieces.push(Piece {
            class,
            at: usize::try_from(block).unwrap_or(0) * bs + offset,
            len,
            block,
            owner,
            inode_at: 0,
            kind: None,
        });
    }

    fn filesystem(&mut self) -> Option<()> {
        let sb = self.sb;
        let bs = sb.block_size().len();
        let home = 1024 / bs as u64;
        self.add(Class::Superblock, home, 1024 % bs, 1024, 0);
        if sb.first_data_block() == 1 {
            self.add(Class::Unused, 0, 0, 1024, 0);
        }
        for group in sb.group_numbers() {
            let desc = group_desc(self.image, sb, group)?;
            let (n, offset) = sb.desc_location(group)?;
            let g = group.get();
            self.add(
                Class::Descriptor,
                sb.gdt_block(n)?.get(),
                offset,
                sb.desc_size(),
                g,
            );
            if !desc.flags.contains(BgFlags::BLOCK_UNINIT) || !sb.has_group_desc_csum() {
                self.add(Class::BlockBitmap, desc.block_bitmap.get(), 0, bs, g);
            }
            if !desc.flags.contains(BgFlags::INODE_UNINIT) || !sb.has_group_desc_csum() {
                self.add(Class::InodeBitmap, desc.inode_bitmap.get(), 0, bs, g);
            }
            if !sb.has_super_backup(group) {
                continue;
            }
            let first = sb.group_first_block(group)?.get();
            let gdt = u64::from(sb.gdt_blocks());
            for n in 0..u64::from(sb.reserved_gdt_blocks()).min(4) {
                self.add(Class::ReservedDescriptors, first + 1 + gdt + n, 0, bs, g);
            }
            if g > 0 {
                self.add(Class::BackupSuperblock, first, 0, 1024, g);
                for n in 0..gdt {
                    self.add(Class::BackupDescriptors, first + 1 + n, 0, bs, g);
                }
            }
        }
        Some(())
    }

    fn inode(&mut self, n: u32) -> Option<()> {
        let sb = self.sb;
        let bs = sb.block_size().len();
        let ino = InodeNo::new(n)?;
        let place = sb.inode_location(ino)?;
        let desc = group_desc(self.image, sb, place.group)?;
        let table = desc.inode_table.get() + u64::from(place.table_block);
        let bytes = block_at(self.image, sb, table)?
            .get(place.offset..)?
            .get(..sb.inode_size())?;
        let inode = Inode::decode(bytes, sb, ino).ok();
        let used = inode
            .as_ref()
            .is_some_and(|i| i.links_count > 0 || n < sb.first_inode());
        let class = if used { Class::Inode } else { Class::FreeInode };
        self.add(class, table, place.offset, sb.inode_size(), n);
        let inode = inode.filter(|_| used)?;
        let kind = inode.file_type();
        self.pieces.last_mut()?.kind = kind;
        let mut file = File {
            ino: n,
            at: usize::try_from(table).ok()? * bs + place.offset,
            data: Vec::new(),
        };
        if let Some(block) = inode.file_acl {
            self.owned(&file, Class::Xattr, block.get());
        }
        let mapped = match kind {
            Some(FileType::Regular | FileType::Directory) => true,
            Some(FileType::Symlink) => inode.fast_symlink().is_none(),
            _ => false,
        };
        if !mapped || inode.flags.contains(InodeFlags::INLINE_DATA) {
            return None;
        }
        let before = self.pieces.len();
        if inode.has_extents() {
            self.extents(&mut file, &inode.i_block);
        } else {
            self.block_map(&mut file, &inode.i_block);
        }
        if n == RESIZE {
            // What its first block lists are the reserved descriptor blocks, which are pieces already.
            self.pieces.truncate(before + 1);
        }
        self.contents(&file, &inode)
    }

    fn owned(&mut self, file: &File, class: Class, block: u64) {
        let bs = self.sb.block_size().len();
        self.add(class, block, 0, bs, file.ino);
        if let Some(piece) = self.pieces.last_mut() {
            piece.inode_at = file.at;
        }
    }

    fn extents(&mut self, file: &mut File, node: &[u8]) -> Option<()> {
        let node = Node::parse(node).ok()?;
        for e in node.extents() {
            let all = (0..e.len).map(|i| (e.block.get() + i, e.start.get() + u64::from(i)));
            file.data.extend(all);
        }
        for child in node.indexes() {
            let block = child.leaf.get();
            self.owned(file, Class::ExtentNode, block);
            let bytes = block_at(self.image, self.sb, block)?;
            self.extents(file, bytes);
        }
        Some(())
    }

    fn block_map(&mut self, file: &mut File, slots: &[u8]) {
        let per = u32::try_from(self.sb.block_size().len() / 4).unwrap_or(256);
        let mut logical = 0;
        for slot in 0..15usize {
            let level = u32::try_from(slot.saturating_sub(11)).unwrap_or(0);
            self.indirect(file, get32(slots, slot * 4), level, per, logical);
            logical += per.saturating_pow(level).min(1 << 28);
        }
    }

    fn indirect(&mut self, file: &mut File, at: u32, level: u32, per: u32, logical: u32) {
        if at == 0 {
            return;
        }
        if level == 0 {
            file.data.push((logical, at.into()));
            return;
        }
        let Some(bytes) = block_at(self.image, self.sb, at.into()) else {
            return;
        };
        self.owned(file, Class::Indirect, at.into());
        for i in 0..per {
            let below = logical.saturating_add(i.saturating_mul(per.saturating_pow(level - 1)));
            self.indirect(file, get32(bytes, i as usize * 4), level - 1, per, below);
        }
    }

    /// The data blocks of a file, by what they hold.
    fn contents(&mut self, file: &File, inode: &Inode) -> Option<()> {
        let sb = self.sb;
        let ino = InodeNo::new(file.ino);
        let orphan = sb.compat().contains(CompatFeatures::ORPHAN_FILE);
        if file.ino == RESIZE && sb.compat().contains(CompatFeatures::RESIZE_INODE) {
            return None; // its blocks are the reserve of the descriptors
        }
        if inode.file_type() == Some(FileType::Directory) {
            self.directory(file, inode);
        } else if orphan && sb.orphan_file_inum() == ino {
            file.data
                .iter()
                .for_each(|(_, b)| self.owned(file, Class::Orphan, *b));
        } else if sb.journal_inum() == ino {
            self.journal(file);
        } else {
            let all = file.data.iter().take(SAMPLE);
            all.for_each(|(_, b)| self.owned(file, Class::Data, *b));
        }
        Some(())
    }

    fn directory(&mut self, file: &File, inode: &Inode) {
        let format: DirFormat = self.sb.dir_format();
        let indexed = inode.flags.contains(InodeFlags::INDEX);
        let mut nodes = Vec::new();
        let first = file
            .data
            .first()
            .and_then(|(_, b)| block_at(self.image, self.sb, *b));
        if let Some(root) = first.filter(|_| indexed)
            && DxRootInfo::decode(root).is_ok_and(|i| i.indirect_levels > 0)
            && let Ok(node) = DxNode::parse(root, DxKind::Root, &format)
        {
            nodes.extend(node.entries().map(|e| e.block.get()));
        }
        for (logical, block) in &file.data {
            let class = match logical {
                0 if indexed => Class::HtreeRoot,
                l if nodes.contains(l) => Class::HtreeNode,
                _ => Class::Directory,
            };
            self.owned(file, class, *block);
        }
    }

    /// Block 0 is the superblock; the blocks behind it up to the last with a header are the log.
    fn journal(&mut self, file: &File) {
        let bs = self.sb.block_size().len();
        let mut quiet = 0;
        for (logical, block) in &file.data {
            let Some(bytes) = block_at(self.image, self.sb, *block) else {
                continue;
            };
            let class = match BlockHeader::decode(bytes).map(|h| h.kind) {
                _ if *logical == 0 => {
                    self.journal_at = usize::try_from(*block).ok().map(|b| b * bs);
                    Class::JournalSuperblock
                }
                Some(BlockKind::Descriptor) => Class::JournalDescriptor,
                Some(BlockKind::Revoke) => Class::JournalRevoke,
                Some(BlockKind::Commit) => Class::JournalCommit,
                _ => Class::JournalData,
            };
            quiet = if class == Class::JournalData {
                quiet + 1
            } else {
                0
            };
            if quiet < SAMPLE {
                self.owned(file, class, *block);
            }
        }
    }
}

/// A file being looked at: its inode's place, and its blocks as (logical, physical).
struct File {
    ino: u32,
    at: usize,
    data: Vec<(u32, u64)>,
}
