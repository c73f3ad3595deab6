//! Running the oracles: image files in RAM where possible, external programs, loud skips.
#![allow(dead_code)] // each test binary uses its own part

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory for image files, gone when dropped. In RAM if the machine has a tmpfs for it.
pub(crate) fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    };
    made.expect("a scratch directory")
}

/// Says that something did not run; an error if the environment demands that everything runs.
pub(crate) fn skipped(what: &str) {
    assert!(
        std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
        "could not run: {what}"
    );
    eprintln!("SKIPPED: {what}");
}

/// True if the program can be run.
pub(crate) fn have(program: &str) -> bool {
    let found = Command::new(program).arg("-V").output().is_ok();
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

/// Runs a program to its end, English and with plain output.
pub(crate) fn run(program: &str, args: &[&str], image: &Path) -> Output {
    Command::new(program)
        .args(args)
        .arg(image)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("MKE2FS_DEVICE_SECTSIZE", "512")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// `e2fsck -fn`; panics with its output unless it calls the image clean without remarks.
pub(crate) fn assert_fsck_clean(image: &Path, what: &str) {
    let out = run("e2fsck", &["-fn"], image);
    let text = String::from_utf8_lossy(&out.stdout);
    let remarks = text
        .lines()
        .filter(|l| !l.starts_with("Pass ") && !l.contains(" files ("))
        .count();
    assert!(
        out.status.success() && remarks == 0,
        "{what}: e2fsck: {}\n{text}{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
}

/// An empty file of `size` bytes.
pub(crate) fn sparse_file(dir: &Path, name: &str, size: u64) -> PathBuf {
    let path = dir.join(name);
    let file = std::fs::File::create(&path).expect("create image");
    file.set_len(size).expect("set image size");
    path
}
