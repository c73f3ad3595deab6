//! The peers that need mounting: the kernel's ext4 on a loop device, and fuse2fs.
//!
//! Decision: both mount the very image that e4 used a moment before (formatted by e4's mkfs, which writes what
//! `mke2fs -t ext4` does), and are driven by the same loop as the raw file, through io_uring with `O_DIRECT`.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use e4_sync::{Duration, now, thread};

use super::scratch::mounts_below;

/// Runs a small tool; its standard output, or its standard error as an error.
pub(crate) fn run_tool(name: &str, args: impl IntoIterator<Item: AsRef<OsStr>>) -> Result<String> {
    let out = Command::new(name)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| anyhow!("cannot run {name}: {e}"))?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned());
    }
    let stderr = String::from_utf8_lossy(&out.stderr);
    bail!(
        "{name}: {}",
        stderr
            .trim()
            .lines()
            .last()
            .unwrap_or("failed without a word")
    )
}

/// How an image is mounted for a peer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Kernel,
    Fuse,
    /// e4's own server.
    E4,
}

/// An image mounted by a peer. Dropping it unmounts and detaches.
pub(crate) struct Mounted {
    point: PathBuf,
    device: Option<PathBuf>,
    server: Option<Child>,
}

impl Mounted {
    pub(crate) fn new(peer: Peer, image: &Path, point: &Path) -> Result<Self> {
        let mut mounted = Self {
            point: point.to_owned(),
            device: None,
            server: None,
        };
        match peer {
            Peer::Kernel => {
                let args = [
                    OsStr::new("--find"),
                    OsStr::new("--show"),
                    image.as_os_str(),
                ];
                let device = PathBuf::from(run_tool("losetup", args)?);
                mounted.device = Some(device.clone());
                let args = ["-t", "ext4", "-o", "noinit_itable"].map(OsStr::new);
                run_tool(
                    "mount",
                    args.into_iter()
                        .chain([device.as_os_str(), point.as_os_str()]),
                )?;
            }
            Peer::E4 => {
                mounted.server = Some(super::through::start_server(image, point)?);
                mounted.wait_until_mounted()?;
            }
            Peer::Fuse => {
                let server = Command::new("fuse2fs")
                    .arg("-f")
                    .args([image, point])
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .map_err(|e| anyhow!("cannot run fuse2fs: {e}"))?;
                mounted.server = Some(server);
                mounted.wait_until_mounted()?;
            }
        }
        Ok(mounted)
    }

    fn wait_until_mounted(&mut self) -> Result<()> {
        let start = now();
        while mounts_below(&self.point).is_empty() {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait()?
            {
                bail!("the server ended ({status}) instead of mounting");
            }
            if start.elapsed() > Duration::from_secs(10) {
                bail!("the server did not mount within 10 s");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Makes (or empties) a file and preallocates it; all of that durable.
    pub(crate) fn preallocate(&self, name: &str, bytes: u64) -> Result<PathBuf> {
        let path = self.point.join(name);
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes)
            .context("fallocate")?;
        file.sync_all()?;
        Ok(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Something may still look at a new mount for a moment.
        for _ in 0..50 {
            if mounts_below(&self.point).is_empty()
                || run_tool("umount", [self.point.as_os_str()]).is_ok()
            {
                break;
            }
            thread::sleep(Duration::from_millis(100));
        }
        if let Some(device) = &self.device
            && let Err(error) = run_tool("losetup", ["-d".as_ref(), device.as_os_str()])
        {
            eprintln!("{error}");
        }
        if let Some(mut server) = self.server.take() {
            if !mounts_below(&self.point).is_empty() {
                let _ = server.kill();
            }
            let _ = server.wait();
        }
    }
}

/// Tries a peer once; why not, if not.
pub(crate) fn probe(peer: Peer, image: &Path, point: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("mounting needs root");
    }
    let mounted = Mounted::new(peer, image, point)?;
    mounted.preallocate("probe", 1 << 20)?;
    Ok(())
}
