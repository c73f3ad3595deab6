//! Images that are right: the checker has nothing to say about any of them.

mod support;

use e4_check::Verdict;
use e4_device::MemoryDevice;
use e4_mkfs::{Features, Medium, Params};
use support::{
    FILLABLE, LoopMount, assert_spotless, check, check_file, fill, have, list, must_run, scratch,
    sparse_file,
};

const MIB: u64 = 1 << 20;

/// Arguments of mke2fs for the shapes an image can have.
const SHAPES: [&str; 18] = [
    "-t ext4",
    "-t ext4 -b 1024",
    "-t ext4 -b 2048",
    "-t ext4 -b 4096",
    "-t ext4 -O orphan_file,metadata_csum_seed",
    "-t ext4 -O ^metadata_csum",
    "-t ext4 -O ^metadata_csum,uninit_bg",
    "-t ext4 -O ^64bit",
    "-t ext4 -O ^flex_bg",
    "-t ext4 -O ^has_journal",
    "-t ext4 -O sparse_super2",
    "-t ext4 -O ^resize_inode,^sparse_super",
    "-t ext4 -O ^extent,^64bit",
    "-t ext4 -I 128",
    "-t ext4 -I 1024",
    "-t ext4 -O quota,project",
    "-t ext3",
    "-t ext2",
];

#[test]
fn images_of_mke2fs() {
    if !have("mke2fs") {
        return;
    }
    let dir = scratch();
    for size in [MIB, 8 * MIB, 9 * MIB, 70 * MIB, 600 * MIB] {
        for shape in SHAPES {
            let image = sparse_file(dir.path(), "image", size);
            let mut args = vec!["-q", "-F"];
            args.extend(shape.split(' '));
            must_run("mke2fs", &args, &image);
            assert_spotless(&check_file(&image), &format!("{shape}, {size} bytes"));
        }
    }
}

#[test]
fn images_of_our_formatter() {
    for size in [MIB, 8 * MIB, 70 * MIB, 600 * MIB, 40 << 30, 16 << 40] {
        for (name, features) in [
            ("ext2", Features::ext2()),
            ("ext3", Features::ext3()),
            ("ext4", Features::ext4()),
        ] {
            if size >= 16 << 40 && name != "ext4" {
                continue; // needs 64bit
            }
            let device = MemoryDevice::new(size);
            let params = Params {
                features,
                medium: Medium::Zeroed,
                ..Params::default()
            };
            e4_mkfs::format(&device, &params, &mut |_| {}).unwrap();
            let report = check(&device);
            assert_spotless(&report, &format!("{name}, {size} bytes"));
            assert_eq!(report.verdict, Verdict::Clean);
            assert_eq!(report.stats.directories, 2);
        }
    }
}

#[test]
fn images_filled_by_the_kernel() {
    if !have("mke2fs") || !have("e2fsck") {
        return;
    }
    let dir = scratch();
    for shape in SHAPES {
        if shape.contains("quota") {
            continue; // the quota files need tools of their own
        }
        let image = sparse_file(dir.path(), "image", 100 * MIB);
        let mut args = vec!["-q", "-F", "-N", "8000"];
        args.extend(shape.split(' '));
        must_run("mke2fs", &args, &image);
        let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), FILLABLE) else {
            return;
        };
        fill(mounted.path(), 5000);
        drop(mounted);
        must_run("e2fsck", &["-fn"], &image);
        let report = check_file(&image);
        assert_spotless(&report, shape);
        let s = report.stats;
        assert!(
            s.regular_files > 5000 && s.directories > 60 && s.symlinks == 4,
            "{shape}: {s:?}"
        );
        assert_eq!(s.special_files, 3, "{shape}");
        assert!(s.fragmented_files >= 2, "{shape}: {s:?}");
        if !shape.contains("ext2") && !shape.contains("ext3") && !shape.contains("^extent") {
            assert!(s.unwritten_blocks > 0, "{shape}: {s:?}");
        }
    }
}

/// Directories with an htree of one and two levels, removals, and names of equal hashes aside.
#[test]
fn large_directories() {
    if !have("mke2fs") || !have("e2fsck") {
        return;
    }
    let dir = scratch();
    let image = sparse_file(dir.path(), "image", 200 * MIB);
    must_run(
        "mke2fs",
        &["-q", "-F", "-t", "ext4", "-b", "1024", "-N", "60000"],
        &image,
    );
    let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), FILLABLE) else {
        return;
    };
    let at = mounted.path().join("large");
    std::fs::create_dir(&at).unwrap();
    for n in 0..25_000 {
        std::fs::write(at.join(format!("{n:0100}")), "").unwrap();
    }
    for n in (0..25_000).step_by(3) {
        std::fs::remove_file(at.join(format!("{n:0100}"))).unwrap();
    }
    drop(mounted);
    must_run("e2fsck", &["-fn"], &image);
    let report = check_file(&image);
    assert_spotless(&report, "large directory");
    assert_eq!(report.stats.indexed_directories, 1, "{}", list(&report));
}
