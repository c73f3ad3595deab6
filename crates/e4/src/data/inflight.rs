//! The reaper: device completions into the engine. The other joint of the data path.
//!
//! A request in flight owns everything its completion needs: the engine's reference, the admission,
//! the operation, the buffer. Nothing is looked up by address, nothing can be freed early.

use e4_completion::{Admission, RequestRef};
use e4_device::{AlignedBuf, Completion, IoSlice, Returned};
use e4_planted::planted;
use e4_sync::atomic::{AtomicUsize, Ordering};
use e4_sync::{Arc, Mutex, Rank};

use super::context::Io;
use super::converter::Conv;
use super::pump::Sink;
use crate::error::{Error, Result, Sticky};
use crate::mount::Shared;

/// What a request belongs to.
pub(crate) enum InFlight {
    /// Part of an io_end: the engine decides what becomes of it.
    Convert {
        request: RequestRef<Conv>,
        io: Arc<Io>,
    },
    /// A pure overwrite in one request: no io_end (I-53), the admission alone keeps truncate away.
    Overwrite {
        admission: Admission<Conv>,
        io: Arc<Io>,
    },
    /// A read in one request, straight into the caller's buffer.
    Read {
        admission: Admission<Conv>,
        io: Arc<Io>,
        /// Bytes to report; the rest of the buffer, behind the end of file, is zeroed.
        valid: usize,
    },
    /// One piece of an operation that needs several requests.
    Piece { whole: Arc<Pieces>, at: usize },
}

/// An overwrite or read in several requests.
pub(crate) struct Pieces {
    pub(crate) io: Arc<Io>,
    left: AtomicUsize,
    inner: Mutex<PiecesInner>,
}

struct PiecesInner {
    admission: Option<Admission<Conv>>,
    error: Option<Error>,
    /// The caller's buffer of a read; pieces are copied into it.
    target: Option<AlignedBuf>,
    /// Where the pieces' bytes lie relative to the caller's: bytes of the first block to skip.
    skip: usize,
    valid: usize,
}

impl Pieces {
    /// `requests` pieces. For a read: `target` is the caller's buffer, holes already zeroed; `skip` is the offset of
    /// its first byte in the first block; `valid` the bytes to report.
    pub(crate) fn new(
        io: Arc<Io>,
        admission: Admission<Conv>,
        requests: usize,
        target: Option<AlignedBuf>,
        skip: usize,
        valid: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            io,
            left: AtomicUsize::new(requests),
            inner: Mutex::new(
                // Buffers are given back, and pooled, under it.
                Rank::ENGINE_READY,
                PiecesInner {
                    admission: Some(admission),
                    error: None,
                    target,
                    skip,
                    valid,
                },
            ),
        })
    }

    fn done(&self, at: usize, result: Result<()>, returned: Returned) {
        {
            let mut inner = self.inner.lock();
            match (result, returned) {
                (Err(error), _) => {
                    inner.error.get_or_insert(error);
                }
                (Ok(()), Returned::Read(piece)) => inner.copy(at, &piece),
                (Ok(()), returned) => give_back(&self.io, returned),
            }
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        let (admission, error, target, valid) = {
            let mut inner = self.inner.lock();
            (
                inner.admission.take(),
                inner.error.take(),
                inner.target.take(),
                inner.valid,
            )
        };
        let write = target.is_none();
        if let Some(buf) = target {
            self.io.return_buf(buf);
        }
        let outcome = match error {
            Some(error) => {
                if write {
                    self.io.inode().record_error(error.clone().into());
                }
                Err(error)
            }
            None if write => {
                if !self.io.writeback {
                    self.io.inode().data().note_written();
                }
                Ok(self.io.len)
            }
            None => Ok(valid),
        };
        self.io.finish(outcome);
        // Only now may a truncate that waited go on: the caller's error is recorded (I-35).
        drop(admission);
    }
}

impl PiecesInner {
    /// Copies a piece, which starts at byte `at` of the first block, to its place in the target.
    fn copy(&mut self, at: usize, piece: &[u8]) {
        let Some(target) = self.target.as_deref_mut() else {
            return;
        };
        let (from, to) = match at.checked_sub(self.skip) {
            Some(to) => (0, to),
            None => (self.skip - at, 0),
        };
        let end = target.len().min(self.valid);
        if let (Some(src), Some(dst)) = (piece.get(from..), target.get_mut(to..end)) {
            let n = src.len().min(dst.len());
            dst[..n].copy_from_slice(&src[..n]);
        }
    }
}

/// Hands the buffer of a finished write back to its operation. Of a shared buffer, the last piece
/// brings it home.
fn give_back(io: &Io, returned: Returned) {
    match returned {
        Returned::Read(buf) | Returned::Write(IoSlice::Owned(buf)) => io.return_buf(buf),
        Returned::Write(IoSlice::Shared { buf, .. }) => {
            if let Some(buf) = Arc::into_inner(buf) {
                io.return_buf(buf);
            }
        }
        Returned::None => {}
    }
}

impl Sink<InFlight> for Shared {
    fn completed(&self, batch: &mut Vec<(InFlight, Completion)>) {
        let mut engine = Vec::new();
        for (what, completion) in batch.drain(..) {
            let Completion {
                result, returned, ..
            } = completion;
            let result = result.map_err(|error| Error::from(*error));
            match what {
                InFlight::Convert { request, io } => {
                    give_back(&io, returned);
                    engine.push((request, result.map_err(Sticky::from)));
                }
                InFlight::Overwrite { admission, io } => {
                    give_back(&io, returned);
                    if let Err(error) = &result
                        && !planted!(OverwriteErrorLost)
                    {
                        io.inode().record_error(error.clone().into());
                    }
                    if result.is_ok() && !io.writeback {
                        io.inode().data().note_written();
                    }
                    let len = io.len;
                    io.finish(result.map(|()| len));
                    drop(admission);
                }
                InFlight::Read {
                    admission,
                    io,
                    valid,
                } => {
                    if let Returned::Read(mut buf) = returned {
                        if let Some(rest) = buf.get_mut(valid..) {
                            rest.fill(0);
                        }
                        io.return_buf(buf);
                    }
                    io.finish(result.map(|()| valid));
                    drop(admission);
                }
                InFlight::Piece { whole, at } => whole.done(at, result, returned),
            }
        }
        if !engine.is_empty() {
            self.engine.complete_batch(engine);
        }
    }
}
