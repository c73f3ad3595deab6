//! Scratch space, and images that are not ours.

use std::path::{Path, PathBuf};

use crate::{have, must_run};

/// A directory for image files, gone when dropped. In RAM if the machine has a tmpfs for it.
///
/// # Panics
/// If none can be made.
#[must_use]
pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    let made = if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    };
    made.expect("a scratch directory")
}

/// An empty file of `size` bytes, all of it hole.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn sparse_file(dir: &Path, name: &str, size: u64) -> PathBuf {
    let path = dir.join(name);
    let file = std::fs::File::create(&path).expect("create the image");
    file.set_len(size).expect("set the image's size");
    path
}

/// Makes a new image at `path` with `mke2fs` and these arguments, `-t ext4` unless they say another type; false, [`crate::skipped`], if mke2fs is not installed.
///
/// # Panics
/// If mke2fs fails.
#[must_use]
pub fn mke2fs(path: &Path, bytes: u64, args: &[&str]) -> bool {
    if !have("mke2fs") {
        return false;
    }
    let file = std::fs::File::create(path).expect("create the image");
    file.set_len(bytes).expect("set the image's size");
    drop(file);
    let mut all: Vec<&std::ffi::OsStr> = vec!["-q".as_ref(), "-F".as_ref()];
    if !args.contains(&"-t") {
        all.extend(["-t", "ext4"].map(std::ffi::OsStr::new));
    }
    all.extend(args.iter().map(std::ffi::OsStr::new));
    all.push(path.as_os_str());
    must_run("mke2fs", &all);
    true
}
