//! Images made to hurt: the checker neither panics nor runs without bound. What it reads is counted: a
//! fixed multiple of the image, whatever the image says.

mod support;

use e4_check::{Options, Report};
use e4_device::{
    Completion, Device, DeviceError, DeviceInfo, MemoryDevice, QueueId, Request, Wait,
};
use e4_mkfs::{Features, Medium, Params};
use e4_sync::atomic::{AtomicU64, Ordering};
use support::edit::{Image, get32, put16, put32};
use support::list;

/// How many times its own size an image may have read from it.
const READS: u64 = 10;

struct Counting {
    inner: MemoryDevice,
    read: AtomicU64,
}

impl Device for Counting {
    fn info(&self) -> &DeviceInfo {
        self.inner.info()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.inner.read_at(at, buf)
    }
    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DeviceError> {
        panic!("the checker writes");
    }
    fn flush(&self) -> Result<(), DeviceError> {
        panic!("the checker flushes");
    }
    fn discard(&self, _: u64, _: u64) -> Result<(), DeviceError> {
        panic!("the checker discards");
    }
    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        self.inner.submit(queue, requests);
    }
    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.inner.poll(queue, out, wait)
    }
}

/// Checks with and without replay; panics if too much is read.
fn survive(image: &Image, what: &str) -> Report {
    let mut last = None;
    for replay in [true, false] {
        let device = Counting {
            inner: image.device(),
            read: AtomicU64::new(0),
        };
        let options = Options {
            replay,
            ..Options::default()
        };
        let report = e4_check::check(&device, &options, &mut |_| {});
        let read = device.read.load(Ordering::Relaxed);
        let size = image.bytes.len() as u64;
        assert!(
            read <= READS * size,
            "{what}: read {read} of {size}: {}",
            list(&report)
        );
        last = Some(report);
    }
    last.unwrap()
}

fn fresh(list: &str, mib: u64) -> Image {
    let mut features = Features::ext4();
    features.apply(list).unwrap();
    let device = MemoryDevice::new(mib << 20);
    let params = Params {
        features,
        medium: Medium::Zeroed,
        block_size: Some(1024),
        uuid: Some([3; 16]),
        hash_seed: Some([4; 16]),
        time: Some(1_700_000_000),
        ..Params::default()
    };
    e4_mkfs::format(&device, &params, &mut |_| {}).unwrap();
    let mut bytes = vec![0; usize::try_from(mib << 20).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    Image::new(bytes)
}

/// Without checksums damage is believed, and gets further.
const UNCHECKED: &str = "^metadata_csum,^metadata_csum_seed,^orphan_file";

/// Makes `count` inodes from 100 on look like the given one.
fn multiply(image: &mut Image, count: u32, make: impl Fn(u32, &mut [u8])) {
    for n in 100..100 + count {
        image.inode(n, |b| {
            b.fill(0);
            put16(b, 0x1A, 1);
            make(n, b);
        });
    }
}

const DIRECTORY: u16 = 0x41ED;
const REGULAR: u16 = 0x81A4;

fn extent_root(b: &mut [u8], depth: u16, entries: &[(u32, u32, u32)]) {
    put32(b, 0x20, 0x8_0000);
    put16(b, 0x28, 0xF30A);
    put16(b, 0x2A, u16::try_from(entries.len()).unwrap());
    put16(b, 0x2C, 4);
    put16(b, 0x2E, depth);
    for (i, (block, second, third)) in entries.iter().enumerate() {
        put32(b, 0x34 + i * 12, *block);
        put32(b, 0x38 + i * 12, *second);
        put32(b, 0x3C + i * 12, *third);
    }
}

/// A thousand files claim the same half of the image, in four pieces each.
#[test]
fn everybody_claims_everything() {
    for mode in [REGULAR, DIRECTORY] {
        let mut image = fresh(UNCHECKED, 64);
        multiply(&mut image, 1000, |_, b| {
            put16(b, 0, mode);
            put32(b, 4, 0x7FFF_FC00);
            let piece = |n: u32| (n * 32768, 32768, 20_000);
            extent_root(b, 0, &[piece(0), piece(1), piece(2), piece(3)]);
        });
        let report = survive(&image, "everybody claims everything");
        assert!(report.has("TooManyClaimedTwice"), "{}", list(&report));
    }
}

/// A node whose every child is the node itself, and chains of nodes that lead back.
#[test]
fn maps_in_circles() {
    let mut image = fresh(UNCHECKED, 64);
    for (block, next, depth) in [
        (40_000u64, 40_001u32, 4u16),
        (40_001, 40_002, 3),
        (40_002, 40_000, 2),
    ] {
        let b = image.block_mut(block);
        put16(b, 0, 0xF30A);
        put16(b, 2, 84);
        put16(b, 4, 84);
        put16(b, 6, depth);
        for e in 0..84u32 {
            let at = 12 + e as usize * 12;
            put32(b, at, e);
            put32(b, at + 4, next);
        }
    }
    multiply(&mut image, 1500, |n, b| {
        put16(b, 0, if n % 2 == 0 { REGULAR } else { DIRECTORY });
        put32(b, 4, 0x7FFF_FC00);
        extent_root(
            b,
            5,
            &[
                (0, 40_000, 0),
                (1, 40_000, 0),
                (2, 40_001, 0),
                (3, 40_002, 0),
            ],
        );
    });
    assert!(!survive(&image, "extents in circles").is_clean());

    let mut image = fresh(
        "^extent,^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file",
        64,
    );
    let b = image.block_mut(40_000);
    for slot in 0..256 {
        put32(b, slot * 4, 40_000);
    }
    multiply(&mut image, 1500, |n, b| {
        put16(b, 0, if n % 2 == 0 { REGULAR } else { DIRECTORY });
        put32(b, 4, 0x7FFF_FC00);
        for slot in 0..15 {
            put32(b, 0x28 + slot * 4, 40_000);
        }
    });
    assert!(!survive(&image, "block maps in circles").is_clean());
}

/// Directories whose index leads back to its own root, or to a thousand times the same block.
#[test]
fn indexes_in_circles() {
    let mut image = fresh(UNCHECKED, 64);
    for (block, levels) in [(40_000u64, 0u8), (40_100, 1)] {
        let b = image.block_mut(block);
        put32(b, 0, 100);
        put16(b, 4, 12);
        b[6..10].copy_from_slice(&[1, 2, b'.', 0]);
        put32(b, 12, 2);
        put16(b, 16, 1012);
        b[18..22].copy_from_slice(&[2, 2, b'.', b'.']);
        b[0x1C..0x20].copy_from_slice(&[1, 8, levels, 0]);
        put16(b, 0x20, 124);
        put16(b, 0x22, 124);
        for e in 0..124u32 {
            put32(b, 0x24 + e as usize * 8, 1 + e % 3);
        }
    }
    multiply(&mut image, 500, |n, b| {
        put16(b, 0, DIRECTORY);
        put32(b, 4, 0x7FFF_FC00);
        extent_root(b, 0, &[(0, 90, 40_000 + 100 * (n % 2))]);
        put32(b, 0x20, 0x8_1000);
    });
    assert!(survive(&image, "indexes in circles").has("HtreeTwice"));
}

/// The longest possible list of orphans, leading back to its start.
#[test]
fn orphans_in_circles() {
    let mut image = fresh(UNCHECKED, 64);
    multiply(&mut image, 1800, |n, b| {
        put16(b, 0, REGULAR);
        put32(b, 0x14, if n == 1899 { 100 } else { n + 1 });
    });
    image.superblock(|b| put32(b, 0xE8, 100));
    assert!(survive(&image, "orphans in circles").has("OrphanLoop"));
}

/// All groups claim the same bitmaps and inode table.
#[test]
fn groups_that_share_everything() {
    let mut image = fresh(UNCHECKED, 64);
    let first: Vec<u32> = (0..3).map(|n| get32(image.desc_bytes(0), n * 4)).collect();
    for group in 1..8 {
        image.descriptor(group, |d| {
            for (n, at) in first.iter().enumerate() {
                put32(d, n * 4, *at);
            }
        });
    }
    assert!(survive(&image, "shared tables").has("GroupMetadataOverlap"));
}

/// Noise over metadata, a little and a lot, with and without checksums.
#[test]
fn noise() {
    let mut state = 0x1234_5678_9ABC_DEFFu64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for list in [
        "",
        UNCHECKED,
        "^extent,^64bit,^metadata_csum,^metadata_csum_seed,^orphan_file",
    ] {
        let original = fresh(list, 8);
        for round in 0..120u32 {
            let mut image = original.clone();
            let spots = 1 << (round % 10);
            for _ in 0..spots {
                // Metadata of so small an image lies in its first 700 KiB.
                let at = usize::try_from(random() % 700_000).unwrap();
                let len = usize::try_from(random() % 40).unwrap();
                // The superblock stays, so that there is something to get into.
                for byte in &mut image.bytes[(at + 2048)..][..len] {
                    *byte = random().to_le_bytes()[3];
                }
            }
            survive(&image, &format!("{list} round {round}"));
        }
        // And the superblock itself.
        for _ in 0..400 {
            let mut image = original.clone();
            let (at, value) = (usize::try_from(random() % 1020).unwrap(), random() as u32);
            image.superblock(|b| put32(b, at & !3, value));
            survive(
                &image,
                &format!("{list} superblock byte {at:#x} {value:#x}"),
            );
        }
    }
}
