//! Bitmaps and counts that lie.

use e4_format::bitmap::{self, BitmapMut};
use e4_format::{BgFlags, FileType, FsBlock, GroupDesc, GroupNo, InodeNo, Superblock};

use super::image::{Fs, Rng, byte_of, desc_at, desc_of, make};
use crate::error::Error;

/// An image with a change to one group's descriptor and bitmaps, all checksums right again.
fn forge(
    bytes: &[u8],
    group: u32,
    change: impl Fn(&mut GroupDesc, &mut BitmapMut<'_>, &mut BitmapMut<'_>),
) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).unwrap();
    let group = GroupNo::new(group);
    let mut desc = desc_of(&bytes, &sb, group);
    let len = sb.block_size().len();
    let (b, i) = (
        byte_of(&sb, desc.block_bitmap),
        byte_of(&sb, desc.inode_bitmap),
    );
    let (mut blocks, mut inodes) = (bytes[b..b + len].to_vec(), bytes[i..i + len].to_vec());
    if desc.flags.contains(BgFlags::BLOCK_UNINIT) {
        bitmap::init_block_bitmap(&mut blocks, &sb, group, &desc);
        desc.flags.remove(BgFlags::BLOCK_UNINIT);
    }
    if desc.flags.contains(BgFlags::INODE_UNINIT) {
        bitmap::init_inode_bitmap(&mut inodes, &sb);
        desc.flags.remove(BgFlags::INODE_UNINIT);
    }
    let mut block_map = BitmapMut::new(&mut blocks, sb.blocks_in_group(group));
    let mut inode_map = BitmapMut::new(&mut inodes, sb.inodes_per_group());
    change(&mut desc, &mut block_map, &mut inode_map);
    desc.block_bitmap_csum = bitmap::block_bitmap_csum(&sb, &blocks);
    desc.inode_bitmap_csum = bitmap::inode_bitmap_csum(&sb, &inodes);
    bytes[b..b + len].copy_from_slice(&blocks);
    bytes[i..i + len].copy_from_slice(&inodes);
    let at = desc_at(&sb, group);
    desc.encode(&mut bytes[at..], &sb, group).unwrap();
    bytes
}

fn base() -> Option<Vec<u8>> {
    make(&["-b", "1024", "-N", "512"], 32)
}

fn group_of(fs: &Fs, block: FsBlock) -> u32 {
    fs.sb().group_of_block(block).unwrap().0.get()
}

/// The first allocation that meets group 2 fails; after that the group is passed by, and not a block of
/// it is handed out, nor does the space of the others fail to be found.
fn assert_condemned(bytes: &[u8], why: &str) {
    let fs = Fs::try_open(bytes).unwrap();
    let first = fs.sb().group_first_block(GroupNo::new(2)).unwrap().get();
    let met = fs.take(first + 4000, 5);
    assert!(
        matches!(
            met,
            Err(Error::Group { group: 2, .. } | Error::Format { .. })
        ),
        "{why}: {met:?}"
    );
    let mut total = 0;
    loop {
        match fs.take(first + 4000, 5000) {
            Ok(run) => {
                assert_ne!(group_of(&fs, run.start), 2, "{why}");
                total += u64::from(run.len);
            }
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{why}: {error}");
                break;
            }
        }
    }
    assert!(total > 10_000, "{why}: {total}");
    assert!(
        fs.alloc()
            .free(&mut fs.handle(), FsBlock::new(first + 4000), 1)
            .is_err()
    );
}

#[test]
fn lying_groups_are_condemned() {
    let Some(bytes) = base() else { return };
    let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).unwrap();
    assert!(sb.groups() > 3);
    let too_many = forge(&bytes, 2, |desc, _, _| desc.free_blocks_count -= 7);
    assert_condemned(&too_many, "count too small");
    let too_few = forge(&bytes, 2, |_, blocks, _| {
        assert_eq!(blocks.set_range(6000..6100), 100);
    });
    assert_condemned(&too_few, "bitmap fuller than the count");
    // Group 1 begins with a backup superblock.
    let exposed = forge(&bytes, 1, |desc, blocks, _| {
        blocks.clear(0);
        desc.free_blocks_count += 1;
    });
    let fs = Fs::try_open(&exposed).unwrap();
    let first = fs.sb().group_first_block(GroupNo::new(1)).unwrap().get();
    assert!(matches!(
        fs.take(first + 4000, 5),
        Err(Error::Group { group: 1, .. })
    ));
    let run = fs.take(first + 4000, 5).unwrap();
    assert_ne!(group_of(&fs, run.start), 1);
}

#[test]
fn a_bitmap_with_a_wrong_checksum_is_not_used() {
    let Some(bytes) = base() else { return };
    let mut bytes = forge(&bytes, 2, |_, _, _| {});
    let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).unwrap();
    let at = byte_of(&sb, desc_of(&bytes, &sb, GroupNo::new(2)).block_bitmap);
    bytes[at + 100] ^= 1;
    assert_condemned(&bytes, "checksum");
}

#[test]
fn lying_inode_bitmaps_are_condemned() {
    let Some(bytes) = base() else { return };
    let cases: [(&str, Vec<u8>); 3] = [
        (
            "reserved inode free",
            forge(&bytes, 0, |desc, _, inodes| {
                inodes.clear(4);
                desc.free_inodes_count += 1;
            }),
        ),
        (
            "count too large",
            forge(&bytes, 0, |desc, _, _| desc.free_inodes_count += 3),
        ),
        (
            "count too small",
            forge(&bytes, 0, |_, _, inodes| {
                inodes.clear_range(40..45);
                inodes.set_range(50..60);
            }),
        ),
    ];
    for (why, bytes) in cases {
        let fs = Fs::try_open(&bytes).unwrap();
        let per_group = fs.sb().inodes_per_group();
        let met = fs
            .alloc()
            .alloc_inode(&mut fs.handle(), InodeNo::ROOT, FileType::Regular);
        assert!(
            matches!(met, Err(Error::Group { group: 0, .. })),
            "{why}: {met:?}"
        );
        let ino = fs
            .alloc()
            .alloc_inode(&mut fs.handle(), InodeNo::ROOT, FileType::Regular)
            .unwrap();
        assert!(
            ino.get() > per_group,
            "{why}: {ino} comes from the condemned group"
        );
        let lost_and_found = InodeNo::new(11).unwrap();
        assert!(
            fs.alloc()
                .free_inode(&mut fs.handle(), lost_and_found, None)
                .is_err()
        );
    }
}

/// Random damage anywhere in descriptors and bitmaps: errors or service, never a panic, never a block of
/// the filesystem itself.
#[test]
fn random_damage_does_no_harm() {
    let Some(sound) = base() else { return };
    let sb = Superblock::parse(sound[1024..2048].try_into().unwrap()).unwrap();
    let mut rng = Rng(77);
    let (mut refused, mut served) = (0, 0);
    for _ in 0..60 {
        let damage = rng.next();
        let group = u32::try_from(rng.below(sb.groups().into())).unwrap();
        let bytes = forge(&sound, group, |desc, blocks, inodes| {
            let mut rng = Rng(damage);
            match rng.below(6) {
                0 => desc.free_blocks_count = u32::try_from(rng.below(8192)).unwrap(),
                1 => desc.free_inodes_count = u32::try_from(rng.below(100)).unwrap(),
                2 => desc.itable_unused = u32::try_from(rng.below(100)).unwrap(),
                3 => desc.flags = BgFlags::from_bits(u16::try_from(rng.below(8)).unwrap()),
                4 => {
                    let from = u32::try_from(rng.below(8000)).unwrap();
                    blocks.clear_range(from..from + 50);
                }
                _ => {
                    let from = u32::try_from(rng.below(100)).unwrap();
                    inodes.clear_range(from..from + 5);
                }
            }
        });
        let Ok(fs) = Fs::try_open(&bytes) else {
            refused += 1;
            continue;
        };
        for _ in 0..40 {
            let goal = rng.below(33_000);
            match fs.take(goal, u32::try_from(1 + rng.below(3000)).unwrap()) {
                Ok(run) => {
                    served += 1;
                    assert!(!fs.alloc().is_protected(run.start, run.len.into()));
                    if rng.below(2) == 0 {
                        let _ = fs.give(run);
                    }
                }
                Err(_) => refused += 1,
            }
            let kind = if rng.below(2) == 0 {
                FileType::Directory
            } else {
                FileType::Regular
            };
            let ino = fs
                .alloc()
                .alloc_inode(&mut fs.handle(), InodeNo::ROOT, kind);
            if let Ok(ino) = ino {
                assert!(ino.get() > 11 && ino.get() <= fs.sb().inodes_count());
                if rng.below(2) == 0 {
                    let _ = fs.alloc().free_inode(&mut fs.handle(), ino, Some(kind));
                }
            }
        }
        fs.commit();
    }
    eprintln!("hostile groups: {served} allocations served, {refused} refused");
    assert!(refused > 0 && served > 0);
}
