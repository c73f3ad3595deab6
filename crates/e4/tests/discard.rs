//! Discard: blocks that were freed become holes of the image file, after their commit and not before; trim does it for all
//! that is free, and for nothing else.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use e4::{FallocateMode, File, Filesystem, MountOptions, OpenFlags};
use e4_judges::{fsck, scratch};

struct Image {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Image {
    fn new() -> Self {
        let dir = scratch();
        let path = dir.path().join("disk.img");
        let options = e4::device::OpenOptions {
            create: Some(64 << 20),
            ..Default::default()
        };
        let device = e4::device::open(&path, &options).unwrap();
        e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).unwrap();
        Self { _dir: dir, path }
    }

    fn open(&self, discard: bool) -> Filesystem {
        let options = MountOptions {
            discard,
            commit_interval: None,
            ..MountOptions::default()
        };
        let device = e4::device::open(&self.path, &Default::default()).unwrap();
        Filesystem::open(device, &options).unwrap()
    }

    /// Bytes the image file takes.
    fn used(&self) -> u64 {
        std::fs::metadata(&self.path).unwrap().blocks() * 512
    }
}

const LEN: usize = 16 << 20;

fn write(fs: &Filesystem, name: &str) -> File {
    let file = fs.open_file(name, OpenFlags::create()).unwrap();
    file.write_at(0, &vec![7; LEN]).unwrap();
    file.fsync().unwrap();
    file
}

/// What a file of [`LEN`] bytes takes, give or take the journal.
const MOST: u64 = LEN as u64 - (2 << 20);

#[test]
fn freed_blocks_go_with_their_commit() {
    let image = Image::new();
    let fs = image.open(true);
    let (a, other) = (write(&fs, "/a"), write(&fs, "/b"));
    let full = image.used();
    a.fallocate(FallocateMode::PunchHole, 0, LEN as u64)
        .unwrap();
    assert!(
        image.used() + (1 << 20) > full,
        "discarded before the commit"
    );
    fs.sync().unwrap();
    let after = image.used();
    assert!(after + MOST < full, "{full} bytes before, {after} after");
    let mut back = vec![0; LEN];
    let b = fs.open_file("/b", OpenFlags::read()).unwrap();
    b.read_at(0, &mut back).unwrap();
    assert!(back.iter().all(|&byte| byte == 7));
    drop((a, b, other));
    fs.unmount().unwrap();
    fsck(&image.path, "with discard");
}

#[test]
fn without_the_option_nothing_goes_until_trim() {
    let image = Image::new();
    let fs = image.open(false);
    let (a, b) = (write(&fs, "/a"), write(&fs, "/b"));
    let full = image.used();
    drop(a);
    fs.unlink("/a").unwrap();
    fs.sync().unwrap();
    assert!(image.used() + (1 << 20) > full);
    assert_eq!(
        fs.trim(0..64 << 20, 64 << 20).unwrap(),
        0,
        "no run is that long"
    );
    let trimmed = fs.trim(0..64 << 20, 0).unwrap();
    let free = fs.statfs().free_blocks * u64::from(fs.statfs().block_size);
    assert_eq!(trimmed, free, "all that is free, and nothing else");
    assert!(image.used() + MOST < full);
    assert_eq!(fs.trim(64 << 20..1 << 40, 0).unwrap_err().errno(), 22);
    let mut back = vec![0; LEN];
    b.read_at(0, &mut back).unwrap();
    assert!(back.iter().all(|&byte| byte == 7));
    drop(b);
    fs.unmount().unwrap();
    fsck(&image.path, "after trim");
}
