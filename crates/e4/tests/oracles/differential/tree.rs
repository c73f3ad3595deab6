//! A tree as text: every path with what can be known about it, through e4 and through the kernel.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use e4::format::FileType;
use e4::{Filesystem, OpenFlags};

use crate::kernel::LoopMount;
use crate::workload::contents;

/// Path to description.
pub(super) type Tree = BTreeMap<String, String>;

/// What both sides say of one inode, in the same words.
struct Facts {
    kind: FileType,
    mode: u32,
    owner: (u32, u32),
    links: u64,
    size: u64,
    rdev: u64,
    ino: u64,
    content: Vec<u8>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

fn describe(facts: &Facts, first: &mut BTreeMap<u64, String>, path: &str) -> String {
    let mut hasher = DefaultHasher::new();
    facts.content.hash(&mut hasher);
    // The first path of the same inode: hard links, by what they are to each other.
    let same_as = first.entry(facts.ino).or_insert_with(|| path.to_owned());
    // A directory's size is the allocator's matter.
    let size = if facts.kind == FileType::Directory {
        0
    } else {
        facts.size
    };
    let xattrs: Vec<String> = facts
        .xattrs
        .iter()
        .map(|(name, value)| {
            let mut hasher = DefaultHasher::new();
            value.hash(&mut hasher);
            let name = String::from_utf8_lossy(name);
            format!("{name}={}:{:x}", value.len(), hasher.finish())
        })
        .collect();
    format!(
        "{:?} {:o} {:?} links {} size {size} dev {:x} as {same_as} content {:x} {xattrs:?}",
        facts.kind,
        facts.mode,
        facts.owner,
        facts.links,
        facts.rdev,
        hasher.finish(),
    )
}

pub(super) fn ours(fs: &Filesystem) -> Tree {
    let (mut tree, mut first) = (Tree::new(), BTreeMap::new());
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        let mut names: Vec<String> = fs
            .read_dir(&dir)
            .unwrap()
            .into_iter()
            .map(|e| String::from_utf8(e.name).unwrap())
            .filter(|n| n != "." && n != "..")
            .collect();
        names.sort();
        for name in names {
            let path = format!("{dir}/{name}");
            let node = fs.lookup(&path, false).unwrap();
            let stat = node.stat().unwrap();
            let kind = stat.file_type.unwrap();
            let content = match kind {
                FileType::Regular => contents(&node.open(OpenFlags::read()).unwrap()),
                FileType::Symlink => node.read_link().unwrap(),
                _ => Vec::new(),
            };
            let mut xattrs: Vec<_> = node
                .list_xattr()
                .unwrap()
                .into_iter()
                .map(|name| {
                    let value = node.get_xattr(&name).unwrap().unwrap();
                    (name, value)
                })
                .collect();
            xattrs.sort();
            let facts = Facts {
                kind,
                mode: u32::from(stat.mode),
                owner: (stat.uid, stat.gid),
                links: u64::from(stat.links),
                size: stat.size,
                rdev: u64::from(stat.rdev),
                ino: u64::from(stat.ino.get()),
                content,
                xattrs,
            };
            tree.insert(path.clone(), describe(&facts, &mut first, &path));
            if kind == FileType::Directory {
                todo.push(path);
            }
        }
    }
    tree
}

fn kind_of(kind: std::fs::FileType) -> FileType {
    match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_fifo() => FileType::Fifo,
        () if kind.is_socket() => FileType::Socket,
        () if kind.is_char_device() => FileType::CharDevice,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::Regular,
    }
}

fn xattrs_of(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut list = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut list).unwrap();
    let mut out: Vec<_> = list[..len]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let len = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            value.truncate(len);
            (name.to_vec(), value)
        })
        .collect();
    out.sort();
    out
}

pub(super) fn kernels(root: &Path) -> Tree {
    let (mut tree, mut first) = (Tree::new(), BTreeMap::new());
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        let mut names: Vec<String> = std::fs::read_dir(root.join(dir.trim_start_matches('/')))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        for name in names {
            let path = format!("{dir}/{name}");
            let at = root.join(&path[1..]);
            let meta = std::fs::symlink_metadata(&at).unwrap();
            let kind = kind_of(meta.file_type());
            let content = match kind {
                FileType::Regular => std::fs::read(&at).unwrap(),
                FileType::Symlink => std::fs::read_link(&at)
                    .unwrap()
                    .as_os_str()
                    .as_bytes()
                    .to_vec(),
                _ => Vec::new(),
            };
            let dev = meta.rdev();
            let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
            let facts = Facts {
                kind,
                mode: meta.mode() & 0o7777,
                owner: (meta.uid(), meta.gid()),
                links: meta.nlink(),
                size: meta.size(),
                rdev: u64::from(minor & 0xFF | major << 8 | (minor & !0xFF) << 12),
                ino: meta.ino(),
                content,
                xattrs: xattrs_of(&at),
            };
            tree.insert(path.clone(), describe(&facts, &mut first, &path));
            if kind == FileType::Directory {
                todo.push(path);
            }
        }
    }
    tree
}

/// The first few paths that differ.
pub(super) fn differences(a: &Tree, b: &Tree) -> Option<String> {
    let mut out = String::new();
    let paths: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for path in paths {
        if a.get(path) != b.get(path) && out.len() < 2000 {
            out += &format!("{path}:\n  {:?}\n  {:?}\n", a.get(path), b.get(path));
        }
    }
    (!out.is_empty()).then_some(out)
}

pub(super) fn assert_same(a: &Tree, b: &Tree, what: &str) {
    if let Some(differences) = differences(a, b) {
        panic!("{what}: the trees differ\n{differences}");
    }
}

/// Times of one image are the same through both.
pub(super) fn assert_times_match(fs: &Filesystem, image: &Path, what: &str) {
    let copy = image.with_extension("times");
    std::fs::copy(image, &copy).unwrap();
    // Mounted for writing by us: the copy is not clean, and the kernel must not recover it.
    let Some(mount) = LoopMount::new(&copy, true) else {
        return;
    };
    for path in ours(fs).keys() {
        let mine = fs.stat(path).unwrap();
        let theirs = std::fs::symlink_metadata(mount.path(&path[1..])).unwrap();
        let mine = [mine.mtime, mine.ctime].map(|t| (t.sec, i64::from(t.nsec)));
        let theirs = [
            (theirs.mtime(), theirs.mtime_nsec()),
            (theirs.ctime(), theirs.ctime_nsec()),
        ];
        assert_eq!(mine, theirs, "{what}: times of {path}");
    }
    drop(mount);
    std::fs::remove_file(&copy).unwrap();
}
