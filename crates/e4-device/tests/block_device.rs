//! Real block devices, by loop device; needs root, says so when it cannot run.

mod suite;

use e4_device::{DeviceError, OpenOptions, create, open};
use std::path::{Path, PathBuf};
use std::process::Command;

struct Loop {
    device: PathBuf,
    dir: tempfile::TempDir,
}

impl Loop {
    fn new(size: u64) -> Option<Loop> {
        let dir = tempfile::tempdir().expect("temporary directory");
        let backing = dir.path().join("backing");
        let file = std::fs::File::create(&backing).expect("backing file");
        file.set_len(size).expect("size");
        match run("losetup", &["--find", "--show", &backing.to_string_lossy()]) {
            Ok(device) => Some(Loop {
                device: device.trim().into(),
                dir,
            }),
            Err(why) => {
                e4_judges::skipped("a loop device", why);
                None
            }
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if let Err(why) = run("losetup", &["--detach", &self.device.to_string_lossy()]) {
            eprintln!("left behind: {}: {why}", self.device.display());
        }
    }
}

fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let out = Command::new(program).args(args).output();
    let out = out.map_err(|e| format!("{program}: {e}"))?;
    if !out.status.success() {
        return Err(String::from_utf8_lossy(&out.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn conformance() {
    let Some(disk) = Loop::new(suite::SIZE) else {
        return;
    };
    let dev = create(&disk.device, suite::SIZE).expect("open");
    eprintln!("{}", dev.info().reason);
    assert_eq!(dev.info().size, suite::SIZE);
    suite::run_all(&dev);
    drop(dev);
    suite::drop_in_flight(|| open(&disk.device, &OpenOptions::default()).expect("open"));
    let too_small = create(&disk.device, suite::SIZE + 1).err();
    assert!(matches!(
        too_small,
        Some(DeviceError::TooSmall {
            size: suite::SIZE,
            ..
        })
    ));
}

#[test]
fn a_mounted_device_is_in_use() {
    let Some(disk) = Loop::new(suite::SIZE) else {
        return;
    };
    let device = disk.device.to_string_lossy().into_owned();
    let at = disk.dir.path().join("mnt");
    std::fs::create_dir(&at).expect("mount point");
    let at = at.to_string_lossy().into_owned();
    let mounted = run("mke2fs", &["-q", "-t", "ext2", &device])
        .and_then(|_| run("mount", &["-o", "ro", &device, &at]));
    if let Err(why) = mounted {
        e4_judges::skipped("mounting", why);
        return;
    }
    let refused = open(Path::new(&device), &OpenOptions::default()).err();
    run("umount", &[&at]).expect("umount");
    assert!(
        matches!(refused, Some(DeviceError::Locked { .. })),
        "{refused:?}"
    );
    drop(open(&disk.device, &OpenOptions::default()).expect("free again"));
}
