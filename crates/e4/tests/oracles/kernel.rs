//! The kernel's ext4 through a loop mount, unmounted whatever happens.

use std::path::{Path, PathBuf};
use std::process::Command;

use e4_judges::skipped;

/// A mounted image; dropping it unmounts.
pub(crate) struct LoopMount {
    dir: tempfile::TempDir,
}

impl LoopMount {
    /// Mounts an image, or says why not.
    pub(crate) fn new(image: &Path, read_only: bool) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        // Device files made by tests must not be devices.
        let options = if read_only {
            "loop,nodev,ro,noload"
        } else {
            "loop,nodev"
        };
        let out = Command::new("mount")
            .args(["-t", "ext4", "-o", options])
            .arg(image)
            .arg(dir.path())
            .output();
        match out {
            Ok(out) if out.status.success() => Some(Self { dir }),
            Ok(out) => {
                let why = String::from_utf8_lossy(&out.stderr).into_owned();
                // Not being allowed to mount is a property of the place; being refused the image is a failure.
                let allowed = Command::new("id")
                    .arg("-u")
                    .output()
                    .is_ok_and(|o| o.stdout == b"0\n");
                let refused = why.contains("wrong fs type") || why.contains("bad superblock");
                assert!(
                    !(allowed && refused),
                    "the kernel refuses {}: {why}",
                    image.display()
                );
                skipped("loop mount", why.trim());
                None
            }
            Err(error) => {
                skipped("loop mount", error);
                None
            }
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for LoopMount {
    fn drop(&mut self) {
        let out = Command::new("umount").arg(self.dir.path()).output();
        if !out.is_ok_and(|o| o.status.success()) {
            // Busy for a moment, or gone: let go of the tree now and of the device when it can.
            let _ = Command::new("umount")
                .arg("-l")
                .arg(self.dir.path())
                .output();
        }
    }
}
