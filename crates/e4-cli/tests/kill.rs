//! `kill -9` in the middle of `e4 stress`, 100 times at random moments: recovery by e4, by e2fsck and by the kernel (in
//! turn) ends clean, and everything fsynced before the kill reads back.
//!
//! The moments are random by seed; the test does not depend on what the process was doing. `E4_KILLS` sets the number.

use e4_judges::skipped;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn e4() -> Command {
    Command::new(env!("CARGO_BIN_EXE_e4"))
}

fn must(mut command: Command, what: &str) {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{what}: {:?}\n{}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// `e2fsck -fy`: 0 is clean, 1 is "repaired", which replaying a journal counts as; the second pass must be clean.
fn recover_with_e2fsck(image: &Path) {
    let out = match Command::new("e2fsck")
        .args(["-fy", "-E", "no_optimize_extents"])
        .arg(image)
        .output()
    {
        Ok(out) => out,
        Err(error) => return skipped("e2fsck", error.to_string()),
    };
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(
        matches!(out.status.code(), Some(0 | 1)),
        "e2fsck -fy: {text}"
    );
    // Beyond the journal and the orphans it names, there must be nothing to repair. It asks two questions more after a
    // crash of the kernel's ext4 as well: about the mark that every mount of an image with an orphan file sets, and about
    // a block of that file whose orphans it has just finished.
    let finished = text.contains(" orphaned inode ");
    let mut about = "";
    let mut repair = None;
    for line in text.lines().filter(|l| !l.is_empty()) {
        let usual = about == "Feature orphan_present is set but orphan file is clean."
            || finished && about.starts_with("Orphan file (") && about.ends_with(" is not clean.");
        if line.contains("? yes") && !usual {
            repair = Some(about.to_owned());
        }
        about = line;
    }
    assert!(
        repair.is_none(),
        "e2fsck repaired something: {repair:?}\n{text}"
    );
    fsck(image);
}

fn fsck(image: &Path) {
    match Command::new("e2fsck").arg("-fn").arg(image).output() {
        Ok(out) => {
            assert!(
                out.status.success(),
                "e2fsck -fn: {}",
                String::from_utf8_lossy(&out.stdout)
            );
        }
        Err(error) => skipped("e2fsck", error.to_string()),
    }
}

/// Unmounts whatever happens.
struct Mounted(tempfile::TempDir);

impl Drop for Mounted {
    fn drop(&mut self) {
        let out = Command::new("umount").arg(self.0.path()).output();
        if !out.is_ok_and(|o| o.status.success()) {
            let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
        }
    }
}

fn recover_with_kernel(image: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new("mount")
        .args(["-t", "ext4", "-o", "loop"])
        .arg(image)
        .arg(dir.path())
        .output();
    match out {
        Ok(out) if out.status.success() => drop(Mounted(dir)),
        Ok(out) => return skipped("loop mount", String::from_utf8_lossy(&out.stderr).trim()),
        Err(error) => return skipped("loop mount", error.to_string()),
    }
    fsck(image);
}

#[test]
fn killed_a_hundred_times() {
    let kills: u64 = std::env::var("E4_KILLS").map_or(100, |n| n.parse().unwrap());
    // In RAM where there is some: a hundred journals on a slow disk would only test the disk.
    let base = Path::new("/dev/shm");
    let dir = if base.is_dir() {
        tempfile::tempdir_in(base)
    } else {
        tempfile::tempdir()
    }
    .unwrap();
    let image = dir.path().join("k.img");
    let mut mkfs = e4();
    mkfs.args(["-q", "mkfs"]).arg(&image).arg("96M");
    must(mkfs, "mkfs");
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    let mut promised = 0;
    for round in 0..kills {
        let log = dir.path().join(format!("acks-{round}"));
        let mut child = e4()
            .args([
                "-q",
                "stress",
                "--seconds",
                "60",
                "--files",
                "2",
                "--size",
                "8M",
                "--seed",
            ])
            .arg((round + 1).to_string())
            .arg("--ack-log")
            .arg(&log)
            .arg(&image)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // The moment to kill, not a wait for something to happen.
        std::thread::sleep(Duration::from_millis(50 + x % 400));
        assert!(
            child.try_wait().unwrap().is_none(),
            "round {round}: stress ended by itself"
        );
        child.kill().unwrap();
        child.wait().unwrap();
        match round % 3 {
            0 => {}
            1 => recover_with_e2fsck(&image),
            _ => recover_with_kernel(&image),
        }
        if log.exists() {
            promised += u64::from(std::fs::metadata(&log).unwrap().len() > 0);
            let mut verify = e4();
            verify
                .args(["-q", "stress", "--verify-log"])
                .arg(&log)
                .arg(&image);
            must(verify, &format!("round {round}: what fsync promised"));
        }
        let mut check = e4();
        check.args(["-q", "check"]).arg(&image);
        must(check, &format!("round {round}: e4 check"));
        fsck(&image);
    }
    println!("{kills} kills, {promised} with something to verify");
    assert!(
        promised * 2 > kills,
        "too few kills hit anything: {promised} of {kills}"
    );
}
