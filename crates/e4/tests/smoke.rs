//! The thin path end to end: format, preallocate, write asynchronously, sync, unmount, check with e2fsck.

use std::path::{Path, PathBuf};

use e4::{AlignedBuf, FallocateMode, Filesystem, MountOptions, OpenFlags};
use e4_judges::fsck;

fn image(dir: &Path, size: u64) -> PathBuf {
    let path = dir.join("disk.img");
    let options = e4::device::OpenOptions {
        create: Some(size),
        ..Default::default()
    };
    let device = e4::device::open(&path, &options).unwrap();
    e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).unwrap();
    path
}

fn open(path: &Path) -> Filesystem {
    let device = e4::device::open(path, &Default::default()).unwrap();
    Filesystem::open(device, &MountOptions::default()).unwrap()
}

#[test]
fn write_read_sync_unmount_fsck() {
    let dir = tempfile::tempdir().unwrap();
    let path = image(dir.path(), 256 << 20);
    fsck(&path, "afterwards");
    let fs = open(&path);
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.fallocate(FallocateMode::Allocate, 0, 64 << 20)
        .unwrap();
    assert_eq!(file.size(), 64 << 20);
    let mut ctx = fs.io_context();
    let mut events = Vec::new();
    // Every other block, in a scrambled order.
    let n = 2048_u64;
    for i in 0..n {
        let block = (i * 1031) % n * 2;
        let mut buf = AlignedBuf::zeroed(4096);
        buf.fill((block % 251) as u8 + 1);
        ctx.write(&file, block * 4096, buf, block).unwrap();
        if ctx.outstanding() >= 32 {
            ctx.wait(16, &mut events);
        }
    }
    while ctx.outstanding() > 0 {
        ctx.wait(1, &mut events);
    }
    assert_eq!(events.len(), n as usize);
    for e in &events {
        assert_eq!(*e.result.as_ref().unwrap(), 4096);
    }
    let check = |fs: &Filesystem| {
        let file = fs.open_file("/f", OpenFlags::read()).unwrap();
        let mut buf = vec![0; 4096];
        for block in 0..n * 2 {
            assert_eq!(file.read_at(block * 4096, &mut buf).unwrap(), 4096);
            let want = if block % 2 == 0 {
                (block % 251) as u8 + 1
            } else {
                0
            };
            assert!(buf.iter().all(|b| *b == want), "block {block}");
        }
    };
    check(&fs);
    file.fsync().unwrap();
    check(&fs);
    file.write_at(100, b"hello").unwrap();
    file.fallocate(FallocateMode::PunchHole, 4096 * 10, 4096 * 100 + 5)
        .unwrap();
    file.truncate(4096 * 3000 + 7).unwrap();
    println!("{:?}", fs.stats());
    drop(ctx);
    drop(file);
    fs.unmount().unwrap();
    fsck(&path, "afterwards");
    let fs = open(&path);
    assert!(fs.recovery().is_none());
    fs.unmount().unwrap();
    fsck(&path, "afterwards");
}
