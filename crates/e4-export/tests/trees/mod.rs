//! Trees to export, with everything a name can have.
#![allow(dead_code)] // each test binary uses its own part

use e4::{Filesystem, MountOptions};
use e4_device::OpenOptions;
use rustix::fs::{self, FileType, Mode, Timespec, Timestamps, XattrFlags};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

/// Opens an image to read it.
pub(crate) fn look(image: &Path) -> Filesystem {
    let options = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    let device = e4_device::open(image, &options).expect("open");
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    Filesystem::open(device, &options).expect("mount")
}

fn set(root: &Path, path: &str, name: &str, value: &[u8]) {
    fs::lsetxattr(root.join(path), name, value, XattrFlags::empty()).expect(name);
}

/// An ACL as programs see it.
fn acl() -> Vec<u8> {
    let none = u32::MAX;
    let entries = [
        (1u16, 6u16, none),
        (2, 4, 1000),
        (4, 4, none),
        (8, 6, 70000),
        (16, 6, none),
        (32, 0, none),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

pub(crate) fn socket(path: &Path) {
    let mode = Mode::from_raw_mode(0o640);
    fs::mknodat(fs::CWD, path, FileType::Socket, mode, 0).expect("mknod");
}

/// Makes the tree; without what takes privilege if there is none.
pub(crate) fn populate(root: &Path) {
    std::fs::create_dir_all(root.join("d/sub")).unwrap();
    for n in 0..40usize {
        let content: Vec<u8> = (0..n * n * 50).map(|i| (i * n) as u8).collect();
        std::fs::write(root.join(format!("d/sub/file{n}")), content).unwrap();
    }
    std::fs::create_dir(root.join("many")).unwrap();
    for n in 0..500 {
        let name = format!("many/a name that is rather long, so that blocks fill up {n}");
        std::fs::write(root.join(name), n.to_string()).unwrap();
    }
    let names: [&[u8]; 6] = [
        b"\xff\xfe\x01raw",
        "\u{fc}ml\u{e4}ut \u{1F980}".as_bytes(),
        b"new\nline",
        b"-rf",
        b" ",
        b"100%=x",
    ];
    for name in names {
        std::fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
    }
    for len in [1, 59, 60, 99, 100, 101, 3000] {
        symlink("t".repeat(len), root.join(format!("l{len}"))).unwrap();
    }
    for len in [98, 99, 100, 101, 155, 255] {
        let name = "n".repeat(len);
        std::fs::write(root.join(&name), name.as_bytes()).unwrap();
        std::fs::create_dir_all(root.join(format!("d/{}", &name[1..]))).unwrap();
    }
    let deep = root.join(vec!["deep"; 150].join("/"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom"), "x").unwrap();
    let file = std::fs::File::create(root.join("sparse")).unwrap();
    file.write_all_at(&[7; 5000], 1 << 20).unwrap();
    file.write_all_at(b"end", 40 << 20).unwrap();
    file.set_len(1 << 30).unwrap();
    let file = std::fs::File::create(root.join("small-hole")).unwrap();
    file.write_all_at(b"end", 4096).unwrap();
    let file = std::fs::File::create(root.join("only-hole")).unwrap();
    file.set_len(10 << 20).unwrap();
    let file = std::fs::File::create(root.join("comb")).unwrap();
    for i in 0..700 {
        let block = [(i % 250) as u8 + 1; 4096];
        file.write_all_at(&block, i * 8192).unwrap();
    }
    std::fs::hard_link(root.join("l60"), root.join("zz-linked-link")).unwrap();
    for n in 0..5 {
        std::fs::hard_link(root.join("d/sub/file9"), root.join(format!("hard{n}"))).unwrap();
    }
    set(root, "d", "user.small", b"value");
    set(root, "d/sub/file1", "user.empty", b"");
    set(root, "d/sub/file2", "user.binary\n", b"a=b\n\0\xff%");
    set(root, "many", "user.large", &[b'l'; 3000]);
    if rustix::process::geteuid().is_root() {
        privileged(root);
    }
    settle_times(root);
}

fn privileged(root: &Path) {
    set(root, "d/sub/file3", "system.posix_acl_access", &acl());
    set(root, "d", "system.posix_acl_default", &acl());
    set(root, "d/sub/file4", "trusted.t", b"\0\xff");
    // cap_net_raw+ep, version 2.
    let mut capability = 0x0200_0001u32.to_le_bytes().to_vec();
    capability.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    set(root, "d/sub/file5", "security.capability", &capability);
    for (name, kind, major, minor) in [
        ("char", FileType::CharacterDevice, 1, 3),
        ("wide", FileType::CharacterDevice, 300, 70000),
        ("block", FileType::BlockDevice, 8, 1),
        ("fifo", FileType::Fifo, 0, 0),
    ] {
        let dev = fs::makedev(major, minor);
        let mode = Mode::from_raw_mode(0o640);
        fs::mknodat(fs::CWD, root.join(name), kind, mode, dev).expect(name);
    }
    for (n, uid, gid) in [(1, 1000, 1000), (2, 65536, 70000), (3, 4_000_000_000, 5)] {
        let path = root.join(format!("d/sub/file{n}0"));
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).expect("chown");
    }
    std::os::unix::fs::lchown(root.join("l59"), Some(12), Some(13)).expect("lchown");
    for (n, mode) in [(11, 0o4755), (12, 0o2711), (13, 0), (14, 0o1777)] {
        let path = root.join(format!("d/sub/file{n}"));
        fs::chmod(path, Mode::from_raw_mode(mode)).expect("chmod");
    }
}

/// Gives everything a time that depends on its name alone.
pub(crate) fn settle_times(root: &Path) {
    let mut paths: Vec<_> = super::support::list(root).into_keys().collect();
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
        let path = match name.as_slice() {
            b"" => root.to_owned(),
            name => root.join(OsStr::from_bytes(name)),
        };
        fs::utimensat(fs::CWD, path, &times, fs::AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
    }
}
