//! Making things on the host.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e4_format::{FileType, Timestamp};
use rustix::fs as unix;
use rustix::io::Errno;

use super::place::Task;
use super::thing::Thing;
use crate::transfer;

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// What has a name; a symbolic link is one.
pub(super) fn existing(path: &Path) -> Result<Option<FileType>> {
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => Ok(Some(FileType::Directory)),
        Ok(meta) if meta.is_symlink() => Ok(Some(FileType::Symlink)),
        Ok(_) => Ok(Some(FileType::Regular)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).with_context(|| shown(path)),
    }
}

pub(super) fn mkdir(path: &Path) -> Result<()> {
    std::fs::create_dir(path).with_context(|| shown(path))
}

/// A name beside `path` that nobody has.
fn aside(path: &Path) -> PathBuf {
    (0_u32..)
        .map(|n| {
            let name = OsString::from(format!(".e4-{}-{n}", std::process::id()));
            path.with_file_name(name)
        })
        .find(|aside| aside.symlink_metadata().is_err())
        .unwrap_or_else(|| path.to_owned())
}

/// Makes a file, link or special file beside `path`, complete, and moves it there.
pub(super) fn make(path: &Path, task: &Task<'_>) -> Result<()> {
    // What the user names may be a link to a file, or a device to write to.
    let target = match task.top && !task.how.force {
        true => path.canonicalize().unwrap_or_else(|_| path.to_owned()),
        false => path.to_owned(),
    };
    if task.meta.kind == FileType::Regular
        && task.top
        && target.metadata().is_ok_and(|meta| !meta.is_file())
    {
        return into_device(&target, task);
    }
    let aside = aside(&target);
    let made = make_aside(&aside, task)
        .and_then(|()| std::fs::rename(&aside, &target).with_context(|| shown(&target)));
    if made.is_err() {
        // The error to report is the first one.
        let _ = std::fs::remove_file(&aside);
    }
    made
}

fn make_aside(path: &Path, task: &Task<'_>) -> Result<()> {
    match task.meta.kind {
        FileType::Regular => regular(path, task)?,
        FileType::Symlink => {
            let target = OsString::from_vec(task.thing.target()?);
            symlink(target, path).with_context(|| shown(path))?;
        }
        FileType::Directory => bail!("{}: is a directory", task.thing.name()),
        kind => special(path, kind, task.meta.rdev).with_context(|| shown(path))?,
    }
    attributes(path, task)
}

fn special(path: &Path, kind: FileType, rdev: u32) -> io::Result<()> {
    let kind = match kind {
        FileType::CharDevice => unix::FileType::CharacterDevice,
        FileType::BlockDevice => unix::FileType::BlockDevice,
        FileType::Socket => unix::FileType::Socket,
        _ => unix::FileType::Fifo,
    };
    let dev = unix::makedev(rdev >> 8 & 0xfff, rdev & 0xff | rdev >> 12 & 0xf_ff00);
    unix::mknodat(unix::CWD, path, kind, unix::Mode::from_raw_mode(0o600), dev)?;
    Ok(())
}

fn regular(path: &Path, task: &Task<'_>) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| shown(path))?;
    fill(&file, task).with_context(|| shown(path))?;
    file.sync_all().with_context(|| shown(path))
}

fn fill(file: &File, task: &Task<'_>) -> Result<()> {
    let Thing::Image { fs, node, .. } = task.thing else {
        bail!("{}: is not in an image", task.thing.name());
    };
    let source = node.open(e4::OpenFlags::read())?;
    let stat = source.stat();
    file.set_len(stat.size)?;
    let ranges = transfer::written_ranges(&source, stat.block_size)?;
    transfer::copy_out(fs, &source, &ranges, |at, bytes| {
        task.bar.inc(bytes.len() as u64);
        file.write_all_at(bytes, at)
    })
}

/// Into what is there, whatever it is: a pipe, a device.
fn into_device(path: &Path, task: &Task<'_>) -> Result<()> {
    let Thing::Image { fs, node, .. } = task.thing else {
        bail!("{}: is not in an image", task.thing.name());
    };
    let mut out = OpenOptions::new()
        .write(true)
        .open(path)
        .with_context(|| shown(path))?;
    let source = node.open(e4::OpenFlags::read())?;
    let whole = 0..source.size();
    transfer::copy_out(fs, &source, &[whole], |_, bytes| {
        task.bar.inc(bytes.len() as u64);
        out.write_all(bytes)
    })
}

/// One more name for a file, in the place of what has the name.
pub(super) fn link(existing: &Path, path: &Path) -> Result<()> {
    let aside = aside(path);
    let linked = std::fs::hard_link(existing, &aside)
        .and_then(|()| std::fs::rename(&aside, path))
        .with_context(|| shown(path));
    if linked.is_err() {
        let _ = std::fs::remove_file(&aside);
    }
    linked
}

/// Gives a thing what is kept of the original: owner, then attributes, then mode (which the owner's change may have
/// cut), then times.
pub(super) fn attributes(path: &Path, task: &Task<'_>) -> Result<()> {
    let (meta, keep) = (task.meta, task.how.keep);
    if keep.owner {
        let uid = Some(unix::Uid::from_raw(meta.uid));
        let gid = Some(unix::Gid::from_raw(meta.gid));
        match unix::chownat(unix::CWD, path, uid, gid, unix::AtFlags::SYMLINK_NOFOLLOW) {
            // Only root can; as with cp -a, that is no failure.
            Err(Errno::PERM) => {}
            other => other.with_context(|| shown(path))?,
        }
    }
    if keep.xattrs {
        for (name, value) in task.thing.xattrs(false)? {
            let name = std::ffi::OsStr::from_bytes(&name);
            match unix::lsetxattr(path, name, &value, unix::XattrFlags::empty()) {
                Err(Errno::PERM | Errno::NOTSUP | Errno::ACCESS) => {}
                other => other.with_context(|| format!("{}: {}", shown(path), name.display()))?,
            }
        }
    }
    if meta.kind != FileType::Symlink {
        // No set-id bits unless asked for: the image's users are not this host's.
        let exact = keep.mode && (!keep.owner || owned(path, meta.uid));
        let mode = u32::from(meta.mode) & if exact { 0o7777 } else { 0o777 };
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode))
            .with_context(|| shown(path))?;
    }
    if keep.times {
        let time = |t: Timestamp| unix::Timespec {
            tv_sec: t.sec,
            tv_nsec: t.nsec.into(),
        };
        let times = unix::Timestamps {
            last_access: time(meta.atime),
            last_modification: time(meta.mtime),
        };
        unix::utimensat(unix::CWD, path, &times, unix::AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| shown(path))?;
    }
    Ok(())
}

/// The owner could be kept, so set-id bits mean what they meant.
fn owned(path: &Path, uid: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    path.symlink_metadata().is_ok_and(|meta| meta.uid() == uid)
}
