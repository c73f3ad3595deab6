//! Inode numbers: placement, counts, tables that were never zeroed.

use std::collections::HashMap;

use e4_device::{Device, MemoryDevice};
use e4_format::{FileType, InodeNo, Superblock};
use e4_sync::Arc;

use super::image::{Fs, Rng, SHAPES, STALE, Usage, assert_clean, byte_of, desc_of, make};
use crate::error::Error;
use crate::{Filesystem, MountOptions, OpenFlags};

fn group_of(sb: &Superblock, ino: InodeNo) -> u32 {
    sb.inode_location(ino).unwrap().group.get()
}

#[test]
fn random_inodes_come_and_go() {
    for (name, args, mib) in SHAPES {
        let Some(bytes) = make(args, *mib) else {
            return;
        };
        let fs = Fs::open(&bytes);
        let mut rng = Rng(5);
        let mut mine: HashMap<u32, FileType> = HashMap::new();
        let mut most = 0;
        for step in 0..3000 {
            if rng.below(100) < if step < 2000 { 70 } else { 30 } {
                let kind = if rng.below(4) == 0 {
                    FileType::Directory
                } else {
                    FileType::Regular
                };
                let nth = usize::try_from(rng.below(mine.len().max(1) as u64)).unwrap();
                let parent = mine
                    .keys()
                    .nth(nth)
                    .map_or(InodeNo::ROOT, |n| InodeNo::new(*n).unwrap());
                let mut handle = fs.handle();
                match fs.alloc().alloc_inode(&mut handle, parent, kind) {
                    Ok(ino) => {
                        assert!(
                            !fs.fresh.inodes[ino.get() as usize - 1],
                            "{name}: {ino} was in use"
                        );
                        assert!(
                            mine.insert(ino.get(), kind).is_none(),
                            "{name}: {ino} twice"
                        );
                    }
                    Err(error) => {
                        assert!(matches!(error, Error::NoSpace { .. }), "{name}: {error}");
                        assert_eq!(fs.alloc().free_inodes(), 0, "{name}");
                    }
                }
            } else if let Some((&ino, &kind)) = mine.iter().next() {
                mine.remove(&ino);
                let ino = InodeNo::new(ino).unwrap();
                fs.alloc()
                    .free_inode(&mut fs.handle(), ino, Some(kind))
                    .unwrap();
            }
            most = most.max(mine.len());
        }
        let usage = Usage::read(&fs.image());
        let used = usage.inodes.iter().filter(|used| **used).count();
        let fresh = fs.fresh.inodes.iter().filter(|used| **used).count();
        assert_eq!(used, fresh + mine.len(), "{name}");
        let dirs = mine
            .values()
            .filter(|kind| **kind == FileType::Directory)
            .count();
        let count = |usage: &Usage| usage.dirs.iter().sum::<u32>() as usize;
        assert_eq!(count(&usage), count(&fs.fresh) + dirs, "{name}");
        for (ino, kind) in mine {
            let ino = InodeNo::new(ino).unwrap();
            fs.alloc()
                .free_inode(&mut fs.handle(), ino, Some(kind))
                .unwrap();
        }
        let image = fs.close();
        assert_clean(&image);
        eprintln!("inodes, {name}: up to {most} of our own, clean");
    }
}

#[test]
fn inodes_are_freed_once_and_reserved_ones_never() {
    let Some(bytes) = make(&["-b", "1024", "-N", "512"], 32) else {
        return;
    };
    let fs = Fs::open(&bytes);
    let free = |ino: u32, kind| {
        fs.alloc()
            .free_inode(&mut fs.handle(), InodeNo::new(ino).unwrap(), Some(kind))
    };
    for reserved in [1, 2, 7, 8, 10] {
        assert!(matches!(
            free(reserved, FileType::Regular),
            Err(Error::Group { .. })
        ));
    }
    assert!(matches!(
        free(u32::MAX, FileType::Regular),
        Err(Error::Group { .. })
    ));
    let ino = fs
        .alloc()
        .alloc_inode(&mut fs.handle(), InodeNo::ROOT, FileType::Regular)
        .unwrap();
    free(ino.get(), FileType::Regular).unwrap();
    assert!(
        matches!(free(ino.get(), FileType::Regular), Err(Error::Group { .. })),
        "freed twice"
    );
    // A group that was never used has no inode to free.
    let last = fs.sb().inodes_count();
    assert!(matches!(
        free(last, FileType::Regular),
        Err(Error::Group { .. })
    ));
    assert_clean(&fs.close());
}

/// Unrelated directories spread, files stay with their directory.
#[test]
fn directories_spread_and_files_stay() {
    let args = ["-b", "1024", "-g", "1024", "-N", "2048", "-O", "^flex_bg"];
    let Some(bytes) = make(&args, 24) else { return };
    let fs = Fs::open(&bytes);
    let new = |parent, kind| {
        fs.alloc()
            .alloc_inode(&mut fs.handle(), parent, kind)
            .unwrap()
    };
    let mut all = Vec::new();
    let mut groups = std::collections::HashSet::new();
    for _ in 0..10 {
        let dir = new(InodeNo::ROOT, FileType::Directory);
        groups.insert(group_of(fs.sb(), dir));
        all.push((dir, FileType::Directory));
        for _ in 0..10 {
            let file = new(dir, FileType::Regular);
            assert_eq!(group_of(fs.sb(), file), group_of(fs.sb(), dir));
            all.push((file, FileType::Regular));
        }
        let sub = new(dir, FileType::Directory);
        assert_eq!(
            group_of(fs.sb(), sub),
            group_of(fs.sb(), dir),
            "a subdirectory stays near"
        );
        all.push((sub, FileType::Directory));
    }
    assert!(
        groups.len() >= 8,
        "ten directories lie in {} groups",
        groups.len()
    );
    for (ino, kind) in all {
        fs.alloc()
            .free_inode(&mut fs.handle(), ino, Some(kind))
            .unwrap();
    }
    assert_clean(&fs.close());
}

/// Inode tables full of stale bytes (mke2fs did not zero them): files and directories made there are sound,
/// for us after remounting and for e2fsck.
#[test]
fn tables_that_were_never_zeroed_do_not_show() {
    for args in [
        &["-b", "1024", "-g", "2048", "-N", "1024", "-O", "^flex_bg"][..],
        &["-b", "1024", "-N", "1024"],
        &["-b", "4096", "-I", "128"],
        &["-b", "1024", "-N", "1024", "-O", "^metadata_csum,uninit_bg"],
    ] {
        let Some(bytes) = make(args, 24) else { return };
        let sb = Superblock::parse(bytes[1024..2048].try_into().unwrap()).unwrap();
        let stale = |group| {
            let end =
                desc_of(&bytes, &sb, group).inode_table.get() + u64::from(sb.inode_table_blocks());
            let end = byte_of(&sb, e4_format::FsBlock::new(end));
            bytes[end - 64..end].iter().all(|b| *b == STALE)
        };
        assert!(
            sb.group_numbers().any(stale),
            "the tables were zeroed after all"
        );
        let device = Arc::new(MemoryDevice::from_bytes(&bytes));
        let options = MountOptions {
            commit_interval: None,
            background: false,
            ..Default::default()
        };
        let open = || Filesystem::open(Arc::clone(&device) as Arc<dyn Device>, &options).unwrap();
        let fs = open();
        for d in 0..12 {
            fs.mkdir(&format!("/d{d}"), 0o755).unwrap();
            for f in 0..15 {
                let file = fs
                    .open_file(&format!("/d{d}/f{f}"), OpenFlags::create())
                    .unwrap();
                file.write_at(0, &[d, f]).unwrap();
            }
        }
        fs.unmount().unwrap();
        let mut image = vec![0; bytes.len()];
        device.read_at(0, &mut image).unwrap();
        assert_clean(&image);
        let fs = open();
        for d in 0..12 {
            assert_eq!(fs.read_dir(&format!("/d{d}")).unwrap().len(), 17);
            let mut byte = [0; 2];
            let file = fs
                .open_file(&format!("/d{d}/f3"), OpenFlags::read())
                .unwrap();
            file.read_at(0, &mut byte).unwrap();
            assert_eq!(byte, [d, 3]);
        }
    }
}
