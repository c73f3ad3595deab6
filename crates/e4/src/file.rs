//! An open file.

use e4_completion::{Drain, Intent, Observer};
use e4_device::AlignedBuf;
use e4_format::{ByteOffset, Extent, FileBlock, FileType, InodeNo, Timestamp};
use e4_planted::planted;
use e4_sync::Arc;

use crate::cache::ReadAhead;
use crate::data::context::{Ack, Io, Origin, Then};
use crate::data::converter::Conv;
use crate::data::shift::Shift;
use crate::data::sync::What;
use crate::data::write::Pocket;
use crate::error::{Error, Result};
use crate::inode::{Hold, Inode};
use crate::mount::{Mounted, Shared};

/// What [`File::fallocate`] does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FallocateMode {
    /// Allocate, and extend the file to the end of the range.
    Allocate,
    /// Allocate, also behind the end of file, and leave the size alone.
    AllocateKeepSize,
    /// Free the blocks of the range; it reads as zeros afterwards.
    PunchHole,
    /// Make the range read as zeros and keep it allocated (whole blocks become unwritten), and extend the file to its end.
    ZeroRange,
    /// As `ZeroRange`, and leave the size alone.
    ZeroRangeKeepSize,
    /// Take the range out of the file: what lies behind it moves up. Whole blocks, ending before the end of file.
    CollapseRange,
    /// Put a hole of the range's length in at its beginning: what lies there and behind moves down. Whole blocks,
    /// beginning before the end of file.
    InsertRange,
}

impl FallocateMode {
    /// An append-only file may be preallocated, and nothing else.
    fn only_adds(self) -> bool {
        matches!(self, Self::Allocate | Self::AllocateKeepSize)
    }
}

/// What is known about an inode.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of stat(2)")]
pub struct Stat {
    pub ino: InodeNo,
    pub file_type: Option<FileType>,
    /// Permission bits.
    pub mode: u16,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// 512-byte sectors in use, metadata of the file included.
    pub sectors: u64,
    /// Bytes.
    pub block_size: u32,
    pub atime: Timestamp,
    pub mtime: Timestamp,
    pub ctime: Timestamp,
    pub crtime: Timestamp,
    pub flags: u32,
    pub generation: u32,
    /// Device of a device file, as Linux numbers devices (minor in bits 0-7 and 20-31, major in bits 8-19).
    pub rdev: u32,
}

struct FileInner {
    // Dropped before `mounted`.
    observer: Observer<Conv>,
    inode: Hold,
    mounted: Arc<Mounted>,
    path: String,
    write: bool,
    dsync: bool,
    ahead: ReadAhead,
}

impl Drop for FileInner {
    fn drop(&mut self) {
        if self.write && self.mounted.shared.check_open().is_ok() {
            self.mounted.shared.flush_at_close(&self.inode);
        }
    }
}

/// An open file. Clones share what they have learned of errors; two opens learn separately.
///
/// All methods may be called from several threads at once. Writes to distinct blocks run in parallel;
/// truncate and punch wait for what overlaps them and hold newcomers off.
#[derive(Clone)]
pub struct File {
    inner: Arc<FileInner>,
}

impl File {
    pub(crate) fn new(
        mounted: Arc<Mounted>,
        inode: Hold,
        path: String,
        write: bool,
        dsync: bool,
    ) -> Self {
        let observer = inode.observer();
        Self {
            inner: Arc::new(FileInner {
                observer,
                inode,
                mounted,
                path,
                write,
                dsync,
                ahead: ReadAhead::default(),
            }),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.mounted.shared
    }

    pub(crate) fn inode(&self) -> &Inode {
        &self.inner.inode
    }

    pub(crate) fn observer(&self) -> &Observer<Conv> {
        &self.inner.observer
    }

    pub(crate) fn ahead(&self) -> &ReadAhead {
        &self.inner.ahead
    }

    pub(crate) fn is_dsync(&self) -> bool {
        self.inner.dsync
    }

    pub(crate) fn check_regular(&self) -> Result<()> {
        if self.inode().data().kind != Some(FileType::Regular) {
            return Err(Error::NotARegularFile {
                path: self.inner.path.clone(),
            });
        }
        self.shared().check_open()
    }

    /// May be changed in place: not even an append-only file can be.
    fn check_changeable(&self) -> Result<()> {
        self.check_may_write(None)
    }

    /// May be written from a byte on (`None`: changed otherwise, or cut).
    pub(crate) fn check_may_write(&self, at: Option<ByteOffset>) -> Result<()> {
        self.check_regular()?;
        let state = self.inode().data();
        let shared = self.shared();
        {
            let core = state.core.read();
            shared.check_not_immutable(state, &core)?;
            if at.is_none_or(|at| at.get() < state.size()) {
                shared.check_not_append_only(state, &core)?;
            }
        }
        shared.check_writable()?;
        if !self.inner.write {
            return Err(Error::Invalid {
                what: "the file is not open for writing",
            });
        }
        Ok(())
    }

    /// The inode number.
    #[must_use]
    pub fn ino(&self) -> InodeNo {
        self.inode().data().ino
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.inode().data().size()
    }

    /// What is known about the file.
    #[must_use]
    pub fn stat(&self) -> Stat {
        self.shared().stat_inode(self.inode())
    }

    /// Starts an asynchronous direct write of the whole buffer at byte `at`. Any offset and length; whole
    /// blocks are fastest. The result means "readable", not "durable" (unless opened with `dsync`).
    pub fn write(&self, at: u64, buf: AlignedBuf) -> Ack {
        self.start(|file, pocket| {
            file.begin_write(ByteOffset::new(at), buf, 0, Origin::Ack, pocket)
        })
    }

    /// Starts an asynchronous direct read that fills the buffer from byte `at`; short at end of file.
    pub fn read(&self, at: u64, buf: AlignedBuf) -> Ack {
        self.start(|file, pocket| file.begin_read(ByteOffset::new(at), buf, 0, Origin::Ack, pocket))
    }

    /// As [`File::write`], without anybody waiting: `then` runs in whoever completes the write, exactly once,
    /// also if it could not begin. It may run before this returns, and must not block for long or take
    /// locks that are held around this call. Never durable by itself, whatever the file was opened with.
    pub fn write_then(&self, at: u64, buf: AlignedBuf, then: Then) {
        let origin = Origin::Then(then);
        self.start_unattended(|file, pocket| {
            file.begin_write(ByteOffset::new(at), buf, 0, origin, pocket)
        });
    }

    /// As [`File::read`], with the rules of [`File::write_then`].
    pub fn read_then(&self, at: u64, buf: AlignedBuf, then: Then) {
        let origin = Origin::Then(then);
        self.start_unattended(|file, pocket| {
            file.begin_read(ByteOffset::new(at), buf, 0, origin, pocket)
        });
    }

    fn start_unattended(&self, begin: impl FnOnce(&Self, &mut Pocket<'_>) -> Result<Arc<Io>>) {
        let shared = self.shared();
        let queue = shared.pump.unattended_queue();
        let mut requests = Vec::new();
        let mut pocket = Pocket {
            queue,
            requests: &mut requests,
        };
        // An error went to the callback.
        if let Ok(io) = begin(self, &mut pocket) {
            shared
                .pump
                .submit_unattended(&**shared, queue, &mut requests, || io.is_done());
        }
    }

    /// As [`File::read`], whatever the page cache has: for filling it.
    pub(crate) fn read_below(&self, at: u64, buf: AlignedBuf) -> Ack {
        self.start(|file, pocket| file.begin_read_below(ByteOffset::new(at), buf, pocket))
    }

    fn start(&self, begin: impl FnOnce(&Self, &mut Pocket<'_>) -> Result<Arc<Io>>) -> Ack {
        let shared = self.shared();
        let queue = shared.pump.assign_queue();
        let mut requests = Vec::new();
        let mut pocket = Pocket {
            queue,
            requests: &mut requests,
        };
        match begin(self, &mut pocket) {
            Ok(io) => {
                shared.pump.submit(queue, &mut requests);
                Ack::new(io)
            }
            Err(error) => Ack::failed(error),
        }
    }

    /// Writes all of `data` at byte `at`; returns when it is readable (durable, if opened with `dsync`).
    ///
    /// # Errors
    /// What kept it from being written.
    pub fn write_at(&self, at: u64, data: &[u8]) -> Result<usize> {
        let mut buf = AlignedBuf::recycled(data.len());
        buf.copy_from_slice(data);
        self.write(at, buf).wait().0
    }

    /// Reads up to `buf.len()` bytes from byte `at`; fewer only at end of file.
    ///
    /// # Errors
    /// What kept it from being read.
    pub fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize> {
        let (result, returned) = self.read(at, AlignedBuf::recycled(buf.len())).wait();
        let n = result?;
        if let Some(data) = returned
            && let (Some(dst), Some(src)) = (buf.get_mut(..n), data.get(..n))
        {
            dst.copy_from_slice(src);
        }
        Ok(n)
    }

    /// Allocates, frees, zeroes or moves blocks of a byte range. All but the plain allocations wait for I/O in flight
    /// there (collapse and insert: from there to the end) and hold newcomers off.
    ///
    /// Collapse and insert range are one transaction in files of few extents; in others a crash may leave the hole
    /// they move somewhere on its way, with every surviving byte in the file once.
    ///
    /// # Errors
    /// No space (what was allocated stays), an earlier failed write that this file has not heard of, damage;
    /// [`Error::Invalid`] for a length of 0 and for what collapse and insert range cannot do.
    pub fn fallocate(&self, mode: FallocateMode, at: u64, len: u64) -> Result<()> {
        self.check_may_write(mode.only_adds().then(|| ByteOffset::new(u64::MAX)))?;
        if len == 0 {
            return Err(Error::Invalid {
                what: "a length of 0",
            });
        }
        let shared = self.shared();
        let inode = self.inode();
        if mode != FallocateMode::PunchHole {
            shared.check_preallocatable(inode.data())?;
        }
        let target = shared.target(ByteOffset::new(at), len);
        let _turn = inode.data().io.lock();
        let bytes = at..at.saturating_add(len);
        // Reserved blocks of the range count as space; and what changes below the cache leaves it.
        let pages = match mode {
            FallocateMode::PunchHole => shared.pages_to_discard(inode, bytes)?,
            FallocateMode::CollapseRange | FallocateMode::InsertRange => {
                shared.quiet_pages(inode, at..u64::MAX)?
            }
            _ => shared.quiet_pages(inode, bytes)?,
        };
        let hold_off = |bytes: core::ops::Range<u64>| {
            shared
                .engine
                .drain(inode, bytes, Drain::Exclusive, self.observer(), &|| {
                    shared.drive()
                })
        };
        match mode {
            FallocateMode::Allocate => shared.preallocate(inode, &target?, false),
            FallocateMode::AllocateKeepSize => shared.preallocate(inode, &target?, true),
            FallocateMode::PunchHole => {
                let target = target?;
                let held = if planted!(PunchWithoutDrain) {
                    0..0
                } else {
                    shared.whole_blocks(&target)
                };
                let guard = hold_off(held)?;
                pages.discard();
                let done = shared.punch(inode, &target);
                pages.changed();
                drop(guard);
                done
            }
            FallocateMode::ZeroRange | FallocateMode::ZeroRangeKeepSize => {
                let target = target?;
                let guard = hold_off(shared.whole_blocks(&target))?;
                let keep_size = mode == FallocateMode::ZeroRangeKeepSize;
                let done = shared.zero_range(inode, &target, keep_size);
                pages.changed();
                drop(guard);
                done
            }
            FallocateMode::CollapseRange | FallocateMode::InsertRange => {
                let target = target?;
                let guard = hold_off(target.at..u64::MAX)?;
                let way = match mode {
                    FallocateMode::CollapseRange => Shift::Left,
                    _ => Shift::Right,
                };
                let done = shared.shift(inode, &target, way);
                pages.changed();
                drop(guard);
                done
            }
        }
    }

    /// Sets the size. Shrinking frees the blocks behind it; growing adds a hole.
    ///
    /// # Errors
    /// An earlier failed write that this file has not heard of, damage, a size no file can have.
    pub fn truncate(&self, bytes: u64) -> Result<()> {
        self.check_changeable()?;
        self.shared().set_size(self.inode(), self.observer(), bytes)
    }

    /// Makes everything acknowledged so far, data and metadata, durable.
    ///
    /// # Errors
    /// Also what earlier asynchronous writes to the file failed with, once per open file.
    pub fn fsync(&self) -> Result<()> {
        self.shared().check_open()?;
        self.shared()
            .fsync(self.inode(), self.observer(), What::All)
    }

    /// Notes in the inode when data was last written, if it does not say so yet: what the last close of a written
    /// file should do. Durable with the next commit.
    ///
    /// # Errors
    /// Journal or device.
    pub fn store_times(&self) -> Result<()> {
        self.shared().check_open()?;
        self.shared().store_written(self.inode().data())
    }

    /// As [`File::fsync`], without times and the like.
    ///
    /// # Errors
    /// As [`File::fsync`].
    pub fn fdatasync(&self) -> Result<()> {
        self.shared().check_open()?;
        self.shared()
            .fsync(self.inode(), self.observer(), What::Data)
    }

    /// The extents of the file; ranges published and not yet recorded show as written.
    ///
    /// # Errors
    /// Damage.
    pub fn extents(&self) -> Result<Vec<Extent>> {
        self.extents_from(FileBlock::new(0), usize::MAX)
    }

    /// Waits for all I/O submitted before the call, on any handle, without holding anybody off.
    ///
    /// # Errors
    /// As [`File::fsync`].
    pub fn wait_for_submitted(&self) -> Result<()> {
        let shared = self.shared();
        shared
            .engine
            .drain(
                self.inode(),
                0..u64::MAX,
                Drain::Shared,
                self.observer(),
                &|| shared.drive(),
            )
            .map(drop)
            .map_err(Error::from)
    }

    /// Would an operation on this byte range have to wait right now (I-50)?
    #[must_use]
    pub fn would_block(&self, at: u64, len: u64) -> bool {
        let range = at..at.saturating_add(len.max(1));
        self.shared()
            .engine
            .try_admit(self.inode(), range, Intent::Write)
            .is_err()
    }

    /// The context of another thread's operations, see [`crate::IoContext`].
    pub(crate) fn begin_in_context(
        &self,
        write: bool,
        at: u64,
        buf: AlignedBuf,
        user_data: u64,
        origin: Origin<'_>,
        pocket: &mut Pocket<'_>,
    ) -> Result<()> {
        let at = ByteOffset::new(at);
        if write {
            self.begin_write(at, buf, user_data, origin, pocket)
                .map(drop)
        } else {
            self.begin_read(at, buf, user_data, origin, pocket)
                .map(drop)
        }
    }
}
