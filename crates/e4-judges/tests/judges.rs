//! A judge that cannot condemn is none: each is shown an image it must refuse.

use std::os::unix::fs::FileExt;
use std::panic::catch_unwind;

use e4_judges::{LoopMount, fsck, fsck_silent, have, is_root, mke2fs, scratch, sparse_file};

/// Changes the superblock without its checksum.
fn damage(image: &std::path::Path) {
    let file = std::fs::OpenOptions::new().write(true).open(image).unwrap();
    // s_free_blocks_count_lo, at offset 12.
    file.write_all_at(&[1, 2, 3], 1024 + 12).unwrap();
}

#[test]
fn fsck_condemns() {
    let dir = scratch();
    let image = dir.path().join("image");
    if !have("e2fsck") || !mke2fs(&image, 16 << 20, &[]) {
        return;
    }
    fsck(&image, "sound");
    fsck_silent(&image, "sound");
    damage(&image);
    assert!(catch_unwind(|| fsck(&image, "damaged")).is_err());
    assert!(catch_unwind(|| fsck_silent(&image, "damaged")).is_err());
}

#[test]
fn the_kernel_condemns() {
    let dir = scratch();
    let (image, at) = (dir.path().join("image"), dir.path().join("m"));
    if !is_root() || !mke2fs(&image, 16 << 20, &[]) {
        return;
    }
    let Some(mount) = LoopMount::new(&image, &at, "ro") else {
        return;
    };
    assert!(mount.path().join("lost+found").is_dir());
    mount.unmount();
    let empty = sparse_file(dir.path(), "empty", 16 << 20);
    assert!(catch_unwind(|| LoopMount::new(&empty, &at, "ro")).is_err());
}
