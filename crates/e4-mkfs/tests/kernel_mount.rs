//! The kernel mounts what we format, writes files into it, and e2fsck still has nothing to say.

mod support;

use e4_judges::LoopMount;
use e4_mkfs::{Features, Medium, Params};
use std::path::Path;
use support::{fsck_silent, have, scratch, sparse_file};

fn fill(root: &Path) {
    for d in 0..4 {
        let dir = root.join(format!("dir{d}"));
        std::fs::create_dir(&dir).expect("mkdir");
        for f in 0..200 {
            std::fs::write(dir.join(format!("file{f}")), vec![f as u8; 3000]).expect("write");
        }
    }
    std::fs::write(root.join("large"), vec![7; 3 << 20]).expect("write");
    std::os::unix::fs::symlink("dir0/file0", root.join("link")).expect("symlink");
    std::fs::remove_dir_all(root.join("dir1")).expect("remove");
}

#[test]
fn mount_write_unmount_check() {
    if !have("e2fsck") {
        return;
    }
    let dir = scratch();
    let mut ext3 = Features::ext3();
    ext3.apply("metadata_csum").unwrap();
    let cases: Vec<(&str, u64, Params)> = vec![
        ("default, 64 MiB", 64 << 20, Params::default()),
        ("default, 700 MiB", 700 << 20, Params::default()),
        (
            "4 KiB blocks",
            64 << 20,
            Params {
                block_size: Some(4096),
                ..Params::default()
            },
        ),
        (
            "2 KiB blocks",
            64 << 20,
            Params {
                block_size: Some(2048),
                ..Params::default()
            },
        ),
        (
            "ext3",
            64 << 20,
            Params {
                features: Features::ext3(),
                ..Params::default()
            },
        ),
        (
            "ext3 with checksums",
            64 << 20,
            Params {
                features: ext3,
                ..Params::default()
            },
        ),
        (
            "ext2",
            64 << 20,
            Params {
                features: Features::ext2(),
                ..Params::default()
            },
        ),
        (
            "inode size 128",
            64 << 20,
            Params {
                inode_size: Some(128),
                ..Params::default()
            },
        ),
    ];
    let features = |list: &str| {
        let mut params = Params::default();
        params.features.apply(list).unwrap();
        params
    };
    let lists = [
        "^metadata_csum,^metadata_csum_seed,uninit_bg",
        "^flex_bg",
        "sparse_super2",
        "none",
    ];
    let cases = cases
        .into_iter()
        .chain(lists.map(|l| (l, 64 << 20, features(l))));
    for (what, size, params) in cases {
        let image = sparse_file(dir.path(), "image", size);
        let device = e4_device::open(&image, &e4_device::OpenOptions::default()).unwrap();
        let params = Params {
            medium: Medium::Zeroed,
            ..params
        };
        e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
        drop(device);
        let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), "") else {
            return;
        };
        fill(mounted.path());
        drop(mounted);
        fsck_silent(&image, what);
    }
}
