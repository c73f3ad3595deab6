//! The parsers: bytes in, values or errors out, and what was accepted can be used.
//!
//! Decision: inputs are sealed first where a checksum would hide everything behind it, unless their first byte asks
//! for the opposite.

use e4_format::csum::{CRC32C_INIT, crc32c};
use e4_format::extent::{Node, verify_extent_block};
use e4_format::htree::{self, DxKind, DxNode, DxRootInfo, HashVersion};
use e4_format::jbd2::{self, CommitBlock, JournalCsum, JournalFormat, JournalSuperblock};
use e4_format::{
    BlockSize, FileBlock, FileType, FsBlock, GroupDesc, GroupNo, Inode, InodeNo, Superblock, dir,
    orphan, xattr,
};

use crate::bytes::{put16, put32, put32_be};
use crate::layout::{Class, Piece};
use crate::seal::seal;
use crate::seeds;

/// The input as a block of 1 KiB, and its first byte as flags.
fn block(data: &[u8]) -> (u8, Vec<u8>) {
    let (first, rest) = data.split_first().unwrap_or((&0, &[]));
    let mut block = vec![0; 1024];
    block
        .iter_mut()
        .zip(rest)
        .for_each(|(to, from)| *to = *from);
    (*first, block)
}

/// The superblock of the first seed image (with checksums) or the third (without).
fn sample(flags: u8) -> &'static Superblock {
    let all = seeds::all();
    let n = if flags & 1 == 0 { 0 } else { 2 };
    &all.get(n).or(all.first()).expect("seed images").layout.sb
}

const INO: InodeNo = InodeNo::ROOT;

/// A piece that covers all of a buffer, owned by an inode whose generation is what lies at its byte 0x64.
fn piece(class: Class, len: usize, owner: u32) -> Piece {
    Piece {
        class,
        at: 0,
        len,
        block: 40,
        owner,
        inode_at: usize::MAX / 2,
        kind: None,
    }
}

fn sealed(class: Class, bytes: &mut [u8], flags: u8, owner: u32) {
    let seeds = seeds::all();
    if let Some(seed) = seeds
        .get(if flags & 1 == 0 { 0 } else { 2 })
        .filter(|_| flags & 2 == 0)
    {
        let len = bytes.len();
        seal(bytes, &seed.layout, &piece(class, len, owner));
    }
}

/// The superblock, and every number derived from it.
pub(super) fn superblock(data: &[u8]) {
    let mut bytes = [0; 1024];
    bytes
        .iter_mut()
        .zip(data)
        .for_each(|(to, from)| *to = *from);
    put16(&mut bytes, 0x38, 0xEF53);
    let sum = crc32c(CRC32C_INIT, bytes.get(..0x3FC).unwrap_or_default());
    put32(&mut bytes, 0x3FC, sum);
    let Ok(sb) = Superblock::parse(&bytes) else {
        return;
    };
    let groups = sb.groups();
    for n in [0, 1, groups / 2, groups.saturating_sub(1), groups, u32::MAX] {
        let group = GroupNo::new(n);
        let _ = (
            sb.group_first_block(group),
            sb.blocks_in_group(group),
            sb.desc_location(group),
        );
        let _ = (
            sb.has_super_backup(group),
            sb.super_and_gdt_blocks(group),
            sb.gdt_block_in(group, n),
        );
    }
    for n in [1, 2, sb.inodes_count(), u32::MAX] {
        let _ = InodeNo::new(n).map(|n| sb.inode_location(n));
    }
    for n in [0, 1, sb.blocks_count(), u64::MAX] {
        let _ = (
            sb.group_of_block(FsBlock::new(n)),
            sb.contains_range(FsBlock::new(n), n),
        );
    }
    let _ = (
        sb.free_blocks_count(),
        sb.first_error(),
        sb.last_error(),
        sb.label().len(),
    );
    let _ = (
        sb.check_device(1 << 40),
        e4_format::check_mountable(&sb),
        sb.state(),
    );
    assert!(
        Superblock::parse(&sb.encode()).is_ok(),
        "what was read can be written"
    );
}

/// A group descriptor.
pub(super) fn group_desc(data: &[u8]) {
    let (flags, mut bytes) = block(data);
    bytes.truncate(64);
    let sb = sample(flags);
    let _ = GroupDesc::decode(&bytes, sb, GroupNo::new(0));
    sealed(Class::Descriptor, &mut bytes, flags, 0);
    if let Ok(desc) = GroupDesc::decode(&bytes, sb, GroupNo::new(0)) {
        let mut map = vec![0; 1024];
        e4_format::bitmap::init_block_bitmap(&mut map, sb, GroupNo::new(0), &desc);
        let mut again = bytes.clone();
        assert!(desc.encode(&mut again, sb, GroupNo::new(0)).is_ok());
    }
}

/// An inode, and the attributes in it.
pub(super) fn inode(data: &[u8]) {
    let (flags, mut bytes) = block(data);
    bytes.truncate(256);
    let sb = sample(flags);
    sealed(Class::Inode, &mut bytes, flags, INO.get());
    let Ok(inode) = Inode::decode(&bytes, sb, INO) else {
        return;
    };
    let _ = (
        inode.fast_symlink(),
        inode.file_type(),
        Node::parse(&inode.i_block).is_ok(),
    );
    let _ = xattr::in_inode(&bytes, inode.extra_isize)
        .take_while(Result::is_ok)
        .count();
    let mut again = bytes.clone();
    if inode.encode(&mut again, sb, INO).is_ok() {
        let back = Inode::decode(&again, sb, INO).expect("what was written can be read");
        assert_eq!(
            (back.size, back.sectors, back.mode),
            (inode.size, inode.sectors, inode.mode)
        );
    }
}

/// A node of an extent tree.
pub(super) fn extent_node(data: &[u8]) {
    let (flags, bytes) = block(data);
    let bytes = if flags & 1 == 0 {
        &bytes[..60]
    } else {
        &bytes[..]
    };
    let _ = verify_extent_block(bytes, 1);
    let _ = Node::view(bytes).map(|n| (n.search(FileBlock::new(7)), n.len(), n.is_full()));
    let Ok(node) = Node::parse(bytes) else {
        return;
    };
    let mut end = 0;
    for e in node.extents() {
        assert!(
            e.block.get() >= end && e.len > 0,
            "accepted extents are in order"
        );
        end = e.end();
        assert_eq!(
            node.find_extent(e.block).map(|(_, x)| x.start),
            Some(e.start)
        );
    }
    for i in node.indexes() {
        let _ = node.search(i.block);
    }
    let _ = node.check_place(3, FileBlock::new(5), Some(FileBlock::new(9)));
}

/// A directory block: reading it, and changing what was read without complaint.
pub(super) fn dir_block(data: &[u8]) {
    let (flags, mut bytes) = block(data);
    let format = sample(flags).dir_format();
    sealed(Class::Directory, &mut bytes, flags, INO.get());
    let sound = dir::entries(&bytes, &format).all(|e| e.is_ok());
    let _ = (
        dir::verify(&bytes, &format, 1),
        dir::is_empty(&bytes, &format),
    );
    let _ = dir::find(&bytes, &format, b"name");
    let before = bytes.clone();
    let done = dir::insert(&mut bytes, &format, b"a new name", INO, FileType::Regular);
    let after = dir::entries(&bytes, &format).all(|e| e.is_ok());
    assert!(
        done.is_ok() || bytes == before,
        "a failed insertion changes nothing"
    );
    assert!(!sound || after, "an insertion keeps a sound block sound");
    let _ = dir::remove(&mut bytes, &format, b"a new name");
    assert!(!sound || dir::entries(&bytes, &format).all(|e| e.is_ok()));
}

/// The root and the nodes of an htree, and the hash of names.
pub(super) fn htree(data: &[u8]) {
    let (flags, bytes) = block(data);
    let format = sample(flags).dir_format();
    let _ = (
        htree::block_kind(&bytes, &format),
        DxRootInfo::decode(&bytes),
    );
    for kind in [DxKind::Root, DxKind::Node] {
        let _ = htree::verify(&bytes, kind, &format, 1);
        if let Ok(node) = DxNode::parse(&bytes, kind, &format) {
            assert!(node.count() <= node.limit());
            let at = node.search(u32::from(flags) << 24);
            assert!(node.entry(at).is_some(), "a search ends at an entry");
            let _ = node.entries().count();
        }
    }
    if let Some(hash) = sample(flags).hash_version(flags % 8) {
        let HashVersion { .. } = hash;
        let _ = hash.hash(
            bytes.get(..usize::from(flags)).unwrap_or_default(),
            [1, 2, 3, 4],
        );
    }
}

/// A block of attributes.
pub(super) fn xattr(data: &[u8]) {
    let (flags, mut bytes) = block(data);
    let sb = sample(flags);
    put32(&mut bytes, 0, xattr::XATTR_MAGIC);
    put32(&mut bytes, 8, 1);
    sealed(Class::Xattr, &mut bytes, flags, 0);
    if let Ok(all) = xattr::in_block(&bytes, sb, FsBlock::new(40)) {
        let most = all.take(2000).count();
        assert!(most < 2000, "a list of attributes ends");
    }
    let _ = xattr::set_block_refcount(&mut bytes, sb, FsBlock::new(40), 9);
    assert_eq!(xattr::block_refcount(&bytes), 9);
}

/// A block of the orphan file.
pub(super) fn orphan_block(data: &[u8]) {
    let (flags, mut bytes) = block(data);
    sealed(Class::Orphan, &mut bytes, flags, INO.get());
    let _ = orphan::verify(&bytes, FsBlock::new(40), Some(1));
    let first = orphan::orphans(&bytes).next();
    assert!(orphan::orphans(&bytes).count() <= orphan::slots(bytes.len()));
    if let Some((slot, ino)) = first {
        assert!(orphan::remove(&mut bytes, slot, ino).is_ok());
    }
    let _ = orphan::insert(&mut bytes, usize::from(flags), INO);
}

/// The journal's superblock.
pub(super) fn jbd2_superblock(data: &[u8]) {
    let mut bytes = vec![0; 1024];
    bytes
        .iter_mut()
        .zip(data)
        .for_each(|(to, from)| *to = *from);
    put32_be(&mut bytes, 0, jbd2::JBD2_MAGIC);
    let len = bytes.len();
    let seeds = seeds::all();
    if let Some(seed) = seeds.first() {
        seal(
            &mut bytes,
            &seed.layout,
            &piece(Class::JournalSuperblock, len, 8),
        );
    }
    let Ok(sb) = JournalSuperblock::decode(&bytes, BlockSize::KIB1) else {
        return;
    };
    assert!(sb.first() < sb.log_end() && sb.log_end() <= sb.maxlen());
    assert!(
        sb.start()
            .is_none_or(|s| s >= sb.first() && s < sb.log_end())
    );
    assert!(sb.encode(&mut bytes).is_ok());
}

/// A format by flags, and the block sealed for it: `at` is where its checksum lies.
fn log_block(data: &[u8], kind: u32, at: usize) -> (JournalFormat, Vec<u8>) {
    let (flags, mut bytes) = block(data);
    let csum = match flags & 3 {
        0 => JournalCsum::V3,
        1 => JournalCsum::V2,
        2 => JournalCsum::V1,
        _ => JournalCsum::None,
    };
    let format = JournalFormat {
        block_size: BlockSize::KIB1,
        csum,
        bit64: flags & 4 != 0,
        seed: 77,
        uuid: [3; 16],
    };
    for (n, word) in [(0, jbd2::JBD2_MAGIC), (4, kind), (8, 5)] {
        put32_be(&mut bytes, n, word);
    }
    if flags & 8 == 0 {
        put32_be(&mut bytes, at, 0);
        let sum = crc32c(77, &bytes);
        put32_be(&mut bytes, at, sum);
    }
    (format, bytes)
}

/// A descriptor block.
pub(super) fn jbd2_descriptor(data: &[u8]) {
    let (format, bytes) = log_block(data, 1, 1020);
    if let Ok(tags) = jbd2::tags(&bytes, &format) {
        let mut count = 0;
        for tag in tags.take(1000) {
            let _ = tag.verify(&format, e4_format::Tid::new(5), &bytes);
            count += 1;
        }
        assert!(count <= 1024 / 8, "no more tags than fit");
    }
}

/// A revoke block.
pub(super) fn jbd2_revoke(data: &[u8]) {
    let (format, bytes) = log_block(data, 5, 1020);
    if let Ok(list) = jbd2::revoked(&bytes, &format) {
        assert!(list.take(1000).count() <= 1024 / 4);
    }
}

/// A commit block.
pub(super) fn jbd2_commit(data: &[u8]) {
    let (format, mut bytes) = log_block(data, 2, 16);
    if let Ok(commit) = CommitBlock::decode(&bytes, &format) {
        assert!(commit.encode(&mut bytes, &format).is_ok());
    }
}
