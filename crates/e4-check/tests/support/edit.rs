//! Changing single fields of an image, with their checksums put right.
//!
//! The checksums are computed here once more, from the format's description, because the format crate
//! stamps only what it has decoded and judged.

use e4_device::MemoryDevice;
use e4_format::csum::{CRC32C_INIT, crc32c};
use e4_format::dir::{self, DirFormat};
use e4_format::extent::{Node, stamp_extent_block};
use e4_format::features::{CompatFeatures, RoCompatFeatures};
use e4_format::htree::{self, DxKind, DxNode, DxRootInfo};
use e4_format::{
    FileType, FsBlock, GroupNo, Inode, InodeFlags, InodeNo, Superblock, bitmap, csum_seed_for,
    orphan, xattr,
};
use std::ops::Range;

pub(crate) fn get16(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(b[at..at + 2].try_into().unwrap())
}

pub(crate) fn get32(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
}

pub(crate) fn put16(b: &mut [u8], at: usize, v: u16) {
    b[at..at + 2].copy_from_slice(&v.to_le_bytes());
}

pub(crate) fn put32(b: &mut [u8], at: usize, v: u32) {
    b[at..at + 4].copy_from_slice(&v.to_le_bytes());
}

pub(crate) fn ino(n: u32) -> InodeNo {
    InodeNo::new(n).unwrap()
}

/// An image in memory.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sb: Superblock,
}

impl Image {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).expect("superblock");
        Self { bytes, sb }
    }

    pub(crate) fn device(&self) -> MemoryDevice {
        MemoryDevice::from_bytes(&self.bytes)
    }

    fn bs(&self) -> usize {
        self.sb.block_size().len()
    }

    fn range(&self, block: u64) -> Range<usize> {
        let at = usize::try_from(block).unwrap() * self.bs();
        at..at + self.bs()
    }

    pub(crate) fn block(&self, block: u64) -> &[u8] {
        &self.bytes[self.range(block)]
    }

    pub(crate) fn block_mut(&mut self, block: u64) -> &mut [u8] {
        let range = self.range(block);
        &mut self.bytes[range]
    }

    /// Edits the superblock's 1024 bytes.
    pub(crate) fn superblock(&mut self, edit: impl FnOnce(&mut [u8])) {
        let sb = &mut self.bytes[1024..2048];
        edit(sb);
        let csum = RoCompatFeatures::METADATA_CSUM.bits();
        if self.sb.ro_compat().bits() & csum != 0 {
            let sum = crc32c(CRC32C_INIT, &sb[..0x3FC]);
            put32(sb, 0x3FC, sum);
        }
    }

    fn desc_range(&self, group: u32) -> Range<usize> {
        let (n, offset) = self.sb.desc_location(GroupNo::new(group)).unwrap();
        let at = self.range(self.sb.gdt_block(n).unwrap().get()).start + offset;
        at..at + self.sb.desc_size()
    }

    pub(crate) fn desc_bytes(&self, group: u32) -> &[u8] {
        &self.bytes[self.desc_range(group)]
    }

    pub(crate) fn desc(&self, group: u32) -> e4_format::GroupDesc {
        e4_format::GroupDesc::decode(self.desc_bytes(group), &self.sb, GroupNo::new(group)).unwrap()
    }

    /// Edits a group descriptor.
    pub(crate) fn descriptor(&mut self, group: u32, edit: impl FnOnce(&mut [u8])) {
        let range = self.desc_range(group);
        let seed = self.sb.checksum_seed();
        let d = &mut self.bytes[range];
        edit(d);
        if self.sb.has_metadata_csum() {
            put16(d, 0x1E, 0);
            let sum = crc32c(crc32c(seed, &group.to_le_bytes()), d);
            put16(d, 0x1E, sum as u16);
        }
    }

    fn inode_range(&self, n: u32) -> Range<usize> {
        let place = self.sb.inode_location(ino(n)).unwrap();
        let (_, offset) = self.sb.desc_location(place.group).unwrap();
        let _ = offset;
        let table = u64::from(get32(self.desc_bytes(place.group.get()), 8));
        let at = self.range(table + u64::from(place.table_block)).start + place.offset;
        at..at + self.sb.inode_size()
    }

    pub(crate) fn inode_bytes(&self, n: u32) -> &[u8] {
        &self.bytes[self.inode_range(n)]
    }

    pub(crate) fn inode_of(&self, n: u32) -> Inode {
        Inode::decode(self.inode_bytes(n), &self.sb, ino(n)).unwrap()
    }

    /// Edits an inode's bytes.
    pub(crate) fn inode(&mut self, n: u32, edit: impl FnOnce(&mut [u8])) {
        let range = self.inode_range(n);
        let seed = self.sb.checksum_seed();
        let b = &mut self.bytes[range];
        edit(b);
        if !self.sb.has_metadata_csum() {
            return;
        }
        put16(b, 0x7C, 0);
        let high = b.len() > 128 && get16(b, 0x80) >= 4;
        if high {
            put16(b, 0x82, 0);
        }
        let sum = crc32c(crc32c(seed, &n.to_le_bytes()), &b[0x64..0x68]);
        let sum = crc32c(sum, b);
        put16(b, 0x7C, sum as u16);
        if high {
            put16(b, 0x82, (sum >> 16) as u16);
        }
    }

    /// Seed of the checksums below an inode.
    pub(crate) fn seed(&self, n: u32) -> u32 {
        csum_seed_for(&self.sb, ino(n), get32(self.inode_bytes(n), 0x64))
    }

    pub(crate) fn dir_format(&self) -> DirFormat {
        self.sb.dir_format()
    }

    /// Edits a directory block of inode `n`.
    pub(crate) fn dir_block(
        &mut self,
        n: u32,
        block: u64,
        kind: Option<DxKind>,
        edit: impl FnOnce(&mut [u8]),
    ) {
        let (seed, format) = (self.seed(n), self.dir_format());
        let b = self.block_mut(block);
        edit(b);
        let _ = match kind {
            Some(kind) => htree::stamp(b, kind, &format, seed),
            None => dir::stamp(b, &format, seed),
        };
    }

    /// Edits an extent block of inode `n`.
    pub(crate) fn extent_block(&mut self, n: u32, block: u64, edit: impl FnOnce(&mut [u8])) {
        let (seed, stamp) = (self.seed(n), self.sb.has_metadata_csum());
        let b = self.block_mut(block);
        edit(b);
        if stamp {
            let _ = stamp_extent_block(b, seed);
        }
    }

    /// Edits an attribute block.
    pub(crate) fn xattr_block(&mut self, block: u64, edit: impl FnOnce(&mut [u8])) {
        let sb = self.sb.clone();
        let b = self.block_mut(block);
        edit(b);
        let count = xattr::block_refcount(b);
        let _ = xattr::set_block_refcount(b, &sb, FsBlock::new(block), count);
    }

    /// Edits a block of the orphan file, inode `n`.
    pub(crate) fn orphan_block(&mut self, n: u32, block: u64, edit: impl FnOnce(&mut [u8])) {
        let seed = self.sb.has_metadata_csum().then(|| self.seed(n));
        let b = self.block_mut(block);
        edit(b);
        let magic = get32(b, b.len() - 8);
        let _ = orphan::stamp(b, FsBlock::new(block), seed);
        let at = b.len() - 8;
        put32(b, at, magic);
    }

    /// Edits a block bitmap and stores its checksum in the descriptor.
    pub(crate) fn block_bitmap(&mut self, group: u32, edit: impl FnOnce(&mut [u8])) {
        let at = u64::from(get32(self.desc_bytes(group), 0));
        edit(self.block_mut(at));
        let sum = bitmap::block_bitmap_csum(&self.sb, self.block(at));
        self.descriptor(group, |d| {
            put16(d, 0x18, sum as u16);
            if d.len() >= 64 {
                put16(d, 0x38, (sum >> 16) as u16);
            }
        });
    }

    /// Edits an inode bitmap and stores its checksum in the descriptor.
    pub(crate) fn inode_bitmap(&mut self, group: u32, edit: impl FnOnce(&mut [u8])) {
        let at = u64::from(get32(self.desc_bytes(group), 4));
        edit(self.block_mut(at));
        let sum = bitmap::inode_bitmap_csum(&self.sb, self.block(at));
        self.descriptor(group, |d| {
            put16(d, 0x1A, sum as u16);
            if d.len() >= 64 {
                put16(d, 0x3A, (sum >> 16) as u16);
            }
        });
    }
}

/// A block of metadata, and how to put its checksum right.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Block {
    Dir {
        ino: u32,
        block: u64,
        kind: Option<DxKind>,
    },
    Extent {
        ino: u32,
        block: u64,
    },
    Indirect {
        block: u64,
    },
    Xattr {
        block: u64,
    },
    Orphan {
        ino: u32,
        block: u64,
    },
    Journal {
        block: u64,
    },
}

/// What there is to damage.
#[derive(Default)]
pub(crate) struct Survey {
    /// Inodes in use, with their types.
    pub(crate) inodes: Vec<(u32, Option<FileType>)>,
    pub(crate) blocks: Vec<Block>,
}

impl Survey {
    pub(crate) fn of(image: &Image) -> Self {
        let mut survey = Self::default();
        for group in 0..image.sb.groups() {
            let desc = image.desc(group);
            if desc.flags.contains(e4_format::BgFlags::INODE_UNINIT) {
                continue;
            }
            let per = image.sb.inodes_per_group();
            for index in 0..per - desc.itable_unused {
                survey.inode(image, group * per + index + 1);
            }
        }
        survey
    }

    fn inode(&mut self, image: &Image, n: u32) {
        let Ok(inode) = Inode::decode(image.inode_bytes(n), &image.sb, ino(n)) else {
            return;
        };
        if inode.links_count == 0 {
            return;
        }
        self.inodes.push((n, inode.file_type()));
        if let Some(block) = inode.file_acl {
            self.blocks.push(Block::Xattr { block: block.get() });
        }
        let data = data_blocks(image, n, &mut self.blocks);
        let orphan = image.sb.compat().contains(CompatFeatures::ORPHAN_FILE);
        if inode.file_type() == Some(FileType::Directory) {
            let nodes = index_nodes(image, &inode, &data);
            for (logical, block) in data {
                let kind = match logical {
                    0 if inode.flags.contains(InodeFlags::INDEX) => Some(DxKind::Root),
                    l if nodes.contains(&l) => Some(DxKind::Node),
                    _ => None,
                };
                self.blocks.push(Block::Dir {
                    ino: n,
                    block,
                    kind,
                });
            }
        } else if orphan && image.sb.orphan_file_inum() == Some(ino(n)) {
            self.blocks.extend(
                data.iter()
                    .map(|(_, b)| Block::Orphan { ino: n, block: *b }),
            );
        } else if image.sb.journal_inum() == Some(ino(n)) {
            self.blocks.push(Block::Journal { block: data[0].1 });
        }
    }
}

/// The data blocks of an inode as (logical, physical); blocks of its map go to `found`.
pub(crate) fn data_blocks(image: &Image, n: u32, found: &mut Vec<Block>) -> Vec<(u32, u64)> {
    let inode = image.inode_of(n);
    let mut data = Vec::new();
    match inode.file_type() {
        Some(FileType::Regular | FileType::Directory) => {}
        Some(FileType::Symlink) if inode.fast_symlink().is_none() => {}
        _ => return data,
    }
    if inode.has_extents() {
        extents(image, n, &inode.i_block, found, &mut data);
    } else {
        let per = u32::try_from(image.bs() / 4).unwrap();
        let mut logical = 0;
        for slot in 0..15usize {
            let level = u32::try_from(slot.saturating_sub(11)).unwrap();
            let at = get32(&inode.i_block, slot * 4);
            indirect(image, at, level, per, logical, found, &mut data);
            logical += per.pow(level).min(1 << 28);
        }
    }
    data
}

fn extents(image: &Image, n: u32, node: &[u8], found: &mut Vec<Block>, data: &mut Vec<(u32, u64)>) {
    let node = Node::parse(node).unwrap();
    for e in node.extents() {
        data.extend((0..e.len).map(|i| (e.block.get() + i, e.start.get() + u64::from(i))));
    }
    for child in node.indexes() {
        let block = child.leaf.get();
        found.push(Block::Extent { ino: n, block });
        extents(image, n, image.block(block), found, data);
    }
}

fn indirect(
    image: &Image,
    at: u32,
    level: u32,
    per: u32,
    logical: u32,
    found: &mut Vec<Block>,
    data: &mut Vec<(u32, u64)>,
) {
    if at == 0 {
        return;
    }
    if level == 0 {
        data.push((logical, at.into()));
        return;
    }
    found.push(Block::Indirect { block: at.into() });
    for i in 0..per {
        let next = get32(image.block(at.into()), i as usize * 4);
        let below = logical + i * per.pow(level - 1);
        indirect(image, next, level - 1, per, below, found, data);
    }
}

/// Logical blocks of the inner nodes of a directory's index (of one level).
fn index_nodes(image: &Image, inode: &Inode, data: &[(u32, u64)]) -> Vec<u32> {
    if !inode.flags.contains(InodeFlags::INDEX) {
        return Vec::new();
    }
    let root = image.block(data[0].1);
    if DxRootInfo::decode(root).unwrap().indirect_levels == 0 {
        return Vec::new();
    }
    let node = DxNode::parse(root, DxKind::Root, &image.dir_format()).unwrap();
    node.entries().map(|e| e.block.get()).collect()
}

/// A directory entry: where it is and where it leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) dir: u32,
    pub(crate) block: u64,
    pub(crate) offset: usize,
    pub(crate) child: u32,
}

impl Image {
    /// The entry a path ends with.
    pub(crate) fn entry(&self, path: &str) -> Entry {
        let mut found = None;
        let mut dir = 2;
        for name in path.split('/').filter(|n| !n.is_empty()) {
            let entry = self
                .entry_in(dir, name)
                .unwrap_or_else(|| panic!("no {name} in {path}"));
            dir = entry.child;
            found = Some(entry);
        }
        found.expect("a path")
    }

    fn entry_in(&self, dir: u32, name: &str) -> Option<Entry> {
        let format = DirFormat {
            csum_tail: false,
            ..self.dir_format()
        };
        data_blocks(self, dir, &mut Vec::new())
            .into_iter()
            .find_map(|(_, block)| {
                dir::entries(self.block(block), &format)
                    .filter_map(Result::ok)
                    .find_map(|e| {
                        let child = e.inode.filter(|_| e.name == name.as_bytes())?.get();
                        Some(Entry {
                            dir,
                            block,
                            offset: e.offset,
                            child,
                        })
                    })
            })
    }

    /// The inode a path leads to.
    pub(crate) fn lookup(&self, path: &str) -> u32 {
        self.entry(path).child
    }

    /// Edits the record of an entry; the slice begins with it.
    pub(crate) fn edit_entry(&mut self, path: &str, edit: impl FnOnce(&mut [u8])) {
        let e = self.entry(path);
        self.dir_block(e.dir, e.block, None, |b| edit(&mut b[e.offset..]));
    }

    /// The data blocks of the file a path leads to, as (logical, physical).
    pub(crate) fn blocks_of(&self, path: &str) -> Vec<(u32, u64)> {
        data_blocks(self, self.lookup(path), &mut Vec::new())
    }

    /// The extent blocks of the file a path leads to.
    pub(crate) fn extent_blocks_of(&self, path: &str) -> Vec<u64> {
        let mut found = Vec::new();
        data_blocks(self, self.lookup(path), &mut found);
        found
            .iter()
            .filter_map(|b| match b {
                Block::Extent { block, .. } => Some(*block),
                _ => None,
            })
            .collect()
    }
}
