//! Real images: a file's tree is written into an image made by mke2fs, and judged by `e2fsck -fn` and
//! by the extent listing of debugfs.
//!
//! e2fsck reports trees that "could be narrower" or "could be shorter" even under `-n`, but leaves with
//! status 0: trees that change are never as narrow as they could be. "Shorter" must not come up.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use e4_extent::*;
use e4_format::extent::{Node, capacity_block, stamp_extent_block, verify_extent_block};
use e4_format::units::InodeNo;
use e4_format::{
    BgFlags, Bitmap, BitmapMut, FsBlock, GroupDesc, GroupNo, Inode, Superblock, bitmap,
};

use e4_judges::run;

use crate::model::{Model, Rng, Unwritten, Written, extent, range, ranges_of};

/// The file that debugfs makes in a fresh image.
const INO: u32 = 12;

/// An image in memory, and the tree of one of its files.
struct Image {
    bytes: Vec<u8>,
    sb: Superblock,
    inode: Inode,
    /// Blocks free in the fresh image: data is taken from the front, nodes from the back.
    free: Vec<u64>,
    next_data: usize,
    nodes: BTreeSet<u64>,
    free_nodes: Vec<u64>,
}

#[derive(Debug, PartialEq, Eq)]
struct Full;

impl Image {
    fn make(path: &Path, block_size: u32, features: &str) -> Option<Self> {
        let file = path.to_str().unwrap();
        let size = if block_size > 4096 { "256M" } else { "48M" };
        let bs = block_size.to_string();
        let args = [
            "-q", "-F", "-t", "ext4", "-b", &bs, "-O", features, file, size,
        ];
        let made = run("mke2fs", &args)?;
        assert!(made.status.success(), "{made:?}");
        run("debugfs", &["-w", "-R", "write /dev/null f", file])?;
        let bytes = std::fs::read(path).unwrap();
        let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).unwrap();
        let mut image = Self {
            bytes,
            inode: Inode::empty(&sb),
            sb,
            free: Vec::new(),
            next_data: 0,
            nodes: BTreeSet::new(),
            free_nodes: Vec::new(),
        };
        let at = image.inode_at();
        let ino = InodeNo::new(INO).unwrap();
        image.inode = Inode::decode(&image.bytes[at..], &image.sb, ino).unwrap();
        assert!(
            image.inode.has_extents() && image.inode.size == 0,
            "not the file of debugfs"
        );
        image.collect_free();
        Some(image)
    }

    fn block_len(&self) -> usize {
        self.sb.block_size().len()
    }

    fn at(&self, block: FsBlock) -> usize {
        usize::try_from(block.get()).unwrap() * self.block_len()
    }

    fn desc_at(&self, group: GroupNo) -> usize {
        let (n, within) = self.sb.desc_location(group).unwrap();
        self.at(self.sb.gdt_block(n).unwrap()) + within
    }

    fn desc(&self, group: GroupNo) -> GroupDesc {
        GroupDesc::decode(&self.bytes[self.desc_at(group)..], &self.sb, group).unwrap()
    }

    fn inode_at(&self) -> usize {
        let place = self.sb.inode_location(InodeNo::new(INO).unwrap()).unwrap();
        let table = self.desc(place.group).inode_table.get() + u64::from(place.table_block);
        self.at(FsBlock::new(table)) + place.offset
    }

    fn collect_free(&mut self) {
        for group in self.sb.group_numbers() {
            let desc = self.desc(group);
            let from = self.at(desc.block_bitmap);
            let mut map = self.bytes[from..from + self.block_len()].to_vec();
            if desc.flags.contains(BgFlags::BLOCK_UNINIT) {
                bitmap::init_block_bitmap(&mut map, &self.sb, group, &desc);
            }
            let first = self.sb.group_first_block(group).unwrap().get();
            let blocks = self.sb.blocks_in_group(group);
            let view = Bitmap::new(&map, blocks);
            self.free.extend(
                (0..blocks)
                    .filter(|&b| !view.test(b))
                    .map(|b| first + u64::from(b)),
            );
        }
        // Far from the data, so that extents of both kinds get large block numbers.
        let nodes = self.free.len() / 4;
        self.free_nodes = self.free.split_off(self.free.len() - nodes);
    }

    /// A run of free blocks, and sometimes a gap before it.
    fn take(&mut self, len: u32, rng: &mut Rng) -> u64 {
        loop {
            self.next_data += usize::from(rng.below(3) == 0);
            let run = &self.free[self.next_data..self.next_data + len as usize];
            let (first, last) = (run[0], run[run.len() - 1]);
            self.next_data += len as usize;
            if last - first + 1 == u64::from(len) {
                return first;
            }
        }
    }

    /// Accounts for every block of the file and writes the image.
    fn save(&self, path: &Path, census: &Census) {
        let mut bytes = self.bytes.clone();
        let data = census
            .extents
            .iter()
            .flat_map(|e| (0..e.len).map(|i| e.start.get() + u64::from(i)));
        let used: Vec<u64> = data.chain(self.nodes.iter().copied()).collect();
        for group in self.sb.group_numbers() {
            self.account(group, &used, &mut bytes);
        }
        let mut sb = self.sb.clone();
        sb.set_free_blocks_count(sb.free_blocks_count() - used.len() as u64);
        bytes[1024..2048].copy_from_slice(&sb.encode());
        let mut inode = self.inode.clone();
        let end = census.extents.last().map_or(0, |e| e.end());
        inode.size = u64::from(end) * u64::from(self.sb.block_size().bytes());
        inode.sectors = used.len() as u64 * u64::from(self.sb.block_size().bytes() / 512);
        let at = self.inode_at();
        inode
            .encode(&mut bytes[at..], &self.sb, InodeNo::new(INO).unwrap())
            .unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn account(&self, group: GroupNo, used: &[u64], bytes: &mut [u8]) {
        let mine = |&b: &u64| {
            self.sb
                .group_of_block(FsBlock::new(b))
                .filter(|(g, _)| *g == group)
        };
        let bits: Vec<u32> = used.iter().filter_map(mine).map(|(_, bit)| bit).collect();
        if bits.is_empty() {
            return;
        }
        let mut desc = self.desc(group);
        let from = self.at(desc.block_bitmap);
        let map = &mut bytes[from..from + self.block_len()];
        if desc.flags.contains(BgFlags::BLOCK_UNINIT) {
            bitmap::init_block_bitmap(map, &self.sb, group, &desc);
            desc.flags.remove(BgFlags::BLOCK_UNINIT);
        }
        let mut view = BitmapMut::new(map, self.sb.blocks_in_group(group));
        for &bit in &bits {
            assert!(view.set(bit), "block taken twice");
        }
        desc.free_blocks_count -= u32::try_from(bits.len()).unwrap();
        desc.block_bitmap_csum = bitmap::block_bitmap_csum(&self.sb, map);
        let at = self.desc_at(group);
        desc.encode(&mut bytes[at..], &self.sb, group).unwrap();
    }

    fn csum_seed(&self) -> u32 {
        self.inode.csum_seed(&self.sb, InodeNo::new(INO).unwrap())
    }
}

impl NodeRead for Image {
    type Error = Full;
    type Node = Arc<[u8]>;

    fn node_entries(&self) -> u16 {
        capacity_block(self.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        &self.inode.i_block
    }

    fn read(&self, at: FsBlock) -> Result<Arc<[u8]>, Full> {
        assert!(self.nodes.contains(&at.get()), "{at} is no node");
        let bytes = &self.bytes[self.at(at)..self.at(at) + self.block_len()];
        if self.sb.has_metadata_csum() {
            verify_extent_block(bytes, self.csum_seed()).unwrap();
        }
        Node::parse(bytes).unwrap();
        Ok(bytes.into())
    }
}

impl NodeStore for Image {
    fn alloc_node(&mut self, _goal: FsBlock) -> Result<FsBlock, Full> {
        let at = self.free_nodes.pop().ok_or(Full)?;
        self.nodes.insert(at);
        Ok(FsBlock::new(at))
    }

    fn return_node(&mut self, at: FsBlock) {
        self.nodes.remove(&at.get());
        self.free_nodes.push(at.get());
    }

    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<(), Full> {
        let (from, len, seed) = (self.at(at), self.block_len(), self.csum_seed());
        let block = &mut self.bytes[from..from + len];
        block.fill(0);
        block[..bytes.len()].copy_from_slice(bytes);
        if self.sb.has_metadata_csum() {
            stamp_extent_block(block, seed).unwrap();
        }
        Ok(())
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Full> {
        self.inode.i_block = *root;
        Ok(())
    }

    fn free_node(&mut self, at: FsBlock) -> Result<(), Full> {
        assert!(self.nodes.remove(&at.get()), "freed twice");
        self.free_nodes.push(at.get());
        Ok(())
    }
}

/// Has the image checked; what e2fsck said about optimising.
fn fsck(path: &Path) -> Option<bool> {
    let out = run("e2fsck", &["-fn", path.to_str().unwrap()])?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert_eq!(out.status.code(), Some(0), "{text}");
    assert!(!text.contains("could be shorter"), "{text}");
    let quiet = ["-fn", "-E", "no_optimize_extents", path.to_str().unwrap()];
    let silent = String::from_utf8_lossy(&run("e2fsck", &quiet)?.stdout).into_owned();
    assert!(!silent.contains('?'), "{silent}");
    Some(text.contains("could be narrower"))
}

/// The leaves' extents as debugfs lists them: logical, physical, length, unwritten.
fn listing(path: &Path) -> Option<Vec<(u64, u64, u64, bool)>> {
    let out = run(
        "debugfs",
        &["-R", "dump_extents -l f", path.to_str().unwrap()],
    )?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let row = |line: &str| {
        let unwritten = line.contains("Uninit");
        let line = line.replace(['/', '-'], " ").replace("Uninit", "");
        let n: Vec<u64> = line
            .split_whitespace()
            .map(|w| w.parse().unwrap())
            .collect();
        // level, levels, entry, entries, logical from, to, physical from, to, length
        (n[4], n[6], n[8], unwritten)
    };
    Some(text.lines().skip(1).map(row).collect())
}

/// One random life of a file, checked on the way.
fn live(block_size: u32, features: &str, seed: u64) -> Option<(u32, u32)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut image = Image::make(&path, block_size, features)?;
    let mut rng = Rng(seed);
    let blocks = 3000;
    let mut model = Model(vec![None; blocks]);
    let (mut checks, mut narrower, mut deepest) = (0, 0, 0);
    let steps = if block_size > 4096 { 400 } else { 1600 };
    for step in 0..steps {
        match rng.below(10) {
            0..4 => {
                let from = rng.below(blocks);
                let hole = model.0[from..]
                    .iter()
                    .take(4)
                    .take_while(|c| c.is_none())
                    .count();
                if hole > 0 && image.next_data + 100 < image.free.len() {
                    let len = u32::try_from(1 + rng.below(hole)).unwrap();
                    let state = if rng.below(3) == 0 {
                        Written
                    } else {
                        Unwritten
                    };
                    let new = extent(from, len, image.take(len, &mut rng), state);
                    insert(&mut image, &new).unwrap();
                    model.insert(&new);
                }
            }
            4..9 => {
                let some = (0..1 + rng.below(30)).map(|_| rng.below(blocks)).collect();
                let ranges = ranges_of(some);
                convert(&mut image, &ranges, ConvertOptions::default()).unwrap();
                for r in ranges {
                    model.convert(r.blocks.start.get() as usize, r.blocks.end.get() as usize);
                }
            }
            _ => {
                let from = rng.below(blocks);
                // Towards the end everything goes.
                let most = if step > steps - 200 { 600 } else { 6 };
                let to = (from + 1 + rng.below(most)).min(blocks);
                remove(&mut image, range(from, to), RemoveLimits::default()).unwrap();
                model.remove(from, to);
            }
        }
        if step % (steps / 8) == 0 || step + 1 == steps {
            let census = verify(&image).unwrap();
            deepest = deepest.max(census.depth);
            image.save(&path, &census);
            narrower += u32::from(fsck(&path)?);
            let mine: Vec<_> = census
                .extents
                .iter()
                .map(|e| {
                    let (block, len) = (u64::from(e.block.get()), u64::from(e.len));
                    (block, e.start.get(), len, e.state == Unwritten)
                })
                .collect();
            assert_eq!(listing(&path)?, mine);
            checks += 1;
        }
    }
    eprintln!(
        "e2fsck: {block_size}-byte blocks, {features}: {checks} images clean, depth up to {deepest}, {narrower} could be narrower"
    );
    Some((checks, u32::from(deepest)))
}

#[test]
fn images_are_clean() {
    let mut deepest = 0;
    for (block_size, features, seed) in [
        (1024, "metadata_csum,64bit", 1),
        (1024, "^metadata_csum,^64bit", 2),
        (1024, "^metadata_csum,uninit_bg,^flex_bg", 3),
        (2048, "metadata_csum", 4),
        (4096, "metadata_csum,metadata_csum_seed", 5),
        (4096, "^metadata_csum,^has_journal", 6),
        (65536, "metadata_csum", 7),
    ] {
        let Some((_, depth)) = live(block_size, features, seed) else {
            return;
        };
        deepest = deepest.max(depth);
    }
    assert!(deepest >= 2, "no deep tree was judged");
}
