//! External tools: run, or missing and said so.

use std::path::{Path, PathBuf};
use std::process::Command;

/// True if the tools are there. Says what is skipped otherwise; a panic with
/// `E4_REQUIRE_ORACLES=1`.
pub fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| {
        let found = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
            .iter()
            .any(|dir| Path::new(dir).join(tool).exists());
        found || missing(tool)
    })
}

/// Reports a missing oracle; always false.
pub fn missing(what: &str) -> bool {
    assert!(
        std::env::var_os("E4_REQUIRE_ORACLES").is_none_or(|v| v != "1"),
        "{what} is missing and E4_REQUIRE_ORACLES is set"
    );
    eprintln!("SKIPPED: {what} is missing");
    false
}

/// A command found where system tools are.
pub fn tool(name: &str) -> Command {
    let mut c = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    c.env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C");
    c
}

/// Runs and returns what it printed; panics on failure.
pub fn run(command: &mut Command) -> String {
    let out = command.output().expect("run");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{command:?}: {}\n{text}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

/// `e2fsck -fn`, which must find nothing.
pub fn fsck_clean(image: &Path) {
    run(tool("e2fsck").args(["-f", "-n"]).arg(image));
}

/// An image mounted through a loop device, unmounted on drop.
pub struct Mount {
    at: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts; `None`, loudly, where that is not allowed.
    pub fn new(image: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("mount point");
        let out = tool("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(at)
            .output()
            .expect("mount");
        if out.status.success() {
            return Some(Self {
                at: at.to_path_buf(),
                mounted: true,
            });
        }
        let why = String::from_utf8_lossy(&out.stderr).into_owned();
        let allowed = ![
            "permission",
            "superuser",
            "not permitted",
            "loop device",
            "unknown filesystem",
        ]
        .iter()
        .any(|w| why.contains(w));
        assert!(!allowed, "mount: {why}");
        missing(&format!("loop mount ({})", why.trim()));
        None
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Unmounts, and the image is complete then.
    pub fn unmount(mut self) {
        self.mounted = false;
        run(tool("umount").arg(&self.at));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.mounted {
            let done = tool("umount").arg(&self.at).status();
            if !done.is_ok_and(|s| s.success()) {
                let _ = tool("umount").arg("-l").arg(&self.at).status();
            }
        }
    }
}
