//! An image mounted by a server in a process of its own, which is this program started again.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test program uses a part of it"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e4_fuse::{Mount, Options};

/// The server's half, where the environment says so.
pub fn serve_half() {
    let Ok(what) = std::env::var("E4_FUSE_SERVE") else {
        return;
    };
    let (image, dir) = what.split_once('|').expect("image|dir");
    let mut options = Options::default();
    let list = std::env::var("E4_FUSE_OPTIONS").unwrap_or_default();
    options.apply(&list).expect("options");
    Mount::block_signals().expect("signals");
    let mount = Mount::new(Path::new(image), Path::new(dir), &options).expect("mount");
    println!("\nmounted");
    mount.serve().expect("serve");
}

pub fn skip(why: &str) -> bool {
    e4_judges::skipped("a mount", why);
    true
}

pub fn cannot_mount() -> bool {
    let usable = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    !usable && skip("mounting needs root and /dev/fuse")
}

/// A mounted image; unmounted and killed whatever happens.
pub struct Mounted {
    pub scratch: tempfile::TempDir,
    pub server: Child,
}

impl Mounted {
    pub fn new() -> Self {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let image = scratch.path().join("disk.img");
        let device = e4_device::create(&image, 256 << 20).expect("create");
        e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).expect("format");
        drop(device);
        fs::create_dir(scratch.path().join("m")).expect("mkdir");
        let server = Self::serve(scratch.path());
        Self { scratch, server }
    }

    pub fn serve(scratch: &Path) -> Child {
        let what = format!("{0}/disk.img|{0}/m", scratch.display());
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["serve_half", "--exact", "--nocapture", "--test-threads=1"]);
        start(command.env("E4_FUSE_SERVE", what))
    }

    pub fn root(&self) -> PathBuf {
        self.scratch.path().join("m")
    }

    pub fn image(&self) -> PathBuf {
        self.scratch.path().join("disk.img")
    }

    /// Unmounts as `e4 umount` does, and lets e2fsck judge.
    pub fn umount(&mut self) {
        e4_fuse::umount(&self.root(), false).expect("umount");
        assert!(self.server.wait().expect("wait").success());
        fsck(&self.image());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.root())
            .stderr(Stdio::null())
            .status();
    }
}

/// Starts a server, and waits until it has mounted.
pub fn start(command: &mut Command) -> Child {
    let mut server = command
        .stdout(Stdio::piped())
        .spawn()
        .expect("start the server");
    let mut lines = BufReader::new(server.stdout.take().expect("its output")).lines();
    let ready = lines.any(|line| line.is_ok_and(|l| l == "mounted"));
    assert!(ready, "the server did not mount");
    // Its last words must not break its pipe.
    std::thread::spawn(move || lines.for_each(drop));
    server
}

pub fn fsck(image: &Path) {
    match Command::new("e2fsck").arg("-fn").arg(image).output() {
        Ok(out) => assert!(
            out.status.success(),
            "e2fsck: {}",
            String::from_utf8_lossy(&out.stdout)
        ),
        Err(e) => drop(skip(&format!("e2fsck: {e}"))),
    }
}
