//! Directories built by this crate in images of mke2fs: e2fsck finds nothing to complain about, and
//! the kernel lists them, finds every name and goes on with them.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use e4_format::{FileType, InodeNo};
use support::checker::check;
use support::collide::colliding_names;
use support::image::Image;
use support::oracle::{LoopMount, fsck_clean, have, run, tool};
use support::{MemDir, Rng};

type Names = BTreeSet<Vec<u8>>;

/// Everything a case varies.
struct Case<'a> {
    block_size: u32,
    features: &'a str,
    hash: &'a str,
    unsigned: bool,
    count: usize,
    mib: u64,
}

const DEFAULT: Case<'_> = Case {
    block_size: 4096,
    features: "dir_index",
    hash: "half_md4",
    unsigned: false,
    count: 1000,
    mib: 24,
};

/// An image with an empty directory `d` and a file `f` to link to.
fn image(dir: &Path, case: &Case<'_>) -> Image {
    let from = dir.join("from");
    std::fs::create_dir_all(from.join("d")).expect("directory");
    std::fs::write(from.join("f"), "linked to").expect("file");
    let path = dir.join("image");
    let block_size = case.block_size.to_string();
    let args = ["-b", &block_size, "-O", case.features, "-N", "2000"];
    let image = Image::create(&path, case.mib, &args, &from);
    drop(image);
    let hash = format!("hash_alg={}", case.hash);
    run(tool("tune2fs").args(["-E", &hash]).arg(&path));
    let flags = if case.unsigned {
        "ssv flags 2"
    } else {
        "ssv flags 1"
    };
    run(tool("debugfs").args(["-w", "-R", flags]).arg(&path));
    let image = Image::open(&path);
    let version = image.sb.def_hash_version().expect("hash");
    let number = ["legacy", "half_md4", "tea"]
        .iter()
        .position(|h| *h == case.hash);
    assert_eq!(Some(usize::from(version.algorithm.raw())), number);
    assert_eq!(version.unsigned, case.unsigned);
    image
}

fn insert(dir: &mut MemDir, name: &[u8], inode: InodeNo) {
    dir.reset();
    e4_dir::insert(dir, name, inode, FileType::Regular).expect("insert");
}

fn remove(dir: &mut MemDir, name: &[u8]) {
    dir.reset();
    assert!(e4_dir::remove(dir, name).expect("remove").is_some());
}

/// Names until there are `count`, some of which went and came back.
fn fill(dir: &mut MemDir, names: &mut Names, inode: InodeNo, count: usize, seed: u64) {
    let mut rng = Rng(seed);
    while names.len() < count {
        let name = rng.name();
        if names.contains(&name) {
            continue;
        }
        insert(dir, &name, inode);
        if rng.below(5) == 0 {
            remove(dir, &name);
        } else {
            names.insert(name);
        }
    }
}

fn kernel_names(at: &Path) -> Names {
    let entries = std::fs::read_dir(at).expect("readdir");
    entries
        .map(|e| e.expect("entry").file_name().as_bytes().to_vec())
        .collect()
}

/// The kernel lists exactly these names and finds each.
fn kernel_sees(at: &Path, names: &Names) {
    assert!(kernel_names(at) == *names, "the kernel lists other names");
    for name in names {
        let found = std::fs::symlink_metadata(at.join(OsStr::from_bytes(name)));
        assert!(found.is_ok(), "{name:?}: {found:?}");
    }
}

/// Saves, checks, lets the kernel look and change, and checks again what it did.
fn judge(mut image: Image, ino: InodeNo, dir: &MemDir, mut names: Names, links: usize) {
    image.save(ino, dir);
    image.add_links(image.find("f"), i32::try_from(links).expect("links"));
    assert!(check(&image.load(ino)).keys().eq(names.iter()));
    fsck_clean(&image.path);
    let at = image.path.with_extension("mnt");
    let Some(mount) = LoopMount::new(&image.path, &at, "") else {
        return;
    };
    let d = mount.path().join("d");
    kernel_sees(&d, &names);
    for name in names.iter().step_by(3).cloned().collect::<Vec<_>>() {
        std::fs::remove_file(d.join(OsStr::from_bytes(&name))).expect("unlink");
        names.remove(&name);
    }
    for i in 0..300 {
        let name = format!("by the kernel {i}");
        std::fs::hard_link(mount.path().join("f"), d.join(&name)).expect("link");
        names.insert(name.into_bytes());
    }
    mount.unmount();
    fsck_clean(&image.path);
    let image = Image::open(&image.path);
    let dir = image.load(ino);
    assert!(check(&dir).keys().eq(names.iter()));
    for name in &names {
        assert!(e4_dir::lookup(&dir, name).expect("lookup").is_some());
    }
    assert_eq!(dir.unusable.get(), 0);
}

fn build_and_judge(case: &Case<'_>) {
    let tmp = tempfile::tempdir().expect("tempdir");
    let image = image(tmp.path(), case);
    let (d, f) = (image.find("d"), image.find("f"));
    let mut dir = image.load(d);
    let mut names = Names::new();
    fill(&mut dir, &mut names, f, case.count, case.count as u64);
    let links = names.len();
    judge(image, d, &dir, names, links);
}

const TOOLS: [&str; 4] = ["mke2fs", "tune2fs", "debugfs", "e2fsck"];

#[test]
fn five_to_twenty_thousand_names() {
    if !have(&TOOLS) {
        return;
    }
    for count in [5, 60, 800, 20_000] {
        build_and_judge(&Case {
            count,
            mib: 40,
            ..DEFAULT
        });
    }
    build_and_judge(&Case {
        count: 20_000,
        mib: 40,
        block_size: 1024,
        ..DEFAULT
    });
}

#[test]
fn every_hash_signedness_block_size_with_and_without_checksums() {
    if !have(&TOOLS) {
        return;
    }
    for hash in ["legacy", "half_md4", "tea"] {
        for unsigned in [false, true] {
            for (block_size, features) in [
                (1024, "dir_index,metadata_csum"),
                (1024, "dir_index,^metadata_csum,^64bit"),
                (2048, "dir_index"),
                (4096, "dir_index,^metadata_csum"),
            ] {
                build_and_judge(&Case {
                    block_size,
                    features,
                    hash,
                    unsigned,
                    ..DEFAULT
                });
            }
        }
    }
}

#[test]
fn directories_without_index_and_without_types() {
    if !have(&TOOLS) {
        return;
    }
    for features in [
        "^dir_index",
        "^dir_index,^metadata_csum",
        "dir_index,^filetype",
    ] {
        build_and_judge(&Case {
            features,
            block_size: 1024,
            count: 400,
            ..DEFAULT
        });
    }
}

#[test]
fn runs_of_equal_hashes() {
    if !have(&TOOLS) {
        return;
    }
    let tmp = tempfile::tempdir().expect("tempdir");
    let image = image(
        tmp.path(),
        &Case {
            block_size: 1024,
            hash: "legacy",
            ..DEFAULT
        },
    );
    let (d, f) = (image.find("d"), image.find("f"));
    let mut dir = image.load(d);
    let mut names = Names::new();
    for (i, name) in colliding_names().into_iter().enumerate() {
        insert(&mut dir, &name, f);
        names.insert(name);
        fill(&mut dir, &mut names, f, 30 * (i + 1), i as u64);
    }
    let links = names.len();
    judge(image, d, &dir, names, links);
}

#[test]
fn three_levels() {
    if !have(&TOOLS) {
        return;
    }
    let tmp = tempfile::tempdir().expect("tempdir");
    let features = "dir_index,large_dir";
    let image = image(
        tmp.path(),
        &Case {
            block_size: 1024,
            features,
            mib: 64,
            ..DEFAULT
        },
    );
    let (d, f) = (image.find("d"), image.find("f"));
    let mut dir = image.load(d);
    let mut names = Names::new();
    for i in 0..40_000 {
        let name = format!("{i:-<255}").into_bytes();
        insert(&mut dir, &name, f);
        names.insert(name);
        if dir.block(0)[0x1E] == 2 && i % 1000 == 0 {
            break;
        }
    }
    assert_eq!(dir.block(0)[0x1E], 2, "levels");
    let links = names.len();
    judge(image, d, &dir, names, links);
}

/// Moves a directory under another parent.
#[test]
fn a_directory_moves() {
    if !have(&TOOLS) {
        return;
    }
    for count in [0, 2000] {
        let tmp = tempfile::tempdir().expect("tempdir");
        let from = tmp.path().join("from");
        std::fs::create_dir_all(from.join("a/moves")).expect("directory");
        std::fs::create_dir_all(from.join("b")).expect("directory");
        for i in 0..count {
            std::fs::write(from.join(format!("a/moves/{i}")), "").expect("file");
        }
        let path = tmp.path().join("image");
        let mut image = Image::create(&path, 32, &["-N", "4000"], &from);
        let (a, b, moves) = (image.find("a"), image.find("b"), image.find("a/moves"));
        let (mut old, mut new) = (image.load(a), image.load(b));
        let mut this = image.load(moves);
        let gone = e4_dir::remove(&mut old, b"moves")
            .expect("remove")
            .expect("there");
        assert_eq!(gone.inode, moves);
        e4_dir::insert(&mut new, b"moved", moves, FileType::Directory).expect("insert");
        assert_eq!(e4_dir::set_dotdot(&mut this, b), Ok(a));
        for (ino, dir) in [(a, &old), (b, &new), (moves, &this)] {
            image.save(ino, dir);
        }
        image.add_links(a, -1);
        image.add_links(b, 1);
        fsck_clean(&path);
        assert_eq!(image.find("b/moved"), moves);
        assert_eq!(e4_dir::is_empty(&image.load(moves)), Ok(count == 0));
    }
}
