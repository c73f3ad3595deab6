//! Operations that nobody waits for: `write_then` and `read_then`, on every kind of backend, with and
//! without an attendant; every callback runs exactly once, also for what cannot begin.

use std::path::Path;
use std::sync::mpsc;

use e4::device::{BackendChoice, OpenOptions};
use e4::{AlignedBuf, Filesystem, MountOptions, OpenFlags};

fn open(path: &Path, backend: BackendChoice, attendant: bool) -> Filesystem {
    let options = OpenOptions {
        create: Some(64 << 20),
        backend,
        ..OpenOptions::default()
    };
    let device = e4::device::open(path, &options).unwrap();
    e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).unwrap();
    let options = MountOptions {
        attendant,
        ..MountOptions::default()
    };
    Filesystem::open(device, &options).unwrap()
}

fn exercise(fs: Filesystem) {
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    let (tx, rx) = mpsc::channel();
    let blocks = 400_u64;
    for i in 0..blocks {
        let mut buf = AlignedBuf::zeroed(4096);
        buf.fill((i % 251) as u8 + 1);
        let tx = tx.clone();
        let then = Box::new(move |result: e4::Result<usize>, buf: Option<AlignedBuf>| {
            assert!(buf.is_some(), "the buffer comes back");
            tx.send(result.unwrap()).unwrap();
        });
        file.write_then(i * 37 % blocks * 4096, buf, then);
    }
    assert_eq!(rx.iter().take(blocks as usize).sum::<usize>(), 4096 * 400);
    // Unaligned, across blocks, and at the end of file.
    for (at, len, want) in [
        (0, 10, 10),
        (4090, 12, 12),
        (399 * 4096, 8192, 4096),
        (1 << 30, 5, 0),
    ] {
        let tx = tx.clone();
        let then = Box::new(move |result: e4::Result<usize>, _| tx.send(result.unwrap()).unwrap());
        file.read_then(at, AlignedBuf::zeroed(len), then);
        assert_eq!(rx.recv().unwrap(), want);
    }
    // What cannot begin is heard of as well.
    let (etx, erx) = mpsc::channel();
    let reader = fs.open_file("/f", OpenFlags::read()).unwrap();
    let then = Box::new(move |result: e4::Result<usize>, _| etx.send(result.is_err()).unwrap());
    reader.write_then(0, AlignedBuf::zeroed(4096), then);
    assert!(erx.recv().unwrap());
    drop((file, reader));
    fs.unmount().unwrap();
    assert!(rx.try_recv().is_err(), "a callback ran twice");
}

#[test]
fn every_callback_runs_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    for backend in [
        BackendChoice::Auto,
        BackendChoice::Inline,
        BackendChoice::Threads,
    ] {
        for attendant in [true, false] {
            exercise(open(&path, backend, attendant));
        }
    }
}

/// A write's time is when it was written: a time set afterwards stays, whatever is recorded later; and a
/// write over written blocks changes it too.
#[test]
fn recording_leaves_times_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    let fs = open(&path, BackendChoice::Auto, false);
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.write_at(0, &[1; 8192]).unwrap();
    let written = file.stat().mtime;
    let old = e4::format::Timestamp {
        sec: 1_000_000_000,
        nsec: 5,
    };
    let node = fs.node(file.ino()).unwrap();
    node.set_attr(&e4::SetAttr {
        mtime: Some(old),
        ..e4::SetAttr::default()
    })
    .unwrap();
    fs.sync().unwrap();
    assert_eq!(
        file.stat().mtime,
        old,
        "the recording changed a time somebody had set"
    );
    file.write_at(0, &[2; 4096]).unwrap();
    let overwritten = file.stat().mtime;
    assert!(
        overwritten > old && overwritten >= written,
        "an overwrite is a change"
    );
    file.store_times().unwrap();
    drop((file, node));
    fs.unmount().unwrap();
    let device = e4::device::open(&path, &OpenOptions::default()).unwrap();
    let fs = Filesystem::open(device, &MountOptions::default()).unwrap();
    assert_eq!(fs.stat("/f").unwrap().mtime, overwritten);
}
