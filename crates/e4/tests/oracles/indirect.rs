//! ext2 and ext3: images without extents, written by us and by the kernel, each continuing what the other began.

use std::os::unix::fs::FileExt;
use std::path::Path;

use e4::{FallocateMode, OpenFlags};
use e4_judges::{fsck, mke2fs};

use crate::kernel::LoopMount;
use crate::matrix::one;
use crate::workload::open;

const BLOCKS: [&str; 3] = ["1024", "2048", "4096"];

#[test]
fn images_of_mke2fs() {
    let dir = tempfile::tempdir().unwrap();
    let kinds: [(&str, &[&str]); 8] = [
        ("ext2", &["-t", "ext2"]),
        ("ext3", &["-t", "ext3"]),
        ("ext2, 128-byte inodes", &["-t", "ext2", "-I", "128"]),
        (
            "ext3, no dir_index, no filetype",
            &["-t", "ext3", "-O", "^dir_index,^filetype"],
        ),
        (
            "ext2, backups everywhere",
            &["-t", "ext2", "-O", "^sparse_super,^resize_inode"],
        ),
        ("ext2, two backups", &["-t", "ext2", "-O", "sparse_super2"]),
        (
            "ext4 features without extents",
            &["-t", "ext4", "-O", "^extent,^64bit"],
        ),
        (
            "ext3 with htrees and sums",
            &["-t", "ext3", "-O", "metadata_csum,flex_bg"],
        ),
    ];
    for (i, block) in BLOCKS.into_iter().enumerate() {
        for (j, (name, args)) in kinds.iter().enumerate() {
            let image = dir.path().join(format!("m{block}-{j}.img"));
            let mut all = vec!["-b", block];
            all.extend_from_slice(args);
            if !mke2fs(&image, 48 << 20, &all) {
                return;
            }
            let what = format!("mke2fs, {block}-byte blocks, {name}");
            one(&image, &what, (1000 + i * 10 + j) as u64);
            std::fs::remove_file(&image).unwrap();
        }
    }
}

/// Byte offsets at which each level of indirection begins, and one far into the last.
fn levels(bs: u64) -> [u64; 6] {
    let per = bs / 4;
    let single = 12;
    let double = single + per;
    let triple = double + per * per;
    [0, 11, single, double, triple - 1, triple + per * per + 3].map(|b| b * bs)
}

fn data(at: u64, bs: u64) -> Vec<u8> {
    (0..3 * bs).map(|n| (at / bs + n / 7) as u8 | 1).collect()
}

fn check_levels(read: &mut dyn FnMut(u64, &mut [u8]), bs: u64, what: &str) {
    for at in levels(bs) {
        let mut got = vec![0; 3 * bs as usize];
        read(at, &mut got);
        // Two of them touch: the later write wins.
        let mut want = data(at, bs);
        for later in levels(bs).into_iter().filter(|l| *l > at) {
            if later < at + want.len() as u64 {
                let from = (later - at) as usize;
                let len = want.len() - from;
                want[from..].copy_from_slice(&data(later, bs)[..len]);
            }
        }
        assert!(got == want, "{what}: bytes at {at}");
    }
}

/// Files of every level of indirection: ours read by the kernel, the kernel's read and cut by us.
#[test]
fn every_level_of_indirection() {
    let dir = tempfile::tempdir().unwrap();
    for block in BLOCKS {
        let bs: u64 = block.parse().unwrap();
        let image = dir.path().join(format!("l{block}.img"));
        if !mke2fs(&image, 48 << 20, &["-b", block, "-t", "ext3"]) {
            return;
        }
        let fs = open(&image);
        let ours = fs.open_file("/ours", OpenFlags::create()).unwrap();
        for at in levels(bs) {
            ours.write_at(at, &data(at, bs)).unwrap();
        }
        check_levels(
            &mut |at, buf| assert_eq!(ours.read_at(at, buf).unwrap(), buf.len()),
            bs,
            "e4, its own",
        );
        drop(ours);
        fs.unmount().unwrap();
        fsck(&image, "written by us");
        {
            let Some(mount) = LoopMount::new(&image, false) else {
                return;
            };
            let ours = std::fs::File::open(mount.path("ours")).unwrap();
            check_levels(
                &mut |at, buf| ours.read_exact_at(buf, at).unwrap(),
                bs,
                "the kernel, ours",
            );
            let theirs = std::fs::File::create(mount.path("theirs")).unwrap();
            for at in levels(bs) {
                theirs.write_all_at(&data(at, bs), at).unwrap();
            }
            theirs.sync_all().unwrap();
        }
        continue_theirs(&image, bs);
    }
}

fn continue_theirs(image: &Path, bs: u64) {
    let fs = open(image);
    let theirs = fs.open_file("/theirs", OpenFlags::read_write()).unwrap();
    check_levels(
        &mut |at, buf| assert_eq!(theirs.read_at(at, buf).unwrap(), buf.len()),
        bs,
        "e4, the kernel's",
    );
    let listed: u64 = theirs
        .extents()
        .unwrap()
        .iter()
        .map(|e| u64::from(e.len))
        .sum();
    assert_eq!(listed, 16, "blocks");
    let [_, _, single, double, ..] = levels(bs);
    theirs
        .fallocate(FallocateMode::PunchHole, single + bs, bs)
        .unwrap();
    theirs.truncate(double + bs + 5).unwrap();
    theirs.truncate(double + 20 * bs).unwrap();
    drop(theirs);
    fs.unmount().unwrap();
    fsck(image, "continued by us");
    let Some(mount) = LoopMount::new(image, true) else {
        return;
    };
    let read = std::fs::read(mount.path("theirs")).unwrap();
    assert_eq!(read.len() as u64, double + 20 * bs);
    let want = data(double, bs);
    let at = double as usize;
    assert_eq!(read[at..at + bs as usize + 5], want[..bs as usize + 5]);
    assert!(read[at + bs as usize + 5..].iter().all(|b| *b == 0));
    let hole = (single + bs) as usize;
    assert!(read[hole..hole + bs as usize].iter().all(|b| *b == 0));
}
