//! Arbitrary and damaged bytes: errors are fine, panics and unbounded numbers are not.

use crate::flip::sample_journal;
use crate::sample::Shape;
use e4_format::dir::{self, DirFormat};
use e4_format::extent::{self, Node};
use e4_format::features::RoCompatFeatures;
use e4_format::htree::{self, DxKind, DxNode, DxRootInfo};
use e4_format::jbd2::{self, CommitBlock, JournalCsum, JournalIncompat, JournalSuperblock};
use e4_format::superblock::RawSuperblock;
use e4_format::{
    Bitmap, BlockSize, FileBlock, FormatError, FsBlock, GroupDesc, GroupNo, Inode, InodeNo,
    Superblock, Tid, bitmap, csum, orphan, xattr,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Values that sit on edges more often than not.
fn edge() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        (0u32..32, 0u32..3).prop_map(|(n, d)| (1u32 << n).wrapping_add(d).wrapping_sub(1)),
        0u32..70_000,
    ]
}

/// Everything derived from a superblock that parsed, with its promises.
fn exercise(sb: &Superblock, n: u32, ino: u32, block: u64) {
    let bs = sb.block_size().bytes();
    assert!(sb.groups() >= 1 && sb.blocks_count() <= 1 << 48);
    assert!(sb.blocks_per_group() <= bs * 8 && sb.inodes_per_group() <= bs * 8);
    assert!(sb.inode_size() <= bs as usize && sb.desc_size() <= 1024);
    assert!(u64::from(sb.gdt_blocks()) < sb.blocks_count());
    assert!(sb.descs_per_block() >= 1 && sb.inodes_per_block() >= 1);
    assert!(u64::from(sb.inode_table_blocks()) <= sb.blocks_count());
    assert!(sb.groups_per_flex().is_power_of_two());
    assert!(sb.free_blocks_count() <= sb.blocks_count());
    assert!(sb.reserved_blocks_count() <= sb.blocks_count());
    assert!(usize::from(sb.new_inode_extra_isize()) + 128 <= sb.inode_size());
    assert_eq!(sb.gdt_block(sb.gdt_blocks()), None);
    for n in [n, 0, sb.groups() - 1, sb.groups()] {
        let group = GroupNo::new(n);
        let exists = n < sb.groups();
        assert_eq!(sb.group_first_block(group).is_some(), exists);
        assert_eq!(sb.blocks_in_group(group) > 0, exists);
        assert!(sb.super_and_gdt_blocks(group) <= sb.blocks_in_group(group));
        for block in [sb.gdt_block_in(group, n), sb.gdt_block(n)]
            .into_iter()
            .flatten()
        {
            assert!(block.get() < sb.blocks_count());
        }
        if let Some((block, at)) = sb.desc_location(group) {
            assert!(block < sb.gdt_blocks() && at + sb.desc_size() <= bs as usize);
        }
        if let Some(first) = sb.group_first_block(group) {
            assert_eq!(sb.group_of_block(first), Some((group, 0)));
        }
    }
    if let Some(at) = InodeNo::new(ino).and_then(|ino| sb.inode_location(ino)) {
        assert!(at.group.get() < sb.groups() && at.index < sb.inodes_per_group());
        assert!(at.table_block < sb.inode_table_blocks());
        assert!(at.offset + sb.inode_size() <= bs as usize);
    }
    if let Some((group, bit)) = sb.group_of_block(FsBlock::new(block)) {
        assert!(bit < sb.blocks_in_group(group));
    }
    if sb.contains_range(FsBlock::new(block), n.into()) {
        assert!(block + u64::from(n) <= sb.blocks_count());
    }
    let _ = (
        sb.check_device(block),
        sb.first_error(),
        sb.last_error(),
        sb.def_hash_version(),
    );
    let _ = (
        sb.label(),
        sb.backup_groups(),
        sb.journal_inum(),
        sb.reserved_owner(),
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn superblock(
        changes in vec((0usize..256, edge()), 0..6),
        (n, ino, block) in (edge(), edge(), any::<u64>()),
        flavour in 0usize..36,
    ) {
        let shape = Shape::all().nth(flavour).unwrap();
        let mut bytes = shape.raw().to_disk();
        for (at, value) in changes {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_le_bytes());
        }
        let sum = csum::crc32c(csum::CRC32C_INIT, &bytes[..1020]);
        bytes[1020..].copy_from_slice(&sum.to_le_bytes());
        if let Ok(sb) = Superblock::parse(&bytes) {
            prop_assert_eq!(sb.encode(), bytes);
            exercise(&sb, n, ino, block);
            let _ = e4_format::check_mountable(&sb);
        }
    }

    /// Every field that geometry depends on, wild all at once.
    #[test]
    fn geometry(fields in vec(edge(), 12), hi in 0u32..70_000, bit64: bool) {
        let mut raw = Shape { bit64, ..Shape::FULL }.raw();
        raw.s_log_block_size.set(fields[0] % 8);
        raw.s_log_cluster_size.set(fields[0] % 8);
        raw.s_first_data_block.set(u32::from(fields[0] % 8 == 0));
        raw.s_blocks_count_lo.set(fields[1]);
        raw.s_blocks_count_hi.set(hi);
        raw.s_blocks_per_group.set(fields[2] & !7);
        raw.s_clusters_per_group.set(fields[2] & !7);
        raw.s_inodes_per_group.set(fields[3] & !7);
        raw.s_inode_size.set(1 << (fields[4] % 16));
        raw.s_desc_size.set(1 << (fields[5] % 16));
        raw.s_reserved_gdt_blocks.set((fields[6] & 0xFFFF) as u16);
        raw.s_log_groups_per_flex = (fields[7] & 0xFF) as u8;
        raw.s_want_extra_isize.set((fields[8] & 0xFFFF) as u16);
        let blocks = if bit64 { u64::from(hi) << 32 } else { 0 } | u64::from(fields[1]);
        let first = u64::from(raw.s_first_data_block.get());
        let groups = blocks.saturating_sub(first).div_ceil(u64::from(fields[2] & !7).max(1));
        raw.s_inodes_count.set((groups as u32).wrapping_mul(fields[3] & !7));
        raw.s_first_ino.set(11);
        if let Ok(sb) = Superblock::from_raw(raw) {
            exercise(&sb, fields[9], fields[10], u64::from(fields[11]));
        }
    }

    #[test]
    fn arbitrary_superblock(mut bytes in vec(any::<u8>(), 1024)) {
        bytes[0x38..0x3A].copy_from_slice(&[0x53, 0xEF]);
        if let Ok(sb) = Superblock::from_raw(RawSuperblock::from_disk(bytes.first_chunk().unwrap())) {
            exercise(&sb, 5, 5, 5);
        }
    }

    #[test]
    fn descriptors_and_inodes(bytes in vec(any::<u8>(), 0..1100), flavour in 0usize..36, n: u32) {
        let shape = Shape { ro: RoCompatFeatures::HUGE_FILE, ..Shape::all().nth(flavour).unwrap() };
        let sb = shape.superblock();
        let group = GroupNo::new(n);
        if let Ok(desc) = GroupDesc::decode(&bytes, &sb, group) {
            let mut again = bytes.clone();
            desc.encode(&mut again, &sb, group).unwrap();
            prop_assert_eq!(GroupDesc::decode(&again, &sb, group), Ok(desc));
            let mut map = vec![0; sb.block_size().len()];
            bitmap::init_block_bitmap(&mut map, &sb, group, &desc);
        }
        let ino = InodeNo::new(n.max(1)).unwrap();
        if let Ok(inode) = Inode::decode(&bytes, &sb, ino) {
            let mut again = bytes.clone();
            inode.encode(&mut again, &sb, ino).unwrap();
            let reread = Inode::decode(&again, &sb, ino);
            prop_assert_eq!(reread.as_ref(), Ok(&inode));
            let _ = (inode.fast_symlink(), inode.file_type(), Node::parse(&inode.i_block).is_ok());
            for x in xattr::in_inode(&bytes[..sb.inode_size()], inode.extra_isize) {
                let _ = x;
            }
        }
    }

    #[test]
    fn extent_nodes(
        mut bytes in vec(any::<u8>(), 0..400),
        header in any::<Option<(u8, u8, u8)>>(),
        block: u32,
    ) {
        if let (Some((entries, max, depth)), true) = (header, bytes.len() >= 12) {
            bytes[..8].copy_from_slice(&[0x0A, 0xF3, entries % 40, 0, max % 40, 0, depth % 7, 0]);
        }
        let block = FileBlock::new(block);
        for node in [Node::parse(&bytes), Node::view(&bytes)].into_iter().flatten() {
            let _ = (node.search(block), node.find_extent(block), node.extent(usize::MAX));
            prop_assert!(node.extents().count() + node.indexes().count() <= node.len());
            let _ = node.check_place(node.depth(), block, Some(block));
        }
        let _ = extent::verify_extent_block(&bytes, 0);
        let _ = extent::stamp_extent_block(&mut bytes, 0);
    }

    /// `search` against the obvious loop, on nodes that are valid by construction.
    #[test]
    fn extent_search(steps in vec((0u32..9, 1u32..9), 0..30), block in 0u32..600) {
        let mut next = 0;
        let extents: Vec<_> = steps.iter().map(|(gap, len)| {
            let e = e4_format::Extent {
                block: FileBlock::new(next + gap),
                len: *len,
                start: FsBlock::new(u64::from(next) * 3 + 100),
                state: e4_format::ExtentState::Written,
            };
            next += gap + len;
            e
        }).collect();
        let mut bytes = vec![0; 1024];
        extent::write_leaf(&mut bytes, &extents, 84, 0).unwrap();
        let node = Node::parse(&bytes).unwrap();
        let block = FileBlock::new(block);
        prop_assert_eq!(node.search(block), extents.iter().rposition(|e| e.block <= block));
        let expected = extents.iter().position(|e| e.contains(block));
        prop_assert_eq!(node.find_extent(block), expected.map(|i| (i, extents[i])));
    }

    #[test]
    fn directory_blocks(mut bytes in vec(any::<u8>(), 0..1200), shape: bool, csum: bool, lens in vec(0u8..40, 40)) {
        let ro = if csum { RoCompatFeatures::METADATA_CSUM } else { RoCompatFeatures::EMPTY };
        let format = Shape { ro, ..Shape::FULL }.superblock().dir_format();
        if shape {
            // Plausible records, so that the chain goes on for a while.
            let mut at = 0;
            for len in lens {
                let len = usize::from(len) * 4;
                if let Some(record) = bytes.get_mut(at..).and_then(|b| b.first_chunk_mut::<8>()) {
                    record[2..6].copy_from_slice(&[0, 0, len as u8, 0]);
                    record[6] %= 20;
                }
                at += len;
            }
        }
        let big = DirFormat { block_size: BlockSize::from_bytes(65536).unwrap(), ..format };
        for format in [format, big] {
            prop_assert!(dir::entries(&bytes, &format).count() <= bytes.len() / 12 + 1);
            let _ = (dir::is_empty(&bytes, &format), dir::find(&bytes, &format, b"x"));
            let _ = (dir::verify(&bytes, &format, 1), htree::block_kind(&bytes, &format));
            let ino = InodeNo::new(3).unwrap();
            let kind = e4_format::FileType::Regular;
            let mut copy = bytes.clone();
            let _ = dir::insert(&mut copy, &format, b"name", ino, kind);
            let _ = dir::remove(&mut copy, &format, &bytes[..bytes.len().min(3)]);
            let _ = dir::set_inode(&mut copy, &format, b"name", ino, kind);
            let _ = dir::stamp(&mut copy, &format, 1);
            let _ = dir::init_block(&mut copy, &format);
        }
    }

    #[test]
    fn htree_blocks(mut bytes in vec(any::<u8>(), 0..1100), counts in any::<Option<(u8, bool)>>(), hash: u32) {
        let format = Shape::FULL.superblock().dir_format();
        let _ = DxRootInfo::decode(&bytes);
        for kind in [DxKind::Root, DxKind::Node] {
            let at = if kind == DxKind::Root { 0x20 } else { 8 };
            if let (Some((count, exact)), Some(to)) = (counts, bytes.get_mut(at..at + 4)) {
                let limit = htree::dx_limit(kind, &format) as u8;
                to.copy_from_slice(&[if exact { limit } else { count }, 0, count, 0]);
            }
            if let Ok(node) = DxNode::parse(&bytes, kind, &format) {
                prop_assert!(node.search(hash) < node.count());
                prop_assert_eq!(node.entries().count(), node.count());
            }
            let _ = htree::verify(&bytes, kind, &format, 0);
            let _ = htree::stamp(&mut bytes, kind, &format, 0);
        }
    }

    #[test]
    fn attributes_and_orphans(mut bytes in vec(any::<u8>(), 0..1100), small in vec(0u8..24, 200)) {
        let sb = Shape { ro: RoCompatFeatures::EMPTY, ..Shape::FULL }.superblock();
        for (to, from) in bytes.iter_mut().skip(164).zip(small) {
            *to = from;
        }
        for at in [0, 160] {
            if let Some(to) = bytes.get_mut(at..at + 12) {
                to.copy_from_slice(&[0, 0, 2, 0xEA, 1, 0, 0, 0, 1, 0, 0, 0]);
            }
        }
        let at = FsBlock::new(9);
        for x in xattr::in_block(&bytes, &sb, at).into_iter().flatten() {
            let _ = x;
        }
        prop_assert!(xattr::in_inode(&bytes, 32).count() <= bytes.len());
        let _ = xattr::set_block_refcount(&mut bytes, &sb, at, 5);
        prop_assert!(orphan::orphans(&bytes).count() <= orphan::slots(bytes.len()));
        let _ = (orphan::verify(&bytes, at, Some(1)), orphan::verify(&bytes, at, None));
        let slot = orphan::insert(&mut bytes, 3, InodeNo::ROOT);
        if let Some(slot) = slot {
            orphan::remove(&mut bytes, slot, InodeNo::ROOT).unwrap();
        }
        let _ = Bitmap::new(&bytes, u32::MAX).longest_zero_run(0..u32::MAX);
    }

    #[test]
    fn journal_superblock(changes in vec((0usize..256, edge()), 0..5)) {
        let mut bytes = vec![0; 1024];
        sample_journal(JournalIncompat::REVOKE).encode(&mut bytes).unwrap();
        for (at, value) in changes {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&value.to_be_bytes());
        }
        if let Ok(sb) = JournalSuperblock::decode(&bytes, BlockSize::KIB1) {
            prop_assert!(sb.first() >= 1 && sb.first() < sb.log_end() && sb.log_end() <= sb.maxlen());
            prop_assert!(sb.start().is_none_or(|s| (sb.first()..sb.log_end()).contains(&s)));
            let mut again = bytes.clone();
            sb.encode(&mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn journal_blocks(mut bytes in vec(any::<u8>(), 0..1100), kind in 0u8..7, used: u16) {
        if bytes.len() >= 16 {
            bytes[..12].copy_from_slice(&[0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, kind, 0, 0, 0, 9]);
            let [a, b] = used.to_be_bytes();
            bytes[12..16].copy_from_slice(&[0, 0, a % 8, b]);
        }
        for format in journal_formats() {
            // Past the checksum, so that what lies behind it is reached.
            let checked = bytes.clone();
            let open = jbd2::JournalFormat { csum: match format.csum {
                JournalCsum::V2 => JournalCsum::None,
                JournalCsum::V3 => JournalCsum::V1,
                other => other,
            }, ..format };
            for format in [format, open] {
                let tags = jbd2::tags(&checked, &format);
                prop_assert!(tags.into_iter().flatten().count() <= jbd2::tags_per_block(&format) + 2);
                let list = jbd2::revoked(&checked, &format);
                prop_assert!(list.into_iter().flatten().count() <= jbd2::revokes_per_block(&format));
                let _ = CommitBlock::decode(&checked, &format);
            }
        }
    }

    /// What is written is read back, in every layout, and blocks are filled to the brim.
    #[test]
    fn journal_round_trip(numbers in vec((any::<u64>(), any::<bool>(), any::<u32>()), 0..300), tid: u32) {
        for format in journal_formats() {
            let mask = if format.bit64 { !0 } else { 0xFFFF_FFFF };
            let tid = Tid::new(tid);
            let mut block = vec![0xFF; 1024];
            let mut w = jbd2::DescriptorWriter::new(&mut block, &format, tid).unwrap();
            let mut pushed = Vec::new();
            for (n, escaped, csum) in &numbers {
                let csum = match format.csum {
                    JournalCsum::V3 => *csum,
                    JournalCsum::V2 => *csum & 0xFFFF,
                    _ => 0,
                };
                let block = FsBlock::new(n & mask);
                let full = w.is_full();
                prop_assert_eq!(w.push(block, *escaped, csum), !full);
                if full {
                    break;
                }
                pushed.push(jbd2::Tag { block, escaped: *escaped, deleted: false, csum });
            }
            w.finish();
            prop_assert_eq!(pushed.len(), numbers.len().min(jbd2::tags_per_block(&format)));
            let read: Vec<_> = jbd2::tags(&block, &format).unwrap().collect();
            if !pushed.is_empty() {
                prop_assert_eq!(read, pushed);
            }
            let mut w = jbd2::RevokeWriter::new(&mut block, &format, tid).unwrap();
            let fit = numbers.iter().take_while(|(n, ..)| w.push(FsBlock::new(n & mask))).count();
            w.finish();
            prop_assert_eq!(fit, numbers.len().min(jbd2::revokes_per_block(&format)));
            let read: Vec<_> = jbd2::revoked(&block, &format).unwrap().map(FsBlock::get).collect();
            let expected: Vec<_> = numbers.iter().take(fit).map(|(n, ..)| n & mask).collect();
            prop_assert_eq!(read, expected);
        }
    }
}

fn journal_formats() -> impl Iterator<Item = jbd2::JournalFormat> {
    let sample = *sample_journal(JournalIncompat::REVOKE).format();
    let sums = [
        JournalCsum::None,
        JournalCsum::V1,
        JournalCsum::V2,
        JournalCsum::V3,
    ];
    sums.into_iter().flat_map(move |csum| {
        [false, true].map(|bit64| jbd2::JournalFormat {
            csum,
            bit64,
            ..sample
        })
    })
}

#[test]
fn refused_by_name() {
    let refused = |compat: u32, ro: u32| {
        let mut raw = Shape::FULL.raw();
        raw.s_feature_incompat
            .set(raw.s_feature_incompat.get() | compat);
        raw.s_feature_ro_compat
            .set(raw.s_feature_ro_compat.get() | ro);
        Superblock::from_raw(raw).map(|sb| e4_format::check_mountable(&sb))
    };
    let text = |r: Result<_, FormatError>| r.err().unwrap().to_string();
    assert_eq!(text(refused(0x10, 0)), "unsupported features: meta_bg");
    assert_eq!(
        text(refused(0x18000 | 1 << 20, 0)),
        "unsupported features: inline_data encrypt FEATURE_I20"
    );
    assert_eq!(text(refused(0, 0x200)), "unsupported features: bigalloc");
    let Ok(Ok(e4_format::Access::ReadOnly { reason })) = refused(0, 0x8100 | 1 << 31) else {
        panic!("not read-only")
    };
    assert_eq!(reason.to_string(), "quota verity FEATURE_R31");
    assert_eq!(refused(0, 0), Ok(Ok(e4_format::Access::ReadWrite)));
}

#[test]
fn tables_must_fit() {
    // 1 KiB blocks: boot block, superblock, descriptors; a third block is the least.
    let blocks = |n: u32| {
        let mut raw = Shape::FULL.raw();
        raw.s_blocks_count_lo.set(n);
        raw.s_inodes_count.set(16);
        raw.s_inodes_per_group.set(16);
        raw.s_inode_size.set(128);
        Superblock::from_raw(raw).map(drop)
    };
    assert_eq!(blocks(1), Err(FormatError::BlocksCount { found: 1 }));
    assert_eq!(blocks(2), Err(FormatError::GdtTooLarge { blocks: 1 }));
    assert_eq!(blocks(3), Ok(()));
    // A last group of a single block is legal.
    assert_eq!(Shape::FULL.superblock().groups(), 4);
    let mut raw = Shape::FULL.raw();
    raw.s_blocks_count_lo.set(3 * 8192 + 2);
    let sb = Superblock::from_raw(raw).unwrap();
    assert_eq!(sb.blocks_in_group(GroupNo::new(3)), 1);
}
