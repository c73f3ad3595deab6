//! Sound images of many shapes with a bit of everything in them, made by mke2fs and filled by the kernel.
//!
//! Decisions: small (1 to 10 MiB), so that thousands of mutants can be judged in a minute. Where the machine
//! does not allow loop mounts, `mke2fs -d` fills them instead, with less variety.

use std::fs::File;
use std::io::{Error, Result};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use e4_format::features::IncompatFeatures;

use crate::bytes::{get32, get32_be, put32, put32_be};
use crate::layout::{Class, Layout};
use crate::seal::seal;

/// A sound image.
#[derive(Clone, Debug)]
pub struct Base {
    /// Arguments of mke2fs, and how it was filled.
    pub name: String,
    /// The image.
    pub image: Vec<u8>,
}

/// Size in KiB, arguments of mke2fs, and whether its log waits to be replayed.
const SHAPES: [(u32, &str, bool); 16] = [
    (
        4096,
        "-t ext4 -b 1024 -O orphan_file,metadata_csum_seed",
        false,
    ),
    (4096, "-t ext4 -b 1024 -O orphan_file", true),
    (4096, "-t ext4 -b 1024 -g 1024 -O ^has_journal", false),
    (
        4096,
        "-t ext4 -b 1024 -g 1024 -O ^flex_bg,^has_journal",
        false,
    ),
    (4096, "-t ext4 -b 1024 -O ^metadata_csum,^64bit", false),
    (
        4096,
        "-t ext4 -b 1024 -O ^64bit,^has_journal,^sparse_super,^resize_inode",
        false,
    ),
    (
        4096,
        "-t ext4 -b 1024 -g 1024 -O ^metadata_csum,uninit_bg,^has_journal",
        false,
    ),
    (6144, "-t ext4 -b 2048 -O orphan_file", false),
    (4096, "-t ext4 -b 4096 -O ^has_journal", false),
    (10240, "-t ext4 -b 4096", false),
    (
        4096,
        "-t ext4 -b 1024 -g 1024 -O sparse_super2,^has_journal",
        false,
    ),
    (
        4096,
        "-t ext4 -b 1024 -I 128 -O ^has_journal,^resize_inode",
        false,
    ),
    (4096, "-t ext3 -b 1024", false),
    (
        4096,
        "-t ext4 -b 1024 -I 512 -O orphan_file,^dir_index",
        false,
    ),
    (4096, "-t ext2 -b 1024 -g 1024", false),
    (4096, "-t ext2 -b 1024 -I 128 -O none", false),
];

const UUID: &str = "6c1cf1f5-6ad5-4f4c-9e3a-0e4c1f0a51b7";
const HASH_SEED: &str = "hash_seed=7a1fb0c3-22d1-4f7e-8a53-9d5d3c1c0f11";

/// Makes all of them in `dir`.
///
/// # Errors
/// mke2fs or e2fsck are missing or fail, or what they made is not sound by e2fsck.
pub fn all(dir: &Path) -> Result<Vec<Base>> {
    SHAPES
        .iter()
        .map(|(kib, args, live)| make(dir, *kib, args, *live))
        .collect()
}

/// As [`all`], but kept in `kept` for the next time: the same bytes, so the same mutants.
///
/// # Errors
/// As [`all`], and what keeps `kept` from being written.
pub fn kept(kept: &Path, dir: &Path) -> Result<Vec<Base>> {
    std::fs::create_dir_all(kept)?;
    let one = |(n, shape): (usize, &(u32, &str, bool))| {
        let path = kept.join(format!("base{n}"));
        if let Ok(image) = std::fs::read(&path) {
            return Ok(Base {
                name: name(shape.1, shape.2),
                image,
            });
        }
        let base = make(dir, shape.0, shape.1, shape.2)?;
        std::fs::write(&path, &base.image)?;
        Ok(base)
    };
    SHAPES.iter().enumerate().map(one).collect()
}

fn name(args: &str, live: bool) -> String {
    format!("{args}{}", if live { " (log to replay)" } else { "" })
}

fn make(dir: &Path, kib: u32, args: &str, live: bool) -> Result<Base> {
    let path = dir.join("base");
    let file = File::create(&path)?;
    file.set_len(u64::from(kib) << 10)?;
    let inodes = if args.contains("4096") { "256" } else { "400" };
    let mut all = vec![
        "-q", "-F", "-m", "1", "-N", inodes, "-U", UUID, "-E", HASH_SEED,
    ];
    all.extend(args.split(' '));
    run("mke2fs", &all, &path)?;
    let mounted = Mounted::new(&path, &dir.join("mnt"));
    let image = if let Some(mounted) = mounted {
        fill(&mounted.at)?;
        drop(mounted);
        std::fs::read(&path)?
    } else {
        let root = dir.join("root");
        if !root.exists() {
            std::fs::create_dir(&root)?;
            fill(&root)?;
        }
        let from = root.to_string_lossy();
        all.extend(["-d", &from]);
        run("mke2fs", &all, &path)?;
        // Directories get their index from e2fsck, which says 1 when it did something.
        let status = Command::new("e2fsck")
            .args(["-fyD"])
            .arg(&path)
            .output()?
            .status;
        if !matches!(status.code(), Some(0 | 1)) {
            return Err(Error::other(format!("e2fsck -fyD: {status}")));
        }
        std::fs::read(&path)?
    };
    let image = if live {
        reopened(image).ok_or_else(|| Error::other("no log to reopen"))?
    } else {
        image
    };
    std::fs::write(&path, &image)?;
    run("e2fsck", &["-fn"], &path)?;
    Ok(Base {
        name: name(args, live),
        image,
    })
}

/// Marks the log that a clean unmount left as not yet replayed. What it holds is in place, so the image is sound
/// whether one looks into the log or not.
fn reopened(mut image: Vec<u8>) -> Option<Vec<u8>> {
    let layout = Layout::of(&image)?;
    let journal = *layout.of_class(Class::JournalSuperblock).first()?;
    let log = layout.of_class(Class::JournalDescriptor);
    let first = log.iter().min_by_key(|p| p.at)?;
    let tid = get32_be(&image, first.at + 8);
    let start = u32::try_from(first.block.checked_sub(journal.block)?).ok()?;
    put32_be(&mut image, journal.at + 0x18, tid);
    put32_be(&mut image, journal.at + 0x1C, start);
    seal(&mut image, &layout, &journal);
    let sb = *layout.of_class(Class::Superblock).first()?;
    let features = get32(&image, sb.at + 0x60) | IncompatFeatures::RECOVER.bits();
    put32(&mut image, sb.at + 0x60, features);
    seal(&mut image, &layout, &sb);
    Some(image)
}

/// Runs a tool to its successful end.
fn run(program: &str, args: &[&str], image: &Path) -> Result<Output> {
    let out = Command::new(program)
        .args(args)
        .arg(image)
        .env("LC_ALL", "C")
        .output()?;
    if out.status.success() {
        return Ok(out);
    }
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    Err(Error::other(format!(
        "{program} {args:?}: {}\n{text}",
        out.status
    )))
}

/// A loop mount, undone when dropped, even by a panic.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    /// `None` if this machine does not allow it.
    fn new(image: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).ok()?;
        let out = Command::new("mount")
            .args(["-t", "ext4", "-o", "loop,user_xattr"])
            .arg(image)
            .arg(at)
            .output();
        out.is_ok_and(|o| o.status.success())
            .then(|| Self { at: at.to_owned() })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.at).status();
        if !status.is_ok_and(|s| s.success()) {
            eprintln!("could not unmount {}", self.at.display());
        }
    }
}

/// Fills a directory with a bit of everything.
fn fill(root: &Path) -> Result<()> {
    use rustix::fs::{CWD, FileType, Mode};
    for d in 0..6 {
        let dir = root.join(format!("d{d}"));
        std::fs::create_dir_all(dir.join("e/f"))?;
        std::fs::write(dir.join("file"), vec![b'a' + d; 700 * usize::from(d)])?;
    }
    // Links instead of files: an index of two levels without hundreds of inodes.
    std::fs::write(root.join("target"), "t")?;
    for (dir, names, width) in [("htree", 520, 230), ("index", 60, 90)] {
        let dir = root.join(dir);
        std::fs::create_dir(&dir)?;
        for n in 0..names {
            std::fs::hard_link(root.join("target"), dir.join(format!("{n:0width$}")))?;
        }
    }
    // In many pieces, with holes.
    let fragmented = File::create(root.join("fragmented"))?;
    for n in 0..140u64 {
        fragmented.write_all_at(&[1; 1024], n * 8192)?;
    }
    // Far enough out for every level of indirection.
    let far = File::create(root.join("far"))?;
    for at in [0, 60_000, 400_000, 70 << 20] {
        far.write_all_at(&[2; 1500], at)?;
    }
    let prealloc = File::create(root.join("preallocated"))?;
    prealloc.write_all_at(&vec![3; 20_000], 0)?;
    let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
    // Not every shape has preallocation.
    let _ = rustix::fs::fallocate(&prealloc, keep, 0, 90_000);
    let _ = prealloc.write_all_at(&[4; 5000], 40_000);
    symlink("short", root.join("fast"))?;
    symlink("x".repeat(59), root.join("fast59"))?;
    symlink("x".repeat(60), root.join("slow60"))?;
    symlink("long/".repeat(150), root.join("slow"))?;
    for (name, kind, device) in [
        ("char", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("block", FileType::BlockDevice, rustix::fs::makedev(7, 300)),
        ("pipe", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
    ] {
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::RUSR, device)?;
    }
    attributes(root);
    rustix::fs::sync();
    Ok(())
}

/// In inodes, in blocks, and in a block that several files share; where attributes are to be had.
fn attributes(root: &Path) {
    use rustix::fs::XattrFlags;
    for (file, count, len) in [("d1/file", 1, 20), ("d2/file", 15, 20), ("d3", 2, 20)]
        .into_iter()
        .chain(["d4/file", "d5/file", "fragmented", "slow"].map(|f| (f, 4, 120)))
    {
        for n in 0..count {
            let (name, value) = (format!("user.name{n}"), vec![b'v'; len]);
            let _ = rustix::fs::setxattr(root.join(file), name, &value, XattrFlags::empty());
        }
    }
}
