//! `e4 umount`: takes a mount away and waits until its image is clean and closed.
//!
//! umount(2) returns before the process that serves a plain FUSE mount has finished. The image is locked by that
//! process (`flock`, through the descriptor that carries the I/O), so its lock is what to wait for.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use e4_format::Superblock;
use e4_format::superblock::FsState;
use rustix::fs::FlockOperation;

use crate::mountinfo::{self, FS_TYPE};

/// Why a mount is still there, or its image not clean.
#[derive(Debug, thiserror::Error)]
pub enum UmountError {
    /// The place.
    #[error("{}: {source}", path.display())]
    Place {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing of ours is mounted there.
    #[error("{}: no image of e4 is mounted there", path.display())]
    NotOurs {
        /// As given.
        path: PathBuf,
    },
    /// The kernel, or `fusermount3`.
    #[error("{}: {source}", path.display())]
    Unmount {
        /// As given.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The image cannot be looked at.
    #[error("{}: unmounted, but: {source}", image.display())]
    Image {
        /// The image.
        image: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The process that served it ended without closing the image.
    #[error("{}: unmounted, but not clean; its journal is replayed when it is opened next", image.display())]
    NotClean {
        /// The image.
        image: PathBuf,
    },
}

/// Unmounts what is mounted at `dir`; returns the image when it is clean and closed.
///
/// With `lazy`, a busy tree is detached, and the wait is for its last open file.
///
/// # Errors
/// Nothing of ours there; busy; or the image is not clean afterwards.
pub fn umount(dir: &Path, lazy: bool) -> Result<PathBuf, UmountError> {
    let place = |source| UmountError::Place {
        path: dir.to_owned(),
        source,
    };
    let path = canonical(dir).map_err(place)?;
    let entry = mountinfo::at(&path)
        .map_err(place)?
        .filter(|e| e.fs_type == FS_TYPE)
        .ok_or_else(|| UmountError::NotOurs {
            path: dir.to_owned(),
        })?;
    let image = mountinfo::decode_source(&entry.source);
    // Opened before the unmount: it is certainly this image that is waited for.
    let file = File::open(&image);
    e4_fuse_transport::unmount(&path, lazy).map_err(|source| UmountError::Unmount {
        path: dir.to_owned(),
        source,
    })?;
    let closed = file.and_then(wait_until_closed);
    match closed {
        Ok(true) => Ok(image),
        Ok(false) => Err(UmountError::NotClean { image }),
        Err(source) => Err(UmountError::Image { image, source }),
    }
}

/// The path of a mount, also if whoever served it is gone and nothing below it can be looked at.
fn canonical(dir: &Path) -> io::Result<PathBuf> {
    match dir.canonicalize() {
        Ok(path) => Ok(path),
        Err(first) => {
            let absolute = std::path::absolute(dir)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
                _ => Err(first),
            }
        }
    }
}

/// Waits for the image's lock. True if the filesystem in it is clean.
fn wait_until_closed(mut file: File) -> io::Result<bool> {
    rustix::fs::flock(&file, FlockOperation::LockShared)?;
    let mut bytes = [0; 1024];
    file.seek(SeekFrom::Start(1024))?;
    file.read_exact(&mut bytes)?;
    let sb = Superblock::parse(&bytes).map_err(io::Error::other)?;
    let clean = sb.state().bits() & FsState::CLEAN != 0;
    Ok(clean && !sb.needs_recovery())
}
