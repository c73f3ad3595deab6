//! One damaged byte in any checksummed structure is noticed, whichever byte it is.

use crate::sample::Shape;
use e4_format::dir::{self, DirFormat};
use e4_format::extent::{self, Extent, ExtentState};
use e4_format::features::{IncompatFeatures, RoCompatFeatures};
use e4_format::htree::{self, DxEntry, DxKind, DxRootInfo};
use e4_format::jbd2::{
    self, CommitBlock, DescriptorWriter, JournalIncompat, JournalSuperblock, RawJournalSuperblock,
    RevokeWriter,
};
use e4_format::{
    BgFlags, BlockSize, FileBlock, FileType, FormatError, FsBlock, GroupDesc, GroupNo, Inode,
    InodeFlags, InodeNo, Superblock, Timestamp, bitmap, orphan,
};

/// Damages one byte after the other within `covered` and expects `check` to notice each time.
fn flips(
    what: &str,
    bytes: &[u8],
    covered: impl Iterator<Item = usize>,
    check: impl Fn(&[u8]) -> Result<(), FormatError>,
) {
    check(bytes).unwrap_or_else(|e| panic!("{what} is not valid to begin with: {e}"));
    let mut bytes = bytes.to_vec();
    for at in covered {
        for mask in [0x01, 0x80, 0xFF] {
            bytes[at] ^= mask;
            assert!(
                check(&bytes).is_err(),
                "{what}: byte {at} ^ {mask:#x} went unnoticed"
            );
            bytes[at] ^= mask;
        }
    }
}

#[test]
fn superblock() {
    let bytes = Shape::FULL.superblock().encode();
    flips("superblock", &bytes, 0..1024, |b| {
        Superblock::parse(b.first_chunk().unwrap()).map(drop)
    });
}

fn sample_desc() -> GroupDesc {
    GroupDesc {
        block_bitmap: FsBlock::new(20),
        inode_bitmap: FsBlock::new(21),
        inode_table: FsBlock::new(22),
        free_blocks_count: 77,
        free_inodes_count: 1000,
        used_dirs_count: 2,
        flags: BgFlags::INODE_ZEROED,
        itable_unused: 900,
        block_bitmap_csum: 0x1234,
        inode_bitmap_csum: 0x4321,
        exclude_bitmap: FsBlock::new(0),
    }
}

#[test]
fn group_descriptor() {
    for shape in Shape::all().filter(|s| s.ro != RoCompatFeatures::EMPTY) {
        let sb = shape.superblock();
        let group = GroupNo::new(2);
        let mut bytes = vec![0; sb.desc_size()];
        sample_desc().encode(&mut bytes, &sb, group).unwrap();
        assert_eq!(GroupDesc::decode(&bytes, &sb, group), Ok(sample_desc()));
        assert!(
            GroupDesc::decode(&bytes, &sb, GroupNo::new(1)).is_err(),
            "place is not covered"
        );
        flips(&format!("{shape:?}"), &bytes, 0..sb.desc_size(), |b| {
            GroupDesc::decode(b, &sb, group).map(drop)
        });
    }
}

#[test]
fn bitmaps() {
    for shape in Shape::all().filter(|s| s.ro == RoCompatFeatures::METADATA_CSUM) {
        let sb = shape.superblock();
        let group = GroupNo::new(0);
        let mut bytes = vec![0; sb.block_size().len()];
        bitmap::init_block_bitmap(&mut bytes, &sb, group, &sample_desc());
        let mut desc = sample_desc();
        desc.block_bitmap_csum = bitmap::block_bitmap_csum(&sb, &bytes);
        desc.inode_bitmap_csum = bitmap::inode_bitmap_csum(&sb, &bytes);
        // 16 of 32 bits cannot notice every pattern; these bytes are many enough.
        let step = if sb.desc_size() >= 64 { 1 } else { 7 };
        let bits = sb.blocks_per_group() as usize / 8;
        flips("block bitmap", &bytes, (0..bits).step_by(step), |b| {
            bitmap::verify_block_bitmap(&sb, group, &desc, b)
        });
        let bits = sb.inodes_per_group() as usize / 8;
        flips("inode bitmap", &bytes, (0..bits).step_by(step), |b| {
            bitmap::verify_inode_bitmap(&sb, group, &desc, b)
        });
    }
}

fn sample_inode(sb: &Superblock) -> Inode {
    let t = Timestamp {
        sec: 1_700_000_000,
        nsec: 0,
    };
    Inode {
        mode: FileType::Regular.mode_bits() | 0o644,
        uid: 70_000,
        gid: 80_000,
        size: 5 << 32 | 3,
        atime: t,
        ctime: t,
        mtime: Timestamp { sec: -1, nsec: 0 },
        links_count: 3,
        sectors: 24,
        flags: InodeFlags::EXTENTS,
        i_block: [0xA5; 60],
        generation: 0xDEAD_BEEF,
        file_acl: Some(FsBlock::new(99)),
        version: 7,
        ..Inode::empty(sb)
    }
}

#[test]
fn inode() {
    for shape in Shape::all() {
        let sb = shape.superblock();
        let ino = InodeNo::new(12).unwrap();
        let inode = sample_inode(&sb);
        let mut bytes = vec![0; sb.inode_size()];
        inode.encode(&mut bytes, &sb, ino).unwrap();
        assert_eq!(Inode::decode(&bytes, &sb, ino), Ok(inode), "{shape:?}");
        if shape.ro == RoCompatFeatures::METADATA_CSUM {
            assert!(Inode::decode(&bytes, &sb, InodeNo::new(13).unwrap()).is_err());
            flips(&format!("{shape:?}"), &bytes, 0..sb.inode_size(), |b| {
                Inode::decode(b, &sb, ino).map(drop)
            });
        }
    }
}

#[test]
fn extent_block() {
    for bs in [BlockSize::KIB1, BlockSize::KIB2, BlockSize::KIB4] {
        let extents: Vec<Extent> = (0..40)
            .map(|n| Extent {
                block: FileBlock::new(n * 10),
                len: 5,
                start: FsBlock::new(u64::from(n) << 32 | 7),
                state: if n % 2 == 0 {
                    ExtentState::Written
                } else {
                    ExtentState::Unwritten
                },
            })
            .collect();
        let mut bytes = vec![0; bs.len()];
        let max = extent::capacity_block(bs);
        extent::write_leaf(&mut bytes, &extents, max, 0).unwrap();
        extent::stamp_extent_block(&mut bytes, 99).unwrap();
        let node = extent::Node::parse(&bytes).unwrap();
        assert!(node.extents().eq(extents));
        flips(
            "extent block",
            &bytes,
            0..12 + 12 * usize::from(max) + 4,
            |b| extent::verify_extent_block(b, 99),
        );
    }
}

fn sample_format() -> DirFormat {
    Shape::FULL.superblock().dir_format()
}

#[test]
fn directory_block() {
    let format = sample_format();
    let mut bytes = vec![0; format.block_size.len()];
    dir::init_first_block(&mut bytes, &format, InodeNo::ROOT, InodeNo::ROOT).unwrap();
    dir::insert(
        &mut bytes,
        &format,
        b"name",
        InodeNo::new(12).unwrap(),
        FileType::Fifo,
    )
    .unwrap();
    dir::stamp(&mut bytes, &format, 5).unwrap();
    flips("directory block", &bytes, 0..bytes.len(), |b| {
        dir::verify(b, &format, 5)
    });
}

#[test]
fn htree_blocks() {
    let format = sample_format();
    let info = DxRootInfo {
        hash_version: 1,
        indirect_levels: 1,
    };
    let pairs: Vec<DxEntry> = (0..50)
        .map(|n| DxEntry {
            hash: n * 2,
            block: FileBlock::new(n + 1),
        })
        .collect();
    let mut bytes = vec![0; format.block_size.len()];
    for kind in [DxKind::Root, DxKind::Node] {
        let table = match kind {
            DxKind::Root => {
                let root = InodeNo::ROOT;
                htree::init_root(&mut bytes, &format, root, root, info, &pairs).unwrap();
                assert_eq!(DxRootInfo::decode(&bytes), Ok(info));
                0x20
            }
            DxKind::Node => {
                htree::init_node(&mut bytes, &format, &pairs).unwrap();
                8
            }
        };
        assert_eq!(htree::block_kind(&bytes, &format), Some(kind));
        htree::stamp(&mut bytes, kind, &format, 5).unwrap();
        let node = htree::DxNode::parse(&bytes, kind, &format).unwrap();
        assert!(node.entries().eq(pairs.iter().copied()));
        // Pairs in use, and the tail; what lies between is nobody's.
        let tail = table + 8 * node.limit();
        let covered = (0..table + 8 * pairs.len()).chain(tail..tail + 8);
        flips("htree block", &bytes, covered, |b| {
            htree::verify(b, kind, &format, 5)
        });
    }
}

#[test]
fn orphan_block() {
    let mut bytes = vec![0; 1024];
    orphan::init(&mut bytes);
    orphan::insert(&mut bytes, 0, InodeNo::new(12).unwrap()).unwrap();
    orphan::stamp(&mut bytes, FsBlock::new(500), Some(5)).unwrap();
    assert!(
        orphan::verify(&bytes, FsBlock::new(501), Some(5)).is_err(),
        "place is not covered"
    );
    flips("orphan block", &bytes, 0..1024, |b| {
        orphan::verify(b, FsBlock::new(500), Some(5))
    });
}

pub(crate) fn sample_journal(features: JournalIncompat) -> JournalSuperblock {
    let mut raw = RawJournalSuperblock::zeroed();
    raw.h_magic.set(0xC03B_3998);
    raw.h_blocktype.set(4);
    raw.s_blocksize.set(1024);
    raw.s_maxlen.set(1024);
    raw.s_first.set(1);
    raw.s_sequence.set(1);
    raw.s_nr_users.set(1);
    raw.s_uuid = *b"fedcba9876543210";
    let mut sb = JournalSuperblock::from_raw(raw, BlockSize::KIB1).unwrap();
    sb.set_incompat(features).unwrap();
    sb
}

#[test]
fn journal_blocks() {
    for version in [JournalIncompat::CSUM_V2, JournalIncompat::CSUM_V3] {
        let sb = sample_journal(version.union(JournalIncompat::BIT64));
        let format = *sb.format();
        let tid = e4_format::Tid::new(9);
        let mut bytes = vec![0; 1024];
        sb.encode(&mut bytes).unwrap();
        flips("journal superblock", &bytes, 0..1024, |b| {
            JournalSuperblock::decode(b, BlockSize::KIB1).map(drop)
        });

        let mut w = DescriptorWriter::new(&mut bytes, &format, tid).unwrap();
        assert!(w.push(FsBlock::new(1 << 40), true, 5) && w.push(FsBlock::new(7), false, 6));
        w.finish();
        flips("descriptor", &bytes, 0..1024, |b| {
            jbd2::tags(b, &format).map(drop)
        });

        let mut w = RevokeWriter::new(&mut bytes, &format, tid).unwrap();
        assert!(w.push(FsBlock::new(1 << 40)));
        w.finish();
        flips("revoke", &bytes, 0..1024, |b| {
            jbd2::revoked(b, &format).map(drop)
        });

        let commit = CommitBlock {
            tid,
            sec: 5,
            nsec: 6,
            v1_crc32: None,
        };
        commit.encode(&mut bytes, &format).unwrap();
        assert_eq!(CommitBlock::decode(&bytes, &format), Ok(commit));
        flips("commit", &bytes, 0..1024, |b| {
            CommitBlock::decode(b, &format).map(drop)
        });

        let data: Vec<u8> = (0..1024u32).map(|n| n.to_le_bytes()[0]).collect();
        let csum = jbd2::data_csum(&format, tid, &data);
        let tag = jbd2::Tag {
            block: FsBlock::new(1),
            escaped: false,
            deleted: false,
            csum,
        };
        flips("data", &data, 0..1024, |b| tag.verify(&format, tid, b));
        assert!(
            tag.verify(&format, tid.next(), &data).is_err(),
            "the transaction is not covered"
        );
    }
}

#[test]
fn stored_seed_survives_a_new_uuid() {
    let mut raw = Shape::FULL.raw();
    let features = IncompatFeatures::from_bits(raw.s_feature_incompat.get());
    raw.s_feature_incompat
        .set((features | IncompatFeatures::CSUM_SEED).bits());
    raw.s_checksum_seed.set(0x1234_5678);
    let sb = Superblock::from_raw(raw).unwrap();
    assert_eq!(sb.checksum_seed(), 0x1234_5678);
}

/// Counts above 16 bits exist only with large blocks.
#[test]
fn upper_halves_of_a_descriptor() {
    let mut raw = Shape::FULL.raw();
    let bits = 65536 * 8;
    raw.s_log_block_size.set(6);
    raw.s_log_cluster_size.set(6);
    raw.s_first_data_block.set(0);
    raw.s_blocks_per_group.set(bits);
    raw.s_clusters_per_group.set(bits);
    raw.s_blocks_count_hi.set(1);
    raw.s_blocks_count_lo.set(0);
    raw.s_inodes_per_group.set(131_072);
    raw.s_inodes_count.set(8192 * 131_072);
    let sb = Superblock::from_raw(raw).unwrap();
    let desc = GroupDesc {
        block_bitmap: FsBlock::new(0xFFFF_0001),
        free_blocks_count: 0x1_0001,
        free_inodes_count: 0x1_0002,
        used_dirs_count: 0x1_0003,
        itable_unused: 0x1_0004,
        block_bitmap_csum: 0x1234_5678,
        inode_bitmap_csum: 0x8765_4321,
        exclude_bitmap: FsBlock::new(7 << 32 | 9),
        ..sample_desc()
    };
    let mut bytes = vec![0; sb.desc_size()];
    desc.encode(&mut bytes, &sb, GroupNo::new(3)).unwrap();
    assert_eq!(GroupDesc::decode(&bytes, &sb, GroupNo::new(3)), Ok(desc));
    assert_eq!(bytes[0x30..0x32], [1, 0]);
}
