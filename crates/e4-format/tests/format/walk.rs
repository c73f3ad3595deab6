//! Every structure of an image from mke2fs parses, verifies, and is encoded to the same bytes.

use crate::image::{ATTRIBUTE, ATTRIBUTE_VALUE, Image, fresh, matrix, populated};
use e4_format::dir::{self, DirFormat};
use e4_format::extent::{self, Node};
use e4_format::htree::{self, DxKind, DxNode, DxRootInfo};
use e4_format::jbd2::JournalSuperblock;
use e4_format::{
    BgFlags, Bitmap, ExtentIndex, ExtentState, FileType, GroupDesc, GroupNo, Inode, InodeFlags,
    InodeNo, Superblock, bitmap, orphan, xattr,
};

#[test]
fn fresh_images() {
    for config in matrix() {
        eprintln!("{config:?}");
        let Some(image) = fresh(config) else { return };
        everything(&image);
        root_and_lost_found_from_scratch(&image);
        journal_superblock(&image);
    }
}

#[test]
fn populated_images() {
    let (mut deepest, mut htree_nodes, mut unwritten, mut attributes) = (0, 0, 0, 0);
    for config in matrix().filter(|c| !matches!(c.name, "no-flex-bg" | "no-sparse")) {
        eprintln!("{config:?}");
        let Some(image) = populated(config) else {
            return;
        };
        let seen = everything(&image);
        deepest = deepest.max(seen.depth);
        htree_nodes += seen.htree_nodes;
        unwritten += seen.unwritten;
        attributes += seen.attributes;
    }
    assert_eq!(deepest, 2, "no deep extent tree was among the images");
    assert!(htree_nodes > 0 && unwritten > 0 && attributes > 0);
}

#[derive(Default)]
struct Seen {
    depth: u16,
    htree_nodes: usize,
    unwritten: usize,
    attributes: usize,
}

fn everything(image: &Image) -> Seen {
    superblocks(image);
    group_descriptors(image);
    bitmaps(image);
    let mut seen = Seen::default();
    for ino in image.inodes_in_use() {
        inode(image, ino, &mut seen);
    }
    orphan_file(image);
    seen
}

fn superblocks(image: &Image) {
    assert_eq!(image.sb.encode(), image.bytes[1024..2048]);
    assert_eq!(image.sb.label(), b"volume");
    let mut backups = 0;
    for group in image.sb.group_numbers().skip(1) {
        let block = image.block(image.sb.group_first_block(group).unwrap());
        let is_copy = block[0x38..0x3A] == [0x53, 0xEF];
        assert_eq!(image.sb.has_super_backup(group), is_copy, "group {group}");
        if is_copy {
            let copy = Superblock::parse(block.first_chunk().unwrap()).unwrap();
            assert_eq!(u32::from(copy.raw().s_block_group_nr.get()), group.get());
            assert_eq!(copy.encode(), block[..1024]);
            backups += 1;
        }
    }
    assert!(backups > 0 || image.sb.groups() == 1);
}

fn group_descriptors(image: &Image) {
    let sb = &image.sb;
    let size = sb.desc_size();
    for group in sb.group_numbers() {
        let (n, at) = sb.desc_location(group).unwrap();
        let original = &image.block(sb.gdt_block(n).unwrap())[at..at + size];
        let desc = GroupDesc::decode(original, sb, group).unwrap();
        let mut encoded = vec![0; size];
        desc.encode(&mut encoded, sb, group).unwrap();
        assert_eq!(encoded, original, "group {group}");
    }
    let free: u64 = image
        .descs
        .iter()
        .map(|d| u64::from(d.free_blocks_count))
        .sum();
    assert_eq!(free, sb.free_blocks_count());
    let free: u32 = image.descs.iter().map(|d| d.free_inodes_count).sum();
    assert_eq!(free, sb.free_inodes_count());
}

fn bitmaps(image: &Image) {
    let sb = &image.sb;
    for group in sb.group_numbers() {
        let desc = image.desc(group);
        let mut blocks = image.block(desc.block_bitmap).to_vec();
        let mut inodes = image.block(desc.inode_bitmap).to_vec();
        if desc.flags.contains(BgFlags::BLOCK_UNINIT) {
            bitmap::init_block_bitmap(&mut blocks, sb, group, desc);
        } else {
            bitmap::verify_block_bitmap(sb, group, desc, &blocks).unwrap();
        }
        if desc.flags.contains(BgFlags::INODE_UNINIT) {
            bitmap::init_inode_bitmap(&mut inodes, sb);
        } else {
            bitmap::verify_inode_bitmap(sb, group, desc, &inodes).unwrap();
        }
        let len = sb.blocks_in_group(group);
        let free = Bitmap::new(&blocks, len).count_zeros(0..len);
        assert_eq!(free, desc.free_blocks_count, "group {group}");
        let free = Bitmap::new(&inodes, sb.inodes_per_group()).count_zeros(0..u32::MAX);
        assert_eq!(free, desc.free_inodes_count, "group {group}");
        // Padding belongs to nobody.
        let all = sb.block_size().bytes() * 8;
        assert_eq!(
            Bitmap::new(&blocks, all).count_zeros(len..all),
            0,
            "group {group}"
        );
    }
}

fn inode(image: &Image, ino: InodeNo, seen: &mut Seen) {
    let sb = &image.sb;
    let original = image.inode_bytes(ino);
    let inode = Inode::decode(original, sb, ino).unwrap();
    let mut encoded = original.to_vec();
    // What we know is written whatever was there before; the checksum too.
    encoded[..0x20].fill(0xFF);
    encoded[0x28..0x6C].fill(0xFF);
    if sb.has_metadata_csum() {
        encoded[0x7C] ^= 0x55;
    }
    inode.encode(&mut encoded, sb, ino).unwrap();
    assert_eq!(encoded, original, "inode {ino}");
    for x in xattr::in_inode(original, inode.extra_isize) {
        seen.attributes += 1;
        let x = x.unwrap();
        if x.name == b"colour" {
            assert_eq!(x.value, ATTRIBUTE_VALUE.as_bytes());
            let name = x.namespace.prefix().unwrap().to_owned() + "colour";
            assert_eq!(name, ATTRIBUTE);
        }
    }
    if let Some(at) = inode.file_acl {
        attribute_block(image, at, seen);
    }
    if inode.has_extents() {
        extents(image, ino, &inode, seen);
    }
    match inode.file_type() {
        Some(FileType::Directory) => directory(image, ino, &inode, seen),
        Some(FileType::Symlink) if inode.size < 60 => {
            assert_eq!(inode.fast_symlink(), Some(&b"small"[..]));
        }
        Some(FileType::Symlink) => assert_eq!(inode.fast_symlink(), None),
        _ => {}
    }
}

fn attribute_block(image: &Image, at: e4_format::FsBlock, seen: &mut Seen) {
    let mut block = image.block(at).to_vec();
    for x in xattr::in_block(&block, &image.sb, at).unwrap() {
        seen.attributes += 1;
        let x = x.unwrap();
        if x.name == b"large" {
            assert_eq!(x.value, [b'v'; 700]);
        }
    }
    let count = xattr::block_refcount(&block);
    xattr::set_block_refcount(&mut block, &image.sb, at, count + 1).unwrap();
    assert_ne!(block, image.block(at));
    xattr::set_block_refcount(&mut block, &image.sb, at, count).unwrap();
    assert_eq!(block, image.block(at));
}

fn extents(image: &Image, ino: InodeNo, inode: &Inode, seen: &mut Seen) {
    let sb = &image.sb;
    let seed = inode.csum_seed(sb, ino);
    let (extents, nodes) = image.extents(ino);
    seen.unwritten += extents
        .iter()
        .filter(|e| e.state == ExtentState::Unwritten)
        .count();
    rewrite_node(&inode.i_block, extent::capacity_root());
    seen.depth = seen.depth.max(Node::parse(&inode.i_block).unwrap().depth());
    for at in &nodes {
        let original = image.block(*at);
        rewrite_node(original, extent::capacity_block(sb.block_size()));
        if sb.has_metadata_csum() {
            let mut stamped = original.to_vec();
            let tail = 12 + 12 * usize::from(extent::capacity_block(sb.block_size()));
            stamped[tail..tail + 4].fill(0x55);
            assert!(extent::verify_extent_block(&stamped, seed).is_err());
            extent::stamp_extent_block(&mut stamped, seed).unwrap();
            assert_eq!(stamped, original);
        }
    }
    let per_block = u64::from(sb.block_size().bytes() / 512);
    let data: u64 = extents.iter().map(|e| u64::from(e.len)).sum();
    let attributes = u64::from(inode.file_acl.is_some());
    let tree = nodes.len() as u64;
    assert_eq!(
        inode.sectors,
        (data + tree + attributes) * per_block,
        "inode {ino}"
    );
    for e in &extents {
        assert!(sb.contains_range(e.start, e.len.into()));
        for block in [e.block, e.block.checked_add(e.len - 1).unwrap()] {
            assert!(e.contains(block));
        }
    }
}

/// Header and entries are written as they were; what lies behind them is history.
fn rewrite_node(original: &[u8], max: u16) {
    let node = Node::parse(original).unwrap();
    assert_eq!(node.header().max, max);
    let mut written = vec![0xFF; original.len()];
    let generation = node.header().generation;
    if node.is_leaf() {
        let extents: Vec<_> = node.extents().collect();
        extent::write_leaf(&mut written, &extents, max, generation).unwrap();
    } else {
        let children: Vec<ExtentIndex> = node.indexes().collect();
        extent::write_index(&mut written, &children, node.depth(), max, generation).unwrap();
    }
    let used = 12 + 12 * node.len();
    assert_eq!(written[..used], original[..used]);
    assert!(written[used..].iter().all(|b| *b == 0));
}

fn directory(image: &Image, ino: InodeNo, inode: &Inode, seen: &mut Seen) {
    let format = image.sb.dir_format();
    let seed = inode.csum_seed(&image.sb, ino);
    let indexed = inode.flags.contains(InodeFlags::INDEX);
    let mut names = 0;
    for (n, at) in image.dir_blocks(ino) {
        let block = image.block(at);
        let kind = if indexed {
            htree::block_kind(block, &format)
        } else {
            None
        };
        assert_eq!(
            kind == Some(DxKind::Root),
            indexed && n.get() == 0,
            "inode {ino} block {n}"
        );
        let linear = DirFormat {
            csum_tail: format.csum_tail && kind.is_none(),
            ..format
        };
        let live = dir::entries(block, &linear).filter(|e| e.as_ref().unwrap().inode.is_some());
        names += live.count();
        let mut stamped = block.to_vec();
        match kind {
            Some(kind) => {
                htree::verify(block, kind, &format, seed).unwrap();
                rewrite_table(image, block, kind, seed);
                seen.htree_nodes += usize::from(kind == DxKind::Node);
            }
            None => {
                dir::verify(block, &format, seed).unwrap();
                if format.csum_tail {
                    stamped[format.usable()..].fill(0);
                }
                dir::stamp(&mut stamped, &format, seed).unwrap();
                assert_eq!(stamped, block);
            }
        }
        if indexed && n.get() == 0 {
            index(image, ino, block);
        }
    }
    assert!(names >= 2);
}

fn rewrite_table(image: &Image, block: &[u8], kind: DxKind, seed: u32) {
    let format = image.sb.dir_format();
    let node = DxNode::parse(block, kind, &format).unwrap();
    let pairs: Vec<_> = node.entries().collect();
    let mut written = block.to_vec();
    let table = if kind == DxKind::Root { 0x20 } else { 8 };
    written[table..table + 8 * pairs.len()].fill(0xFF);
    htree::write_table(&mut written, kind, &format, &pairs).unwrap();
    if format.csum_tail {
        let at = table + 8 * node.limit() + 4;
        written[at..at + 4].fill(0x55);
        assert!(htree::verify(&written, kind, &format, seed).is_err());
    }
    htree::stamp(&mut written, kind, &format, seed).unwrap();
    assert_eq!(written, block);

    let mut scratch = vec![0xFF; block.len()];
    if kind == DxKind::Root {
        let find = |name| {
            dir::find(
                block,
                &DirFormat {
                    csum_tail: false,
                    ..format
                },
                name,
            )
        };
        let ino = |name| find(name).unwrap().unwrap().inode.unwrap();
        let info = DxRootInfo::decode(block).unwrap();
        htree::init_root(&mut scratch, &format, ino(b"."), ino(b".."), info, &pairs).unwrap();
    } else {
        htree::init_node(&mut scratch, &format, &pairs).unwrap();
    }
    let used = table + 8 * pairs.len();
    assert_eq!(scratch[..used], block[..used]);
}

/// Every name is found in the leaf its hash leads to.
fn index(image: &Image, ino: InodeNo, root: &[u8]) {
    let format = image.sb.dir_format();
    let blocks = image.dir_blocks(ino);
    let physical = |n| blocks.iter().find(|(b, _)| *b == n).unwrap().1;
    let info = DxRootInfo::decode(root).unwrap();
    let version = image.sb.hash_version(info.hash_version).unwrap();
    let mut checked = 0;
    for (n, at) in &blocks {
        let block = image.block(*at);
        if htree::block_kind(block, &format).is_some() {
            continue;
        }
        for e in dir::entries(block, &format)
            .map(Result::unwrap)
            .filter(|e| e.inode.is_some())
        {
            let hash = version.hash(e.name, image.sb.hash_seed()).major;
            let mut node = DxNode::parse(root, DxKind::Root, &format).unwrap();
            for _ in 0..info.indirect_levels {
                let child = node.entry(node.search(hash)).unwrap().block;
                node = DxNode::parse(image.block(physical(child)), DxKind::Node, &format).unwrap();
            }
            let leaf = node.entry(node.search(hash)).unwrap();
            assert_eq!(leaf.block, *n, "{:?} of inode {ino}", e.name);
            checked += 1;
        }
    }
    assert!(checked > 0);
}

fn orphan_file(image: &Image) {
    let Some(ino) = image.sb.orphan_file_inum() else {
        return;
    };
    let seed = image
        .sb
        .has_metadata_csum()
        .then(|| image.inode(ino).csum_seed(&image.sb, ino));
    let blocks = image.dir_blocks(ino);
    assert!(!blocks.is_empty());
    for (_, at) in blocks {
        let original = image.block(at);
        orphan::verify(original, at, seed).unwrap();
        assert_eq!(orphan::orphans(original).count(), 0);
        let mut block = vec![0xFF; original.len()];
        orphan::init(&mut block);
        orphan::stamp(&mut block, at, seed).unwrap();
        assert_eq!(block, original);
        let slot = orphan::insert(&mut block, 5, InodeNo::new(77).unwrap());
        assert_eq!(slot, Some(5));
        assert_eq!(
            orphan::orphans(&block).next(),
            Some((5, InodeNo::new(77).unwrap()))
        );
        assert!(orphan::remove(&mut block, 5, InodeNo::new(78).unwrap()).is_err());
        orphan::remove(&mut block, 5, InodeNo::new(77).unwrap()).unwrap();
        assert_eq!(block, original);
    }
}

fn root_and_lost_found_from_scratch(image: &Image) {
    let format = image.sb.dir_format();
    let lost = image.lookup(InodeNo::ROOT, b"lost+found").unwrap();
    let seed = |ino| image.inode(ino).csum_seed(&image.sb, ino);
    let mut block = vec![0xFF; format.block_size.len()];
    dir::init_first_block(&mut block, &format, InodeNo::ROOT, InodeNo::ROOT).unwrap();
    assert!(dir::is_empty(&block, &format).unwrap());
    assert!(
        dir::insert(
            &mut block,
            &format,
            b"lost+found",
            lost,
            FileType::Directory
        )
        .unwrap()
    );
    dir::stamp(&mut block, &format, seed(InodeNo::ROOT)).unwrap();
    let [(_, at)] = image.dir_blocks(InodeNo::ROOT)[..] else {
        panic!("root has several blocks")
    };
    assert_eq!(block, image.block(at));
    for (n, at) in image.dir_blocks(lost) {
        if n.get() == 0 {
            dir::init_first_block(&mut block, &format, lost, InodeNo::ROOT).unwrap();
        } else {
            dir::init_block(&mut block, &format).unwrap();
        }
        dir::stamp(&mut block, &format, seed(lost)).unwrap();
        assert_eq!(block, image.block(at), "lost+found block {n}");
    }
}

fn journal_superblock(image: &Image) {
    let Some(ino) = image.sb.journal_inum() else {
        return;
    };
    let blocks = image.dir_blocks(ino);
    let original = image.block(blocks[0].1);
    let journal = JournalSuperblock::decode(original, image.sb.block_size()).unwrap();
    assert_eq!(journal.maxlen() as usize, blocks.len());
    assert_eq!(journal.log_end() as usize, blocks.len());
    assert_eq!(
        (journal.first(), journal.start(), journal.errno()),
        (1, None, 0)
    );
    let mut block = original.to_vec();
    block[..1024].fill(0xFF);
    journal.encode(&mut block).unwrap();
    assert_eq!(block, original);
}

#[test]
fn group_number_of_a_backup() {
    for config in matrix().filter(|c| c.name == "sparse2") {
        let Some(image) = fresh(config) else { return };
        let last = GroupNo::new(image.sb.groups() - 1);
        assert!(image.sb.has_super_backup(last));
    }
}
