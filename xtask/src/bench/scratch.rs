//! The scratch directory on /dev/shm, and its end whatever happens.
//!
//! Decisions:
//! - Everything a bench makes (image, mount point) lies in one directory with the process's number in its name,
//!   so cleaning up needs no list: unmount what is mounted below it, detach the loop devices whose backing file is
//!   in it, remove it.
//! - Guards do that in order on every normal way out. For Ctrl-C and kill there is a janitor: a second process of
//!   this program, in a process group of its own, blocked on a pipe that breaks when the bench dies. No signal
//!   handler is needed (which would need `unsafe`), and `kill -9` is covered too.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use e4_sync::{Duration, now, thread};

use super::kernel::run_tool;

const RAM: &str = "/dev/shm";

/// The scratch directory with the one image all systems use in turn.
pub(crate) struct Scratch {
    dir: PathBuf,
    janitor: Option<Child>,
}

impl Scratch {
    /// Makes the directory and starts the janitor.
    pub(crate) fn new() -> Result<Self> {
        let dir = Path::new(RAM).join(format!("e4-bench-{}", std::process::id()));
        std::fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut scratch = Self { dir, janitor: None };
        std::fs::create_dir(scratch.mount_point())?;
        let me = std::env::current_exe().context("cannot find this program")?;
        let janitor = Command::new(me)
            .arg("bench-janitor")
            .arg(&scratch.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start the janitor")?;
        scratch.janitor = Some(janitor);
        Ok(scratch)
    }

    pub(crate) fn image(&self) -> PathBuf {
        self.dir.join("disk.img")
    }

    pub(crate) fn mount_point(&self) -> PathBuf {
        self.dir.join("mnt")
    }

    /// Creates the image and touches every page: a first write to a page of a RAM file costs several times the
    /// next one, which would be measured instead of the filesystems.
    pub(crate) fn make_image(&self, bytes: u64) -> Result<()> {
        let free = free_bytes()?;
        if free < bytes + bytes / 8 {
            bail!(
                "{RAM} and memory have {} MiB left, the image needs {} MiB (and an eighth to spare): try --quick",
                free >> 20,
                bytes >> 20
            );
        }
        let mut file = File::create(self.image()).context("cannot create the image")?;
        let chunk = vec![0x5a; 1 << 20];
        for _ in 0..bytes.div_ceil(1 << 20) {
            file.write_all(&chunk).context("cannot fill the image")?;
        }
        Ok(())
    }
}

/// Bytes a new image may take: the file system's, but no more than there is memory.
pub(crate) fn free_bytes() -> Result<u64> {
    let fs = rustix::fs::statvfs(RAM).with_context(|| format!("no {RAM} here"))?;
    let room = fs.f_bavail.saturating_mul(fs.f_frsize);
    let memory = super::machine::meminfo("MemAvailable").unwrap_or(room);
    Ok(room.min(memory))
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The janitor does the whole of it: its pipe breaks, as it would if we died.
        if let Some(mut janitor) = self.janitor.take() {
            drop(janitor.stdin.take());
            let _ = janitor.wait();
        } else {
            clean(&self.dir);
        }
    }
}

/// The janitor's life: wait until the bench is gone, then clean.
pub(crate) fn janitor(dir: &Path) -> Result<()> {
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if dir.parent() != Some(Path::new(RAM)) || !name.starts_with("e4-bench-") {
        bail!("{} is no scratch directory of a bench", dir.display());
    }
    let mut nothing = Vec::new();
    let _ = std::io::stdin().read_to_end(&mut nothing);
    clean(dir);
    Ok(())
}

fn clean(dir: &Path) {
    let start = now();
    for mount_point in mounts_below(dir) {
        // Children of an interrupted bench may need a moment to go.
        while run_tool("umount", [mount_point.as_os_str()]).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                let _ = run_tool("umount", ["-l".as_ref(), mount_point.as_os_str()]);
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
    for device in loops_below(dir) {
        let _ = run_tool("losetup", ["-d".as_ref(), device.as_os_str()]);
    }
    let _ = std::fs::remove_dir_all(dir);
}

/// Mount points below `dir`, the latest first.
pub(crate) fn mounts_below(dir: &Path) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    let mut found: Vec<PathBuf> = points
        .map(PathBuf::from)
        .filter(|p| p.starts_with(dir))
        .collect();
    found.reverse();
    found
}

/// Loop devices whose backing file lies below `dir`.
fn loops_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(devices) = std::fs::read_dir("/sys/block") else {
        return Vec::new();
    };
    let backed_below = |name: &str| {
        let file = format!("/sys/block/{name}/loop/backing_file");
        std::fs::read_to_string(file).is_ok_and(|path| Path::new(path.trim()).starts_with(dir))
    };
    devices
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("loop") && backed_below(name))
        .map(|name| Path::new("/dev").join(name))
        .collect()
}
