//! What a caller holds while its I/O is in flight: an [`Ack`] for one operation, or an
//! [`IoContext`] for many (the shape of Linux AIO: submit, then collect events).
//!
//! Decisions: an [`Io`] is the only allocation of an asynchronous operation; it carries the reply
//! address and takes the buffer back. A context uses those of collected operations again. A buffer belongs to the operation until it is handed back
//! with the result, so a caller that goes away cannot leave the device writing into freed memory.
//! Blocking and `Future` are two ways of waiting for the same value; a [`Then`] is the third way to hear
//! of it, for servers: it runs in whoever completes the I/O, so nobody waits at all.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker};

use e4_device::{AlignedBuf, QueueId, Request};
use e4_planted::planted;
use e4_sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use e4_sync::{Arc, Mutex, Rank};

use super::write::Pocket;
use crate::error::{Error, Result};
use crate::file::File;
use crate::inode::Inode;
use crate::mount::Shared;

/// A finished operation.
#[derive(Debug)]
pub struct IoEvent {
    /// What the submitter passed.
    pub user_data: u64,
    /// Bytes transferred, or why not.
    pub result: Result<usize>,
    /// The buffer, handed back. `None` only if the operation never reached the device.
    pub buf: Option<AlignedBuf>,
}

/// What runs when an operation is over: its result, and its buffer where that still exists.
pub type Then = Box<dyn FnOnce(Result<usize>, Option<AlignedBuf>) + Send>;

pub(crate) struct Outcome {
    pub(crate) result: Option<Result<usize>>,
    pub(crate) buf: Option<AlignedBuf>,
    waker: Option<Waker>,
    then: Option<Then>,
}

/// One asynchronous operation. See the module documentation.
pub(crate) struct Io {
    pub(crate) shared: Arc<Shared>,
    /// Absent only while the operation waits to be used again.
    inode: Option<Inode>,
    pub(crate) queue: QueueId,
    pub(crate) user_data: u64,
    /// Bytes to report on success.
    pub(crate) len: usize,
    /// Acknowledge only once durable (`O_DSYNC`).
    pub(crate) durable: bool,
    /// Converting segments charged for it; given back if it fails.
    pub(crate) charged: AtomicU32,
    /// Blocks of a direct write: what the page cache has of them is out of date when it is over. None: empty.
    overlaps: [AtomicU32; 2],
    /// It writes pages back: when their data was written is known already.
    pub(crate) writeback: bool,
    pub(crate) context: Option<Arc<ContextInner>>,
    pub(crate) cell: Mutex<Outcome>,
}

impl Io {
    #[allow(
        clippy::too_many_arguments,
        reason = "a plain record, built in one place per operation"
    )]
    pub(crate) fn new(
        shared: Arc<Shared>,
        inode: Inode,
        queue: QueueId,
        user_data: u64,
        len: usize,
        durable: bool,
        (context, then): (Option<Arc<ContextInner>>, Option<Then>),
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            inode: Some(inode),
            queue,
            user_data,
            len,
            durable,
            charged: AtomicU32::new(0),
            overlaps: [AtomicU32::new(0), AtomicU32::new(0)],
            writeback: false,
            context,
            cell: Mutex::new(
                Rank::LEAF,
                Outcome {
                    result: None,
                    buf: None,
                    waker: None,
                    then,
                },
            ),
        })
    }

    /// An operation of the page cache's, on some queue.
    pub(crate) fn writeback(
        shared: &Arc<Shared>,
        inode: &Inode,
        queue: QueueId,
        len: usize,
    ) -> Arc<Self> {
        let (shared, inode) = (Arc::clone(shared), Arc::clone(inode));
        let mut io = Self::new(shared, inode, queue, 0, len, false, (None, None));
        if let Some(io) = Arc::get_mut(&mut io) {
            io.writeback = true;
        }
        io
    }

    /// It is a direct write of these blocks.
    pub(crate) fn set_overlaps(&self, blocks: &std::ops::Range<u32>) {
        self.overlaps[0].store(blocks.start, Ordering::Relaxed);
        self.overlaps[1].store(blocks.end, Ordering::Relaxed);
    }

    /// What was cached of a direct write's blocks goes, before anybody hears of the write.
    fn drop_overlapping_pages(&self) {
        let [start, end] = [0, 1].map(|i| self.overlaps[i].load(Ordering::Relaxed));
        if start < end {
            self.shared
                .drop_clean_pages(self.inode().data(), start..end);
        }
    }

    /// The inode it is about.
    pub(crate) fn inode(&self) -> &Inode {
        match &self.inode {
            Some(inode) => inode,
            None => unreachable!("an operation in use has its inode"),
        }
    }

    /// Lets go of the inode; false if somebody else still holds the operation.
    fn retire(self: &mut Arc<Self>) -> bool {
        let Some(io) = Arc::get_mut(self) else {
            return false;
        };
        io.inode = None;
        true
    }

    /// Makes a collected operation a new one, if nobody else holds it any more.
    fn renew(
        self: &mut Arc<Self>,
        inode: &Inode,
        user_data: u64,
        len: usize,
        durable: bool,
    ) -> bool {
        let Some(io) = Arc::get_mut(self) else {
            return false;
        };
        io.inode = Some(Arc::clone(inode));
        io.user_data = user_data;
        io.len = len;
        io.durable = durable;
        io.charged.store(0, Ordering::Relaxed);
        io.set_overlaps(&(0..0));
        debug_assert!(!io.is_done(), "collected");
        true
    }

    /// Gives the buffer back; it reaches the caller with the result.
    pub(crate) fn return_buf(&self, buf: AlignedBuf) {
        self.cell.lock().buf = Some(buf);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.cell.lock().result.is_some()
    }

    /// An operation that could not begin: to its [`Then`], if it has one, else to the caller.
    pub(crate) fn refuse(self: Arc<Self>, error: Error) -> Result<Arc<Self>> {
        let has_then = self.cell.lock().then.is_some();
        if !has_then {
            return Err(error);
        }
        self.finish(Err(error));
        Ok(self)
    }

    /// Acknowledges, exactly once. A waker and a [`Then`] run after the operation's lock is released.
    pub(crate) fn finish(self: &Arc<Self>, result: Result<usize>) {
        self.drop_overlapping_pages();
        let (waker, then) = {
            let mut cell = self.cell.lock();
            debug_assert!(cell.result.is_none(), "acknowledged twice");
            match cell.then.take() {
                None => {
                    cell.result = Some(result);
                    (cell.waker.take(), None)
                }
                Some(then) => {
                    // Only the mark that it is over stays; the value goes to the callback.
                    cell.result = Some(Ok(0));
                    (None, Some((then, result, cell.buf.take())))
                }
            }
        };
        if let Some((then, result, buf)) = then {
            then(result, buf);
        }
        if let Some(context) = &self.context {
            context.done.lock().push(Arc::clone(self));
            context.ready.fetch_add(1, Ordering::Release);
        }
        self.shared.pump.delivered(self.queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the result of an operation that is not durable by itself.
    pub(crate) fn take_plain(&self) -> Result<usize> {
        self.cell.lock().result.take().unwrap_or(Err(Error::Closed))
    }

    /// Takes result and buffer; for a durable operation, makes it so first.
    fn take(&self) -> (Result<usize>, Option<AlignedBuf>) {
        let (result, buf) = {
            let mut cell = self.cell.lock();
            (
                cell.result.take().unwrap_or(Err(Error::Closed)),
                cell.buf.take(),
            )
        };
        let result = match result {
            Ok(n) if self.durable && !planted!(DsyncWithoutCommit) => self
                .shared
                .make_durable(self.inode(), crate::data::sync::What::Data)
                .map(|()| n),
            other => other,
        };
        (result, buf)
    }
}

/// Who hears of the end of an operation.
pub(crate) enum Origin<'a> {
    /// Whoever holds its [`Ack`].
    Ack,
    /// Nobody waits; this runs. It hears of every error, also of those before the first request.
    Then(Then),
    /// An [`IoContext`], whose collected operations may be used again.
    Context {
        inner: &'a Arc<ContextInner>,
        spare: &'a mut Vec<Arc<Io>>,
    },
}

impl Origin<'_> {
    /// A new operation.
    pub(crate) fn io(
        self,
        file: &File,
        queue: QueueId,
        user_data: u64,
        len: usize,
        durable: bool,
    ) -> Arc<Io> {
        let (shared, inode) = (file.shared(), file.inode());
        let reply = match self {
            Origin::Ack => (None, None),
            Origin::Then(then) => (None, Some(then)),
            Origin::Context { inner, spare } => {
                if let Some(mut io) = spare.pop()
                    && io.renew(inode, user_data, len, durable)
                {
                    return io;
                }
                (Some(Arc::clone(inner)), None)
            }
        };
        let (shared, inode) = (Arc::clone(shared), Arc::clone(inode));
        Io::new(shared, inode, queue, user_data, len, durable, reply)
    }
}

/// The promise of one operation's result: block with [`Ack::wait`], or `.await` it.
///
/// Dropping it abandons the result, not the operation.
#[must_use = "an operation's result is only known through its Ack"]
pub struct Ack {
    io: Option<Arc<Io>>,
    /// Why it never began.
    failed: Option<Error>,
}

impl Ack {
    pub(crate) fn new(io: Arc<Io>) -> Self {
        Self {
            io: Some(io),
            failed: None,
        }
    }

    pub(crate) fn failed(error: Error) -> Self {
        Self {
            io: None,
            failed: Some(error),
        }
    }

    fn without_io(&mut self) -> (Result<usize>, Option<AlignedBuf>) {
        (Err(self.failed.take().unwrap_or(Error::Closed)), None)
    }

    /// True once the result is known.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.io.as_ref().is_none_or(|io| io.is_done())
    }

    /// Waits, driving the device's completion queue where that is this thread's turn.
    ///
    /// # Errors
    /// The operation's own error. The buffer comes back either way, where it still exists.
    pub fn wait(mut self) -> (Result<usize>, Option<AlignedBuf>) {
        let Some(io) = self.io.take() else {
            return self.without_io();
        };
        let shared = Arc::clone(&io.shared);
        shared.pump.wait_until(io.queue, &*shared, || io.is_done());
        io.take()
    }
}

impl Future for Ack {
    type Output = (Result<usize>, Option<AlignedBuf>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let Some(io) = self.io.clone() else {
            return Poll::Ready(self.without_io());
        };
        // Collect what is there; the fallback reaper covers what arrives later.
        io.shared.pump.reap_all(&*io.shared);
        {
            let mut cell = io.cell.lock();
            if cell.result.is_none() {
                cell.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
        self.io = None;
        Poll::Ready(io.take())
    }
}

/// The shared half of an [`IoContext`].
pub(crate) struct ContextInner {
    done: Mutex<Vec<Arc<Io>>>,
    ready: AtomicUsize,
}

/// A context for many asynchronous operations, like an AIO context or a small io_uring: operations
/// are queued, started together by [`IoContext::submit`], and their results collected as events.
///
/// One thread owns a context; several contexts, on one file or many, are real concurrency.
pub struct IoContext {
    shared: Arc<Shared>,
    inner: Arc<ContextInner>,
    queue: QueueId,
    pending: Vec<Request>,
    /// Operations begun and not yet collected.
    outstanding: usize,
    /// Collected operations, to be used again.
    spare: Vec<Arc<Io>>,
    /// Empty between calls; its memory is used again.
    collected: Vec<Arc<Io>>,
}

/// Operations kept for use again, at most.
const SPARE_MAX: usize = 1024;

impl IoContext {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let queue = shared.pump.assign_queue();
        Self {
            shared,
            inner: Arc::new(ContextInner {
                done: Mutex::new(Rank::LEAF, Vec::new()),
                ready: AtomicUsize::new(0),
            }),
            queue,
            pending: Vec::new(),
            outstanding: 0,
            spare: Vec::new(),
            collected: Vec::new(),
        }
    }

    /// Operations begun and not yet collected by [`IoContext::wait`].
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Queues a write of the whole buffer at byte `at`. Starts no later than [`IoContext::submit`].
    ///
    /// # Errors
    /// Only what is known before anything starts (read-only, too big, no space); later errors come
    /// as the event's result.
    pub fn write(&mut self, file: &File, at: u64, buf: AlignedBuf, user_data: u64) -> Result<()> {
        self.begin(true, file, at, buf, user_data)
    }

    /// Queues a read that fills the buffer from byte `at` (short at end of file).
    ///
    /// # Errors
    /// As for [`IoContext::write`].
    pub fn read(&mut self, file: &File, at: u64, buf: AlignedBuf, user_data: u64) -> Result<()> {
        self.begin(false, file, at, buf, user_data)
    }

    fn begin(
        &mut self,
        write: bool,
        file: &File,
        at: u64,
        buf: AlignedBuf,
        user_data: u64,
    ) -> Result<()> {
        let mut pocket = Pocket {
            queue: self.queue,
            requests: &mut self.pending,
        };
        let origin = Origin::Context {
            inner: &self.inner,
            spare: &mut self.spare,
        };
        file.begin_in_context(write, at, buf, user_data, origin, &mut pocket)?;
        self.outstanding += 1;
        Ok(())
    }

    /// Starts everything queued.
    pub fn submit(&mut self) {
        self.shared.pump.submit(self.queue, &mut self.pending);
    }

    /// Starts what is queued, waits until at least `min` results are there (or none is outstanding)
    /// and appends all that are to `events`. Returns how many were appended.
    pub fn wait(&mut self, min: usize, events: &mut Vec<IoEvent>) -> usize {
        self.submit();
        let min = min.min(self.outstanding);
        let inner = &self.inner;
        if inner.ready.load(Ordering::Acquire) < min {
            self.shared.pump.wait_until(self.queue, &*self.shared, || {
                inner.ready.load(Ordering::Acquire) >= min
            });
        } else if min == 0 {
            self.shared
                .pump
                .reap(self.queue, e4_device::Wait::No, &*self.shared);
        }
        std::mem::swap(&mut self.collected, &mut *inner.done.lock());
        let n = self.collected.len();
        inner.ready.fetch_sub(n, Ordering::AcqRel);
        self.outstanding -= n;
        for mut io in self.collected.drain(..) {
            let (result, buf) = io.take();
            let user_data = io.user_data;
            if self.spare.len() < SPARE_MAX && io.retire() {
                self.spare.push(io);
            }
            events.push(IoEvent {
                user_data,
                result,
                buf,
            });
        }
        n
    }
}

impl Drop for IoContext {
    /// Starts what was queued (its admissions must end) and collects everything outstanding.
    fn drop(&mut self) {
        let mut events = Vec::new();
        while self.outstanding > 0 {
            self.wait(self.outstanding, &mut events);
        }
    }
}
