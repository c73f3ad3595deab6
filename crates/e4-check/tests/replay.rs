//! Logs replayed in memory: written by hand with every checksum version, and left behind by the kernel.

mod support;

use e4_check::{Options, Report, Verdict};
use e4_format::features::IncompatFeatures;
use e4_format::jbd2::{
    self, CommitBlock, DescriptorWriter, JournalIncompat, JournalSuperblock, RevokeWriter,
};
use e4_format::{FsBlock, Tid};
use e4_mkfs::{Medium, Params};
use support::edit::{Image, data_blocks, get32, put32};
use support::{FILLABLE, LoopMount, check, fill, have, list, must_run, run, scratch, sparse_file};

fn fresh() -> Image {
    use e4_device::Device;
    let size = 64 << 20;
    let device = e4_device::MemoryDevice::new(size);
    let params = Params {
        medium: Medium::Zeroed,
        ..Params::default()
    };
    e4_mkfs::format(&device, &params, &mut |_| {}).unwrap();
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    Image::new(bytes)
}

fn replay(image: &Image) -> Report {
    let options = Options {
        replay: true,
        ..Options::default()
    };
    e4_check::check(&image.device(), &options, &mut |_| {})
}

/// Writes transactions into the log of an image, one block after the other.
struct Log<'a> {
    image: &'a mut Image,
    places: Vec<u64>,
    jsb: JournalSuperblock,
    at: usize,
    tid: Tid,
}

impl<'a> Log<'a> {
    fn new(image: &'a mut Image, features: JournalIncompat) -> Self {
        let places: Vec<u64> = data_blocks(image, 8, &mut Vec::new())
            .into_iter()
            .map(|(_, b)| b)
            .collect();
        let bs = image.sb.block_size();
        let jsb = JournalSuperblock::decode(image.block(places[0]), bs).unwrap();
        let mut raw = jsb.raw().clone();
        raw.s_feature_incompat.set(features.bits());
        if features.bits() & 0x18 != 0 {
            raw.s_checksum_type = 4;
        }
        raw.s_sequence.set(77);
        // Near the end, so that the log wraps.
        let at = places.len() - 3;
        raw.s_start.set(u32::try_from(at).unwrap());
        let jsb = JournalSuperblock::from_raw(raw, bs).unwrap();
        jsb.encode(image.block_mut(places[0])).unwrap();
        let incompat = image.sb.incompat() | IncompatFeatures::RECOVER;
        image.superblock(|b| put32(b, 0x60, incompat.bits()));
        Self {
            image,
            places,
            jsb,
            at,
            tid: Tid::new(77),
        }
    }

    fn put(&mut self, block: &[u8]) -> u64 {
        let place = self.places[self.at];
        self.image.block_mut(place).copy_from_slice(block);
        self.at = if self.at + 1 == self.places.len() {
            1
        } else {
            self.at + 1
        };
        place
    }

    fn empty(&self) -> Vec<u8> {
        vec![0; self.image.sb.block_size().len()]
    }

    /// A descriptor and its blocks; where the copies lie in the log.
    fn blocks(&mut self, blocks: &[(u64, Vec<u8>)]) -> Vec<u64> {
        let format = *self.jsb.format();
        let mut bytes = self.empty();
        let mut writer = DescriptorWriter::new(&mut bytes, &format, self.tid).unwrap();
        let mut copies = Vec::new();
        for (at, data) in blocks {
            let mut copy = data.clone();
            let escaped = jbd2::escape(&mut copy);
            let csum = jbd2::data_csum(&format, self.tid, &copy);
            assert!(writer.push(FsBlock::new(*at), escaped, csum));
            copies.push(copy);
        }
        writer.finish();
        self.put(&bytes);
        copies.iter().map(|c| self.put(c)).collect()
    }

    fn revoke(&mut self, blocks: &[u64]) {
        let format = *self.jsb.format();
        let mut bytes = self.empty();
        let mut writer = RevokeWriter::new(&mut bytes, &format, self.tid).unwrap();
        for at in blocks {
            assert!(writer.push(FsBlock::new(*at)));
        }
        writer.finish();
        self.put(&bytes);
    }

    fn commit(&mut self) {
        let mut bytes = self.empty();
        let commit = CommitBlock {
            tid: self.tid,
            sec: 5,
            nsec: 6,
            v1_crc32: None,
        };
        commit.encode(&mut bytes, self.jsb.format()).unwrap();
        self.put(&bytes);
        self.tid = self.tid.next();
    }
}

const VERSIONS: [JournalIncompat; 4] = [
    JournalIncompat::from_bits(0x1),
    JournalIncompat::from_bits(0x1 | 0x2),
    JournalIncompat::from_bits(0x1 | 0x2 | 0x8),
    JournalIncompat::from_bits(0x1 | 0x2 | 0x10),
];

/// What is in the log mends what is damaged in place.
#[test]
fn committed_blocks_count() {
    for features in VERSIONS {
        let mut image = fresh();
        let root = data_blocks(&image, 2, &mut Vec::new())[0].1;
        let bitmap = image.desc(0).block_bitmap.get();
        let good = [root, bitmap].map(|b| (b, image.block(b).to_vec()));
        for (at, _) in &good {
            image.block_mut(*at).fill(0x11);
        }
        let mut log = Log::new(&mut image, features);
        log.blocks(&[(root, vec![9; 1024])]);
        log.commit();
        log.blocks(&good);
        log.commit();
        // Without a commit it never happened.
        log.blocks(&[(root, vec![8; 1024])]);
        let without = check(&image.device());
        assert!(without.has("JournalNeedsReplay") && !without.is_clean());
        let report = replay(&image);
        assert!(
            report.has("JournalReplayed"),
            "{features}: {}",
            list(&report)
        );
        assert_eq!(
            report.verdict,
            Verdict::Clean,
            "{features}: {}",
            list(&report)
        );
    }
}

#[test]
fn the_superblock_may_be_in_the_log() {
    let mut image = fresh();
    let mut good = image.block(1).to_vec();
    let mut log = Log::new(&mut image, VERSIONS[3]);
    put32(&mut good, 0x60, get32(log.image.block(1), 0x60));
    put32(&mut good, 0x3FC, get32(log.image.block(1), 0x3FC));
    log.blocks(&[(1, good)]);
    log.commit();
    // In place, the free count is nonsense.
    image.superblock(|b| put32(b, 0x8, 60_000));
    assert!(check(&image.device()).has("ReservedBlocks"));
    let report = replay(&image);
    assert_eq!(report.verdict, Verdict::Clean, "{}", list(&report));
}

#[test]
fn revoked_blocks_stay_as_they_are() {
    for features in VERSIONS {
        let mut image = fresh();
        let root = data_blocks(&image, 2, &mut Vec::new())[0].1;
        let mut log = Log::new(&mut image, features);
        log.blocks(&[(root, vec![9; 1024])]);
        log.commit();
        log.revoke(&[root, 5000]);
        log.commit();
        let report = replay(&image);
        assert_eq!(
            report.verdict,
            Verdict::Clean,
            "{features}: {}",
            list(&report)
        );
        // Written again after the revoke, it counts again.
        let mut log = Log::new(&mut image, features);
        log.revoke(&[root]);
        log.commit();
        log.blocks(&[(root, vec![9; 1024])]);
        log.commit();
        assert!(!replay(&image).is_clean(), "{features}");
    }
}

#[test]
fn blocks_that_look_like_journal_blocks_are_unescaped() {
    // A file's block beginning with the journal's magic: data journalling puts such into the log. Here
    // the orphan file's block stands in; what counts is that the magic comes back.
    let mut image = fresh();
    let block = data_blocks(&image, 12, &mut Vec::new())[0].1;
    let mut data = image.block(block).to_vec();
    data[..4].copy_from_slice(&jbd2::JBD2_MAGIC.to_be_bytes());
    let mut log = Log::new(&mut image, VERSIONS[3]);
    log.blocks(&[(block, data)]);
    log.commit();
    let report = replay(&image);
    let text = list(&report);
    // 0x98393bc0 is the magic read as an inode number.
    assert!(
        report.has("OrphanEntry") && text.contains(&0x9839_3BC0u32.to_string()),
        "{text}"
    );
}

#[test]
fn a_damaged_log_ends_before_the_damage() {
    for features in &VERSIONS[2..] {
        let mut image = fresh();
        let root = data_blocks(&image, 2, &mut Vec::new())[0].1;
        let mut log = Log::new(&mut image, *features);
        log.blocks(&[(5000, vec![1; 1024])]);
        log.commit();
        let copies = log.blocks(&[(root, vec![9; 1024])]);
        log.commit();
        image.block_mut(copies[0])[100] ^= 1;
        let report = replay(&image);
        assert!(
            report.has("JournalLogDamaged"),
            "{features}: {}",
            list(&report)
        );
        assert_eq!(report.counts.len(), 2, "{features}: {}", list(&report));
    }
}

/// Logs that lead in circles, name blocks that do not exist, or are noise: no panic, no endless loop.
#[test]
fn hostile_logs_end() {
    let mut image = fresh();
    let mut log = Log::new(&mut image, VERSIONS[1]);
    log.blocks(&[(u64::MAX >> 1, vec![1; 1024]), (0, vec![2; 1024])]);
    log.commit();
    let places = log.places.clone();
    for n in 0..4000u32 {
        let at = places[1 + n as usize % (places.len() - 1)];
        let block = image.block_mut(at);
        let noise = n.wrapping_mul(0x9E37_79B1).to_le_bytes();
        block[12 + (n as usize * 7) % 1000..][..4].copy_from_slice(&noise);
        block[..4].copy_from_slice(&jbd2::JBD2_MAGIC.to_be_bytes());
        block[4..8].copy_from_slice(&(n % 5 + 1).to_be_bytes());
        block[8..12].copy_from_slice(&77u32.to_be_bytes());
    }
    replay(&image);
}

/// An image copied while the kernel has it mounted: our replay judges as e2fsck does after its own.
#[test]
fn logs_of_the_kernel() {
    if !have("mke2fs") || !have("e2fsck") {
        return;
    }
    let dir = scratch();
    for shape in [
        "-t ext4",
        "-t ext4 -b 1024 -O orphan_file",
        "-t ext4 -O ^metadata_csum",
        "-t ext3",
    ] {
        let path = sparse_file(dir.path(), "image", 40 << 20);
        let mut args = vec!["-q", "-F", "-N", "3000"];
        args.extend(shape.split(' '));
        must_run("mke2fs", &args, &path);
        let Some(mounted) = LoopMount::new(&path, &dir.path().join("mnt"), FILLABLE) else {
            return;
        };
        fill(mounted.path(), 600);
        std::fs::remove_dir_all(mounted.path().join("d3")).unwrap();
        rustix::fs::syncfs(std::fs::File::open(mounted.path()).unwrap()).unwrap();
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        drop(mounted);
        let image = Image::new(std::fs::read(&copy).unwrap());
        assert!(
            check(&image.device()).has("JournalNeedsReplay"),
            "{shape}: nothing in the log"
        );
        let ours = replay(&image);
        let out = run("e2fsck", &["-y", "-E", "journal_only"], &copy);
        assert!(
            matches!(out.status.code(), Some(0 | 1)),
            "{shape}: {}",
            out.status
        );
        let theirs = check(&Image::new(std::fs::read(&copy).unwrap()).device());
        assert!(ours.is_clean(), "{shape}: {}", list(&ours));
        // With the log gone nothing tells a stale count of the superblock from a wrong one, nor the mark that a
        // mount sets in case there will be orphans from a forgotten one.
        let stale = [
            "SuperblockFreeBlocks",
            "SuperblockFreeInodes",
            "OrphanMarkStale",
        ];
        let other = theirs.problems.iter().find(|p| !stale.contains(&p.kind()));
        assert_eq!(other, None, "{shape}: {}", list(&theirs));
        assert_eq!(ours.stats, theirs.stats, "{shape}");
    }
}
