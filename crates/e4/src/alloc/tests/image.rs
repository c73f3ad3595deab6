//! Images: made by mke2fs, mounted in memory, read independently of the allocator, checked by e2fsck.

use e4_device::{Device, MemoryDevice};
use e4_format::bitmap::{self, Bitmap};
use e4_format::{BgFlags, FsBlock, GroupDesc, GroupNo, Superblock};
use e4_journal::Handle;
use e4_sync::Arc;

use e4_judges::run;

use crate::alloc::{Account, Allocator, CREDITS_PER_ALLOC, Run};
use crate::error::Result;
use crate::mount::{MountOptions, Mounted, mount};

/// What the images are filled with before they are formatted: anything read from there shows.
pub(super) const STALE: u8 = 0x69;

/// An image as mke2fs makes it, over stale bytes that it does not clear where it need not.
pub(super) fn make(args: &[&str], mib: usize) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let path = path.to_str().unwrap();
    std::fs::write(path, vec![STALE; mib << 20]).unwrap();
    let mut all = vec![
        "-q",
        "-F",
        "-t",
        "ext4",
        "-E",
        "nodiscard,lazy_itable_init=1",
    ];
    all.extend_from_slice(args);
    all.push(path);
    let out = run("mke2fs", &all)?;
    assert!(out.status.success(), "{out:?}");
    Some(std::fs::read(path).unwrap())
}

/// Has an image checked: clean, or this panics.
pub(super) fn assert_clean(bytes: &[u8]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, bytes).unwrap();
    let Some(out) = run("e2fsck", &["-fn", path.to_str().unwrap()]) else {
        return;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{text}");
}

/// A mounted image.
pub(super) struct Fs {
    device: Arc<MemoryDevice>,
    mounted: Arc<Mounted>,
    /// As formatted.
    pub(super) fresh: Usage,
}

impl Fs {
    pub(super) fn open(bytes: &[u8]) -> Self {
        Self {
            fresh: Usage::read(bytes),
            ..Self::try_open(bytes).unwrap()
        }
    }

    /// An image that need not be sound.
    pub(super) fn try_open(bytes: &[u8]) -> Result<Self> {
        let device = Arc::new(MemoryDevice::from_bytes(bytes));
        let options = MountOptions {
            commit_interval: None,
            background: false,
            ..MountOptions::default()
        };
        let mounted = Arc::new(mount(Arc::clone(&device) as Arc<dyn Device>, &options)?);
        Ok(Self {
            device,
            mounted,
            fresh: Usage::default(),
        })
    }

    pub(super) fn alloc(&self) -> &Allocator {
        &self.mounted.shared.alloc
    }

    pub(super) fn sb(&self) -> &Superblock {
        &self.mounted.shared.sb
    }

    /// A handle for a few allocations or frees.
    pub(super) fn handle(&self) -> Handle {
        self.mounted
            .shared
            .meta
            .start(12 * CREDITS_PER_ALLOC)
            .unwrap()
    }

    /// A handle with exactly so many credits.
    pub(super) fn mounted_start(&self, credits: u32) -> Handle {
        self.mounted.shared.meta.start(credits).unwrap()
    }

    pub(super) fn take(&self, goal: u64, want: u32) -> Result<Run> {
        self.take_from(goal, want, Account::Free)
    }

    pub(super) fn take_from(&self, goal: u64, want: u32, account: Account) -> Result<Run> {
        self.alloc()
            .alloc(&mut self.handle(), FsBlock::new(goal), want, account)
    }

    pub(super) fn give(&self, run: Run) -> Result<()> {
        self.alloc()
            .free(&mut self.handle(), run.start, run.len.into())
    }

    pub(super) fn commit(&self) {
        self.mounted.shared.meta.commit_all().unwrap();
    }

    /// The image as it is on the device, everything committed and written home.
    pub(super) fn image(&self) -> Vec<u8> {
        self.commit();
        self.mounted.shared.meta.checkpoint_all().unwrap();
        self.bytes()
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.device.info().size).unwrap()];
        self.device.read_at(0, &mut bytes).unwrap();
        bytes
    }

    /// Unmounts; the image.
    pub(super) fn close(self) -> Vec<u8> {
        Arc::clone(&self.mounted).unmount().unwrap();
        self.bytes()
    }
}

/// What an image says is in use, read with nothing but the format crate.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Usage {
    /// Indexed by block number.
    pub(super) blocks: Vec<bool>,
    /// Indexed by inode number less one.
    pub(super) inodes: Vec<bool>,
    pub(super) dirs: Vec<u32>,
}

impl Usage {
    /// Reads all bitmaps, verifying checksums and counts.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).unwrap();
        let mut usage = Self {
            blocks: vec![true; sb.first_data_block() as usize],
            inodes: Vec::new(),
            dirs: Vec::new(),
        };
        for group in sb.group_numbers() {
            usage.read_group(bytes, &sb, group);
        }
        usage
    }

    fn read_group(&mut self, bytes: &[u8], sb: &Superblock, group: GroupNo) {
        let desc = desc_of(bytes, sb, group);
        let bits = sb.blocks_in_group(group);
        let mut map = block_of(bytes, sb, desc.block_bitmap).to_vec();
        if desc.flags.contains(BgFlags::BLOCK_UNINIT) {
            bitmap::init_block_bitmap(&mut map, sb, group, &desc);
        } else {
            bitmap::verify_block_bitmap(sb, group, &desc, &map).unwrap();
        }
        let view = Bitmap::new(&map, bits);
        assert_eq!(
            view.count_zeros(0..bits),
            desc.free_blocks_count,
            "blocks of group {group}"
        );
        self.blocks.extend((0..bits).map(|bit| view.test(bit)));
        let bits = sb.inodes_per_group();
        let mut map = block_of(bytes, sb, desc.inode_bitmap).to_vec();
        if desc.flags.contains(BgFlags::INODE_UNINIT) {
            bitmap::init_inode_bitmap(&mut map, sb);
        } else {
            bitmap::verify_inode_bitmap(sb, group, &desc, &map).unwrap();
        }
        let view = Bitmap::new(&map, bits);
        assert_eq!(
            view.count_zeros(0..bits),
            desc.free_inodes_count,
            "inodes of group {group}"
        );
        self.inodes.extend((0..bits).map(|bit| view.test(bit)));
        self.dirs.push(desc.used_dirs_count);
    }

    pub(super) fn free_blocks(&self) -> u64 {
        self.blocks.iter().filter(|used| !**used).count() as u64
    }
}

/// Byte offset of a group's descriptor.
pub(super) fn desc_at(sb: &Superblock, group: GroupNo) -> usize {
    let (n, within) = sb.desc_location(group).unwrap();
    byte_of(sb, sb.gdt_block(n).unwrap()) + within
}

pub(super) fn desc_of(bytes: &[u8], sb: &Superblock, group: GroupNo) -> GroupDesc {
    GroupDesc::decode(&bytes[desc_at(sb, group)..], sb, group).unwrap()
}

pub(super) fn byte_of(sb: &Superblock, block: FsBlock) -> usize {
    usize::try_from(block.get()).unwrap() * sb.block_size().len()
}

pub(super) fn block_of<'a>(bytes: &'a [u8], sb: &Superblock, block: FsBlock) -> &'a [u8] {
    let at = byte_of(sb, block);
    &bytes[at..at + sb.block_size().len()]
}

/// SplitMix64.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The geometries every test of behaviour runs on: large and small blocks and groups, with and without
/// flex groups, descriptor checksums, journal, 64-bit descriptors.
pub(super) const SHAPES: &[(&str, &[&str], usize)] = &[
    ("default", &["-b", "4096"], 64),
    (
        "small groups",
        &["-b", "1024", "-g", "1024", "-N", "2048"],
        24,
    ),
    (
        "no flex_bg, crc16 descriptors",
        &[
            "-b",
            "1024",
            "-O",
            "^flex_bg,^metadata_csum,uninit_bg",
            "-N",
            "512",
        ],
        32,
    ),
    (
        "no checksums at all",
        &["-b", "1024", "-O", "^metadata_csum,^uninit_bg", "-N", "512"],
        32,
    ),
    (
        "no journal, 32-bit",
        &["-b", "2048", "-O", "^has_journal,^64bit,^resize_inode"],
        40,
    ),
    (
        "short last group",
        &["-b", "1024", "-O", "^has_journal", "-g", "2048"],
        21,
    ),
];
