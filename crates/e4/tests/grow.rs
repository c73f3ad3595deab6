//! Growing while files are open and written: every layout, judged by e2fsck, the kernel, and the files' own contents.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use e4::device::{Device, MemoryDevice};
use e4::{Error, Filesystem, MountOptions, OpenFlags};
use e4_judges::LoopMount;
use e4_sync::Arc;

fn save(device: &dyn Device, to: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(to).unwrap();
    file.set_len(device.info().size).unwrap();
    let mut buf = vec![0; 1 << 20];
    for at in (0..device.info().size).step_by(buf.len()) {
        let len = buf.len().min((device.info().size - at) as usize);
        device.read_at(at, &mut buf[..len]).unwrap();
        if buf[..len].iter().any(|b| *b != 0) {
            file.write_all_at(&buf[..len], at).unwrap();
        }
    }
}

/// The first copy of the superblock knows the new size.
fn from_backup(image: &Path, block_size: u64, first_backup: u64, blocks: u64, what: &str) {
    let args = [
        "-h".to_owned(),
        format!("-osuperblock={first_backup}"),
        format!("-oblocksize={block_size}"),
        image.display().to_string(),
    ];
    if let Some(out) = e4_judges::run("dumpe2fs", &args) {
        let text = String::from_utf8_lossy(&out.stdout);
        let count = text.lines().find(|l| l.starts_with("Block count:"));
        assert!(
            count.is_some_and(|l| l.ends_with(&format!(" {blocks}"))),
            "{what}: dumpe2fs by the backup at {first_backup}: {count:?} {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

/// The kernel mounts it, sees its size, and finds the file.
fn kernel(image: &Path, contents: &[u8], what: &str) {
    let dir = tempfile::tempdir().unwrap();
    let Some(mounted) = LoopMount::new(image, dir.path(), "") else {
        return;
    };
    let found = std::fs::read(mounted.path().join("data")).unwrap();
    assert!(found == contents, "{what}: the kernel reads something else");
    // It allocates in what is new.
    std::fs::write(mounted.path().join("from-the-kernel"), vec![7; 3 << 20]).unwrap();
    mounted.unmount();
}

struct Case {
    features: &'static str,
    block_size: u32,
    /// MiB.
    sizes: &'static [u64],
}

fn pattern(n: u64) -> u8 {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

fn grow_under_load(case: &Case, dir: &Path) {
    let what = format!("{:?}, {} bytes", case.features, case.block_size);
    let most = *case.sizes.last().unwrap() << 20;
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(most));
    let mut features = e4_mkfs::Features::ext4();
    features.apply(case.features).unwrap();
    let params = e4_mkfs::Params {
        size: Some(case.sizes[0] << 20),
        block_size: Some(case.block_size),
        inodes: Some(512),
        features,
        ..e4_mkfs::Params::default()
    };
    e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
    let fs = Filesystem::open(Arc::clone(&device), &MountOptions::default()).unwrap();
    let file = fs.open_file("/data", OpenFlags::create()).unwrap();
    let over = AtomicBool::new(false);
    let bs = u64::from(case.block_size);
    let written = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0;
            // No more than the first size can hold, and at least something after each growth.
            while !over.load(Ordering::Relaxed) || n < 200 {
                let block = vec![pattern(n); 4096];
                if n * 4096 < case.sizes[0] << 18 {
                    file.write_at(n * 4096, &block).unwrap();
                }
                let name = format!("/f{n}");
                drop(fs.open_file(&name, OpenFlags::create()).unwrap());
                if n % 3 == 0 {
                    fs.unlink(&name).unwrap();
                }
                if n % 16 == 15 {
                    file.fsync().unwrap();
                }
                n += 1;
                if n > 400 {
                    break;
                }
            }
            n.min((case.sizes[0] << 18).div_ceil(4096))
        });
        for size in &case.sizes[1..] {
            let blocks = fs
                .grow((size << 20) / bs, &mut |_| ControlFlow::Continue(()))
                .unwrap_or_else(|e| panic!("{what}: to {size} MiB: {e}"));
            assert_eq!(blocks, fs.statfs().blocks, "{what}");
            assert_eq!(blocks, (size << 20) / bs, "{what}");
        }
        over.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    // The new space serves.
    let big = fs.open_file("/big", OpenFlags::create()).unwrap();
    let half = fs.statfs().free_blocks * bs / 2;
    big.fallocate(e4::FallocateMode::Allocate, 0, half).unwrap();
    big.write_at(half - 4096, &[9; 4096]).unwrap();
    drop((big, file));
    fs.unmount().unwrap();
    let contents: Vec<u8> = (0..written).flat_map(|n| [pattern(n); 4096]).collect();
    let image = dir.join("grown.img");
    save(&*device, &image);
    e4_judges::fsck(&image, &what);
    let sparse = !case.features.contains("^sparse_super");
    if sparse {
        let first = u64::from(case.block_size == 1024);
        from_backup(&image, bs, first + bs * 8, most / bs, &what);
    }
    kernel(&image, &contents, &what);
    e4_judges::fsck(&image, &format!("{what}, after the kernel"));
    let fs = Filesystem::open(
        e4::device::open(&image, &e4::device::OpenOptions::default()).unwrap(),
        &MountOptions::default(),
    )
    .unwrap();
    let file = fs.open_file("/data", OpenFlags::read()).unwrap();
    let mut back = vec![0; contents.len()];
    file.read_at(0, &mut back).unwrap();
    assert!(back == contents, "{what}");
    fs.unmount().unwrap();
}

#[test]
fn every_layout_grows_while_it_is_in_use() {
    let dir = e4_judges::scratch();
    for case in [
        // Within the group; to many groups, and new descriptor blocks.
        Case {
            features: "",
            block_size: 1024,
            sizes: &[9, 11, 40, 260],
        },
        Case {
            features: "",
            block_size: 4096,
            sizes: &[40, 100, 150, 520],
        },
        Case {
            features: "^64bit",
            block_size: 2048,
            sizes: &[24, 25, 130],
        },
        Case {
            features: "^metadata_csum",
            block_size: 1024,
            sizes: &[9, 60],
        },
        Case {
            features: "^metadata_csum,^64bit,uninit_bg",
            block_size: 1024,
            sizes: &[9, 300],
        },
        Case {
            features: "^flex_bg",
            block_size: 1024,
            sizes: &[9, 100],
        },
        Case {
            features: "^resize_inode",
            block_size: 1024,
            sizes: &[9, 64],
        },
        Case {
            features: "^sparse_super,^resize_inode",
            block_size: 1024,
            sizes: &[9, 64],
        },
        Case {
            features: "^has_journal",
            block_size: 1024,
            sizes: &[9, 64],
        },
    ] {
        grow_under_load(&case, dir.path());
    }
}

#[test]
fn refusals_say_how_far_it_can_go() {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::new(64 << 20));
    let mut features = e4_mkfs::Features::ext4();
    features.apply("^resize_inode").unwrap();
    let params = e4_mkfs::Params {
        size: Some(16 << 20),
        block_size: Some(1024),
        features,
        ..e4_mkfs::Params::default()
    };
    e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
    let fs = Filesystem::open(Arc::clone(&device), &MountOptions::default()).unwrap();
    let grow = |blocks| fs.grow(blocks, &mut |_| ControlFlow::Continue(()));
    // 16 descriptors of 64 bytes fit the one block there is.
    let Err(Error::CannotGrow { most, why, .. }) = grow(1 << 20) else {
        panic!("grew beyond its descriptors");
    };
    assert_eq!(most, 16 * 8192 + 1);
    assert!(why.contains("resize_inode"), "{why}");
    let Err(Error::CannotGrow { most, why, .. }) = grow(100_000) else {
        panic!("grew beyond its device");
    };
    assert_eq!(most, 65_536);
    assert!(why.contains("device"), "{why}");
    assert!(matches!(grow(1000), Err(Error::CannotGrow { .. })));
    assert_eq!(grow(16 << 10).unwrap(), 16 << 10, "as large as it is");
    // A last group that could hold nothing is left out.
    assert_eq!(grow(3 * 8192 + 1 + 20).unwrap(), 3 * 8192 + 1);
    fs.unmount().unwrap();
}
