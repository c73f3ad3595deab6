//! The oracles: e2fsck, and the kernel's loop mount compared with the source attribute by attribute.
#![allow(dead_code)] // each test binary uses its own part

use e4_build::{Builder, Options, Report};
use rustix::fs::{self, SeekFrom};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory in RAM if the machine has a tmpfs for it; gone when dropped.
pub(crate) fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    };
    made.expect("a scratch directory")
}

/// Says that something did not run; an error if the environment demands that everything runs.
pub(crate) fn skipped(what: &str) {
    assert!(
        std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
        "could not run: {what}"
    );
    eprintln!("SKIPPED: {what}");
}

/// True if the program can be run.
pub(crate) fn have(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs a program; panics with its output if it fails.
pub(crate) fn run(program: &str, args: &[&OsStr]) -> String {
    let out = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        out.status.success(),
        "{program} {args:?}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// `e2fsck -fn` with nothing to say.
pub(crate) fn assert_fsck_clean(image: &Path) {
    if !have("e2fsck") {
        return;
    }
    let text = run("e2fsck", &["-fn".as_ref(), image.as_os_str()]);
    let remarks = text
        .lines()
        .filter(|l| !l.starts_with("Pass ") && !l.contains(" files ("))
        .count();
    assert_eq!(remarks, 0, "e2fsck: {text}");
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

/// A loop mount, undone when dropped, even by a panic.
pub(crate) struct Mounted {
    pub(crate) at: PathBuf,
}

impl Mounted {
    /// `None` if this machine does not allow it.
    pub(crate) fn new(image: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("mount point");
        let out = Command::new("mount")
            .args(["-t", "ext4", "-o", "loop,ro"])
            .args([image, at])
            .output();
        let why = match out {
            Ok(out) if out.status.success() => return Some(Self { at: at.to_owned() }),
            Ok(out) => String::from_utf8_lossy(&out.stderr).into_owned(),
            Err(e) => e.to_string(),
        };
        let forbidden = [
            "permission denied",
            "must be superuser",
            "failed to setup loop",
            "only root",
            "No such file",
        ];
        assert!(
            forbidden.iter().any(|f| why.contains(f)),
            "the kernel refuses the image: {why}"
        );
        skipped(&format!("loop mount: {}", why.trim()));
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Another test's child may hold it for a moment, until it has closed what it inherited: let it go then.
        let unmount = |args: &[&str]| Command::new("umount").args(args).arg(&self.at).output();
        let done =
            |out: std::io::Result<std::process::Output>| out.is_ok_and(|o| o.status.success());
        if !done(unmount(&[])) && !done(unmount(&["-l"])) {
            eprintln!("could not unmount {}", self.at.display());
        }
    }
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
