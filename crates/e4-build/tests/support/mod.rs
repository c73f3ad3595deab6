//! The oracles: e2fsck, and the kernel's loop mount compared with the source attribute by attribute.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

use e4_build::{Builder, Options, Report};
use rustix::fs::{self, SeekFrom};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

pub(crate) use e4_judges::{LoopMount, fsck_silent, have, is_root, scratch, skipped};

/// How the kernel mounts an image to be looked at.
pub(crate) const LOOK: &str = "ro";

/// Runs a program that must succeed; what it printed.
pub(crate) fn must_run(program: &str, args: &[&OsStr]) -> String {
    e4_judges::must_run(program, args)
}

/// Builds an image of directories.
pub(crate) fn build(options: Options, sources: &[&Path], image: &Path) -> Report {
    let mut builder = Builder::new(options).expect("options");
    for source in sources {
        builder.add_directory(source).expect("source");
    }
    write(builder, image)
}

pub(crate) fn write(builder: Builder, image: &Path) -> Report {
    let plan = builder.plan().expect("plan");
    let device = e4_device::create(image, plan.bytes()).expect("create");
    plan.write(&*device, &mut |_| ControlFlow::Continue(()))
        .expect("write")
}

/// What is known of one name, as text that shows a difference.
pub(crate) type Listing = BTreeMap<Vec<u8>, String>;

/// Lists a tree with every attribute an image keeps. Hard links are named by the first path of their file.
pub(crate) fn list(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut first: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    let mut all = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).expect("read_dir") {
            let entry = entry.expect("entry");
            if entry.file_type().expect("type").is_dir() {
                left.push(entry.path());
            }
            all.push(entry.path());
        }
    }
    all.sort();
    for path in all {
        let name = path.strip_prefix(root).expect("prefix");
        let name = name.as_os_str().as_bytes().to_vec();
        if name == b"lost+found" {
            continue;
        }
        let meta = std::fs::symlink_metadata(&path).expect("metadata");
        let key = (meta.dev(), meta.ino());
        let link = first.entry(key).or_insert_with(|| name.clone()).clone();
        listing.insert(name, describe(&path, &meta, &link));
    }
    listing
}

fn describe(path: &Path, meta: &std::fs::Metadata, link: &[u8]) -> String {
    let kind = meta.file_type();
    let mut text = format!(
        "mode {:o} owner {}:{} mtime {}.{:09} rdev {:x}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.rdev()
    );
    if !kind.is_dir() {
        text += &format!(" links {} size {} same {link:?}", meta.nlink(), meta.size());
    }
    if kind.is_symlink() {
        text += &format!(" -> {:?}", std::fs::read_link(path).expect("read_link"));
    }
    if kind.is_file() {
        text += &format!(" data {:?}", content(path, meta.size()));
    }
    for (name, value) in xattrs(path) {
        text += &format!(" {name}={value:?}");
    }
    text
}

/// Extended attributes by name, those that every host makes up left out.
pub(crate) fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0; 65536];
    let len = fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    let mut all = BTreeMap::new();
    for name in names[..len].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let mut value = vec![0; 65536];
        let len = fs::lgetxattr(path, name, &mut value[..]).expect("lgetxattr");
        let name = String::from_utf8_lossy(name).into_owned();
        all.insert(name, value[..len].to_vec());
    }
    all
}

/// Ranges of data in whole 4 KiB blocks, and a checksum of the file.
fn content(path: &Path, size: u64) -> (Vec<(u64, u64)>, u32) {
    let file = std::fs::File::open(path).expect("open");
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut sum = 0;
    let mut at = 0;
    while at < size {
        let Ok(start) = fs::seek(&file, SeekFrom::Data(at)) else {
            break;
        };
        let end = fs::seek(&file, SeekFrom::Hole(start))
            .expect("seek")
            .min(size);
        let mut from = start;
        while from < end {
            let mut buffer = vec![0; usize::try_from((end - from).min(1 << 20)).unwrap()];
            file.read_exact_at(&mut buffer, from).expect("read");
            sum = crc32c::crc32c_append(sum, &buffer);
            from += buffer.len() as u64;
        }
        ranges.push((start / 4096, end.div_ceil(4096)));
        at = end;
    }
    (ranges, sum)
}

/// Both trees have the same names with the same attributes.
pub(crate) fn assert_same(expected: &Listing, found: &Listing) {
    let names = |l: &Listing| l.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(expected)
            .iter()
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect::<Vec<_>>(),
        names(found)
            .iter()
            .map(|n| String::from_utf8_lossy(n).into_owned())
            .collect::<Vec<_>>()
    );
    for (name, text) in expected {
        assert_eq!(
            found.get(name),
            Some(text),
            "{}",
            String::from_utf8_lossy(name)
        );
    }
}
