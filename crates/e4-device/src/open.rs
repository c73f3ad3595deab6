//! Opening an image: lock it, then choose how to carry its I/O, and say why.
//!
//! Decisions:
//! - The lock is `flock` on the descriptor that carries the I/O: exclusive for writers, shared for
//!   readers. It belongs to the open file description, so it outlives requests still in flight after the
//!   process was killed; it is also what the host's tools take on block devices. A block device is
//!   opened with `O_EXCL` besides, which a mounted one refuses.
//! - Files in RAM (tmpfs, ramfs) are done inline: measured, one `pwrite` in the submitter beats every way
//!   of using a ring there, since there is nothing to wait for (see `examples/raw_bench.rs`).
//! - Everything else gets io_uring, with `O_DIRECT` where image and host allow it. Read-only images stay
//!   buffered: nothing has to become durable, and the host's read-ahead helps.
//! - Where io_uring is forbidden (sysctl, seccomp, old kernel), a thread pool takes its place.

use crate::error::errno_text;
use crate::file::FileStore;
use crate::inline::Inline;
use crate::store::queue_count;
use crate::threads::Threads;
use crate::uring::{Ring, Uring};
use crate::{AlignedBuf, Backend, Device, DeviceError, DeviceInfo};
use e4_sync::{Arc, Duration, thread};
use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustix::io::Errno;
use std::fs::{File, TryLockError};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// Which backend to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendChoice {
    /// The fastest one that works here.
    #[default]
    Auto,
    /// Transfers inside `submit`. Right for files in RAM, blocking for others.
    Inline,
    /// A thread pool.
    Threads,
    /// io_uring, or an error.
    IoUring,
}

/// Whether to bypass the host's page cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DirectChoice {
    /// Where it is possible and useful.
    #[default]
    Auto,
    /// Yes, or an error.
    Always,
    /// No.
    Never,
}

/// How to open an image. The default opens an existing image for writing, everything else chosen here.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// Refuse writes; take a shared lock only.
    pub read_only: bool,
    /// Create the file if missing, empty it if not, and give it this size in bytes (all zeros, sparse). On a
    /// block device: require at least this size, change nothing.
    pub create: Option<u64>,
    /// Which backend.
    pub backend: BackendChoice,
    /// Page cache or not.
    pub direct: DirectChoice,
    /// The coarsest alignment the caller can live with, bytes (its block size). `O_DIRECT` that needs
    /// a coarser one is not chosen.
    pub max_alignment: u32,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            create: None,
            backend: BackendChoice::Auto,
            direct: DirectChoice::Auto,
            max_alignment: 4096,
        }
    }
}

/// Creates (or empties) an image of `size` bytes and opens it for writing.
///
/// # Errors
/// As [`open`].
pub fn create(path: &Path, size: u64) -> Result<Arc<dyn Device>, DeviceError> {
    let options = OpenOptions {
        create: Some(size),
        ..OpenOptions::default()
    };
    open(path, &options)
}

/// Opens an image file or block device.
///
/// # Errors
/// Not there, not a disk, locked by somebody else, or a demanded backend or mode is not available.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Arc<dyn Device>, DeviceError> {
    open_on(path, options, &Host::default())
}

/// What the host allows; tests make it stricter than the real one.
#[derive(Default)]
struct Host {
    refuse_io_uring: Option<i32>,
    refuse_direct: bool,
    no_ram: bool,
}

fn open_on(
    path: &Path,
    options: &OpenOptions,
    host: &Host,
) -> Result<Arc<dyn Device>, DeviceError> {
    let name = path.display().to_string();
    let opened = open_locked(path, &name, options)?;
    let ram = !host.no_ram && !opened.block_device && in_ram(&opened.file);
    let direct = choose_direct(&opened, &name, options, host, ram)?;
    let mut info = DeviceInfo {
        size: opened.size,
        alignment: direct.alignment.unwrap_or(1),
        direct: direct.alignment.is_some(),
        read_only: options.read_only,
        queues: queue_count(),
        backend: Backend::Inline,
        reason: String::new(),
        name,
    };
    let (rings, why) = choose_backend(&mut info, &opened.file, options, host, ram)?;
    info.reason = format!("{why}; {}", direct.why);
    tracing::debug!(device = info.name, reason = info.reason, backend = ?info.backend, "opened");
    let backend = info.backend;
    let store = FileStore::new(opened.file, info, opened.size_changed);
    Ok(match backend {
        Backend::IoUring => Arc::new(Uring::new(store, rings)),
        Backend::Threads => {
            let name = store_name(&store);
            let device = Threads::new(store, Threads::<FileStore>::default_workers());
            Arc::new(device.map_err(|e| open_error(&name, &e))?)
        }
        _ => Arc::new(Inline::new(store)),
    })
}

fn store_name(store: &FileStore) -> String {
    crate::store::Store::info(store).name.clone()
}

fn open_error(name: &str, error: &std::io::Error) -> DeviceError {
    DeviceError::Open {
        device: name.to_owned(),
        errno: error.raw_os_error().unwrap_or(0),
    }
}

struct Opened {
    file: File,
    size: u64,
    size_changed: bool,
    block_device: bool,
}

fn open_locked(path: &Path, name: &str, options: &OpenOptions) -> Result<Opened, DeviceError> {
    let device = || name.to_owned();
    let is_block = std::fs::metadata(path).is_ok_and(|m| m.file_type().is_block_device());
    let exclusive = if is_block && !options.read_only {
        OFlags::EXCL.bits() as i32
    } else {
        0
    };
    let mut file = File::options()
        .read(true)
        .write(!options.read_only)
        .create(options.create.is_some() && !is_block && !options.read_only)
        .truncate(false) // not before the lock is ours
        .custom_flags(exclusive)
        .open(path)
        .map_err(|e| match Errno::from_io_error(&e) {
            Some(Errno::BUSY) if is_block => DeviceError::Locked { device: device() },
            _ => open_error(name, &e),
        })?;
    let kind = file
        .metadata()
        .map_err(|e| open_error(name, &e))?
        .file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(DeviceError::NotADisk { device: device() });
    }
    lock(&file, name, options.read_only, is_block)?;
    let mut size_changed = false;
    if let Some(size) = options.create
        && kind.is_file()
        && !options.read_only
    {
        file.set_len(0).map_err(|e| open_error(name, &e))?;
        file.set_len(size).map_err(|e| open_error(name, &e))?;
        size_changed = true;
    }
    let size = file
        .seek(SeekFrom::End(0))
        .map_err(|e| open_error(name, &e))?;
    if let Some(wanted) = options.create.filter(|&w| w > size) {
        let device = device();
        return Err(DeviceError::TooSmall {
            device,
            size,
            wanted,
        });
    }
    Ok(Opened {
        file,
        size,
        size_changed,
        block_device: kind.is_block_device(),
    })
}

/// Takes the image lock. The host's device manager holds the lock of a block device for moments
/// while it looks at it, so there we try for a second.
fn lock(file: &File, name: &str, shared: bool, is_block: bool) -> Result<(), DeviceError> {
    let mut tries = if is_block { 50 } else { 1 };
    loop {
        let taken = if shared {
            file.try_lock_shared()
        } else {
            file.try_lock()
        };
        tries -= 1;
        match taken {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if tries > 0 => thread::sleep(Duration::from_millis(20)),
            Err(TryLockError::WouldBlock) => {
                let device = name.to_owned();
                return Err(DeviceError::Locked { device });
            }
            Err(TryLockError::Error(error)) => return Err(open_error(name, &error)),
        }
    }
}

/// Whether the file's contents live in RAM by nature.
fn in_ram(file: &File) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    const HUGETLBFS: u64 = 0x9584_58f6;
    rustix::fs::fstatfs(file).is_ok_and(|fs| {
        // The field's type differs between architectures; the magic numbers have 32 bits.
        let kind = (fs.f_type as u64) & 0xffff_ffff;
        [TMPFS, RAMFS, HUGETLBFS].contains(&kind)
    })
}

struct Direct {
    /// `Some` if `O_DIRECT` is on.
    alignment: Option<u32>,
    why: String,
}

fn choose_direct(
    opened: &Opened,
    name: &str,
    options: &OpenOptions,
    host: &Host,
    ram: bool,
) -> Result<Direct, DeviceError> {
    let buffered = |why: &str| Direct {
        alignment: None,
        why: format!("buffered: {why}"),
    };
    match options.direct {
        DirectChoice::Never => return Ok(buffered("asked for")),
        DirectChoice::Auto if ram => return Ok(buffered("the file lives in RAM")),
        DirectChoice::Auto if options.read_only => {
            return Ok(buffered("read-only, the host's read-ahead helps"));
        }
        _ => {}
    }
    let tried = if host.refuse_direct {
        Err("refused by the host".to_owned())
    } else {
        switch_to_direct(opened, options.max_alignment)
    };
    match tried {
        Ok(alignment) => Ok(Direct {
            alignment: Some(alignment),
            why: format!("O_DIRECT, {alignment}-byte aligned"),
        }),
        Err(reason) if options.direct == DirectChoice::Always => Err(DeviceError::NoDirect {
            device: name.to_owned(),
            reason: reason.into(),
        }),
        Err(reason) => Ok(buffered(&reason)),
    }
}

/// Sets `O_DIRECT` on the open description and returns the alignment it needs, or leaves it off and says why.
fn switch_to_direct(opened: &Opened, coarsest: u32) -> Result<u32, String> {
    let file = &opened.file;
    let flags = rustix::fs::fcntl_getfl(file).map_err(|e| e.to_string())?;
    let candidates: Vec<u32> = match reported_alignment(file) {
        Some(0) => return Err("the host does not offer O_DIRECT for this file".into()),
        Some(alignment) => vec![alignment.max(512)],
        None => vec![512, 4096],
    };
    rustix::fs::fcntl_setfl(file, flags | OFlags::DIRECT)
        .map_err(|e| format!("the host refuses O_DIRECT ({e})"))?;
    let mut why = String::new();
    for alignment in candidates {
        if alignment > coarsest {
            why = format!("O_DIRECT needs {alignment}-byte alignment, {coarsest} is wanted");
        } else if !opened.size.is_multiple_of(u64::from(alignment)) {
            why = format!("the size is not a multiple of {alignment}");
        } else if let Err(error) = try_read(file, opened.size, alignment) {
            why = format!("a direct read of {alignment} bytes failed ({error})");
        } else {
            return Ok(alignment);
        }
    }
    // Cannot fail: it succeeded the other way round a moment ago.
    let _ = rustix::fs::fcntl_setfl(file, flags);
    Err(why)
}

/// The offset alignment the host reports; 0: no direct I/O; `None`: it does not say.
fn reported_alignment(file: &File) -> Option<u32> {
    let wanted = StatxFlags::DIOALIGN;
    let stat = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted).ok()?;
    if stat.stx_mask & wanted.bits() == 0 || stat.stx_dio_mem_align > 4096 {
        return None;
    }
    Some(stat.stx_dio_offset_align)
}

fn try_read(file: &File, size: u64, alignment: u32) -> Result<(), std::io::Error> {
    if size == 0 {
        return Ok(());
    }
    let mut buf = AlignedBuf::recycled(alignment as usize);
    file.read_exact_at(&mut buf, 0)
}

/// Sets `info.backend` and `info.queues`; returns the rings if io_uring it is, and the reason.
fn choose_backend(
    info: &mut DeviceInfo,
    file: &File,
    options: &OpenOptions,
    host: &Host,
    ram: bool,
) -> Result<(Vec<Ring>, String), DeviceError> {
    info.backend = match options.backend {
        BackendChoice::Inline => Backend::Inline,
        BackendChoice::Threads => Backend::Threads,
        BackendChoice::IoUring => Backend::IoUring,
        BackendChoice::Auto if ram => Backend::Inline,
        BackendChoice::Auto => Backend::IoUring,
    };
    let asked = options.backend != BackendChoice::Auto;
    let why = match info.backend {
        _ if asked => "backend as asked for",
        Backend::Inline => "inline: the file lives in RAM, a queue would only add a thread switch",
        _ => "io_uring: available here",
    };
    if info.backend != Backend::IoUring {
        return Ok((Vec::new(), why.into()));
    }
    let rings = match host.refuse_io_uring {
        Some(errno) => Err(std::io::Error::from_raw_os_error(errno)),
        None => (0..info.queues).map(|_| Ring::new(file.as_fd())).collect(),
    };
    match rings {
        Ok(rings) => Ok((rings, why.into())),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            if asked {
                let device = info.name.clone();
                return Err(DeviceError::NoIoUring { device, errno });
            }
            info.backend = Backend::Threads;
            let hint = match Errno::from_raw_os_error(errno) {
                Errno::PERM => " (sysctl kernel.io_uring_disabled or a sandbox)",
                Errno::NOSYS => " (old kernel or a sandbox)",
                _ => "",
            };
            let text = errno_text(errno);
            Ok((
                Vec::new(),
                format!("threads: io_uring refused: {text}{hint}"),
            ))
        }
    }
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
