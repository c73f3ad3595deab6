//! Mounting and unmounting: mount(2) where that is allowed, else `fusermount3`.
//!
//! Decision: which of the two is tried in this order, not guessed from the user's number: a user namespace may
//! allow the first. `fusermount3` hands the device back through a socket, which it gets as its standard input:
//! so no descriptor has to be left open for programs started at the same time by other threads.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
};

/// What is mounted, and how.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the options of mount(8), as people know them"
)]
pub struct MountPlan {
    /// What is shown as the source. Without commas, backslashes and control characters.
    pub source: String,
    /// The part of the type behind `fuse.`, with the same restriction.
    pub subtype: String,
    /// Refuse changes.
    pub read_only: bool,
    /// Device files work.
    pub dev: bool,
    /// Set-user-id files work.
    pub suid: bool,
    /// Programs may be executed.
    pub exec: bool,
    /// Other users may use it.
    pub allow_other: bool,
    /// Largest read, bytes.
    pub max_read: u32,
}

impl MountPlan {
    /// The characters that option strings cannot carry are refused: some of the programs a mount passes through
    /// would take what follows for further options.
    fn check(&self) -> io::Result<()> {
        let bad = |s: &str| s.chars().any(|c| c == ',' || c == '\\' || c.is_control());
        if bad(&self.source) || bad(&self.subtype) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(())
    }
}

/// Mounts at `dir`, which must be a directory, and returns the device to serve it through.
/// Permissions are checked by the kernel.
///
/// # Errors
/// The kernel's, or what `fusermount3` says.
pub fn mount(dir: &Path, plan: &MountPlan) -> io::Result<OwnedFd> {
    plan.check()?;
    match mount_directly(dir, plan) {
        Err(Errno::PERM | Errno::ACCESS) => mount_by_helper(dir, plan),
        other => Ok(other?),
    }
}

fn mount_directly(dir: &Path, plan: &MountPlan) -> rustix::io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,max_read={}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
        plan.max_read,
    );
    if plan.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    let mut flags = MountFlags::empty();
    flags.set(MountFlags::RDONLY, plan.read_only);
    flags.set(MountFlags::NODEV, !plan.dev);
    flags.set(MountFlags::NOSUID, !plan.suid);
    flags.set(MountFlags::NOEXEC, !plan.exec);
    let kind = format!("fuse.{}", plan.subtype);
    rustix::mount::mount(&plan.source, dir, &kind, flags, &*data)?;
    Ok(device)
}

fn mount_by_helper(dir: &Path, plan: &MountPlan) -> io::Result<OwnedFd> {
    let either = |yes, on: &'static str, off: &'static str| if yes { on } else { off };
    let mut options = format!(
        "fsname={},subtype={},default_permissions,max_read={},{},{},{},{}",
        plan.source,
        plan.subtype,
        plan.max_read,
        either(plan.read_only, "ro", "rw"),
        either(plan.dev, "dev", "nodev"),
        either(plan.suid, "suid", "nosuid"),
        either(plan.exec, "exec", "noexec"),
    );
    if plan.allow_other {
        options.push_str(",allow_other");
    }
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut command = Command::new("fusermount3");
    command.arg("-o").arg(&options).arg("--").arg(dir);
    command.env("_FUSE_COMMFD", "0");
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let out = run(&mut command)?;
    // Its end is closed: what it has sent is there, or nothing will come.
    drop(command);
    receive(&ours)?.ok_or_else(|| io::Error::other(out))
}

/// Runs `fusermount3`; what it says on standard error.
fn run(command: &mut Command) -> io::Result<String> {
    let out = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => io::Error::other(
            "fusermount3 is not installed (Debian: fuse3); without it only root may mount",
        ),
        _ => error,
    })?;
    let said = String::from_utf8_lossy(&out.stderr).trim().to_owned();
    if out.status.success() {
        Ok(said)
    } else {
        Err(io::Error::other(said))
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [core::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut data = [io::IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut data, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let found = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(found)
}

/// Unmounts what is at `path`: umount(2), or `fusermount3` where that is not allowed.
///
/// # Errors
/// Busy, not mounted, not ours to unmount.
pub fn unmount(path: &Path, lazy: bool) -> io::Result<()> {
    let flags = if lazy {
        UnmountFlags::DETACH
    } else {
        UnmountFlags::empty()
    };
    match rustix::mount::unmount(path.as_os_str().as_bytes(), flags) {
        Ok(()) => Ok(()),
        Err(Errno::PERM) => {
            let mut command = Command::new("fusermount3");
            command.arg("-u");
            if lazy {
                command.arg("-z");
            }
            command.arg("--").arg(path).stdin(Stdio::null());
            run(&mut command).map(drop)
        }
        Err(other) => Err(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_not_smuggled() {
        let plan = |source: &str| MountPlan {
            source: source.to_owned(),
            subtype: "x".to_owned(),
            read_only: true,
            dev: false,
            suid: false,
            exec: false,
            allow_other: false,
            max_read: 4096,
        };
        assert!(plan("/a/b.img").check().is_ok());
        for bad in ["/a,suid", "/a\\054suid", "/a\n"] {
            let refused = mount(Path::new("/nonexistent"), &plan(bad)).expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
    }
}
