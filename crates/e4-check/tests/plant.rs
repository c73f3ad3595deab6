//! Every kind of problem, planted one by one and found. A kind nobody plants fails the last test.

mod support;

use e4_check::{Options, Problem, Report};
use e4_device::{
    Completion, Device, DeviceError, DeviceInfo, MemoryDevice, QueueId, Request, Wait,
};
use e4_format::htree::DxKind;
use e4_mkfs::{Features, Medium, Params};
use std::collections::BTreeSet;
use support::edit::{Image, get16, get32, put16, put32};
use support::{assert_spotless, check, have, list, must_run, scratch, sparse_file};

const RECOVER: u32 = 4;

/// Which image a problem is planted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Base {
    /// A bit of everything, made by mke2fs and debugfs.
    Filled,
    /// Freshly formatted by us, without these features.
    Fresh(&'static str),
}

type Plant = fn(&mut Image);

fn fresh(list: &str) -> Image {
    let mut features = Features::ext4();
    features.apply(list).unwrap();
    let size = 64 << 20;
    let device = MemoryDevice::new(size);
    let params = Params {
        features,
        medium: Medium::Zeroed,
        ..Params::default()
    };
    e4_mkfs::format(&device, &params, &mut |_| {}).unwrap();
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    Image::new(bytes)
}

/// Directories (one with a two-level htree), a fragmented file, symlinks, a pipe, attributes inside
/// an inode and in a block.
fn filled() -> Option<Image> {
    use std::os::unix::fs::FileExt;
    if !have("mke2fs") || !have("debugfs") || !have("e2fsck") {
        return None;
    }
    let dir = scratch();
    let root = dir.path().join("root");
    std::fs::create_dir_all(root.join("sub/inner")).unwrap();
    std::fs::create_dir(root.join("htree")).unwrap();
    for n in 0..2400 {
        std::fs::write(
            root.join(format!("htree/a rather long name for a file {n:050}")),
            "",
        )
        .unwrap();
    }
    std::fs::write(root.join("sub/inner/file"), "content").unwrap();
    std::fs::write(root.join("big"), vec![5; 100_000]).unwrap();
    std::fs::write(root.join("small"), "s").unwrap();
    std::os::unix::fs::symlink("short", root.join("fast")).unwrap();
    std::os::unix::fs::symlink("long/".repeat(100), root.join("slow")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let fragmented = std::fs::File::create(root.join("fragmented")).unwrap();
    for n in 0..200u64 {
        fragmented.write_all_at(&[1; 1024], n * 8192).unwrap();
    }
    let image = sparse_file(dir.path(), "image", 64 << 20);
    let from = root.to_str().unwrap();
    let features = "orphan_file,metadata_csum_seed";
    must_run(
        "mke2fs",
        &[
            "-q", "-F", "-t", "ext4", "-b", "1024", "-O", features, "-d", from,
        ],
        &image,
    );
    let value = dir.path().join("value");
    std::fs::write(&value, vec![b'v'; 500]).unwrap();
    let in_block = format!("ea_set -f {} big user.large", value.display());
    for request in [in_block.as_str(), "ea_set small user.small value"] {
        must_run("debugfs", &["-w", "-R", request], &image);
    }
    // Builds the htree; 1 says that something was changed.
    let status = support::run("e2fsck", &["-fyD"], &image).status;
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
    Some(Image::new(std::fs::read(&image).unwrap()))
}

fn feature_bits(image: &mut Image, at: usize, edit: impl FnOnce(u32) -> u32) {
    image.superblock(|b| put32(b, at, edit(get32(b, at))));
}

/// Big-endian word of the journal's superblock.
fn journal(image: &mut Image, at: usize, value: u32) {
    let block = support::edit::data_blocks(image, 8, &mut Vec::new())[0].1;
    image.block_mut(block)[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Puts one extent into the root of an inode: logical block, length as stored, physical block.
fn root_extent(image: &mut Image, ino: u32, slot: usize, extent: (u32, u16, u32)) {
    image.inode(ino, |b| {
        let at = 0x28 + 12 + slot * 12;
        put32(b, at, extent.0);
        put16(b, at + 4, extent.1);
        put16(b, at + 6, 0);
        put32(b, at + 8, extent.2);
        put16(
            b,
            0x28 + 2,
            get16(b, 0x28 + 2).max(u16::try_from(slot).unwrap() + 1),
        );
    });
}

/// The first extent of the file a path leads to is moved to another physical block.
fn move_extent(image: &mut Image, path: &str, to: u64) {
    let ino = image.lookup(path);
    image.inode(ino, |b| put32(b, 0x28 + 12 + 8, u32::try_from(to).unwrap()));
}

/// Edits the root of /htree.
fn htree_root(image: &mut Image, edit: impl FnOnce(&mut [u8])) {
    let (ino, block) = (image.lookup("htree"), image.blocks_of("htree")[0].1);
    image.dir_block(ino, block, Some(DxKind::Root), edit);
}

/// Edits the inner node of /htree that its root names first.
fn htree_node(image: &mut Image, edit: impl FnOnce(&mut [u8])) {
    let blocks = image.blocks_of("htree");
    let logical = get32(image.block(blocks[0].1), 0x20 + 4);
    let block = blocks.iter().find(|(l, _)| *l == logical).unwrap().1;
    image.dir_block(image.lookup("htree"), block, Some(DxKind::Node), edit);
}

fn link(image: &mut Image, path: &str, edit: impl FnOnce(&mut [u8])) {
    let ino = image.lookup(path);
    image.inode(ino, edit);
}

const FILLED: Base = Base::Filled;
const FRESH: Base = Base::Fresh("");

fn structure() -> Vec<(&'static str, Base, Plant)> {
    vec![
        ("SuperblockInvalid", FRESH, |i| i.bytes[1024 + 0x30] ^= 1),
        ("NoSuperblock", FRESH, |i| i.bytes.fill(0)),
        ("BackupSuperblockUsed", FRESH, |i| i.bytes[1024 + 0x38] = 0),
        ("UnsupportedFeatures", FRESH, |i| {
            feature_bits(i, 0x60, |f| f | 0x10)
        }),
        ("LargerThanDevice", FRESH, |i| i.bytes.truncate(60 << 20)),
        ("BackupSuperblockInvalid", FRESH, |i| {
            i.block_mut(8193)[0x38] = 0
        }),
        ("BackupSuperblockDiffers", FRESH, |i| {
            // Without the checksum's feature the backup is believed.
            let b = i.block_mut(8193);
            put32(b, 0x64, get32(b, 0x64) & !0x400);
            b[0x68] ^= 1;
        }),
        ("BackupDescriptorsDiffer", FRESH, |i| {
            i.block_mut(8194)[0] ^= 1
        }),
        ("ErrorsRecorded", FRESH, |i| {
            i.superblock(|b| put16(b, 0x3A, 3))
        }),
        ("NotUnmounted", FRESH, |i| {
            i.superblock(|b| put16(b, 0x3A, 0))
        }),
        ("ReservedBlocks", FRESH, |i| {
            i.superblock(|b| put32(b, 8, 60000))
        }),
        ("SuperblockFreeBlocks", FRESH, |i| {
            i.superblock(|b| put32(b, 0xC, 5))
        }),
        ("SuperblockFreeInodes", FRESH, |i| {
            i.superblock(|b| put32(b, 0x10, 5))
        }),
        ("SuperblockCountsStale", FRESH, |i| {
            feature_bits(i, 0x60, |f| f | RECOVER);
            i.superblock(|b| put32(b, 0xC, 5));
        }),
        ("GroupChecksum", FRESH, |i| i.block_mut(2)[0x0C] ^= 1),
        ("GroupMetadataOutside", FRESH, |i| {
            i.descriptor(3, |d| put32(d, 8, 70_000))
        }),
        ("GroupCount", FRESH, |i| {
            i.descriptor(3, |d| put16(d, 0xC, 60_000))
        }),
        ("GroupMetadataOverlap", FRESH, |i| {
            let other = get32(i.desc_bytes(0), 4);
            i.descriptor(1, |d| put32(d, 4, other));
        }),
        ("GroupMetadataElsewhere", Base::Fresh("^flex_bg"), |i| {
            i.descriptor(3, |d| put32(d, 0, 40_000));
        }),
        (
            "GroupUninitFlag",
            Base::Fresh("^metadata_csum,^metadata_csum_seed"),
            |i| {
                i.descriptor(3, |d| put16(d, 0x12, 1));
            },
        ),
        ("JournalMissing", FRESH, |i| {
            i.superblock(|b| put32(b, 0xE0, 0))
        }),
        ("JournalExternal", FRESH, |i| {
            i.superblock(|b| {
                put32(b, 0xE0, 0);
                put32(b, 0xE4, 0x801);
            });
        }),
        ("JournalInode", FRESH, |i| {
            i.inode(8, |b| put16(b, 0, 0x4180))
        }),
        ("JournalLength", FRESH, |i| journal(i, 0x10, 1 << 20)),
        ("JournalSuperblock", FRESH, |i| journal(i, 0, 0)),
        (
            "JournalFlagWithoutJournal",
            Base::Fresh("^has_journal"),
            |i| {
                feature_bits(i, 0x60, |f| f | RECOVER);
            },
        ),
        ("JournalNeedsReplay", FRESH, |i| {
            feature_bits(i, 0x60, |f| f | RECOVER);
            journal(i, 0x1C, 1);
        }),
        ("JournalUnmarked", FRESH, |i| journal(i, 0x1C, 1)),
        ("JournalFastCommits", FRESH, |i| {
            journal(i, 0x28, 0x20);
            journal(i, 0x1C, 1);
        }),
        ("JournalUnclaimed", Base::Fresh("^has_journal"), |i| {
            i.superblock(|b| put32(b, 0xE0, 8))
        }),
        ("JournalReadOnlyFeatures", FRESH, |i| journal(i, 0x2C, 1)),
        ("SuperblockField", FRESH, |i| i.superblock(|b| b[0xD0] = 1)),
        ("SuperblockField", Base::Fresh("^64bit"), |i| {
            i.superblock(|b| put16(b, 0xFE, 133))
        }),
        ("QuotaInode", FRESH, |i| {
            i.superblock(|b| put32(b, 0x240, 12))
        }),
        ("UnknownFeatures", FRESH, |i| {
            feature_bits(i, 0x5C, |f| f | 0x8000)
        }),
        ("UnknownFeatures", FRESH, |i| {
            feature_bits(i, 0x64, |f| f | 0x2_0000)
        }),
        ("SuperblockTime", FRESH, |i| {
            i.superblock(|b| put32(b, 0x30, u32::MAX))
        }),
        ("JournalSize", FRESH, |i| i.inode(8, |b| b[4] ^= 1)),
        ("JournalUsers", FRESH, |i| journal(i, 0x40, 2)),
        ("OrphanMarkStale", FRESH, |i| {
            feature_bits(i, 0x64, |f| f | 0x1_0000)
        }),
        ("OrphanLeftover", FRESH, |i| {
            i.inode(5, |b| put32(b, 0x14, 9))
        }),
        ("HiddenInode", FRESH, |i| i.inode(3, |b| put32(b, 0x1C, 8))),
        ("HiddenInode", FRESH, |i| i.inode(1, |b| put16(b, 2, 8))),
        ("JournalAborted", FRESH, |i| {
            journal(i, 0x20, 5u32.wrapping_neg())
        }),
        ("OrphansPending", FILLED, |i| {
            let n = i.lookup("big");
            i.superblock(|b| put32(b, 0xE8, n));
        }),
        ("OrphanList", FILLED, |i| {
            i.superblock(|b| put32(b, 0xE8, 999_999))
        }),
        ("OrphanLoop", FILLED, |i| {
            let n = i.lookup("big");
            i.superblock(|b| put32(b, 0xE8, n));
            i.inode(n, |b| put32(b, 0x14, n));
        }),
        ("OrphanFile", FILLED, |i| {
            i.inode(12, |b| put16(b, 0, 0x4180))
        }),
        ("OrphanBlock", FILLED, |i| {
            let block = support::edit::data_blocks(i, 12, &mut Vec::new())[0].1;
            i.block_mut(block)[1020] ^= 1;
        }),
        ("OrphanEntry", FILLED, |i| {
            let block = support::edit::data_blocks(i, 12, &mut Vec::new())[3].1;
            i.orphan_block(12, block, |b| put32(b, 40, 3));
        }),
        ("OrphanMark", FILLED, |i| {
            let block = support::edit::data_blocks(i, 12, &mut Vec::new())[3].1;
            let n = i.lookup("big");
            i.orphan_block(12, block, |b| put32(b, 40, n));
        }),
    ]
}

fn inodes() -> Vec<(&'static str, Base, Plant)> {
    vec![
        ("InodeChecksum", FRESH, |i| {
            let table = i.desc(0).inode_table.get();
            i.block_mut(table + 2)[2 * 256 + 0x10] ^= 1; // inode 11, mtime
        }),
        ("InodeExtraSize", FILLED, |i| {
            link(i, "big", |b| put16(b, 0x80, 3))
        }),
        ("InodeSize", FILLED, |i| {
            link(i, "big", |b| put32(b, 0x6C, 0x8000_0000))
        }),
        ("InodeMode", FILLED, |i| {
            link(i, "big", |b| put16(b, 0, 0x0180))
        }),
        ("RootInvalid", FRESH, |i| {
            i.inode(2, |b| put16(b, 0, 0x81A4))
        }),
        ("ReservedInode", FRESH, |i| {
            i.inode(9, |b| put16(b, 0, 0x8180))
        }),
        ("DeletedWithoutTime", FILLED, |i| {
            link(i, "big", |b| put16(b, 0x1A, 0))
        }),
        ("DeletionTime", FILLED, |i| {
            link(i, "big", |b| put32(b, 0x14, 5))
        }),
        ("ExtentFlag", Base::Fresh("^extent,^64bit"), |i| {
            i.inode(11, |b| put32(b, 0x20, 0x8_0000));
        }),
        ("InlineData", FILLED, |i| {
            link(i, "big", |b| put32(b, 0x20, 0x1000_0000))
        }),
        ("IndexFlag", FILLED, |i| {
            link(i, "big", |b| put32(b, 0x20, 0x8_1000))
        }),
        ("SpecialFlags", FILLED, |i| {
            link(i, "pipe", |b| put32(b, 0x20, 0x10))
        }),
        ("SpecialBlocks", FILLED, |i| {
            link(i, "pipe", |b| put32(b, 0x28 + 40, 0x10))
        }),
        ("SpecialSize", FILLED, |i| {
            link(i, "pipe", |b| put32(b, 4, 1))
        }),
        ("SymlinkInvalid", FILLED, |i| {
            link(i, "fast", |b| put32(b, 4, 3))
        }),
        ("SymlinkInvalid", FILLED, |i| {
            link(i, "slow", |b| put32(b, 4, 77))
        }),
        ("LargeFileFlag", FILLED, |i| {
            feature_bits(i, 0x64, |f| f & !2);
            link(i, "big", |b| put32(b, 4, 0xC000_0000));
        }),
        ("InodeTime", FILLED, |i| {
            link(i, "big", |b| {
                put32(b, 0x10, u32::MAX);
                put32(b, 0x88, 3);
            })
        }),
        ("ResizeInode", FRESH, |i| i.block_mut(5)[0] ^= 1),
        ("ResizeReserve", FRESH, |i| i.block_mut(200)[0] ^= 1),
        ("InodeInBadBlock", FRESH, |i| {
            let table = i.desc(0).inode_table.get();
            i.inode(1, |b| put32(b, 0x28, u32::try_from(table).unwrap()));
        }),
        ("ExtentNode", FILLED, |i| link(i, "big", |b| b[0x28] ^= 1)),
        ("ExtentChecksum", FILLED, |i| {
            let block = i.extent_blocks_of("fragmented")[0];
            i.block_mut(block)[8] ^= 1;
        }),
        ("ExtentPlace", FILLED, |i| {
            link(i, "fragmented", |b| put32(b, 0x28 + 12, 3))
        }),
        ("ExtentStart", FILLED, |i| {
            let (n, block) = (i.lookup("fragmented"), i.extent_blocks_of("fragmented")[0]);
            i.extent_block(n, block, |b| put32(b, 12, get32(b, 12) + 1));
        }),
        ("ExtentRoom", FILLED, |i| {
            link(i, "big", |b| put16(b, 0x28 + 4, 1))
        }),
        ("ExtentEmpty", FILLED, |i| {
            let (n, block) = (i.lookup("fragmented"), i.extent_blocks_of("fragmented")[0]);
            i.extent_block(n, block, |b| put16(b, 2, 0));
        }),
        ("BlockOutside", FILLED, |i| move_extent(i, "big", 70_000)),
        ("BlockIsMetadata", FILLED, |i| move_extent(i, "big", 100)),
        ("BlockClaimedTwice", FILLED, |i| {
            let other = i.blocks_of("small")[0].1;
            move_extent(i, "big", other - 3);
        }),
        ("TooManyClaimedTwice", FILLED, |i| {
            let (n, block) = (i.lookup("fragmented"), i.extent_blocks_of("fragmented")[0]);
            i.extent_block(n, block, |b| {
                put16(b, 2, 84);
                for e in 0..84 {
                    let at = 12 + e * 12;
                    put32(b, at, u32::try_from(e).unwrap() * 32768);
                    put16(b, at + 4, 32768);
                    put32(b, at + 8, 30_000);
                }
            });
        }),
        ("UnwrittenDirectory", FILLED, |i| {
            let (n, block) = (i.lookup("sub"), i.blocks_of("sub")[0].1);
            root_extent(i, n, 0, (0, 32769, u32::try_from(block).unwrap()));
        }),
        ("BlocksBehindEnd", FILLED, |i| {
            link(i, "big", |b| put32(b, 4, 2000))
        }),
        ("DirectorySize", FILLED, |i| {
            link(i, "sub", |b| put32(b, 4, 2048))
        }),
        ("InodeField", FILLED, |i| link(i, "big", |b| b[0x71] = 1)),
        ("SectorCount", FILLED, |i| {
            link(i, "big", |b| put32(b, 0x1C, 2))
        }),
        ("XattrOutside", FILLED, |i| {
            link(i, "big", |b| put32(b, 0x68, 100))
        }),
        ("XattrBlock", FILLED, |i| {
            let block = i.inode_of(i.lookup("big")).file_acl.unwrap().get();
            i.xattr_block(block, |b| b[0] ^= 1);
        }),
        ("XattrInInode", FILLED, |i| {
            link(i, "small", |b| put32(b, 128 + 32 + 4 + 8, 5000))
        }),
        ("XattrName", FILLED, |i| {
            let block = i.inode_of(i.lookup("big")).file_acl.unwrap().get();
            i.xattr_block(block, |b| b[33] = 0);
        }),
        ("XattrHash", FILLED, |i| {
            let block = i.inode_of(i.lookup("big")).file_acl.unwrap().get();
            i.xattr_block(block, |b| b[32 + 12] ^= 1);
        }),
        ("XattrOverlap", FILLED, |i| {
            let block = i.inode_of(i.lookup("big")).file_acl.unwrap().get();
            i.xattr_block(block, |b| put16(b, 32 + 2, 40));
        }),
        ("XattrRefcount", FILLED, |i| {
            let block = i.inode_of(i.lookup("big")).file_acl.unwrap().get();
            i.xattr_block(block, |b| put32(b, 4, 9));
        }),
    ]
}

fn directories() -> Vec<(&'static str, Base, Plant)> {
    vec![
        ("DirectoryHole", FILLED, |i| {
            let (n, block) = (i.lookup("sub"), i.blocks_of("sub")[0].1);
            root_extent(i, n, 0, (1, 1, u32::try_from(block).unwrap()));
        }),
        ("DirectoryChecksum", FILLED, |i| {
            let block = i.blocks_of("sub")[0].1;
            i.block_mut(block)[500] ^= 1;
        }),
        ("DirectoryTail", FILLED, |i| {
            let block = i.blocks_of("sub")[0].1;
            i.block_mut(block)[1024 - 5] ^= 1;
        }),
        ("DirectoryRecord", FILLED, |i| {
            i.edit_entry("sub/inner", |b| put16(b, 4, 7))
        }),
        ("DirectoryName", FILLED, |i| {
            i.edit_entry("sub/inner", |b| b[9] = b'/')
        }),
        ("DotMissing", FILLED, |i| {
            i.edit_entry("sub/.", |b| b[8] = b'x')
        }),
        ("DotDotMissing", FILLED, |i| {
            i.edit_entry("sub/..", |b| b[8] = b'x')
        }),
        ("DotWrong", FILLED, |i| {
            i.edit_entry("sub/.", |b| put32(b, 0, 13))
        }),
        ("DotTwice", FILLED, |i| {
            i.edit_entry("sub/inner", |b| {
                b[6] = 1;
                b[8] = b'.';
            });
        }),
        ("EntryInode", FILLED, |i| {
            i.edit_entry("sub/inner/file", |b| put32(b, 0, 5))
        }),
        ("EntryInode", FILLED, |i| {
            i.edit_entry("sub/inner/file", |b| put32(b, 0, 1 << 30))
        }),
        ("EntryUnused", FILLED, |i| link(i, "big", |b| b.fill(0))),
        ("EntryUninit", FILLED, |i| {
            let last = i.sb.inodes_per_group() * 4;
            i.edit_entry("sub/inner/file", |b| put32(b, 0, last));
        }),
        ("EntryType", FILLED, |i| {
            i.edit_entry("sub/inner/file", |b| b[7] = 2)
        }),
        ("EntryTypeSet", FILLED, |i| {
            feature_bits(i, 0x60, |f| f & !2)
        }),
        ("EntryRoot", FILLED, |i| {
            i.edit_entry("sub/inner/file", |b| put32(b, 0, 2))
        }),
        ("DirectoryLinkedTwice", FILLED, |i| {
            let n = i.lookup("sub");
            i.edit_entry("big", |b| put32(b, 0, n));
        }),
        ("DuplicateName", FILLED, |i| {
            i.edit_entry("slow", |b| b[8..12].copy_from_slice(b"fast"));
        }),
        ("DirectorySkipped", FILLED, |i| {
            for path in ["sub/inner", "sub"] {
                let n = i.lookup(path);
                for slot in 0..4 {
                    let logical = u32::try_from(slot).unwrap() * 32768;
                    root_extent(i, n, slot, (logical, 32768, 30_000));
                }
            }
        }),
        ("HtreeRoot", FILLED, |i| htree_root(i, |b| b[0x1D] = 9)),
        ("HtreeHash", FILLED, |i| htree_root(i, |b| b[0x1C] = 77)),
        ("HtreeNode", FILLED, |i| htree_node(i, |b| put16(b, 10, 0))),
        ("HtreeDisguise", FILLED, |i| {
            htree_node(i, |b| put16(b, 4, 1012))
        }),
        ("HtreeChild", FILLED, |i| {
            htree_node(i, |b| put32(b, 8 + 8 + 4, 90_000))
        }),
        ("HtreeTwice", FILLED, |i| {
            htree_node(i, |b| put32(b, 8 + 8 + 4, get32(b, 8 + 4)))
        }),
        ("HtreeUnreachable", FILLED, |i| {
            htree_node(i, |b| put16(b, 10, get16(b, 10) - 1))
        }),
        ("HtreeRange", FILLED, |i| {
            htree_node(i, |b| put32(b, 8 + 8, get32(b, 8 + 8) / 2))
        }),
        ("DirectoryLost", FILLED, |i| {
            i.edit_entry("sub", |b| put32(b, 0, 0))
        }),
        ("DirectoryLoop", FILLED, |i| {
            let n = i.lookup("sub");
            i.edit_entry("sub/inner/file", |b| {
                put32(b, 0, n);
                b[7] = 2;
            });
            i.edit_entry("sub", |b| put32(b, 0, 0));
        }),
        ("DotDotWrong", FILLED, |i| {
            i.edit_entry("sub/inner/..", |b| put32(b, 0, 2))
        }),
        ("InodeLost", FILLED, |i| {
            i.edit_entry("sub/inner/file", |b| put32(b, 0, 0))
        }),
        ("LinkCount", FILLED, |i| {
            link(i, "big", |b| put16(b, 0x1A, 2))
        }),
    ]
}

fn bitmaps() -> Vec<(&'static str, Base, Plant)> {
    vec![
        ("BlockBitmapChecksum", FRESH, |i| {
            let at = i.desc(0).block_bitmap.get();
            i.block_mut(at)[1000] ^= 1;
        }),
        ("InodeBitmapChecksum", FRESH, |i| {
            let at = i.desc(0).inode_bitmap.get();
            i.block_mut(at)[200] ^= 1;
        }),
        ("BlocksMarkedFree", FRESH, |i| {
            i.block_bitmap(0, |b| b[0] &= !4)
        }),
        ("BlocksMarkedUsed", FRESH, |i| {
            i.block_bitmap(0, |b| b[1000] |= 4)
        }),
        ("BlockBitmapPadding", FRESH, |i| {
            i.block_bitmap(7, |b| b[1023] &= 0x7F)
        }),
        ("BlocksUninit", FILLED, |i| {
            assert!(i.desc(6).flags.contains(e4_format::BgFlags::BLOCK_UNINIT));
            move_extent(i, "big", 6 * 8192 + 100);
        }),
        ("InodesMarkedFree", FRESH, |i| {
            i.inode_bitmap(0, |b| b[0] &= !4)
        }),
        ("InodesMarkedUsed", FRESH, |i| {
            i.inode_bitmap(0, |b| b[50] |= 4)
        }),
        ("InodeBitmapPadding", FRESH, |i| {
            i.inode_bitmap(0, |b| b[1000] = 0)
        }),
        ("GroupFreeBlocks", FRESH, |i| {
            i.descriptor(0, |d| put16(d, 0xC, 3))
        }),
        ("GroupFreeInodes", FRESH, |i| {
            i.descriptor(0, |d| put16(d, 0xE, 3))
        }),
        ("GroupDirectories", FRESH, |i| {
            i.descriptor(0, |d| put16(d, 0x10, 3))
        }),
    ]
}

/// Planted in tests of their own: those that need another device or a log.
const ELSEWHERE: [&str; 3] = ["ReadFailed", "JournalReplayed", "JournalLogDamaged"];

fn plant_all(table: Vec<(&'static str, Base, Plant)>) {
    let filled = filled();
    if let Some(image) = &filled {
        assert_spotless(&check(&image.device()), "the image before planting");
    }
    for (kind, base, plant) in table {
        let mut image = match base {
            Base::Fresh(list) => fresh(list),
            Base::Filled => match &filled {
                Some(image) => image.clone(),
                None => continue,
            },
        };
        plant(&mut image);
        let report = check(&image.device());
        assert!(report.has(kind), "{kind} was not found: {}", list(&report));
        assert_well_described(&report);
    }
}

/// Messages and advice are there and fit on a line; JSON has the same number of problems.
fn assert_well_described(report: &Report) {
    for p in &report.problems {
        let text = p.to_string();
        assert!(
            text.contains("; ") && !text.contains('\n') && !p.advice().is_empty(),
            "{text}"
        );
    }
    let json = serde_json::to_value(report).unwrap();
    assert_eq!(
        json["problems"].as_array().unwrap().len(),
        report.problems.len()
    );
}

#[test]
fn structure_and_journal() {
    plant_all(structure());
}

#[test]
fn inodes_and_maps() {
    plant_all(inodes());
}

#[test]
fn directories_and_links() {
    plant_all(directories());
}

#[test]
fn bitmaps_and_counts() {
    plant_all(bitmaps());
}

#[test]
fn every_kind_is_planted() {
    let tables = [structure(), inodes(), directories(), bitmaps()];
    let planted: BTreeSet<&str> = tables
        .iter()
        .flatten()
        .map(|(kind, _, _)| *kind)
        .chain(ELSEWHERE)
        .collect();
    let all: BTreeSet<&str> = Problem::KINDS.iter().copied().collect();
    assert_eq!(planted, all);
}

/// A device on which one megabyte cannot be read.
struct Failing {
    inner: MemoryDevice,
    from: u64,
}

impl Device for Failing {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        if at < self.from + (1 << 20) && at + buf.len() as u64 > self.from {
            let device = self.info().name.clone();
            let len = buf.len() as u64;
            return Err(DeviceError::Io {
                op: "read",
                device,
                at,
                len,
                errno: 5,
            });
        }
        self.inner.read_at(at, buf)
    }
    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.inner.write_at(at, data)
    }
    fn flush(&self) -> Result<(), DeviceError> {
        self.inner.flush()
    }
    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.inner.discard(at, len)
    }
    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        self.inner.submit(queue, requests);
    }
    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.inner.poll(queue, out, wait)
    }
}

#[test]
fn failing_reads_are_reported_and_survived() {
    let image = fresh("");
    // Superblock and descriptors; directories.
    for mib in [0, 4] {
        let device = Failing {
            inner: image.device(),
            from: mib << 20,
        };
        let report = e4_check::check(&device, &Options::default(), &mut |_| {});
        assert!(
            report.has("ReadFailed") && !report.is_clean(),
            "{mib}: {}",
            list(&report)
        );
    }
}

#[test]
fn reports_are_bounded() {
    let mut image = fresh("");
    for group in 0..8 {
        image.block_bitmap(group, |b| b.fill(0xFF));
        image.descriptor(group, |d| put16(d, 0xC, 0));
    }
    let options = Options {
        max_problems: 3,
        ..Options::default()
    };
    let report = e4_check::check(&image.device(), &options, &mut |_| {});
    assert_eq!(report.problems.len(), 3);
    assert_eq!(report.omitted + 3, report.counts.values().sum::<u64>());
    assert!(!report.is_clean());
}
