//! Feature and block-size matrix: our workload on images of mke2fs and of our own, judged by e2fsck and by the kernel;
//! and files that the kernel began, continued by us.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use e4::{Error, FallocateMode, OpenFlags};
use e4_judges::{fsck, mke2fs};

use crate::kernel::LoopMount;
use crate::workload::{contents, open, populate};

pub(crate) fn compare_with_kernel(image: &Path, files: &[(String, Vec<u8>)], what: &str) {
    let Some(mount) = LoopMount::new(image, true) else {
        return;
    };
    for (name, want) in files {
        let got = std::fs::read(mount.path(name)).unwrap();
        assert!(got == *want, "{what}: the kernel reads {name} differently");
    }
    let names = std::fs::read_dir(mount.path("d")).unwrap().count();
    assert_eq!(names, 202, "{what}: names in /d");
}

pub(crate) fn one(image: &Path, what: &str, seed: u64) {
    fsck(image, what);
    let fs = open(image);
    let files = populate(&fs, seed, 120);
    fs.unmount().unwrap();
    fsck(image, what);
    compare_with_kernel(image, &files, what);
    let fs = open(image);
    assert!(fs.recovery().is_none(), "{what}: dirty after unmount");
    for (name, want) in &files {
        let file = fs
            .open_file(&format!("/{name}"), OpenFlags::read())
            .unwrap();
        assert!(
            contents(&file) == *want,
            "{what}: {name} differs after remounting"
        );
    }
}

#[test]
fn images_of_mke2fs() {
    let dir = tempfile::tempdir().unwrap();
    let features: [(&str, &[&str]); 8] = [
        ("defaults", &[]),
        (
            "today's defaults",
            &["-O", "metadata_csum_seed,orphan_file"],
        ),
        ("no 64bit", &["-O", "^64bit"]),
        ("no metadata_csum", &["-O", "^metadata_csum,uninit_bg"]),
        ("no checksums", &["-O", "^metadata_csum,^uninit_bg"]),
        (
            "no flex_bg, no resize_inode",
            &["-O", "^flex_bg,^resize_inode"],
        ),
        ("no journal", &["-O", "^has_journal"]),
        (
            "no dir_index, 128-byte inodes",
            &["-O", "^dir_index,^extra_isize", "-I", "128"],
        ),
    ];
    for (i, block) in ["1024", "2048", "4096"].into_iter().enumerate() {
        for (j, (name, args)) in features.iter().enumerate() {
            let image = dir.path().join(format!("m{block}-{j}.img"));
            let mut all = vec!["-b", block];
            all.extend_from_slice(args);
            if !mke2fs(&image, 48 << 20, &all) {
                return;
            }
            one(
                &image,
                &format!("mke2fs, {block}-byte blocks, {name}"),
                (i * 10 + j) as u64,
            );
            std::fs::remove_file(&image).unwrap();
        }
    }
}

#[test]
fn images_of_our_own() {
    let dir = tempfile::tempdir().unwrap();
    for block in [1024, 2048, 4096] {
        let image = dir.path().join(format!("o{block}.img"));
        let options = e4::device::OpenOptions {
            create: Some(48 << 20),
            ..Default::default()
        };
        let device = e4::device::open(&image, &options).unwrap();
        let params = e4_mkfs::Params {
            block_size: Some(block),
            ..Default::default()
        };
        e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
        drop(device);
        one(
            &image,
            &format!("e4 mkfs, {block}-byte blocks"),
            u64::from(block),
        );
    }
}

/// The kernel preallocates and writes half of the blocks; we write the rest.
#[test]
fn files_the_kernel_began() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("k.img");
    if !mke2fs(&image, 64 << 20, &[]) {
        return;
    }
    let blocks = 2000_u64;
    let data = |block: u64| vec![(block % 250) as u8 + 1; 4096];
    {
        let Some(mount) = LoopMount::new(&image, false) else {
            return;
        };
        let path = mount.path("f");
        let bytes = (blocks * 4096).to_string();
        let out = Command::new("fallocate")
            .args(["-l", &bytes])
            .arg(&path)
            .output()
            .unwrap();
        assert!(out.status.success(), "fallocate: {out:?}");
        let mut file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        for block in (0..blocks).step_by(2) {
            file.seek(SeekFrom::Start(block * 4096)).unwrap();
            file.write_all(&data(block)).unwrap();
        }
        file.sync_all().unwrap();
    }
    fsck(&image, "written by the kernel");
    let fs = open(&image);
    let file = fs.open_file("/f", OpenFlags::read_write()).unwrap();
    let read = contents(&file);
    for block in 0..blocks {
        let want = if block % 2 == 0 {
            data(block)
        } else {
            vec![0; 4096]
        };
        assert!(
            read[block as usize * 4096..][..4096] == want,
            "block {block} as the kernel left it"
        );
    }
    for block in (1..blocks).step_by(2) {
        assert_eq!(file.write_at(block * 4096, &data(block)).unwrap(), 4096);
    }
    let extents = file.extents().unwrap().len();
    assert!(
        extents < 10,
        "{extents} extents: written neighbours must merge (I-7)"
    );
    drop(file);
    fs.unmount().unwrap();
    fsck(&image, "continued by us");
    let Some(mount) = LoopMount::new(&image, true) else {
        return;
    };
    let read = std::fs::read(mount.path("f")).unwrap();
    for block in 0..blocks {
        assert!(
            read[block as usize * 4096..][..4096] == data(block),
            "block {block} as the kernel reads it"
        );
    }
}

/// A full disk: what was acknowledged stays, and preallocated space can still be written.
#[test]
fn full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("full.img");
    if !mke2fs(&image, 16 << 20, &["-b", "1024"]) {
        return;
    }
    let fs = open(&image);
    let pre = fs.open_file("/preallocated", OpenFlags::create()).unwrap();
    pre.fallocate(FallocateMode::Allocate, 0, 2 << 20).unwrap();
    let fill = fs.open_file("/fill", OpenFlags::create()).unwrap();
    let chunk = vec![7; 1 << 16];
    let mut at = 0;
    let error = loop {
        match fill.write_at(at, &chunk) {
            Ok(n) => at += n as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
    while fill.fallocate(FallocateMode::Allocate, at, 1024).is_ok() {
        at += 1024;
    }
    // Every other block: each wants a split, and there is no block for the tree.
    for block in (0..2048_u64).step_by(2) {
        pre.write_at(block * 1024, &[(block % 200) as u8 + 1; 1024])
            .unwrap();
    }
    pre.fsync().unwrap();
    println!("{:?}", fs.stats());
    let check = |read: &[u8]| {
        for block in 0..2048_usize {
            let want = if block % 2 == 0 {
                (block % 200) as u8 + 1
            } else {
                0
            };
            assert!(
                read[block * 1024..][..1024].iter().all(|b| *b == want),
                "block {block}"
            );
        }
    };
    check(&contents(&pre));
    drop((pre, fill));
    fs.unmount().unwrap();
    fsck(&image, "full disk");
    let Some(mount) = LoopMount::new(&image, true) else {
        return;
    };
    check(&std::fs::read(mount.path("preallocated")).unwrap());
}
