//! Images made by mke2fs, and directories carried between them and [`MemDir`].
//!
//! Directories are made longer by debugfs, which keeps bitmaps and counts right; their contents and
//! the few inode fields that follow from them are then patched through `e4-format`.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use e4_dir::DirContext;
use e4_format::extent::Node;
use e4_format::features::IncompatFeatures;
use e4_format::superblock::{RawSuperblock, SUPERBLOCK_OFFSET};
use e4_format::{
    ByteOffset, FsBlock, GroupDesc, Inode, InodeFlags, InodeNo, Superblock, csum_seed_for,
};

use super::MemDir;
use super::oracle::{run, tool};

/// An image file.
pub struct Image {
    pub path: PathBuf,
    file: File,
    pub sb: Superblock,
    large_dir: bool,
}

impl Image {
    /// A new image with the contents of `from`.
    pub fn create(path: &Path, mib: u64, args: &[&str], from: &Path) -> Self {
        File::create(path)
            .expect("create")
            .set_len(mib << 20)
            .expect("length");
        run(tool("mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .args(args)
            .arg("-d")
            .arg(from)
            .arg(path));
        Self::open(path)
    }

    pub fn open(path: &Path) -> Self {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .expect("open");
        let mut bytes = [0; 1024];
        file.read_exact_at(&mut bytes, SUPERBLOCK_OFFSET)
            .expect("superblock");
        let mut raw = RawSuperblock::from_disk(&bytes);
        // Images with large_dir are not mountable yet; their structures do not differ.
        let bits = raw.s_feature_incompat.get();
        let large_dir = bits & IncompatFeatures::LARGE_DIR.bits() != 0;
        raw.s_feature_incompat
            .set(bits & !IncompatFeatures::LARGE_DIR.bits());
        let sb = Superblock::from_raw(raw).expect("superblock");
        Self {
            path: path.to_path_buf(),
            file,
            sb,
            large_dir,
        }
    }

    fn byte_of(&self, block: FsBlock) -> u64 {
        self.sb
            .block_size()
            .byte_of(block)
            .map_or(0, ByteOffset::get)
    }

    fn read_block(&self, block: FsBlock) -> Vec<u8> {
        let mut bytes = vec![0; self.sb.block_size().len()];
        self.file
            .read_exact_at(&mut bytes, self.byte_of(block))
            .expect("read");
        bytes
    }

    fn inode_place(&self, ino: InodeNo) -> u64 {
        let place = self.sb.inode_location(ino).expect("inode number");
        let (n, offset) = self.sb.desc_location(place.group).expect("group");
        let gdt = self.read_block(self.sb.gdt_block(n).expect("descriptors"));
        let desc = GroupDesc::decode(&gdt[offset..], &self.sb, place.group).expect("descriptor");
        let block = desc
            .inode_table
            .checked_add(place.table_block.into())
            .expect("block");
        self.byte_of(block) + place.offset as u64
    }

    fn inode_bytes(&self, ino: InodeNo) -> Vec<u8> {
        let mut bytes = vec![0; self.sb.inode_size()];
        self.file
            .read_exact_at(&mut bytes, self.inode_place(ino))
            .expect("inode");
        bytes
    }

    pub fn inode(&self, ino: InodeNo) -> Inode {
        Inode::decode(&self.inode_bytes(ino), &self.sb, ino).expect("inode")
    }

    /// Changes an inode.
    pub fn update(&self, ino: InodeNo, change: impl FnOnce(&mut Inode)) {
        let (mut bytes, mut inode) = (self.inode_bytes(ino), self.inode(ino));
        change(&mut inode);
        inode.encode(&mut bytes, &self.sb, ino).expect("encode");
        self.file
            .write_all_at(&bytes, self.inode_place(ino))
            .expect("write");
    }

    /// Adds to a link count.
    pub fn add_links(&self, ino: InodeNo, n: i32) {
        self.update(ino, |inode| {
            let count = i32::from(inode.links_count) + n;
            inode.links_count = u16::try_from(count).expect("links");
        });
    }

    /// The blocks of a file, in order; panics on holes.
    fn blocks_of(&self, inode: &Inode) -> Vec<FsBlock> {
        assert!(inode.flags.contains(InodeFlags::EXTENTS), "a block map");
        let mut blocks = Vec::new();
        self.blocks_below(&inode.i_block, &mut blocks);
        blocks
    }

    fn blocks_below(&self, node: &[u8], blocks: &mut Vec<FsBlock>) {
        let node = Node::parse(node).expect("extent node");
        for e in node.extents() {
            assert_eq!(e.block.get() as usize, blocks.len(), "a hole");
            blocks.extend((0..e.len).map(|i| e.start.checked_add(i.into()).expect("block")));
        }
        for i in node.indexes() {
            self.blocks_below(&self.read_block(i.leaf), blocks);
        }
    }

    /// Takes a directory into memory.
    pub fn load(&self, ino: InodeNo) -> MemDir {
        let inode = self.inode(ino);
        let seed = csum_seed_for(&self.sb, ino, inode.generation);
        let mut cx = DirContext::new(&self.sb, seed);
        cx.large_dir = self.large_dir;
        let mut dir = MemDir::new(cx);
        dir.indexed = inode.flags.contains(InodeFlags::INDEX);
        dir.blocks = self
            .blocks_of(&inode)
            .iter()
            .map(|b| Rc::new(self.read_block(*b)))
            .collect();
        assert_eq!(
            inode.size,
            (dir.blocks.len() * self.sb.block_size().len()) as u64
        );
        dir
    }

    /// Puts a directory back, making it longer where it grew. The image is read again then.
    pub fn save(&mut self, ino: InodeNo, dir: &MemDir) {
        let there = self.blocks_of(&self.inode(ino)).len();
        if dir.blocks.len() > there {
            let mut commands = tempfile::NamedTempFile::new().expect("command file");
            for _ in there..dir.blocks.len() {
                writeln!(commands, "expand_dir <{ino}>").expect("command");
            }
            run(tool("debugfs")
                .args(["-w", "-f"])
                .arg(commands.path())
                .arg(&self.path));
            *self = Self::open(&self.path);
        }
        let blocks = self.blocks_of(&self.inode(ino));
        assert_eq!(blocks.len(), dir.blocks.len());
        for (at, bytes) in blocks.iter().zip(&dir.blocks) {
            self.file
                .write_all_at(bytes, self.byte_of(*at))
                .expect("write");
        }
        self.update(ino, |inode| {
            if dir.indexed {
                inode.flags.insert(InodeFlags::INDEX);
            } else {
                inode.flags.remove(InodeFlags::INDEX);
            }
        });
    }

    /// Follows a path, with the code under test.
    pub fn find(&self, path: &str) -> InodeNo {
        path.split('/').fold(InodeNo::ROOT, |at, name| {
            let found = e4_dir::lookup(&self.load(at), name.as_bytes()).expect("lookup");
            found.unwrap_or_else(|| panic!("{name} of {path}")).inode
        })
    }
}
