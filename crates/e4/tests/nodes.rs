//! Operations on inodes: what [`e4::Node`] promises, on images of our own, each judged by e2fsck afterwards.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use e4::format::{FileType, Timestamp};
use e4::{Filesystem, MountOptions, NewInode, Node, OpenFlags, SetAttr};

/// An image that is checked when the test is done with it.
struct Image {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Image {
    fn new(block: u32, features: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n.img");
        let options = e4::device::OpenOptions {
            create: Some(32 << 20),
            ..Default::default()
        };
        let device = e4::device::open(&path, &options).unwrap();
        let mut set = e4_mkfs::Features::ext4();
        set.apply(features).unwrap();
        let params = e4_mkfs::Params {
            block_size: Some(block),
            features: set,
            ..Default::default()
        };
        e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
        Self { path, _dir: dir }
    }

    fn mount(&self) -> Filesystem {
        let device = e4::device::open(&self.path, &Default::default()).unwrap();
        Filesystem::open(device, &MountOptions::default()).unwrap()
    }

    fn done(&self, fs: Filesystem) {
        fs.unmount().unwrap();
        fsck(&self.path);
    }
}

fn fsck(path: &Path) {
    match Command::new("e2fsck").arg("-fn").arg(path).output() {
        Ok(out) => assert!(
            out.status.success(),
            "e2fsck: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        ),
        Err(error) => {
            assert!(
                std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
                "e2fsck is required: {error}"
            );
            eprintln!("SKIPPED: e2fsck: {error}");
        }
    }
}

fn names(node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    node.read_dir_from(0, &mut |entry, _| {
        out.push(String::from_utf8_lossy(&entry.name).into_owned());
        ControlFlow::Continue(())
    })
    .unwrap();
    out.retain(|n| n != "." && n != "..");
    out.sort();
    out
}

#[test]
fn every_kind_with_its_attributes() {
    let image = Image::new(4096, "");
    let fs = image.mount();
    let root = fs.root().unwrap();
    let kinds = [
        (FileType::Regular, 0),
        (FileType::Directory, 0),
        (FileType::Fifo, 0),
        (FileType::Socket, 0),
        (FileType::CharDevice, 5 << 8 | 1),
        (FileType::BlockDevice, 0x123 << 8 | 0x45 | 0x678 << 20),
    ];
    for (i, (kind, rdev)) in kinds.into_iter().enumerate() {
        let new = NewInode {
            umask: 0o022,
            uid: 70000,
            gid: 3,
            rdev,
            ..NewInode::new(kind, 0o6777)
        };
        let node = root.create(format!("n{i}").as_bytes(), &new).unwrap();
        let stat = node.stat().unwrap();
        assert_eq!((stat.file_type, stat.mode), (Some(kind), 0o6755));
        assert_eq!((stat.uid, stat.gid, stat.rdev), (70000, 3, rdev));
        let err = root.create(format!("n{i}").as_bytes(), &new).err().unwrap();
        assert_eq!(err.errno(), 17);
    }
    let long = vec![b'l'; 300];
    for target in [&b"short"[..], &[b'x'; 59], &[b'y'; 60], &long] {
        let name = format!("l{}", target.len());
        let node = root.symlink(name.as_bytes(), target, (1, 2)).unwrap();
        assert_eq!(node.read_link().unwrap(), target);
    }
    let far = Timestamp {
        sec: 1 << 33,
        nsec: 987_654_321,
    };
    let node = root.lookup(b"n0").unwrap().unwrap();
    let change = SetAttr {
        mode: Some(0o640),
        uid: Some(1),
        mtime: Some(far),
        size: Some(5000),
        ..SetAttr::default()
    };
    let stat = node.set_attr(&change).unwrap();
    assert_eq!((stat.mode, stat.uid, stat.size), (0o640, 1, 5000));
    assert_eq!(stat.mtime, far);
    drop((node, root));
    fs.unmount().unwrap();
    let fs = image.mount();
    let root = fs.root().unwrap();
    assert_eq!(names(&root).len(), 11);
    for (i, (kind, rdev)) in kinds.into_iter().enumerate() {
        let node = root.lookup(format!("n{i}").as_bytes()).unwrap().unwrap();
        let stat = node.stat().unwrap();
        assert_eq!((stat.file_type, stat.rdev), (Some(kind), rdev));
    }
    let node = root.lookup(b"n0").unwrap().unwrap();
    assert_eq!(node.stat().unwrap().mtime, far);
    assert_eq!(
        root.lookup(b"l300").unwrap().unwrap().read_link().unwrap(),
        long
    );
    assert_eq!(root.lookup(b"..").unwrap().unwrap().ino(), root.ino());
    let file = node.open(OpenFlags::read_write()).unwrap();
    file.write_at(0, b"hello").unwrap();
    drop((file, node, root));
    image.done(fs);
}

#[test]
fn listings_resume_while_the_directory_grows() {
    let image = Image::new(1024, "");
    let fs = image.mount();
    let root = fs.root().unwrap();
    let dir = root
        .create(b"d", &NewInode::new(FileType::Directory, 0o755))
        .unwrap();
    let file = NewInode::new(FileType::Regular, 0o644);
    for i in 0..40 {
        dir.create(format!("before-{i}").as_bytes(), &file).unwrap();
    }
    let (mut seen, mut cookie, mut round) = (Vec::new(), 0, 0);
    loop {
        let (mut shown, from) = (0, cookie);
        dir.read_dir_from(from, &mut |entry, next| {
            seen.push(entry.name.clone());
            cookie = next;
            shown += 1;
            if shown < 7 {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .unwrap();
        if shown == 0 {
            break;
        }
        for i in 0..100 {
            let name = format!("later-{round}-{i}");
            if round < 5 {
                dir.create(name.as_bytes(), &file).unwrap();
            }
        }
        round += 1;
    }
    for i in 0..40 {
        let name = format!("before-{i}").into_bytes();
        assert_eq!(seen.iter().filter(|n| **n == name).count(), 1);
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "a name was shown twice");
    drop((dir, root));
    image.done(fs);
}
