//! Threads that create, rename, link and delete in the same few directories, with deleted files kept open: no deadlock, no
//! error that a race does not explain, and a clean image with nothing left over.

use std::thread;

use e4::format::FileType;
use e4::{
    File, Filesystem, MountOptions, NewInode, Node, OpenFlags, RenameFlags, Result, SetAttr,
    XattrSet,
};
use e4_judges::fsck;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn path(rng: &mut Rng) -> String {
    let mut out = String::new();
    for _ in 0..rng.below(2) {
        out += ["/a", "/b", "/c"][rng.below(3) as usize];
    }
    match rng.below(3) {
        0 => out + &format!("/{:0>60}", rng.below(60)),
        _ => out + ["/a", "/b", "/c", "/d", "/e"][rng.below(5) as usize],
    }
}

/// What a race, or the random path, explains.
const EXPECTED: [i32; 10] = [1, 2, 17, 20, 21, 22, 31, 39, 40, 61];

fn step(fs: &Filesystem, rng: &mut Rng, open: &mut Vec<(Node, Option<File>)>) -> Result<()> {
    let at = path(rng);
    match rng.below(14) {
        0 | 1 => fs
            .mknod(&at, &NewInode::new(FileType::Regular, 0o644))
            .map(drop),
        2 | 3 => fs
            .mknod(&at, &NewInode::new(FileType::Directory, 0o755))
            .map(drop),
        4 => fs.unlink(&at),
        5 => fs.rmdir(&at),
        6 => fs.link(&at, &path(rng)),
        7..=9 => {
            let how = match rng.below(6) {
                0 => RenameFlags::Exchange,
                1 => RenameFlags::NoReplace,
                2 => RenameFlags::Whiteout,
                _ => RenameFlags::Replace,
            };
            fs.rename(&at, &path(rng), how)
        }
        10 => fs.symlink(b"a/b/c/some/where", &at).map(drop),
        11 => {
            let name = format!("user.{}", rng.below(3));
            let value = vec![rng.below(3) as u8; rng.below(250) as usize];
            fs.set_xattr(&at, false, name.as_bytes(), &value, XattrSet::Any)
        }
        12 => {
            let node = fs.lookup(&at, false)?;
            let file = match node.kind() {
                Some(FileType::Regular) => {
                    let file = node.open(OpenFlags::read_write())?;
                    file.write_at(rng.below(40_000), b"some bytes in the middle")?;
                    Some(file)
                }
                _ => None,
            };
            open.push((node, file));
            if open.len() > 8 {
                open.swap_remove(rng.below(8) as usize);
            }
            Ok(())
        }
        _ => {
            let size = match rng.below(2) {
                0 => None,
                _ => Some(rng.below(60_000)),
            };
            let change = SetAttr {
                mode: Some(rng.below(0o1000) as u16),
                size,
                ..SetAttr::default()
            };
            fs.set_attr(&at, false, &change).map(drop)
        }
    }
}

/// `E4_LONGER` multiplies the steps.
fn race(features: &str, threads: u64, steps: u64) {
    let longer = std::env::var("E4_LONGER").ok();
    let steps = steps * longer.and_then(|n| n.parse().ok()).unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("r.img");
    let options = e4::device::OpenOptions {
        create: Some(64 << 20),
        ..Default::default()
    };
    let device = e4::device::open(&image, &options).unwrap();
    let mut set = e4_mkfs::Features::ext4();
    set.apply(features).unwrap();
    let params = e4_mkfs::Params {
        block_size: Some(1024),
        features: set,
        ..Default::default()
    };
    e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
    drop(device);
    let device = e4::device::open(&image, &Default::default()).unwrap();
    let fs = Filesystem::open(device, &MountOptions::default()).unwrap();
    let free = fs.statfs();
    for dir in ["/a", "/b", "/c", "/a/b", "/b/c", "/c/a"] {
        fs.mkdir(dir, 0o755).unwrap();
    }
    let done: u64 = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|n| {
                let fs = &fs;
                scope.spawn(move || {
                    let mut rng = Rng(n * 77 + 5);
                    let (mut open, mut done) = (Vec::new(), 0);
                    for _ in 0..steps {
                        match step(fs, &mut rng, &mut open) {
                            Ok(()) => done += 1,
                            Err(e) => assert!(EXPECTED.contains(&e.errno()), "{e}"),
                        }
                    }
                    done
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert!(
        done * 5 > threads * steps,
        "only {done} operations succeeded"
    );
    remove_all(&fs, "");
    fs.sync().unwrap();
    let now = fs.statfs();
    assert_eq!(now.free_inodes, free.free_inodes, "inodes are left over");
    // The root directory may have grown, and stays so.
    assert!(
        now.free_blocks + 60 >= free.free_blocks,
        "blocks are left over"
    );
    fs.unmount().unwrap();
    fsck(&image, "afterwards");
}

fn remove_all(fs: &Filesystem, dir: &str) {
    for entry in fs.read_dir(dir).unwrap() {
        let name = String::from_utf8(entry.name).unwrap();
        if name == "." || name == ".." || name == "lost+found" {
            continue;
        }
        let path = format!("{dir}/{name}");
        if fs.stat(&path).unwrap().file_type == Some(FileType::Directory) {
            remove_all(fs, &path);
            fs.rmdir(&path).unwrap();
        } else {
            fs.unlink(&path).unwrap();
        }
    }
}

#[test]
fn names_race() {
    race("", 4, 1500);
}

#[test]
fn names_race_on_the_orphan_list() {
    race("^orphan_file", 4, 1000);
}
