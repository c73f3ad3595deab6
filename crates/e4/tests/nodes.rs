//! Operations on inodes: what [`e4::Node`] promises, on images of our own, each judged by e2fsck afterwards.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

use e4::format::{FileType, Timestamp};
use e4::{Filesystem, MountOptions, NewInode, Node, OpenFlags, SetAttr};
use e4_judges::fsck;

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
        fsck(&self.path, "afterwards");
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

#[test]
fn deleted_and_open() {
    for features in ["", "^orphan_file"] {
        let image = Image::new(1024, features);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let file = NewInode::new(FileType::Regular, 0o644);
        let free = fs.statfs();
        let mut open = Vec::new();
        for i in 0..20 {
            let name = format!("f{i}");
            let node = root.create(name.as_bytes(), &file).unwrap();
            let file = node.open(OpenFlags::read_write()).unwrap();
            file.write_at(0, &vec![i; 30_000]).unwrap();
            root.unlink(name.as_bytes()).unwrap();
            assert_eq!(file.stat().links, 0);
            open.push(file);
        }
        assert_eq!(names(&root), ["lost+found"]);
        let tmp = root.tmpfile(&file).unwrap();
        let kept = root.tmpfile(&file).unwrap();
        for (i, file) in open.iter().enumerate() {
            let mut buf = vec![0; 30_000];
            file.read_at(0, &mut buf).unwrap();
            assert!(buf.iter().all(|b| usize::from(*b) == i));
        }
        // From the middle of the list, from its ends.
        for i in [7, 0, 17, 3, 15] {
            drop(open.remove(i));
        }
        assert_eq!(root.link(b"kept", &kept).map_err(|e| e.errno()), Ok(()));
        assert_eq!(kept.stat().unwrap().links, 1);
        drop((tmp, kept));
        fs.sync().unwrap();
        drop(open);
        fs.sync().unwrap();
        let now = fs.statfs();
        assert_eq!(now.free_inodes + 1, free.free_inodes);
        assert_eq!(now.free_blocks, free.free_blocks);
        // Left open until after the unmount.
        let last = root.create(b"last", &file).unwrap();
        root.unlink(b"last").unwrap();
        assert_eq!(root.link(b"again", &last).unwrap_err().errno(), 2);
        drop(root);
        image.done(fs);
        drop(last);
    }
}

#[test]
fn a_crash_leaves_orphans_that_mounting_frees() {
    for features in ["", "^orphan_file"] {
        let image = Image::new(1024, features);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let free = fs.statfs().free_blocks;
        let new = NewInode::new(FileType::Regular, 0o644);
        let mut open = Vec::new();
        for i in 0..5 {
            let node = root.tmpfile(&new).unwrap();
            let file = node.open(OpenFlags::read_write()).unwrap();
            file.write_at(0, &[i; 9000]).unwrap();
            open.push((node, file));
        }
        let dir = root
            .create(b"d", &NewInode::new(FileType::Directory, 0o755))
            .unwrap();
        root.rmdir(b"d").unwrap();
        assert_eq!(dir.create(b"x", &new).err().unwrap().errno(), 2);
        fs.sync().unwrap();
        let copy = image.path.with_extension("crashed");
        std::fs::copy(&image.path, &copy).unwrap();
        fsck_may_repair(&copy);
        std::fs::copy(&image.path, &copy).unwrap();
        let device = e4::device::open(&copy, &Default::default()).unwrap();
        let again = Filesystem::open(device, &MountOptions::default()).unwrap();
        assert_eq!(again.orphans_finished(), 6);
        again.unmount().unwrap();
        fsck(&copy, "afterwards");
        drop((open, dir, root));
        fs.sync().unwrap();
        assert_eq!(fs.statfs().free_blocks, free);
        image.done(fs);
    }
}

/// e2fsck finishes what it is left: it must find nothing but orphans.
fn fsck_may_repair(path: &Path) {
    if let Ok(out) = Command::new("e2fsck").arg("-fy").arg(path).output() {
        let code = out.status.code().unwrap();
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(code <= 1, "e2fsck -fy: {text}");
        let unexpected = ["Unattached", "refcount", "count wrong", "Multiply"];
        for what in unexpected {
            assert!(!text.contains(what), "{text}");
        }
    }
}

#[test]
fn renames() {
    use e4::RenameFlags::{Exchange, NoReplace, Replace, Whiteout};
    let image = Image::new(1024, "");
    let fs = image.mount();
    for dir in [
        "/a",
        "/b",
        "/a/sub",
        "/a/sub/deep",
        "/b/empty",
        "/b/full",
        "/b/full/x",
    ] {
        fs.mkdir(dir, 0o755).unwrap();
    }
    for name in ["/f", "/a/g", "/b/h"] {
        fs.open_file(name, OpenFlags::create()).unwrap();
    }
    let errno = |from: &str, to: &str, how| fs.rename(from, to, how).err().map(|e| e.errno());
    assert_eq!(errno("/a", "/a/sub/deep/a", Replace), Some(22));
    assert_eq!(errno("/a/sub/deep", "/a", Replace), Some(39));
    assert_eq!(errno("/a/sub/deep", "/a", Exchange), Some(22));
    assert_eq!(errno("/none", "/x", Replace), Some(2));
    assert_eq!(errno("/f", "/b/empty", Replace), Some(21));
    assert_eq!(errno("/b/empty", "/f", Replace), Some(20));
    assert_eq!(errno("/a/sub", "/b/full", Replace), Some(39));
    assert_eq!(errno("/f", "/a/g", NoReplace), Some(17));
    assert_eq!(errno("/f", "/a/none", Exchange), Some(2));
    let ino = |path: &str| fs.stat(path).unwrap().ino;
    let links = |path: &str| fs.stat(path).unwrap().links;
    let (f, g, sub, empty) = (ino("/f"), ino("/a/g"), ino("/a/sub"), ino("/b/empty"));
    fs.rename("/a/sub", "/b/empty", Replace).unwrap();
    assert_eq!((ino("/b/empty"), links("/a"), links("/b")), (sub, 2, 4));
    assert_eq!(ino("/b/empty/.."), ino("/b"));
    assert!(fs.node(empty).is_err());
    fs.rename("/f", "/b/empty", Exchange).unwrap();
    assert_eq!((ino("/f"), ino("/b/empty")), (sub, f));
    assert_eq!((links("/"), links("/b")), (6, 3));
    fs.rename("/a/g", "/b/h", Whiteout).unwrap();
    let left = fs.stat("/a/g").unwrap();
    assert_eq!(
        (left.file_type, left.rdev, left.mode),
        (Some(FileType::CharDevice), 0, 0)
    );
    assert_eq!(ino("/b/h"), g);
    fs.link("/b/h", "/b/h2").unwrap();
    fs.rename("/b/h", "/b/h2", Replace).unwrap();
    assert_eq!((ino("/b/h"), ino("/b/h2"), links("/b/h")), (g, g, 2));
    fs.rename(
        "/b/h",
        "/b/a name that is rather longer than the one before",
        NoReplace,
    )
    .unwrap();
    image.done(fs);
}

#[test]
fn immutable_and_append_only() {
    use e4::format::InodeFlags;
    let image = Image::new(4096, "");
    let fs = image.mount();
    let root = fs.root().unwrap();
    let new = NewInode::new(FileType::Regular, 0o644);
    let node = root.create(b"f", &new).unwrap();
    let file = node.open(OpenFlags::read_write()).unwrap();
    file.write_at(0, b"0123456789").unwrap();
    let flag = |node: &Node, flags| {
        let change = SetAttr {
            flags: Some(flags),
            ..SetAttr::default()
        };
        node.set_attr(&change).unwrap();
    };
    let mode = SetAttr {
        mode: Some(0),
        ..SetAttr::default()
    };
    let refused = |flags| {
        assert_eq!(file.write_at(3, b"x").unwrap_err().errno(), 1);
        assert_eq!(file.truncate(3).unwrap_err().errno(), 1);
        assert_eq!(root.unlink(b"f").unwrap_err().errno(), 1);
        assert_eq!(root.link(b"g", &node).unwrap_err().errno(), 1);
        let moved = root.rename(b"f", &root, b"g", e4::RenameFlags::Replace);
        assert_eq!(moved.unwrap_err().errno(), 1);
        assert_eq!(node.set_attr(&mode).unwrap_err().errno(), 1);
        let set = node.set_xattr(b"user.a", b"", e4::XattrSet::Any);
        assert_eq!(set.unwrap_err().errno(), 1, "{flags:?}");
    };
    flag(&node, InodeFlags::APPEND);
    refused(InodeFlags::APPEND);
    assert_eq!(file.write_at(10, b"more").unwrap(), 4);
    flag(&node, InodeFlags::IMMUTABLE);
    refused(InodeFlags::IMMUTABLE);
    assert_eq!(file.write_at(14, b"x").unwrap_err().errno(), 1);
    assert_eq!(node.open(OpenFlags::read_write()).err().unwrap().errno(), 1);
    flag(&node, InodeFlags::EMPTY);
    flag(&root, InodeFlags::IMMUTABLE);
    assert_eq!(root.create(b"h", &new).err().unwrap().errno(), 1);
    assert_eq!(root.unlink(b"f").unwrap_err().errno(), 1);
    flag(&root, InodeFlags::EMPTY);
    root.unlink(b"f").unwrap();
    drop((file, node, root));
    image.done(fs);
}

#[test]
fn large_directories_come_and_go() {
    let image = Image::new(1024, "");
    let fs = image.mount();
    let root = fs.root().unwrap();
    let before = fs.statfs();
    let dir = root
        .create(b"d", &NewInode::new(FileType::Directory, 0o755))
        .unwrap();
    let new = NewInode::new(FileType::Regular, 0o644);
    let file = dir.create(b"file", &new).unwrap();
    let name = |n: u32| format!("{n:0>200}").into_bytes();
    for n in 0..1800 {
        dir.link(&name(n), &file).unwrap();
    }
    assert!(dir.stat().unwrap().size > 300 << 10);
    assert_eq!(file.stat().unwrap().links, 1801);
    fs.sync().unwrap();
    assert_eq!(root.rmdir(b"d").unwrap_err().errno(), 39);
    for n in 0..1800 {
        dir.unlink(&name(n)).unwrap();
    }
    dir.unlink(b"file").unwrap();
    root.rmdir(b"d").unwrap();
    drop((dir, file));
    fs.sync().unwrap();
    let after = fs.statfs();
    assert_eq!(after.free_inodes, before.free_inodes);
    assert_eq!(after.free_blocks, before.free_blocks);
    assert!(
        fs.node(e4::format::InodeNo::new(8).unwrap()).is_err(),
        "the journal"
    );
    drop(root);
    image.done(fs);
}

/// No space at any moment of an operation: the error leaves nothing behind.
#[test]
fn full_images_stay_whole() {
    let image = Image::new(1024, "");
    let fs = image.mount();
    let root = fs.root().unwrap();
    let dir = NewInode::new(FileType::Directory, 0o755);
    let crowd = root.create(b"crowd", &dir).unwrap();
    let eater = fs.open_file("/eater", OpenFlags::create()).unwrap();
    let mut at = 0;
    for step in [1 << 20, 1 << 14, 1 << 10] {
        while eater
            .fallocate(e4::FallocateMode::Allocate, at, step)
            .is_ok()
        {
            at += step;
        }
    }
    let target = vec![b't'; 400];
    let value = vec![7; 600];
    // Room for a few blocks, then for fewer: every operation fails somewhere.
    for free in (0..14_u64).rev() {
        at -= free * 1024;
        eater.truncate(at).unwrap();
        fs.sync().unwrap();
        let (mut failed, mut n) = (0, 0);
        while failed < 6 {
            let name = format!("{free}-{n}-{:x>100}", "");
            let node = crowd.create(name.as_bytes(), &NewInode::new(FileType::Fifo, 0));
            let done = match n % 4 {
                0 => crowd.create(format!("d{name}").as_bytes(), &dir).map(drop),
                1 => crowd
                    .symlink(format!("s{name}").as_bytes(), &target, (0, 0))
                    .map(drop),
                2 => node.and_then(|node| node.set_xattr(b"trusted.x", &value, e4::XattrSet::Any)),
                _ => node.and_then(|_| {
                    crowd.rename(
                        name.as_bytes(),
                        &root,
                        name.as_bytes(),
                        e4::RenameFlags::Replace,
                    )
                }),
            };
            if let Err(error) = done {
                assert_eq!(error.errno(), 28, "{error}");
                failed += 1;
            }
            n += 1;
        }
    }
    drop((eater, crowd, root));
    image.done(fs);
}
