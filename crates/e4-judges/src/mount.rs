//! The kernel's own ext4, through a loop device.

use std::path::{Path, PathBuf};

use crate::{skipped, tool};

/// A loop mount; undone when dropped, even by a panic.
#[derive(Debug)]
pub struct LoopMount {
    at: PathBuf,
    mounted: bool,
}

/// What mount(8) says where loop mounts are not allowed. Anything else is the kernel's judgement of the image.
const FORBIDDEN: [&str; 6] = [
    "permission denied",
    "must be superuser",
    "not permitted",
    "failed to setup loop",
    "only root",
    "unknown filesystem",
];

impl LoopMount {
    /// Mounts `image` at `at`, a directory that is made if need be, with `options` beside `loop` (`""` for none).
    /// `None`, [`skipped`], where that is not allowed.
    ///
    /// # Panics
    /// If the kernel refuses the image.
    #[must_use]
    pub fn new(image: &Path, at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a mount point");
        let options = format!("loop{}{options}", if options.is_empty() { "" } else { "," });
        let out = tool("mount")
            .args(["-t", "ext4", "-o", &options])
            .args([image, at])
            .output();
        let why = match out {
            Ok(out) if out.status.success() => {
                return Some(Self {
                    at: at.to_owned(),
                    mounted: true,
                });
            }
            Ok(out) => String::from_utf8_lossy(&out.stderr).trim().to_owned(),
            Err(error) => {
                skipped("mount", error);
                return None;
            }
        };
        assert!(
            FORBIDDEN.iter().any(|f| why.contains(f)),
            "the kernel refuses the image: {why}"
        );
        skipped("the kernel's loop mount", why);
        None
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts; the image is complete then.
    ///
    /// # Panics
    /// If it cannot be unmounted.
    pub fn unmount(mut self) {
        self.mounted = false;
        crate::must_run("umount", &[&self.at]);
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        if !self.mounted {
            return;
        }
        // Another test's child may hold it for a moment, until it has closed what it inherited: let it go then.
        let unmount = |args: &[&str]| tool("umount").args(args).arg(&self.at).output();
        let done =
            |out: std::io::Result<std::process::Output>| out.is_ok_and(|o| o.status.success());
        if !done(unmount(&[])) && !done(unmount(&["-l"])) {
            eprintln!("could not unmount {}", self.at.display());
        }
    }
}
