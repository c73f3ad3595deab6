//! Images made by mke2fs over the matrix of block sizes and features, and a minimal reader for them.

use crate::oracle;
use e4_format::extent::Node;
use e4_format::{
    BlockSize, Extent, FileBlock, FsBlock, GroupDesc, GroupNo, Inode, InodeNo, Superblock, extent,
};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) name: &'static str,
    pub(crate) block_size: u32,
    pub(crate) features: &'static str,
    pub(crate) inode_size: u32,
}

/// Every feature set; each is built with blocks of 1, 2 and 4 KiB.
#[rustfmt::skip]
const FEATURES: [(&str, &str, u32); 13] = [
    ("all", "orphan_file,metadata_csum_seed", 256),
    ("defaults", "", 256),
    ("no-64bit", "^64bit,orphan_file", 256),
    ("no-csum-seed", "orphan_file", 256),
    ("uninit-bg", "^metadata_csum,uninit_bg", 256),
    ("uninit-bg-32", "^metadata_csum,uninit_bg,^64bit", 256),
    ("no-csum", "^metadata_csum,orphan_file", 256),
    ("no-flex-bg", "^flex_bg", 256),
    ("no-resize", "^resize_inode,^dir_index", 256),
    ("small-inodes", "^extra_isize", 128),
    ("no-journal", "^has_journal,metadata_csum_seed", 512),
    ("sparse2", "sparse_super2,^resize_inode", 256),
    ("no-sparse", "^sparse_super,^resize_inode,^huge_file", 1024),
];

pub(crate) fn matrix() -> impl Iterator<Item = Config> {
    [1024, 2048, 4096].into_iter().flat_map(|block_size| {
        FEATURES.map(|(name, features, inode_size)| Config {
            name,
            block_size,
            features,
            inode_size,
        })
    })
}

/// An image in memory, and its file.
pub(crate) struct Image {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) sb: Superblock,
    pub(crate) descs: Vec<GroupDesc>,
}

pub(crate) const ATTRIBUTE: &str = "user.colour";
pub(crate) const ATTRIBUTE_VALUE: &str = "green";

/// An image as mke2fs leaves it; `None` without mke2fs.
pub(crate) fn fresh(config: Config) -> Option<Image> {
    build(config, None)
}

/// An image with files of every kind, htrees two levels deep (with blocks of 1 KiB), deep extent trees,
/// unwritten extents and attributes. Clean according to e2fsck.
pub(crate) fn populated(config: Config) -> Option<Image> {
    let source = tempfile::tempdir().unwrap();
    fill(source.path());
    let image = build(config, Some(source.path()))?;
    let mut script = String::from("fallocate /prealloc 0 200\nfallocate /prealloc 1000 1300\n");
    for n in 0..400 {
        script += &format!("punch /frag {0} {0}\n", 2 * n + 1);
    }
    let large = image.dir.path().join("value");
    fs::write(&large, vec![b'v'; 700]).unwrap();
    script += &format!("ea_set /small {ATTRIBUTE} {ATTRIBUTE_VALUE}\n");
    script += &format!("ea_set -f {} /large-attr user.large\n", large.display());
    oracle::debugfs_write(&image.path, &script)?;
    oracle::e2fsck(&image.path, "-fyD")?;
    let report = oracle::e2fsck(&image.path, "-fn")?;
    assert!(report.contains("files"), "{report}");
    Some(Image::open(image.dir, image.path))
}

fn fill(root: &std::path::Path) {
    fs::write(root.join("small"), b"small\n").unwrap();
    fs::write(root.join("large-attr"), b"").unwrap();
    fs::write(root.join("prealloc"), b"").unwrap();
    let data: Vec<u8> = (0u32..=4095).flat_map(u32::to_le_bytes).collect();
    fs::write(root.join("frag"), data.repeat(200)).unwrap();
    std::os::unix::fs::symlink("small", root.join("short-link")).unwrap();
    std::os::unix::fs::symlink("x/".repeat(100), root.join("long-link")).unwrap();
    let many = root.join("many");
    fs::create_dir(&many).unwrap();
    for n in 0..700 {
        fs::write(many.join(format!("{n:04}-{}", "n".repeat(190))), b"").unwrap();
    }
    for n in 0..20 {
        fs::create_dir(many.join(format!("dir-{n}"))).unwrap();
    }
    fs::write(many.join("h\u{f6}chste-\u{6587}\u{4ef6}"), b"").unwrap();
}

fn build(config: Config, source: Option<&std::path::Path>) -> Option<Image> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let (bs, inode_size) = (config.block_size.to_string(), config.inode_size.to_string());
    let mut args = vec!["-q", "-F", "-t", "ext4", "-b", &bs, "-I", &inode_size];
    // Groups of 8 MiB whatever the block size.
    let per_group = (8 * 1024 * 1024 / config.block_size).to_string();
    args.extend(["-N", "2048", "-L", "volume", "-g", &per_group]);
    if !config.features.is_empty() {
        args.extend(["-O", config.features]);
    }
    if config.inode_size == 128 {
        args.extend(["-E", "nodiscard,lazy_itable_init=0"]);
    }
    if let Some(source) = source {
        args.extend(["-d", source.to_str().unwrap()]);
    }
    args.extend([path.to_str().unwrap(), "24M"]);
    oracle::text("mke2fs", &args)?;
    Some(Image::open(dir, path))
}

impl Image {
    pub(crate) fn open(dir: TempDir, path: PathBuf) -> Self {
        let bytes = fs::read(&path).unwrap();
        let sb = Superblock::parse(bytes[1024..].first_chunk().unwrap()).unwrap();
        sb.check_device(bytes.len() as u64).unwrap();
        let descs = sb.group_numbers().map(|g| {
            let (n, at) = sb.desc_location(g).unwrap();
            let block = slice(&bytes, sb.block_size(), sb.gdt_block(n).unwrap());
            GroupDesc::decode(&block[at..], &sb, g).unwrap()
        });
        let descs = descs.collect();
        Self {
            dir,
            path,
            sb,
            descs,
            bytes,
        }
    }

    pub(crate) fn block(&self, block: FsBlock) -> &[u8] {
        slice(&self.bytes, self.sb.block_size(), block)
    }

    pub(crate) fn block_mut(&mut self, block: FsBlock) -> &mut [u8] {
        let bs = self.sb.block_size();
        let at = bs.byte_of(block).unwrap().get() as usize;
        &mut self.bytes[at..at + bs.len()]
    }

    pub(crate) fn save(&self) {
        fs::write(&self.path, &self.bytes).unwrap();
    }

    pub(crate) fn desc(&self, group: GroupNo) -> &GroupDesc {
        &self.descs[group.get() as usize]
    }

    pub(crate) fn inode_bytes(&self, ino: InodeNo) -> &[u8] {
        let at = self.sb.inode_location(ino).unwrap();
        let table = self.desc(at.group).inode_table;
        let block = table.checked_add(at.table_block.into()).unwrap();
        &self.block(block)[at.offset..at.offset + self.sb.inode_size()]
    }

    pub(crate) fn inode(&self, ino: InodeNo) -> Inode {
        Inode::decode(self.inode_bytes(ino), &self.sb, ino).unwrap()
    }

    pub(crate) fn lookup(&self, dir: InodeNo, name: &[u8]) -> Option<InodeNo> {
        let format = self.sb.dir_format();
        self.dir_blocks(dir).into_iter().find_map(|(_, b)| {
            let whole = e4_format::htree::block_kind(self.block(b), &format).is_some();
            let format = e4_format::dir::DirFormat {
                csum_tail: format.csum_tail && !whole,
                ..format
            };
            e4_format::dir::find(self.block(b), &format, name)
                .unwrap()
                .and_then(|e| e.inode)
        })
    }

    /// Logical and physical blocks of a directory (or of any file), in order.
    pub(crate) fn dir_blocks(&self, ino: InodeNo) -> Vec<(FileBlock, FsBlock)> {
        let (extents, _) = self.extents(ino);
        let blocks = extents.iter().flat_map(|e| {
            (0..e.len).map(|n| {
                let block = e.block.checked_add(n).unwrap();
                (block, e.physical(block).unwrap())
            })
        });
        blocks.collect()
    }

    /// All extents of an inode, and the blocks of its tree with their checksums verified.
    pub(crate) fn extents(&self, ino: InodeNo) -> (Vec<Extent>, Vec<FsBlock>) {
        let inode = self.inode(ino);
        assert!(inode.has_extents(), "inode {ino}");
        let seed = inode.csum_seed(&self.sb, ino);
        let (mut extents, mut nodes) = (Vec::new(), Vec::new());
        let root = Node::parse(&inode.i_block).unwrap();
        self.descend(root, seed, None, &mut extents, &mut nodes);
        (extents, nodes)
    }

    fn descend(
        &self,
        node: Node<'_>,
        seed: u32,
        to: Option<FileBlock>,
        extents: &mut Vec<Extent>,
        nodes: &mut Vec<FsBlock>,
    ) {
        extents.extend(node.extents());
        for (i, index) in node.indexes().enumerate() {
            let to = node.index(i + 1).map(|next| next.block).or(to);
            let block = self.block(index.leaf);
            if self.sb.has_metadata_csum() {
                extent::verify_extent_block(block, seed).unwrap();
            }
            let child = Node::parse(block).unwrap();
            child
                .check_place(node.depth() - 1, index.block, to)
                .unwrap();
            nodes.push(index.leaf);
            self.descend(child, seed, to, extents, nodes);
        }
    }

    /// All inode numbers in use, according to the inode bitmaps.
    pub(crate) fn inodes_in_use(&self) -> Vec<InodeNo> {
        let per = self.sb.inodes_per_group();
        let mut used = Vec::new();
        for group in self.sb.group_numbers() {
            let desc = self.desc(group);
            if desc.flags.contains(e4_format::BgFlags::INODE_UNINIT) {
                continue;
            }
            let map = e4_format::Bitmap::new(self.block(desc.inode_bitmap), per);
            let bits = (0..per).filter(|bit| map.test(*bit));
            used.extend(bits.map(|bit| InodeNo::new(group.get() * per + bit + 1).unwrap()));
        }
        used
    }
}

fn slice(bytes: &[u8], bs: BlockSize, block: FsBlock) -> &[u8] {
    let at = bs.byte_of(block).unwrap().get() as usize;
    &bytes[at..at + bs.len()]
}
