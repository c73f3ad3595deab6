//! A mount's life: open the image, connect, serve, and the orderly end.
//!
//! ```text
//!   Mount::new -> (the kernel asks) -> serve ... unmounted, or a signal -> inodes let go -> image clean and closed
//! ```
//!
//! Decisions:
//! - The end of serving is the end of the connection: `umount`, ours or anybody's, brings it about. Only then is
//!   the image closed, so whoever waits for its lock (`e4 umount`) finds it clean.
//! - SIGINT, SIGTERM and SIGHUP unmount. If files are still open, the tree is detached and what was
//!   acknowledged is made durable at once; the second signal closes the image under the open files.
//! - Unmounting is done only if the mount with our device number is still there: at the same place a foreign
//!   filesystem may have been mounted since.

use std::io;
use std::path::{Path, PathBuf};

use e4::{Filesystem, MountOptions};
use e4_device::{Device, OpenOptions};
use e4_format::Superblock;
use e4_fuse_transport::{MountPlan, ServeError, Session};
use e4_sync::{Arc, Mutex, Rank, thread};
use nix::sys::signal::{SigSet, Signal};

use crate::mountinfo;
use crate::options::Options;
use crate::server::{MAX_TRANSFER, State};

/// Why an image could not be mounted or served.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The image's device.
    #[error(transparent)]
    Device(#[from] e4_device::DeviceError),
    /// The filesystem in it, or its end.
    #[error(transparent)]
    Filesystem(#[from] e4::Error),
    /// The place to mount it.
    #[error("{}: {source}", path.display())]
    Place {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The kernel, or `fusermount3`.
    #[error("mounting at {}: {source}", path.display())]
    Kernel {
        /// The directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Serving ended badly.
    #[error("serving {}: {source}", path.display())]
    Serving {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: ServeError,
    },
    /// Signals cannot be waited for.
    #[error("signals: {0}")]
    Signals(nix::errno::Errno),
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The image is clean and closed.
    Clean,
}

/// An image that is mounted and not yet served: requests wait until [`Mount::serve`].
pub struct Mount {
    session: Session,
    state: Arc<State>,
    place: Place,
}

/// Where it is mounted, and as what.
#[derive(Clone)]
struct Place {
    path: PathBuf,
    device: (u32, u32),
}

impl Mount {
    /// Blocks the signals that [`Mount::serve`] handles, in this thread and those it starts from here on. To be
    /// called before anything else starts a thread.
    ///
    /// # Errors
    /// The kernel's.
    pub fn block_signals() -> Result<(), MountError> {
        signals().thread_block().map_err(MountError::Signals)
    }

    /// Opens an image and mounts it at a directory.
    ///
    /// # Errors
    /// The image is in use, damaged or unsupported; the directory is not there; the kernel refuses.
    pub fn new(image: &Path, dir: &Path, options: &Options) -> Result<Self, MountError> {
        let dir = directory(dir)?;
        let device = open_device(image, options.read_only)?;
        let source = image.canonicalize().unwrap_or_else(|_| image.to_owned());
        Self::over(device, &source, &dir, options)
    }

    /// Mounts the filesystem on a device that is already open; `source` is what the list of mounts says it is.
    ///
    /// # Errors
    /// As [`Mount::new`].
    pub fn over(
        device: Arc<dyn Device>,
        source: &Path,
        dir: &Path,
        options: &Options,
    ) -> Result<Self, MountError> {
        let path = directory(dir)?;
        let fs = Filesystem::open(
            device,
            &MountOptions {
                read_only: options.read_only,
                commit_interval: Some(options.commit),
                attendant: true,
                discard: options.discard,
                errors: options.errors,
                ..MountOptions::default()
            },
        )?;
        let state = State::new(fs, options.clone())?;
        let kernel = |source| MountError::Kernel {
            path: path.clone(),
            source,
        };
        let session = match e4_fuse_transport::mount(&path, &plan(source, options)) {
            Ok(device) => Session::new(device),
            Err(source) => {
                let failed = kernel(source);
                close(&state)?;
                return Err(failed);
            }
        };
        let _ = state.notifier.set(session.notifier());
        let device = mountinfo::at(&path).map_err(kernel)?.map(|e| e.device);
        let place = Place {
            path: path.clone(),
            device: device.unwrap_or_default(),
        };
        tune(place.device);
        Ok(Self {
            session,
            state,
            place,
        })
    }

    /// Serves until it is unmounted, then closes the image. Signals blocked by [`Mount::block_signals`] unmount.
    ///
    /// # Errors
    /// What kept the image from being closed clean.
    pub fn serve(self) -> Result<Ended, MountError> {
        let Self {
            session,
            state,
            place,
        } = self;
        let watched = (Arc::clone(&state), place.clone());
        let watcher = thread::spawn(move || watch_signals(&watched.0, &watched.1));
        let options = &state.options;
        let served = session.run(&state, options.threads, options.clone_fd);
        // It waits for a signal that may never come; the process ends without it.
        drop(watcher);
        close(&state)?;
        served.map_err(|source| MountError::Serving {
            path: place.path,
            source,
        })?;
        Ok(Ended::Clean)
    }
}

/// The place to mount something at.
fn directory(dir: &Path) -> Result<PathBuf, MountError> {
    let place = |source| MountError::Place {
        path: dir.to_owned(),
        source,
    };
    let path = dir.canonicalize().map_err(place)?;
    if !path.is_dir() {
        return Err(place(io::ErrorKind::NotADirectory.into()));
    }
    Ok(path)
}

/// Opens an image's device. One that was not closed is opened for writing even if it is only to be read: its
/// journal has to be replayed first, as the kernel does for `ro`.
fn open_device(image: &Path, read_only: bool) -> Result<Arc<dyn Device>, e4_device::DeviceError> {
    let open = |read_only| {
        let options = OpenOptions {
            read_only,
            ..OpenOptions::default()
        };
        e4_device::open(image, &options)
    };
    let device = open(read_only)?;
    let mut bytes = [0; 1024];
    let dirty = read_only
        && device.read_at(1024, &mut bytes).is_ok()
        && Superblock::parse(&bytes).is_ok_and(|sb| sb.needs_recovery());
    if !dirty {
        return Ok(device);
    }
    drop(device);
    // Not ours to write: the filesystem says what it can show.
    open(false).or_else(|_| open(true))
}

/// Lets go of everything, commits, and marks the image clean.
fn close(state: &State) -> Result<(), e4::Error> {
    state.finish();
    state.fs.clone().unmount()
}

fn plan(image: &Path, options: &Options) -> MountPlan {
    let root = rustix::process::geteuid().is_root();
    MountPlan {
        source: mountinfo::encode_source(image),
        subtype: mountinfo::SUBTYPE.to_owned(),
        read_only: options.read_only,
        dev: options.dev.unwrap_or(root),
        suid: options.suid.unwrap_or(root),
        exec: options.exec,
        allow_other: options.allow_other.unwrap_or(root),
        max_read: MAX_TRANSFER,
    }
}

/// The kernel reads ahead 128 KiB on a FUSE mount whatever is negotiated, and holds back writers at a small
/// share of the dirty limit. Root may raise both; for others it stays so.
fn tune((major, minor): (u32, u32)) {
    let bdi = format!("/sys/class/bdi/{major}:{minor}");
    for (knob, value) in [("read_ahead_kb", "1024"), ("strict_limit", "0")] {
        if let Err(error) = std::fs::write(format!("{bdi}/{knob}"), value) {
            tracing::debug!(%error, knob, "not tuned");
        }
    }
}

fn signals() -> SigSet {
    let mut set = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        set.add(signal);
    }
    set
}

fn watch_signals(state: &Arc<State>, place: &Place) {
    let signalled = Mutex::new(Rank::LEAF, 0);
    while let Ok(signal) = signals().wait() {
        let times = {
            let mut times = signalled.lock();
            *times += 1;
            *times
        };
        tracing::info!(%signal, "unmounting");
        if times > 1 {
            // Files are still open, and somebody insists: their operations fail from here on.
            let code = i32::from(close(state).is_err());
            std::process::exit(code);
        }
        if let Err(error) = place.unmount(false) {
            tracing::warn!(%error, "busy: detached; the image is closed with the last open file");
            if let Err(error) = place.unmount(true) {
                tracing::warn!(%error, "cannot detach");
            }
            if let Err(error) = state.fs.sync() {
                tracing::error!(%error, "sync");
            }
        }
    }
}

impl Place {
    /// Unmounts, if it is still ours.
    fn unmount(&self, lazy: bool) -> io::Result<()> {
        match mountinfo::at(&self.path)? {
            Some(entry) if entry.device == self.device => {
                e4_fuse_transport::unmount(&self.path, lazy)
            }
            _ => Ok(()),
        }
    }
}
