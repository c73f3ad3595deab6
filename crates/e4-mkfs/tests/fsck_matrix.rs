//! `e2fsck -fn` has nothing to say about any image: sizes from 2 MiB to 16 TiB, odd sizes, all block
//! sizes, every feature on and off, with and without journal, on zeroed and on used media.

mod support;

use e4_mkfs::{Features, Medium, Params};
use std::path::Path;
use support::{fsck_silent, have, scratch, sparse_file};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn params(features: &str, edit: impl FnOnce(&mut Params)) -> Params {
    let mut params = Params {
        medium: Medium::Zeroed,
        time: Some(1_700_000_000),
        ..Params::default()
    };
    params.features.apply(features).expect("features");
    edit(&mut params);
    params
}

/// Formats a fresh file and has e2fsck judge it.
fn format_and_check(dir: &Path, size: u64, params: &Params, what: &str) {
    let image = sparse_file(dir, "image", size);
    let device = e4_device::open(&image, &e4_device::OpenOptions::default()).expect("open");
    e4_mkfs::format(&*device, params, &mut |_| {}).unwrap_or_else(|e| panic!("{what}: {e}"));
    drop(device);
    fsck_silent(&image, what);
}

#[test]
fn sizes_and_block_sizes() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    let sizes = [
        200 * KIB,
        MIB,
        2 * MIB,
        2 * MIB + 512,
        3 * MIB + 7 * KIB,
        5 * MIB,
        8 * MIB + 300 * KIB,
        8 * MIB + 600 * KIB,
        17 * MIB + 5,
        64 * MIB,
        100 * MIB + 1,
        127 * MIB,
        129 * MIB,
        257 * MIB + 12345,
        300 * MIB,
        512 * MIB,
        1000 * MIB,
        GIB + 1,
        3 * GIB,
    ];
    for size in sizes {
        for block_size in [None, Some(1024), Some(2048), Some(4096)] {
            let p = params("", |p| p.block_size = block_size);
            format_and_check(
                dir.path(),
                size,
                &p,
                &format!("{size} bytes, blocks {block_size:?}"),
            );
        }
    }
}

#[test]
fn large_sparse_images() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    for (size, block_size) in [
        (20 * GIB, None),
        (130 * GIB + 4096, None),
        (40 * GIB, Some(1024)),
        (TIB, None),
    ] {
        let p = params("", |p| p.block_size = block_size);
        format_and_check(
            dir.path(),
            size,
            &p,
            &format!("{size} bytes, blocks {block_size:?}"),
        );
    }
}

#[test]
fn sixteen_tebibytes() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    let path = dir.path().join("probe");
    let can = std::fs::File::create(&path)
        .and_then(|f| f.set_len(16 * TIB))
        .is_ok();
    let size = if can { 16 * TIB } else { 16 * TIB - 64 * KIB };
    format_and_check(dir.path(), size, &params("", |_| {}), "16 TiB");
}

#[test]
fn every_feature_on_and_off() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    let lists = [
        "^has_journal,^orphan_file",
        "^ext_attr",
        "^resize_inode",
        "^dir_index",
        "^orphan_file",
        "^filetype",
        "^extent,^64bit",
        "^64bit",
        "^flex_bg",
        "^metadata_csum_seed",
        "^sparse_super,^resize_inode",
        "^large_file",
        "^huge_file",
        "^dir_nlink",
        "^extra_isize",
        "^metadata_csum,^metadata_csum_seed",
        "^metadata_csum,^metadata_csum_seed,uninit_bg",
        "^metadata_csum,^metadata_csum_seed,uninit_bg,^64bit,^flex_bg",
        "^flex_bg,^metadata_csum,^metadata_csum_seed",
        "sparse_super2",
        "sparse_super2,^sparse_super,^resize_inode",
        "stable_inodes",
        "project",
        "verity",
        "none",
        "none,has_journal",
        "none,extent",
        "none,has_journal,extent,flex_bg",
        "^flex_bg,^sparse_super,^resize_inode",
    ];
    for list in lists {
        for size in [9 * MIB, 70 * MIB, 700 * MIB] {
            let what = format!("{list}, {size} bytes");
            format_and_check(dir.path(), size, &params(list, |_| {}), &what);
        }
    }
    for (name, features) in [("ext2", Features::ext2()), ("ext3", Features::ext3())] {
        for size in [3 * MIB, 70 * MIB, 700 * MIB, 3 * GIB] {
            let p = params("", |p| p.features = features);
            format_and_check(dir.path(), size, &p, &format!("{name}, {size} bytes"));
        }
    }
}

#[test]
fn every_parameter() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    type Edit = fn(&mut Params);
    let edits: &[(&str, Edit)] = &[
        ("inode size 128", |p| p.inode_size = Some(128)),
        ("inode size 512", |p| p.inode_size = Some(512)),
        ("inode size 1024, 1 KiB blocks", |p| {
            (p.inode_size, p.block_size) = (Some(1024), Some(1024));
        }),
        ("inode size 4096", |p| {
            (p.inode_size, p.block_size) = (Some(4096), Some(4096));
            p.bytes_per_inode = Some(1 << 16);
        }),
        ("dense inodes", |p| p.bytes_per_inode = Some(1024)),
        ("dense inodes, large blocks", |p| {
            (p.bytes_per_inode, p.block_size) = (Some(1024), Some(4096));
        }),
        ("few inodes", |p| p.inodes = Some(5)),
        ("many inodes", |p| p.inodes = Some(50_000)),
        ("inode ratio", |p| p.bytes_per_inode = Some(64 << 20)),
        ("small groups", |p| p.blocks_per_group = Some(2048)),
        ("flex group of 1", |p| p.flex_bg_size = Some(1)),
        ("flex group of 64", |p| p.flex_bg_size = Some(64)),
        ("nothing reserved", |p| p.reserved_percent = 0.0),
        ("half reserved", |p| p.reserved_percent = 50.0),
        ("journal of 8 MiB", |p| p.journal_mib = Some(8)),
        ("label", |p| p.label = "sixteen bytes ok".into()),
        ("last mounted", |p| p.last_mounted = "/mnt".into()),
        ("owner", |p| p.root_owner = (100_000, 70_000)),
        ("growth limit", |p| p.resize_limit = Some(10_000_000)),
        ("part of the device", |p| p.size = Some(33 << 20)),
        ("far future", |p| p.time = Some(10_000_000_000)),
        ("the epoch", |p| p.time = Some(0)),
    ];
    for (what, edit) in edits {
        format_and_check(dir.path(), 100 * MIB, &params("", edit), what);
    }
}

#[test]
fn used_media_are_cleaned() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    for (size, list) in [
        (40 * MIB, ""),
        (40 * MIB, "^metadata_csum,^metadata_csum_seed"),
        (40 * MIB, "none"),
    ] {
        let image = dir.path().join("image");
        std::fs::write(&image, vec![0x69; usize::try_from(size).unwrap()]).expect("fill");
        let device = e4_device::open(&image, &e4_device::OpenOptions::default()).expect("open");
        let p = params(list, |p| p.medium = Medium::Unknown);
        e4_mkfs::format(&*device, &p, &mut |_| {}).unwrap();
        drop(device);
        fsck_silent(&image, list);
    }
}
