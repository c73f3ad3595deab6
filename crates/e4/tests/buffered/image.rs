//! An image, and e2fsck's opinion of it.

use std::path::PathBuf;

use e4::{Filesystem, MountOptions};
use e4_judges::fsck;

pub(crate) struct Image {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Image {
    pub(crate) fn new(size: u64, block: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("buffered.img");
        let options = e4::device::OpenOptions {
            create: Some(size),
            ..Default::default()
        };
        let device = e4::device::open(&path, &options).unwrap();
        let params = e4_mkfs::Params {
            block_size: Some(block),
            ..Default::default()
        };
        e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
        Self { path, _dir: dir }
    }

    pub(crate) fn mount(&self, options: &MountOptions) -> Filesystem {
        let device = e4::device::open(&self.path, &Default::default()).unwrap();
        Filesystem::open(device, options).unwrap()
    }

    /// Unmounts; afterwards e2fsck finds nothing, and nothing set aside is left.
    pub(crate) fn done(&self, fs: Filesystem) {
        fs.sync().unwrap();
        let stats = fs.stats();
        assert_eq!(stats.dirty_bytes, 0, "dirty after sync");
        assert_eq!(stats.promised_blocks, 0, "set aside for nothing (I-42)");
        fs.unmount().unwrap();
        fsck(&self.path, "afterwards");
    }
}

pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    pub(crate) fn bytes(&mut self, n: u64) -> Vec<u8> {
        (0..n).map(|_| 1 + self.below(255) as u8).collect()
    }
}
