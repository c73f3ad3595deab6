//! `Filesystem::put` under power cuts at every write of the disk: the file is the old one or the new one, byte for byte and
//! attribute for attribute, and the image is clean. A put in place is the negative control: the same judge must refuse it.

use std::ops::ControlFlow;

use e4::surgery::PutOptions;
use e4::{Filesystem, OpenFlags, Result, SetAttr, XattrSet};
use e4_device::Device;
use e4_sim::explore::{self, Params, mount_options};
use e4_sim::{Bound, CrashImage, SimDisk};
use e4_sync::Arc;

const PATH: &str = "/etc/conf";

#[derive(Clone, Copy)]
struct Case {
    features: &'static str,
    block_size: u32,
    /// Bytes before; `None`: the file does not exist.
    old: Option<usize>,
    new: usize,
}

fn bytes(len: usize, salt: u8) -> Vec<u8> {
    (0..len)
        .map(|i| (i as u8).wrapping_mul(31) ^ (i >> 8) as u8 ^ salt)
        .collect()
}

/// What a name stands for: its contents, mode, owner, attribute.
type Found = Option<(Vec<u8>, u16, u32, Option<Vec<u8>>)>;

fn look(fs: &Filesystem) -> Result<Found> {
    let file = match fs.open_file(PATH, OpenFlags::read()) {
        Ok(file) => file,
        Err(e4::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut data = vec![0; file.size() as usize];
    let got = file.read_at(0, &mut data)?;
    assert_eq!(got, data.len());
    let stat = file.stat();
    let value = fs.get_xattr(PATH, true, b"user.kept")?;
    Ok(Some((data, stat.mode, stat.uid, value)))
}

fn expected(len: usize, salt: u8, kept: bool) -> Found {
    let value = kept.then(|| b"value".to_vec());
    let (mode, uid) = if kept { (0o640, 7) } else { (0o644, 0) };
    Some((bytes(len, salt), mode, uid, value))
}

fn prepared(case: Case) -> Arc<SimDisk> {
    let params = Params {
        features: case.features,
        block_size: case.block_size,
        ..Params::small(5)
    };
    let disk = explore::formatted(&params);
    let fs = Filesystem::open(Arc::clone(&disk) as Arc<dyn Device>, &mount_options()).unwrap();
    fs.mkdir("/etc", 0o755).unwrap();
    if let Some(len) = case.old {
        let file = fs.open_file(PATH, OpenFlags::create()).unwrap();
        file.write_at(0, &bytes(len, 1)).unwrap();
        let set = SetAttr {
            mode: Some(0o640),
            uid: Some(7),
            ..SetAttr::default()
        };
        fs.set_attr(PATH, true, &set).unwrap();
        fs.set_xattr(PATH, true, b"user.kept", b"value", XattrSet::Any)
            .unwrap();
        drop(file);
    }
    fs.unmount().unwrap();
    disk.settle();
    disk
}

fn put(fs: &Filesystem, data: &[u8]) {
    let mut source = data;
    let options = PutOptions {
        len: Some(data.len() as u64),
        ..PutOptions::default()
    };
    fs.put(PATH, &mut source, &options, &mut |_| {
        ControlFlow::Continue(())
    })
    .unwrap();
}

/// What `cp` does.
fn in_place(fs: &Filesystem, data: &[u8]) {
    let flags = OpenFlags {
        truncate: true,
        ..OpenFlags::create()
    };
    let file = fs.open_file(PATH, flags).unwrap();
    for (n, piece) in data.chunks(4096).enumerate() {
        file.write_at(n as u64 * 4096, piece).unwrap();
        fs.sync().unwrap();
    }
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

/// Mounts what a cut left, and judges it; returns what the name stands for.
fn judge(image: &Arc<CrashImage>, case: Case, over: bool) -> Result<Found, String> {
    let device = Arc::clone(image) as Arc<dyn Device>;
    let fs = Filesystem::open(Arc::clone(&device), &mount_options())
        .map_err(|e| format!("cannot be mounted: {e}"))?;
    let found = look(&fs).map_err(|e| format!("cannot be read: {e}"))?;
    let old = case.old.and_then(|len| expected(len, 1, true));
    let new = expected(case.new, 2, case.old.is_some());
    if found != old && found != new {
        let size = found.map(|f| f.0.len());
        return Err(format!("neither the old nor the new file: {size:?} bytes"));
    }
    if over && found != new {
        return Err("unmounted, and yet not the new file".to_owned());
    }
    fs.unmount().map_err(|e| format!("unmount: {e}"))?;
    let report = e4_check::check(&*device, &e4_check::Options::default(), &mut |_| {});
    match report.problems.first() {
        Some(problem) => Err(format!("check: {problem}")),
        None => Ok(found),
    }
}

/// How many states were seen with the old and with the new file; or the first that is neither.
fn explore(case: Case, change: impl Fn(&Filesystem, &[u8])) -> Result<(u64, u64), String> {
    let disk = prepared(case);
    let fs = Filesystem::open(Arc::clone(&disk) as Arc<dyn Device>, &mount_options()).unwrap();
    change(&fs, &bytes(case.new, 2));
    fs.unmount().unwrap();
    let end = disk.clock().position();
    let log = disk.log();
    let bound = Bound {
        exhaustive: 4,
        reorderings: 4,
        torn: 2,
        seed: 11,
    };
    let (mut before, mut after) = (0, 0);
    let new = expected(case.new, 2, case.old.is_some());
    for point in log.crash_points().collect::<Vec<_>>() {
        for image in log.states_at(point, bound) {
            if image.is_torn(&(1024..2048)) {
                // A torn superblock is what backups are for, not the journal.
                continue;
            }
            let name = image.describe();
            let asked = (before + after) % 16 == 0;
            let wrong = |what: String| format!("{}, {name}: {what}", case.features);
            if asked {
                e2fsck(&image, "-fp").map_err(wrong)?;
            }
            let image = Arc::new(image);
            let found = judge(&image, case, point.position >= end).map_err(wrong)?;
            if asked {
                e2fsck(&image, "-fn").map_err(wrong)?;
            }
            *(if found == new {
                &mut after
            } else {
                &mut before
            }) += 1;
        }
    }
    Ok((before, after))
}

const CASES: [Case; 5] = [
    Case {
        features: "",
        block_size: 4096,
        old: Some(10_000),
        new: 4096,
    },
    Case {
        features: "^orphan_file",
        block_size: 1024,
        old: Some(3000),
        new: 70_000,
    },
    Case {
        features: "^metadata_csum",
        block_size: 1024,
        old: None,
        new: 20_000,
    },
    Case {
        features: "",
        block_size: 1024,
        old: Some(50_000),
        new: 0,
    },
    Case {
        features: "^64bit",
        block_size: 2048,
        old: Some(1),
        new: 1,
    },
];

#[test]
fn old_or_new_at_every_cut() {
    let mut states = 0;
    for case in CASES {
        match explore(case, put) {
            Ok((before, after)) => {
                assert!(before > 0 && after > 0, "{before} old, {after} new");
                states += before + after;
            }
            Err(what) => panic!("{what}"),
        }
    }
    eprintln!("{states} states");
    assert!(states > 200, "only {states} states");
}

#[test]
fn the_judge_refuses_a_put_in_place() {
    let case = Case {
        features: "",
        block_size: 1024,
        old: Some(9000),
        new: 30_000,
    };
    let verdict = explore(case, in_place);
    assert!(
        verdict.is_err_and(|what| what.contains("neither")),
        "a torn file went unnoticed"
    );
}
