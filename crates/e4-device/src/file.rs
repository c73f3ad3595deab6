//! A file or block device of the host, synchronously: positioned reads and writes, flush, hole punching.
//!
//! Decisions:
//! - One descriptor carries the lock and all I/O, also that of the rings, so the lock lives as long as
//!   any write is in flight, even after the process was killed.
//! - With `O_DIRECT`, calls that do not fit the alignment bounce through an aligned buffer; unaligned
//!   writes read, change and write back under a lock of their own.
//! - The first failed flush is latched: the host reports a write-back error once and forgets it, so a
//!   later success would be a lie.

use crate::store::Store;
use crate::{AlignedBuf, DeviceError, DeviceInfo};
use e4_sync::atomic::{AtomicBool, Ordering};
use e4_sync::{Mutex, OnceLock, Rank};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

/// Largest bounce buffer, bytes.
const BOUNCE: u64 = 1 << 20;

pub(crate) struct FileStore {
    file: File,
    info: DeviceInfo,
    /// The size changed and no `fsync` has made that durable.
    size_unsynced: AtomicBool,
    failed_flush: OnceLock<DeviceError>,
    read_change_write: Mutex<()>,
}

impl FileStore {
    pub(crate) fn new(file: File, info: DeviceInfo, size_changed: bool) -> Self {
        Self {
            file,
            info,
            size_unsynced: AtomicBool::new(size_changed),
            failed_flush: OnceLock::new(),
            read_change_write: Mutex::new(Rank::DEVICE_RING, ()),
        }
    }

    /// The error that every flush since has to report, if one failed.
    pub(crate) fn latched(&self) -> Option<&DeviceError> {
        self.failed_flush.get()
    }

    /// Latches the first failure of a flush and returns it.
    pub(crate) fn latch(&self, errno: i32) -> DeviceError {
        let error = self.errno("flush", 0, self.info.size, errno);
        self.failed_flush.get_or_init(|| error).clone()
    }

    /// Whether the next flush has to make the size durable as well.
    pub(crate) fn size_unsynced(&self) -> bool {
        self.size_unsynced.load(Ordering::Acquire)
    }

    /// An `fsync` that began after [`FileStore::size_unsynced`] was true has succeeded.
    pub(crate) fn size_is_synced(&self) {
        self.size_unsynced.store(false, Ordering::Release);
    }

    pub(crate) fn errno(&self, op: &'static str, at: u64, len: u64, errno: i32) -> DeviceError {
        let device = self.info.name.clone();
        DeviceError::Io {
            op,
            device,
            at,
            len,
            errno,
        }
    }

    pub(crate) fn shortened(&self, op: &'static str, at: u64) -> DeviceError {
        let device = self.info.name.clone();
        DeviceError::Shortened { op, device, at }
    }

    fn error(&self, op: &'static str, at: u64, len: usize, error: &std::io::Error) -> DeviceError {
        match error.kind() {
            // The two "no progress" cases of the standard library carry no errno.
            ErrorKind::UnexpectedEof | ErrorKind::WriteZero => self.shortened(op, at),
            _ => self.errno(op, at, len as u64, error.raw_os_error().unwrap_or(0)),
        }
    }

    fn raw_read(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let len = buf.len();
        self.file
            .read_exact_at(buf, at)
            .map_err(|e| self.error("read", at, len, &e))
    }

    fn raw_write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.file
            .write_all_at(data, at)
            .map_err(|e| self.error("write", at, data.len(), &e))
    }

    fn fits(&self, at: u64, bytes: &[u8]) -> bool {
        let mask = u64::from(self.info.alignment) - 1;
        (at | bytes.len() as u64 | bytes.as_ptr() as u64) & mask == 0
    }

    /// Cuts a range into windows that fit the alignment and hold at most [`BOUNCE`] bytes of it.
    fn windows(&self, at: u64, len: u64) -> impl Iterator<Item = Window> + use<> {
        let unit = u64::from(self.info.alignment);
        let end = at + len;
        let mut next = at;
        core::iter::from_fn(move || {
            (next < end).then(|| {
                let start = next / unit * unit;
                let stop = (start + BOUNCE).min(end.next_multiple_of(unit));
                let part = next..end.min(stop);
                next = part.end;
                Window { start, stop, part }
            })
        })
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        // Nothing is in flight any more, but a ring closes asynchronously and its reference to our open
        // file would keep the lock for a moment longer. Closing unlocks too if this fails.
        let _ = self.file.unlock();
    }
}

/// An aligned stretch of the device around a part of the caller's range.
struct Window {
    start: u64,
    stop: u64,
    part: core::ops::Range<u64>,
}

impl Window {
    fn len(&self) -> usize {
        (self.stop - self.start) as usize
    }

    /// The caller's part, relative to the window.
    fn inner(&self) -> core::ops::Range<usize> {
        (self.part.start - self.start) as usize..(self.part.end - self.start) as usize
    }
}

impl Store for FileStore {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        if self.fits(at, buf) {
            return self.raw_read(at, buf);
        }
        let mut rest = buf;
        for window in self.windows(at, rest.len() as u64) {
            let mut bounce = AlignedBuf::recycled(window.len());
            self.raw_read(window.start, &mut bounce)?;
            let inner = window.inner();
            let (part, tail) = rest.split_at_mut(inner.len());
            part.copy_from_slice(&bounce[inner]);
            rest = tail;
        }
        Ok(())
    }

    fn write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        if self.fits(at, data) {
            return self.raw_write(at, data);
        }
        let mut rest = data;
        for window in self.windows(at, data.len() as u64) {
            let inner = window.inner();
            let mut bounce = AlignedBuf::recycled(window.len());
            let whole = inner.len() == window.len();
            let _guard = (!whole).then(|| self.read_change_write.lock());
            if !whole {
                self.raw_read(window.start, &mut bounce)?;
            }
            let (part, tail) = rest.split_at(inner.len());
            bounce[inner].copy_from_slice(part);
            self.raw_write(window.start, &bounce)?;
            rest = tail;
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        if let Some(error) = self.latched() {
            return Err(error.clone());
        }
        if self.info.read_only {
            return Ok(());
        }
        let sync_size = self.size_unsynced();
        let done = if sync_size {
            self.file.sync_all()
        } else {
            self.file.sync_data()
        };
        done.map_err(|e| self.latch(e.raw_os_error().unwrap_or(0)))?;
        if sync_size {
            self.size_is_synced();
        }
        // Two flushes may run at once and the host tells only one of them about a failure.
        self.latched().map_or(Ok(()), |e| Err(e.clone()))
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        if len == 0 {
            return Ok(());
        }
        let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(errno) = rustix::fs::fallocate(&self.file, mode, at, len) {
            // A hint: a host that cannot do it loses nothing but space.
            tracing::debug!(%errno, at, len, device = self.info.name, "discard not done");
        }
        Ok(())
    }
}
