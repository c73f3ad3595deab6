//! Journals of ours replayed by e2fsck, journals of debugfs replayed by us.

mod image;

use std::fmt::Write as _;

use e4_device::Device;
use e4_format::jbd2::JBD2_MAGIC;
use e4_format::{FsBlock, Inode, InodeNo, Timestamp};
use e4_journal::recovery::RecoveryEnd;
use e4_journal::{JournalError, LogChecksum, MetaStore, Options, Verify};
use image::{Fs, Image, has_e2fsprogs, skip};

/// Arguments of mke2fs, blocks of the journal, and the checksums of the log.
fn variants() -> Vec<(Vec<&'static str>, u32, LogChecksum, bool)> {
    let plain = "^metadata_csum,^64bit";
    vec![
        (
            vec!["-b", "1024", "-J", "size=1", "-O", plain],
            1024,
            LogChecksum::None,
            false,
        ),
        (
            vec!["-b", "1024", "-J", "size=1", "-O", "^64bit,metadata_csum"],
            1024,
            LogChecksum::V3,
            false,
        ),
        (
            vec!["-b", "1024", "-J", "size=1", "-O", "64bit,metadata_csum"],
            1024,
            LogChecksum::V2,
            true,
        ),
        (
            vec!["-b", "2048", "-J", "size=2", "-O", "^64bit,metadata_csum"],
            1024,
            LogChecksum::V2,
            false,
        ),
        (
            vec!["-b", "4096", "-J", "size=4", "-O", "64bit,metadata_csum"],
            1024,
            LogChecksum::V3,
            true,
        ),
        (
            vec!["-b", "4096", "-J", "size=4", "-O", "64bit,^metadata_csum"],
            1024,
            LogChecksum::None,
            true,
        ),
        (
            vec![
                "-b",
                "1024",
                "-J",
                "size=1",
                "-O",
                "^extent,^64bit,^metadata_csum,^flex_bg",
            ],
            1024,
            LogChecksum::None,
            false,
        ),
    ]
}

fn options(checksum: LogChecksum, wide: bool) -> Options {
    Options {
        checksum,
        wide,
        commit_interval: None,
        ..Options::default()
    }
}

fn fill(store: &MetaStore, blocks: &[u64], content: impl Fn(u64) -> Vec<u8>) {
    let mut handle = store.start(u32::try_from(blocks.len()).unwrap()).unwrap();
    for block in blocks {
        let cached = store.read(FsBlock::new(*block), Verify::NONE).unwrap();
        handle
            .modify(&cached)
            .unwrap()
            .copy_from_slice(&content(*block));
    }
    let tid = handle.tid();
    drop(handle);
    store.commit(tid).unwrap();
}

fn pattern(fs: &Fs, block: u64, version: u8) -> Vec<u8> {
    let mut bytes = vec![version; usize::try_from(fs.size()).unwrap()];
    bytes[8..16].copy_from_slice(&block.to_le_bytes());
    if block.is_multiple_of(3) {
        bytes[..4].copy_from_slice(&JBD2_MAGIC.to_be_bytes());
    }
    bytes
}

/// Puts a known atime into an inode, through the journal.
fn touch(fs: &Fs, store: &MetaStore, ino: u32) {
    let (block, offset) = fs.inode_place(ino);
    let number = InodeNo::new(ino).unwrap();
    let mut handle = store.start(1).unwrap();
    let cached = store.read(block, Verify::NONE).unwrap();
    let mut bytes = handle.modify(&cached).unwrap();
    let mut inode = Inode::decode(&bytes[offset..], &fs.superblock, number).unwrap();
    inode.atime = Timestamp {
        sec: 86_400 * 365,
        nsec: 0,
    };
    inode
        .encode(&mut bytes[offset..], &fs.superblock, number)
        .unwrap();
}

#[test]
fn e2fsck_replays_our_journal() {
    if skip("e2fsprogs", has_e2fsprogs()) {
        return;
    }
    for (args, journal, checksum, wide) in variants() {
        let image = Image::make(16, &args);
        let size = 1024 * args[1].parse::<usize>().unwrap() / 1024;
        let blocks = image.add_file("victim", &vec![0x11; 200 * size], 200);
        let places = image.places("<8>", journal);
        assert_eq!((blocks.len(), places.len()), (200, journal as usize));
        let mut fs = image.load();
        fs.needs_recovery(true);
        let store = fs.open(&places, options(checksum, wide));
        // Around the log several times.
        for version in 1..=30 {
            fill(&store, &blocks, |b| pattern(&fs, b, version));
        }
        touch(&fs, &store, 12);
        // A block that is freed and becomes data: its copies in the log are revoked.
        let freed = blocks[7];
        let mut handle = store.start(1).unwrap();
        handle.forget(FsBlock::new(freed)).unwrap();
        let tid = handle.tid();
        drop(handle);
        store.commit(tid).unwrap();
        let data = vec![0xDA; size];
        fs.device.write_at(freed * fs.size(), &data).unwrap();
        store.flush_device().unwrap();
        // Never committed.
        let mut handle = store.start(1).unwrap();
        let block = store.read(FsBlock::new(blocks[0]), Verify::NONE).unwrap();
        handle.modify(&block).unwrap().fill(0xEE);
        drop(handle);
        drop(store);
        let stale = blocks
            .iter()
            .filter(|b| fs.block(**b) != pattern(&fs, **b, 30))
            .count();
        assert!(stale > 100, "{args:?}: nothing left for e2fsck to replay");

        image.save(&fs);
        image.e2fsck_replays();
        image.e2fsck_is_clean();
        let after = image.load();
        for block in &blocks {
            let wanted = if *block == freed {
                data.clone()
            } else {
                pattern(&fs, *block, 30)
            };
            assert!(after.block(*block) == wanted, "{args:?}: block {block}");
        }
        let stat = image.debugfs("stat /victim\n");
        assert!(stat.contains("1971"), "{args:?}: {stat}");
    }
}

#[test]
fn we_replay_our_own_journal_on_real_images() {
    if skip("e2fsprogs", has_e2fsprogs()) {
        return;
    }
    for (args, journal, checksum, wide) in variants() {
        let image = Image::make(16, &args);
        let size = args[1].parse::<usize>().unwrap();
        let blocks = image.add_file("victim", &vec![0x11; 50 * size], 50);
        let places = image.places("<8>", journal);
        let mut fs = image.load();
        fs.needs_recovery(true);
        let store = fs.open(&places, options(checksum, wide));
        fill(&store, &blocks, |b| pattern(&fs, b, 1));
        touch(&fs, &store, 12);
        store.commit_all().unwrap();
        drop(store);
        let report = fs.recover(&places).unwrap();
        assert_eq!((report.end, report.transactions), (RecoveryEnd::Clean, 2));
        // And an orderly end after that.
        let store = fs.open(&places, options(LogChecksum::AsIs, wide));
        fill(&store, &blocks[..10], |b| pattern(&fs, b, 2));
        store.shutdown().unwrap();
        image.save(&fs);
        image.e2fsck_is_clean();
        let info = image::text(&image::run("dumpe2fs", &["-h", image.str()]));
        assert!(info.contains("Journal start:            0"), "{info}");
        for (i, block) in blocks.iter().enumerate() {
            let version = if i < 10 { 2 } else { 1 };
            assert!(
                fs.block(*block) == pattern(&fs, *block, version),
                "{args:?}: block {block}"
            );
        }
    }
}

fn list(blocks: &[u64]) -> String {
    let mut s = String::new();
    for block in blocks {
        let comma = if s.is_empty() { "" } else { "," };
        write!(s, "{comma}{block}").unwrap();
    }
    s
}

#[test]
fn we_replay_journals_of_debugfs() {
    if skip("e2fsprogs", has_e2fsprogs()) {
        return;
    }
    for (args, journal, checksum, _) in variants() {
        let image = Image::make(16, &args);
        let size = args[1].parse::<usize>().unwrap();
        let blocks = image.add_file("victim", &vec![0x11; 300 * size], 300);
        let places = image.places("<8>", journal);
        let fs = image.load();
        let open = match checksum {
            LogChecksum::V3 => "jo -c -v 3",
            LogChecksum::V2 => "jo -c -v 2",
            _ => "jo",
        };
        let part = |version: u8, blocks: &[u64]| {
            let bytes: Vec<u8> = blocks
                .iter()
                .flat_map(|b| pattern(&fs, *b, version))
                .collect();
            let path = image.dir().join(format!("part{version}"));
            std::fs::write(&path, bytes).unwrap();
            path.display().to_string()
        };
        // The second transaction revokes a block of the first (debugfs writes no commit record if it holds blocks as
        // well), the last has no commit record.
        let (first, second, last) = (&blocks[..290], &blocks[10..20], &blocks[0..5]);
        image.debugfs(&format!(
            "{open}\njw -b {} {}\njw -r {}\njw -b {} {}\njw -b {} -c {}\njc\n",
            list(first),
            part(1, first),
            blocks[30],
            list(second),
            part(2, second),
            list(last),
            part(3, last),
        ));
        let mut fs = image.load();
        let report = fs
            .recover(&places)
            .unwrap_or_else(|e| panic!("{args:?}: {e}"));
        assert_eq!(report.transactions, 3, "{args:?}: {report:?}");
        assert_eq!((report.blocks, report.revoked), (289, 1), "{args:?}");
        assert!(
            matches!(report.end, RecoveryEnd::TornTail { .. }),
            "{:?}",
            report.end
        );
        for (i, block) in blocks.iter().enumerate() {
            let found = fs.block(*block);
            let wanted = match i {
                10..20 => pattern(&fs, *block, 2),
                30 | 290.. => vec![0x11; size],
                _ => pattern(&fs, *block, 1),
            };
            assert!(found == wanted, "{args:?}: block {i}");
        }
        image.save(&fs);
        image.e2fsck_is_clean();
    }
}

/// A journal of debugfs, replayed by e2fsck and by us: the same image, but for the journal superblock and the superblock's
/// counters of mounts and writes.
#[test]
fn our_replay_equals_that_of_e2fsck() {
    if skip("e2fsprogs", has_e2fsprogs()) {
        return;
    }
    let args = ["-b", "1024", "-J", "size=1", "-O", "64bit,metadata_csum"];
    let image = Image::make(16, &args);
    let blocks = image.add_file("victim", &vec![0x11; 300 * 1024], 300);
    let places = image.places("<8>", 1024);
    let bytes: Vec<u8> = (0..300 * 1024u32)
        .map(|i| (i % 251).to_le_bytes()[0])
        .collect();
    let path = image.dir().join("part");
    std::fs::write(&path, bytes).unwrap();
    image.debugfs(&format!(
        "jo -c\njw -b {} {}\njc\n",
        list(&blocks),
        path.display()
    ));
    let mut ours = image.load();
    ours.recover(&places).unwrap();
    image.e2fsck_replays();
    let theirs = image.load();
    let same = (0..ours.superblock.blocks_count())
        .filter(|b| ours.block(*b) == theirs.block(*b))
        .count() as u64;
    let differ = ours.superblock.blocks_count() - same;
    // The superblock, its first backup copies and the journal superblock.
    assert!(differ <= 4, "{differ} blocks differ");
}

#[test]
fn refused_journals_name_their_reason() {
    if skip("e2fsprogs", has_e2fsprogs()) {
        return;
    }
    let image = Image::make(16, &["-b", "1024", "-J", "size=1"]);
    let places = image.places("<8>", 1024);
    let fs = image.load();
    let short = fs.layout(&places[..1000]);
    assert!(matches!(
        short,
        Err(JournalError::JournalTooLong {
            claimed: 1024,
            mapped: 1000
        })
    ));
    let mut twice = places.clone();
    twice[9] = twice[8];
    assert!(matches!(
        fs.layout(&twice),
        Err(JournalError::Layout { .. })
    ));
}
