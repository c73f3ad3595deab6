//! Open files: how they are opened decides how the kernel caches them.
//!
//! The rules of coherence:
//! - `O_DIRECT` opens bypass the kernel's cache and write in parallel (`FOPEN_DIRECT_IO` with
//!   `FOPEN_PARALLEL_DIRECT_WRITES`; the second means nothing without the first).
//! - Other opens keep what is cached from earlier ones, unless something was written past the cache since.
//! - A direct write to an inode that is also open in cached mode drops the range from the cache before it is
//!   acknowledged (`io.rs`): an asynchronous one would otherwise leave stale pages behind.
//! - What the kernel has not written back yet is no hole: before `SEEK_HOLE` and `SEEK_DATA` are answered, it writes.

use e4::{AlignedBuf, FallocateMode, File};
use e4_format::InodeFlags;
use e4_fuse_transport::{Caller, Errno, Handle, NodeId, OpenReply};
use e4_sync::Mutex;
use e4_sync::atomic::Ordering;
use rustix::fs::OFlags;

use super::State;
use crate::errno::{Answer, Fail};
use crate::nodes::Known;

const FALLOC_KEEP_SIZE: u32 = 1;
const FALLOC_PUNCH_HOLE: u32 = 2;
const FALLOC_ZERO_RANGE: u32 = 0x10;
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

/// Bytes a copy moves at a time, and at most per request.
const COPY_PIECE: usize = 1 << 20;
const COPY_MOST: u64 = 64 << 20;

/// An open file.
pub(crate) struct OpenFile {
    pub(super) file: File,
    pub(super) known: Known,
    /// Past the kernel's page cache.
    pub(super) direct: bool,
    /// When the access time was last seen to.
    pub(super) noted: Mutex<Option<e4_sync::Instant>>,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if !self.direct {
            let opens = &self.known.cached.cached_opens;
            opens.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl State {
    pub(super) fn open(
        &self,
        node: NodeId,
        flags: u32,
        kill_set_id: bool,
    ) -> Answer<(Handle, OpenReply)> {
        let known = self.nodes.get(node)?;
        self.open_known(&known, flags, kill_set_id)
    }

    pub(super) fn open_known(
        &self,
        known: &Known,
        flags: u32,
        kill_set_id: bool,
    ) -> Answer<(Handle, OpenReply)> {
        let flags = OFlags::from_bits_retain(flags);
        let write = flags.intersects(OFlags::WRONLY | OFlags::RDWR);
        if write {
            let chattr = InodeFlags::from_bits(known.node.stat()?.flags);
            let appends = flags.contains(OFlags::APPEND) && !flags.contains(OFlags::TRUNC);
            if chattr.contains(InodeFlags::IMMUTABLE)
                || chattr.contains(InodeFlags::APPEND) && !appends
            {
                return Err(Fail(Errno::PERM));
            }
        }
        let file = known.node.open(e4::OpenFlags {
            write,
            truncate: flags.contains(OFlags::TRUNC),
            ..e4::OpenFlags::read()
        })?;
        if kill_set_id && flags.contains(OFlags::TRUNC) {
            self.drop_privileges(known)?;
        }
        let direct = self.options.direct_io || flags.contains(OFlags::DIRECT);
        let cached = &known.cached;
        let open_flags = if direct {
            OpenReply::DIRECT_IO | OpenReply::PARALLEL_DIRECT_WRITES
        } else {
            // Counted before the mark is read: a direct write that is over later finds the count.
            cached.cached_opens.fetch_add(1, Ordering::AcqRel);
            if write {
                cached.maybe_dirty.store(true, Ordering::Release);
            }
            if cached.may_keep() {
                OpenReply::KEEP_CACHE
            } else {
                OpenReply::empty()
            }
        };
        let handle = self.files.insert(OpenFile {
            file,
            known: known.clone(),
            direct,
            noted: Mutex::new(e4_sync::Rank::LEAF, None),
        });
        Ok((handle, open_flags))
    }

    pub(super) fn release(&self, fh: Handle) {
        let Some(open) = self.files.remove(fh) else {
            return;
        };
        if let Err(error) = open.file.store_times() {
            tracing::warn!(%error, "time of the last write");
        }
    }

    pub(super) fn fsync(&self, fh: Handle, datasync: bool) -> Answer<()> {
        let open = self.files.get(fh)?;
        if datasync {
            open.file.fdatasync()?;
        } else {
            open.file.fsync()?;
        }
        Ok(())
    }

    /// Everything acknowledged is durable.
    pub(super) fn sync(&self) -> Answer<()> {
        Ok(self.fs.sync()?)
    }

    pub(super) fn fallocate(
        &self,
        by: Caller,
        fh: Handle,
        (at, len): (u64, u64),
        mode: u32,
    ) -> Answer<()> {
        const PUNCH: u32 = FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE;
        const ZERO_KEEP: u32 = FALLOC_ZERO_RANGE | FALLOC_KEEP_SIZE;
        let open = self.files.get(fh)?;
        self.changed_by(by, &open)?;
        let file = &open.file;
        match mode {
            0 => file.fallocate(FallocateMode::Allocate, at, len)?,
            FALLOC_KEEP_SIZE => file.fallocate(FallocateMode::AllocateKeepSize, at, len)?,
            PUNCH => file.fallocate(FallocateMode::PunchHole, at, len)?,
            FALLOC_ZERO_RANGE => file.fallocate(FallocateMode::ZeroRange, at, len)?,
            ZERO_KEEP => file.fallocate(FallocateMode::ZeroRangeKeepSize, at, len)?,
            _ => return Err(Fail(Errno::OPNOTSUPP)),
        }
        self.bypass(&open, at, len);
        Ok(())
    }

    /// A file is changed otherwise than by a write, where the kernel says what goes with it.
    fn changed_by(&self, by: Caller, open: &OpenFile) -> Answer<()> {
        if by.uid == 0 {
            return self.drop_capability(&open.known);
        }
        self.drop_privileges(&open.known)
    }

    /// The next data or hole at or behind `offset`. The end of file is a hole.
    pub(super) fn seek(&self, node: NodeId, fh: Handle, offset: u64, whence: u32) -> Answer<u64> {
        let open = self.files.get(fh)?;
        if open.known.cached.maybe_dirty.load(Ordering::Acquire) {
            // Dropping the cache writes first what is dirty in it.
            self.drop_cache(node, 0, 0);
        }
        match whence {
            SEEK_HOLE => Ok(open.file.seek_hole(offset)?),
            SEEK_DATA => {
                let found = open.file.seek_data(offset)?;
                found.ok_or(Fail(Errno::NXIO))
            }
            _ => Err(Fail(Errno::INVAL)),
        }
    }

    pub(super) fn copy(
        &self,
        by: Caller,
        (from, from_at): (Handle, u64),
        (to, to_at): (Handle, u64),
        len: u64,
    ) -> Answer<u64> {
        let (from, to) = (self.files.get(from)?, self.files.get(to)?);
        self.changed_by(by, &to)?;
        let len = len.min(COPY_MOST);
        let mut piece = AlignedBuf::zeroed(0);
        let mut done = 0;
        while done < len {
            let want = usize::try_from(len - done).map_or(COPY_PIECE, |n| n.min(COPY_PIECE));
            if piece.len() < want {
                piece = AlignedBuf::recycled(want);
            }
            piece.truncate(want);
            let (read, filled) = from.file.read(from_at.saturating_add(done), piece).wait();
            let (n, Some(mut filled)) = (read?, filled) else {
                return Err(Fail(Errno::IO));
            };
            if n == 0 {
                break;
            }
            filled.truncate(n);
            let (written, back) = to.file.write(to_at.saturating_add(done), filled).wait();
            written?;
            piece = back.unwrap_or(AlignedBuf::zeroed(0));
            done += n as u64;
        }
        self.bypass(&to, to_at, done);
        Ok(done)
    }

    /// Notes that a range was changed past the kernel's cache.
    fn bypass(&self, open: &OpenFile, at: u64, len: u64) {
        if open.direct {
            open.known.cached.bypassed.store(true, Ordering::Release);
            if open.known.cached.cached_opens.load(Ordering::Acquire) > 0 {
                let ino = crate::attr::node_id(open.file.ino());
                self.drop_cache(ino, at, len);
            }
        }
    }

    /// Drops a range of the kernel's cache, dirty pages written first. `len` 0: to the end. Waits for pages
    /// that are being read or written: only where nobody waits for this thread (a worker).
    pub(super) fn drop_cache(&self, node: NodeId, at: u64, len: u64) {
        if let Some(notifier) = self.notifier.get() {
            notifier.drop_pages(node, at, len);
        }
    }
}
