//! Transactions written by debugfs are read; transactions written here are replayed by e2fsck.

use crate::image::{Config, Image, fresh};
use crate::oracle;
use e4_format::jbd2::{
    self, BlockHeader, BlockKind, CommitBlock, DescriptorWriter, JournalIncompat,
    JournalSuperblock, RevokeWriter,
};
use e4_format::{Bitmap, FsBlock, GroupNo, Tid};
use std::fs;

const PLAIN: &[(&str, &str)] = &[
    ("64bit", ""),
    ("32bit", "^64bit"),
    ("no-csum", "^metadata_csum"),
];

fn images() -> impl Iterator<Item = Option<Image>> {
    [1024, 2048, 4096].into_iter().flat_map(|block_size| {
        PLAIN.iter().map(move |(name, features)| {
            fresh(Config {
                name,
                block_size,
                features,
                inode_size: 256,
            })
        })
    })
}

/// Blocks of the journal's inode, and its superblock.
fn journal(image: &Image) -> (Vec<FsBlock>, JournalSuperblock) {
    let blocks = image.dir_blocks(image.sb.journal_inum().unwrap());
    let blocks: Vec<FsBlock> = blocks.into_iter().map(|(_, at)| at).collect();
    let sb = JournalSuperblock::decode(image.block(blocks[0]), image.sb.block_size()).unwrap();
    (blocks, sb)
}

/// Some blocks nothing uses, far from the metadata.
fn free_blocks(image: &Image, n: u32) -> Vec<FsBlock> {
    let group = GroupNo::new(image.sb.groups() - 1);
    let len = image.sb.blocks_in_group(group);
    let mut map = image.block(image.desc(group).block_bitmap).to_vec();
    if image
        .desc(group)
        .flags
        .contains(e4_format::BgFlags::BLOCK_UNINIT)
    {
        e4_format::bitmap::init_block_bitmap(&mut map, &image.sb, group, image.desc(group));
    }
    let run = Bitmap::new(&map, len)
        .find_zero_run(len / 2..len, n, n)
        .unwrap();
    let first = image.sb.group_first_block(group).unwrap();
    run.map(|bit| first.checked_add(bit.into()).unwrap())
        .collect()
}

#[test]
fn written_by_debugfs() {
    let mut versions = Vec::new();
    for open in ["jo", "jo -c -v 2", "jo -c -v 3"] {
        for image in images() {
            let Some(image) = image else { return };
            let bs = image.sb.block_size().len();
            let [a, b, c] = free_blocks(&image, 3)[..] else {
                panic!()
            };
            let (one, two) = (image.dir.path().join("one"), image.dir.path().join("two"));
            // One block looks like a block of the journal and has to be escaped.
            let mut data = vec![0x33; bs];
            data[..4].copy_from_slice(&jbd2::JBD2_MAGIC.to_be_bytes());
            fs::write(&one, &data).unwrap();
            fs::write(&two, vec![0x44; 2 * bs]).unwrap();
            let script = format!(
                "{open}\njw -b {a} {}\njw -b {b},{c} {}\njw -r {a}\njc\n",
                one.display(),
                two.display()
            );
            if oracle::debugfs_write(&image.path, &script).is_none() {
                return;
            }
            let image = Image::open(image.dir, image.path);
            assert!(image.sb.needs_recovery());
            let (blocks, sb) = journal(&image);
            let seen = read_log(&image, &blocks, &sb);
            let data = vec![(a, data), (b, vec![0x44; bs]), (c, vec![0x44; bs])];
            assert_eq!(seen.copies, data, "{open}");
            assert_eq!(seen.revoked, [a]);
            assert_eq!(seen.commits, 3);
            versions.push(sb.format().csum);
        }
    }
    for version in [jbd2::JournalCsum::V2, jbd2::JournalCsum::V3] {
        assert!(
            versions.contains(&version),
            "debugfs wrote no {version:?}: {versions:?}"
        );
    }
}

#[derive(Default)]
struct Log {
    copies: Vec<(FsBlock, Vec<u8>)>,
    revoked: Vec<FsBlock>,
    commits: usize,
}

fn read_log(image: &Image, blocks: &[FsBlock], sb: &JournalSuperblock) -> Log {
    let format = sb.format();
    let mut log = Log::default();
    let mut tid = sb.sequence();
    let mut at = sb.start().unwrap() as usize;
    while let Some(header) = BlockHeader::decode(image.block(blocks[at])) {
        if header.tid != tid {
            break;
        }
        let block = image.block(blocks[at]);
        at += 1;
        match header.kind {
            BlockKind::Descriptor => {
                for tag in jbd2::tags(block, format).unwrap() {
                    let mut copy = image.block(blocks[at]).to_vec();
                    at += 1;
                    tag.verify(format, tid, &copy).unwrap();
                    if tag.escaped {
                        jbd2::unescape(&mut copy);
                    }
                    log.copies.push((tag.block, copy));
                }
            }
            BlockKind::Revoke => log.revoked.extend(jbd2::revoked(block, format).unwrap()),
            BlockKind::Commit => {
                assert_eq!(CommitBlock::decode(block, format).unwrap().tid, tid);
                log.commits += 1;
                tid = tid.next();
            }
            other => panic!("{other:?} in the log"),
        }
    }
    log
}

#[test]
fn replayed_by_e2fsck() {
    let sums = [
        JournalIncompat::REVOKE,
        JournalIncompat::REVOKE.union(JournalIncompat::CSUM_V2),
        JournalIncompat::REVOKE.union(JournalIncompat::CSUM_V3),
    ];
    for features in sums {
        for (wide, image) in [false, true]
            .into_iter()
            .flat_map(|w| images().map(move |i| (w, i)))
        {
            let Some(mut image) = image else { return };
            let mut features = features;
            if wide {
                features = features.union(JournalIncompat::BIT64);
            }
            let expected = write_log(&mut image, features);
            let before: Vec<Vec<u8>> = expected
                .iter()
                .map(|(at, _)| image.block(*at).to_vec())
                .collect();
            image.save();
            let Some(report) = oracle::e2fsck(&image.path, "-fy") else {
                return;
            };
            assert!(report.contains("recovering journal"), "{report}");
            let after = Image::open(image.dir, image.path);
            assert!(!after.sb.needs_recovery());
            for ((at, data), before) in expected.iter().zip(before) {
                let data = data.as_ref().unwrap_or(&before);
                assert!(
                    after.block(*at) == data,
                    "{features}: block {at} was not as expected"
                );
            }
        }
    }
}

/// Two transactions: the first writes four blocks (one escaped), the second revokes one of them. What
/// each block should hold after replay; `None` for what it held before.
fn write_log(image: &mut Image, features: JournalIncompat) -> Vec<(FsBlock, Option<Vec<u8>>)> {
    let bs = image.sb.block_size().len();
    let (blocks, mut sb) = journal(image);
    sb.set_incompat(features).unwrap();
    let format = *sb.format();
    let homes = free_blocks(image, 4);
    let mut data: Vec<Vec<u8>> = (1..=4u8).map(|n| vec![n; bs]).collect();
    data[1][..4].copy_from_slice(&jbd2::JBD2_MAGIC.to_be_bytes());
    let (first, second) = (Tid::new(u32::MAX), Tid::new(0));

    let mut descriptor = vec![0; bs];
    let mut w = DescriptorWriter::new(&mut descriptor, &format, first).unwrap();
    let mut log = Vec::new();
    for (home, data) in homes.iter().zip(&data) {
        let mut copy = data.clone();
        let escaped = jbd2::escape(&mut copy);
        assert!(w.push(*home, escaped, jbd2::data_csum(&format, first, &copy)));
        log.push(copy);
    }
    w.finish();
    log.insert(0, descriptor);
    log.push(commit(first, bs, &format));
    let mut revoke = vec![0; bs];
    let mut w = RevokeWriter::new(&mut revoke, &format, second).unwrap();
    assert!(w.push(homes[2]));
    w.finish();
    log.push(revoke);
    log.push(commit(second, bs, &format));

    for (n, block) in log.iter().enumerate() {
        image.block_mut(blocks[n + 1]).copy_from_slice(block);
    }
    sb.set_tail(first, Some(1)).unwrap();
    sb.encode(image.block_mut(blocks[0])).unwrap();
    image.sb.set_needs_recovery(true);
    let bytes = image.sb.encode();
    image.bytes[1024..2048].copy_from_slice(&bytes);

    let mut expected: Vec<_> = homes.into_iter().zip(data.into_iter().map(Some)).collect();
    expected[2].1 = None;
    expected
}

fn commit(tid: Tid, bs: usize, format: &jbd2::JournalFormat) -> Vec<u8> {
    let mut block = vec![0; bs];
    let record = CommitBlock {
        tid,
        sec: 1_700_000_000,
        nsec: 1,
        v1_crc32: None,
    };
    record.encode(&mut block, format).unwrap();
    block
}
