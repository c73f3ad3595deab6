//! Growing under power cuts at every write of the disk: the size after recovery is the old or the new one, the image is clean by
//! e4-check and e2fsck, and a file written meanwhile is what fsync promised.

use std::ops::ControlFlow;

use e4::{Filesystem, OpenFlags};
use e4_device::Device;
use e4_sim::explore::mount_options;
use e4_sim::{Bound, CrashImage, SimDisk, SimOptions};
use e4_sync::Arc;

#[derive(Clone, Copy)]
struct Case {
    features: &'static str,
    /// KiB.
    from: u64,
    to: u64,
}

const BLOCK: u64 = 1024;

fn formatted(case: Case) -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::new(&SimOptions::new(case.to << 10, 3)));
    let mut features = e4_mkfs::Features::ext4();
    features.apply(case.features).unwrap();
    let params = e4_mkfs::Params {
        size: Some(case.from << 10),
        block_size: Some(BLOCK as u32),
        inodes: Some(64),
        // Some descriptor blocks in reserve, not hundreds.
        resize_limit: Some(400 << 10),
        features,
        ..e4_mkfs::Params::default()
    };
    e4_mkfs::format(&*disk, &params, &mut |_| {}).unwrap();
    disk.settle();
    disk
}

fn e2fsck(image: &CrashImage, options: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    image.save(file.path()).unwrap();
    let Some(out) = e4_judges::run("e2fsck", &[options.as_ref(), file.path().as_os_str()]) else {
        return Ok(());
    };
    // 1: the journal was replayed.
    let most = i32::from(options != "-fn");
    match out.status.code().is_some_and(|code| code <= most) {
        true => Ok(()),
        false => Err(format!(
            "e2fsck {options}: {}",
            String::from_utf8_lossy(&out.stdout)
        )),
    }
}

fn explore(case: Case) -> Result<(u64, u64), String> {
    let disk = formatted(case);
    let fs = Filesystem::open(Arc::clone(&disk) as Arc<dyn Device>, &mount_options()).unwrap();
    let file = fs.open_file("/before", OpenFlags::create()).unwrap();
    file.write_at(0, &[1; 5000]).unwrap();
    file.fsync().unwrap();
    let promised = disk.clock().position();
    let blocks = (case.to << 10) / BLOCK;
    let got = fs.grow(blocks, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(got, blocks);
    let grown = disk.clock().position();
    // Metadata in the new groups goes through the log as well.
    let room = fs.statfs().free_blocks * BLOCK / 8 * 7;
    let big = fs.open_file("/after", OpenFlags::create()).unwrap();
    big.fallocate(e4::FallocateMode::Allocate, 0, room).unwrap();
    for n in 0..40 {
        big.write_at(n * 3 * BLOCK, &[2; 1024]).unwrap();
    }
    big.fsync().unwrap();
    drop((big, file));
    fs.unmount().unwrap();
    let bound = Bound {
        exhaustive: 1,
        reorderings: 1,
        torn: 0,
        seed: 23,
    };
    let log = disk.log();
    let (mut old, mut new) = (0, 0);
    for point in log.crash_points().collect::<Vec<_>>() {
        for image in log.states_at(point, bound) {
            let name = image.describe();
            let wrong = |what: String| format!("{:?}, {name}: {what}", case.features);
            let asked = (old + new) % 10 == 0;
            if asked {
                e2fsck(&image, "-fp").map_err(wrong)?;
            }
            let image = Arc::new(image);
            let device = Arc::clone(&image) as Arc<dyn Device>;
            if asked {
                // As it is, the log replayed in memory: the larger superblock may be in it.
                let options = e4_check::Options {
                    replay: true,
                    ..e4_check::Options::default()
                };
                let report = e4_check::check(&*device, &options, &mut |_| {});
                let worst = report
                    .problems
                    .iter()
                    .find(|p| p.severity() >= e4_check::Severity::Error);
                if let Some(problem) = worst {
                    return Err(wrong(format!("check before recovery: {problem}")));
                }
            }
            let fs = Filesystem::open(Arc::clone(&device), &mount_options())
                .map_err(|e| wrong(format!("cannot be mounted: {e}")))?;
            let found = fs.statfs().blocks;
            match found {
                n if n == blocks => new += 1,
                n if n == (case.from << 10) / BLOCK && point.position < grown => old += 1,
                n => return Err(wrong(format!("{n} blocks"))),
            }
            if point.position >= promised {
                let file = fs
                    .open_file("/before", OpenFlags::read())
                    .map_err(|e| wrong(e.to_string()))?;
                let mut bytes = [0; 5000];
                file.read_at(0, &mut bytes)
                    .map_err(|e| wrong(e.to_string()))?;
                if bytes != [1; 5000] {
                    return Err(wrong("the file has changed".to_owned()));
                }
            }
            fs.unmount().map_err(|e| wrong(e.to_string()))?;
            let report = e4_check::check(&*device, &e4_check::Options::default(), &mut |_| {});
            if let Some(problem) = report.problems.first() {
                return Err(wrong(format!("check: {problem}")));
            }
            if asked {
                e2fsck(&image, "-fn").map_err(wrong)?;
            }
        }
    }
    Ok((old, new))
}

#[test]
fn old_size_or_new_size_at_every_cut() {
    for case in [
        // The last group becomes longer, one with a backup comes.
        Case {
            features: "",
            from: 6 << 10,
            to: 20 << 10,
        },
        // One more descriptor block: 32 descriptors of 32 bytes to a block.
        Case {
            features: "^metadata_csum,^64bit,uninit_bg",
            from: 250 << 10,
            to: 264 << 10,
        },
        Case {
            features: "^metadata_csum",
            from: 120 << 10,
            to: 140 << 10,
        },
    ] {
        match explore(case) {
            Ok((old, new)) => {
                eprintln!("{:?}: {old} old, {new} new", case.features);
                assert!(old > 5 && new > 5, "{old} old, {new} new");
            }
            Err(what) => panic!("{what}"),
        }
    }
}
