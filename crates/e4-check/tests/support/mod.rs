//! Images to check: made by mke2fs, by our own formatter, or filled by the kernel; and running the
//! oracles, with loud skips.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

pub(crate) mod edit;

use e4_check::{Options, Report};
use e4_device::Device;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Output;

pub(crate) use e4_judges::{LoopMount, have, scratch, skipped, sparse_file};

/// How the kernel mounts an image to fill it.
pub(crate) const FILLABLE: &str = "user_xattr";

/// Runs a program on an image to its end.
pub(crate) fn run(program: &str, args: &[&str], image: &Path) -> Output {
    e4_judges::tool(program)
        .args(args)
        .arg(image)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// As [`run`]; panics unless the program succeeds.
pub(crate) fn must_run(program: &str, args: &[&str], image: &Path) {
    e4_judges::output(e4_judges::tool(program).args(args).arg(image));
}

/// Checks an image file.
pub(crate) fn check_file(image: &Path) -> Report {
    let options = e4_device::OpenOptions {
        read_only: true,
        ..e4_device::OpenOptions::default()
    };
    let device = e4_device::open(image, &options).expect("open image");
    check(&*device)
}

/// Checks a device.
pub(crate) fn check(device: &dyn Device) -> Report {
    e4_check::check(device, &Options::default(), &mut |_| {})
}

/// The problems of a report, one per line.
pub(crate) fn list(report: &Report) -> String {
    let mut text = format!("verdict {:?}\n", report.verdict);
    for p in report.problems.iter().take(40) {
        let _ = writeln!(text, "  {} {}: {p}", p.severity(), p.kind());
    }
    text
}

/// Panics unless a report holds nothing at all.
pub(crate) fn assert_spotless(report: &Report, what: &str) {
    assert!(report.problems.is_empty(), "{what}: {}", list(report));
}

/// Fills a mounted filesystem with a bit of everything.
pub(crate) fn fill(root: &Path, files: u32) {
    use rustix::fs::{FallocateFlags, FileType, Mode, XattrFlags};
    use std::os::unix::fs::{FileExt, symlink};
    let htree = root.join("htree");
    std::fs::create_dir(&htree).expect("mkdir");
    for n in 0..files {
        std::fs::write(
            htree.join(format!("a file with a rather long name {n:06}")),
            "x",
        )
        .unwrap();
    }
    for d in 0..20 {
        let dir = root.join(format!("d{d}/e/f"));
        std::fs::create_dir_all(&dir).expect("mkdir");
        std::fs::write(dir.join("file"), vec![7; 5000 * d]).expect("write");
    }
    // Fragmented: two files growing in turns, with holes, synced each time.
    let one = std::fs::File::create(root.join("fragmented")).unwrap();
    let two = std::fs::File::create(root.join("other")).unwrap();
    for n in 0..700u64 {
        one.write_all_at(&[1; 1024], n * 8192).unwrap();
        two.write_all_at(&[2; 1024], n * 8192).unwrap();
        if n % 50 == 0 {
            one.sync_all().unwrap();
        }
    }
    let prealloc = std::fs::File::create(root.join("preallocated")).unwrap();
    prealloc.write_all_at(&vec![3; 100_000], 0).unwrap();
    // Without extents there is no preallocation.
    match rustix::fs::fallocate(&prealloc, FallocateFlags::KEEP_SIZE, 0, 2_000_000) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => {}
        Err(e) => panic!("fallocate: {e}"),
    }
    symlink("short", root.join("fast")).unwrap();
    symlink("x".repeat(59), root.join("fast59")).unwrap();
    symlink("x".repeat(60), root.join("slow60")).unwrap();
    symlink("long/".repeat(150), root.join("slow")).unwrap();
    for (name, kind, device) in [
        ("char", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("block", FileType::BlockDevice, rustix::fs::makedev(7, 300)),
        ("pipe", FileType::Fifo, 0),
    ] {
        rustix::fs::mknodat(rustix::fs::CWD, root.join(name), kind, Mode::RUSR, device).unwrap();
    }
    std::fs::hard_link(root.join("fragmented"), root.join("d1/link")).unwrap();
    for (file, count) in [("d1/e/f/file", 1), ("d2/e/f/file", 15), ("d3", 2)] {
        for n in 0..count {
            let (name, value) = (format!("user.name{n}"), [b'v'; 20]);
            rustix::fs::setxattr(root.join(file), name, &value, XattrFlags::empty()).unwrap();
        }
    }
}
