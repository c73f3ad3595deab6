//! A directory's image, mounted by the kernel, is the directory; and the same bytes whatever the circumstances.

mod support;

use e4_build::{BuildError, Builder, Holes, IdMap, Options, Size};
use rustix::fs::{self, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use support::{LOOK, LoopMount, assert_same, build, fsck_silent, is_root, list, scratch, skipped};

type Step = Box<dyn Fn(&Path)>;

/// Files in an order of their own; `shuffle` turns it round.
fn populate(root: &Path, shuffle: bool) {
    std::fs::create_dir_all(root).unwrap();
    let mut steps: Vec<Step> = Vec::new();
    for d in 0..10 {
        for f in 0..20u32 {
            steps.push(Box::new(move |root| {
                let dir = root.join(format!("d{d}/sub"));
                std::fs::create_dir_all(&dir).unwrap();
                let content = vec![d as u8 ^ f as u8; (f * f * 37) as usize];
                std::fs::write(dir.join(format!("file{f}")), content).unwrap();
            }));
        }
    }
    for f in 0..3000 {
        steps.push(Box::new(move |root| {
            std::fs::create_dir_all(root.join("many")).unwrap();
            let name = format!("many/a name that is rather long, so that blocks fill up {f}");
            std::fs::write(root.join(name), f.to_string()).unwrap();
        }));
    }
    for (len, name) in [
        (1, "l1"),
        (59, "l59"),
        (60, "l60"),
        (3000, "l3000"),
        (4000, "l4000"),
    ] {
        steps.push(Box::new(move |root| {
            symlink("t".repeat(len), root.join(name)).unwrap();
        }));
    }
    for name in [
        &b"\xff\xfe\x01raw"[..],
        "\u{fc}ml\u{e4}ut".as_bytes(),
        b"new\nline",
        b"-rf",
        b" ",
    ] {
        steps.push(Box::new(move |root| {
            std::fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
        }));
    }
    steps.push(Box::new(|root| {
        let file = std::fs::File::create(root.join("sparse")).unwrap();
        file.write_all_at(&[7; 5000], 1 << 20).unwrap();
        file.write_all_at(b"end", 40 << 20).unwrap();
        file.set_len(1 << 30).unwrap();
    }));
    steps.push(Box::new(|root| {
        let file = std::fs::File::create(root.join("comb")).unwrap();
        for i in 0..700 {
            file.write_all_at(&[(i % 250) as u8 + 1; 4096], i * 8192)
                .unwrap();
        }
    }));
    steps.push(Box::new(|root| {
        let deep = root.join(vec!["deep"; 200].join("/"));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("bottom"), "x").unwrap();
    }));
    if shuffle {
        steps.reverse();
    }
    for step in steps {
        step(root);
    }
    std::fs::hard_link(root.join("l60"), root.join("zz-linked-link")).unwrap();
    for n in 0..5 {
        std::fs::hard_link(root.join("d3/sub/file9"), root.join(format!("hard{n}"))).unwrap();
    }
    set_attributes(root);
    if is_root() {
        privileged(root);
    }
    settle_times(root);
}

fn set_attributes(root: &Path) {
    let set = |path: &str, name: &str, value: &[u8]| {
        let path = root.join(path);
        fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap_or_else(|e| {
            panic!(
                "{name} on {}: {e} (does the scratch directory's host know it?)",
                path.display()
            )
        });
    };
    // tmpfs knows user attributes since 6.6.
    set("d1", "user.small", b"value");
    set("d1/sub/file1", "user.empty", b"");
    for f in 0..8 {
        set(&format!("d2/sub/file{f}"), "user.shared", &[b's'; 300]);
    }
    set("d4", "user.large", &[b'l'; 3500]);
    set("d4", "user.second", &[b'm'; 60]);
    let modes = [
        ("d5/sub/file5", 0o4755),
        ("d5/sub/file6", 0o2711),
        ("d5", 0o1777),
        ("d6/sub/file1", 0),
    ];
    for (path, mode) in modes {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(root.join(path), mode).unwrap();
    }
}

/// An ACL as programs see it: owner, user 1000, group, group 70000, mask, others.
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let list: [(u16, u16, u32); 6] = [
        (1, 6, none),
        (2, 4, 1000),
        (4, 4, none),
        (8, 6, 70000),
        (16, 6, none),
        (32, 0, none),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in list {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

/// What only root may make.
fn privileged(root: &Path) {
    let set = |path: &str, name: &str, value: &[u8]| {
        fs::lsetxattr(root.join(path), name, value, XattrFlags::empty()).expect(name);
    };
    set("d7/sub/file3", "system.posix_acl_access", &acl());
    set("d7", "system.posix_acl_default", &acl());
    set("d7/sub/file4", "trusted.t", b"\0\xff");
    // cap_net_raw+ep, version 2.
    let mut capability = 0x0200_0001u32.to_le_bytes().to_vec();
    capability.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    set("d7/sub/file5", "security.capability", &capability);
    for (name, kind, major, minor) in [
        ("char", FileType::CharacterDevice, 1, 3),
        ("wide", FileType::CharacterDevice, 300, 70000),
        ("block", FileType::BlockDevice, 8, 1),
        ("fifo", FileType::Fifo, 0, 0),
        ("socket", FileType::Socket, 0, 0),
    ] {
        let dev = fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o640);
        fs::mknodat(fs::CWD, root.join(name), kind, mode, dev).expect(name);
    }
    for (n, uid, gid) in [(1, 1000, 1000), (2, 65536, 70000), (3, 4_000_000_000, 5)] {
        let path = root.join(format!("d8/sub/file{n}"));
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    }
    std::os::unix::fs::lchown(root.join("l59"), Some(12), Some(13)).expect("lchown");
}

/// Gives everything a time that depends on its name alone.
fn settle_times(root: &Path) {
    let mut paths: Vec<_> = list(root).into_keys().collect();
    paths.reverse();
    for name in paths {
        let n = name
            .iter()
            .fold(7i64, |h, b| (h * 31 + i64::from(*b)) % 2_000_000_011);
        let time = Timespec {
            tv_sec: n * 2 - 1_000_000_000,
            tv_nsec: n % 1_000_000_000,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let path = root.join(OsStr::from_bytes(&name));
        let path = if name.is_empty() {
            root.to_owned()
        } else {
            path
        };
        fs::utimensat(fs::CWD, path, &times, fs::AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
    }
}

fn compare_mounted(image: &Path, source: &Path, dir: &Path) {
    fsck_silent(image, "built");
    let at = tempfile::tempdir_in(dir).unwrap();
    if let Some(mounted) = LoopMount::new(image, at.path(), LOOK) {
        assert_same(&list(source), &list(mounted.path()));
    }
}

#[test]
fn the_kernel_sees_the_source() {
    let dir = scratch();
    let source = dir.path().join("source");
    populate(&source, false);
    let mut image = dir.path().join("image");
    if !is_root() {
        skipped("device nodes, owners and ACLs", "not root");
    }
    let mut options = Options::default();
    // Some files are from the future; an image that is, too, makes e2fsck wonder.
    options.mkfs.time = Some(1_700_000_000);
    build(options.clone(), &[&source], &image);
    compare_mounted(&image, &source, dir.path());
    // Other geometries hold the same tree; 1 KiB blocks cannot hold the longest links and attributes.
    options.mkfs.block_size = Some(2048);
    for name in ["l3000", "l4000"] {
        std::fs::remove_file(source.join(name)).unwrap();
    }
    for name in ["user.large", "user.second"] {
        fs::lremovexattr(source.join("d4"), name).unwrap();
    }
    settle_times(&source);
    // A new file each time: the one before may still be attached.
    image.set_extension("2048");
    build(options.clone(), &[&source], &image);
    compare_mounted(&image, &source, dir.path());
    image.set_extension("1024");
    options.mkfs.block_size = Some(1024);
    options.mkfs.inode_size = Some(1024);
    options
        .mkfs
        .features
        .apply("^metadata_csum,^64bit,^resize_inode")
        .unwrap();
    options.size = Size::Auto { free: 100 << 20 };
    build(options, &[&source], &image);
    compare_mounted(&image, &source, dir.path());
}

#[test]
fn circumstances_leave_no_trace() {
    let dir = scratch();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    populate(&one, false);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    populate(&two, true);
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // The umask shows in the modes of what it made, which are not the builder's business.
    for (name, text) in list(&one) {
        let path = two.join(OsStr::from_bytes(&name));
        if text.contains(" -> ") {
            continue;
        }
        let mode = std::fs::metadata(one.join(OsStr::from_bytes(&name)))
            .unwrap()
            .permissions();
        std::fs::set_permissions(path, mode).unwrap();
    }
    settle_times(&two);
    assert_same(&list(&one), &list(&two));
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let options = |threads| Options {
        threads,
        ..Options::default()
    };
    let first = build(options(1), &[&one], &a);
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let second = build(options(4), &[&two], &b);
    rustix::process::umask(Mode::from_raw_mode(0o022));
    assert_eq!(first.superblock.uuid(), second.superblock.uuid());
    assert!(
        std::fs::read(&a).unwrap() == std::fs::read(&b).unwrap(),
        "the images differ"
    );
    // The comparison can fail: one byte of content makes another image with another name.
    let path = two.join("d9/sub/file9");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    settle_times(&two);
    let third = build(options(2), &[&two], &b);
    assert_ne!(first.superblock.uuid(), third.superblock.uuid());
}

#[test]
fn options_change_what_they_say() {
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir_all(source.join("keep")).unwrap();
    std::fs::create_dir_all(source.join("cache/x")).unwrap();
    std::fs::write(source.join("keep/a.pyc"), "no").unwrap();
    std::fs::write(source.join("keep/a.py"), "yes").unwrap();
    let file = std::fs::File::create(source.join("keep/sparse")).unwrap();
    file.set_len(1 << 20).unwrap();
    let image = dir.path().join("image");
    let options = Options {
        owner: None,
        uid_map: vec![IdMap {
            from: 0,
            to: 5000,
            count: 10,
        }],
        gid_map: vec![IdMap {
            from: 0,
            to: 6000,
            count: 10,
        }],
        exclude: vec!["*.pyc".into(), "/cache".into()],
        epoch: Some(1_000_000_000),
        holes: Holes::None,
        size: Size::Fixed(50 << 20),
        ..Options::default()
    };
    let report = build(options, &[&source], &image);
    assert_eq!((report.files, report.directories), (2, 3));
    assert_eq!(report.superblock.mkfs_time(), 1_000_000_000);
    assert_eq!(std::fs::metadata(&image).unwrap().len(), 50 << 20);
    fsck_silent(&image, "built");
    let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) else {
        return;
    };
    let listing = list(mounted.path());
    let names: Vec<_> = listing.keys().map(|n| String::from_utf8_lossy(n)).collect();
    assert_eq!(names, ["", "keep", "keep/a.py", "keep/sparse"]);
    for (name, text) in &listing {
        if is_root() {
            assert!(text.contains("owner 5000:6000"), "{name:?} {text}");
        }
        assert!(text.contains("mtime 1000000000.0"), "{name:?} {text}");
    }
    assert!(listing[&b"keep/sparse"[..]].contains("[(0, 256)]"));
}

#[test]
fn refusals_name_their_reason() {
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir_all(&source).unwrap();
    std::fs::write(source.join("f"), vec![1; 3 << 20]).unwrap();
    let plan = |options: Options| {
        let mut builder = Builder::new(options).unwrap();
        builder.add_directory(&source).unwrap();
        builder.plan()
    };
    let small = Options {
        size: Size::Fixed(2 << 20),
        ..Options::default()
    };
    assert!(matches!(plan(small), Err(BuildError::NoRoom { .. })));
    let mut old = Options::default();
    old.mkfs.features.apply("^extent").unwrap();
    assert!(matches!(plan(old), Err(BuildError::Features)));
    // A file that changes between looking and reading is noticed, not padded.
    let planned = plan(Options::default()).unwrap();
    std::fs::write(source.join("f"), vec![2; 2 << 20]).unwrap();
    let device = e4_device::MemoryDevice::new(planned.bytes());
    let result = planned.write(&device, &mut |_| ControlFlow::Continue(()));
    assert!(
        matches!(result, Err(BuildError::Changed { .. })),
        "{result:?}"
    );
    // The caller can stop it.
    let planned = plan(Options::default()).unwrap();
    let result = planned.write(&device, &mut |_| ControlFlow::Break(()));
    assert!(matches!(result, Err(BuildError::Cancelled)), "{result:?}");
    let missing = Builder::new(Options::default())
        .unwrap()
        .add_directory(Path::new("/nowhere"));
    assert!(matches!(missing, Err(BuildError::Host { .. })));
}
