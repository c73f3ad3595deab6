//! Reads and writes: started by the thread that took the request, answered by whoever completes the I/O.
//!
//! A large payload goes from the transport's buffer to the device as it is, a small one is copied once.

use e4::AlignedBuf;
use e4_fuse_transport::{Errno, Handle, Reply, Write};
use e4_sync::Arc;
use e4_sync::atomic::Ordering;
use rustix::fs::OFlags;

use super::State;
use super::files::OpenFile;
use crate::attr::node_id;
use crate::errno::Fail;

/// How often reading through one handle looks after the access time.
const NOTE_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

fn errno(error: e4::Error) -> Errno {
    Fail::from(error).0
}

impl State {
    pub(super) fn read(&self, fh: Handle, offset: u64, size: u32, reply: Reply) {
        let open = match self.files.get(fh) {
            Ok(open) => open,
            Err(Fail(errno)) => return reply.error(errno),
        };
        self.note_access(&open);
        // The kernel asks for whole read-ahead windows; what lies behind the end of file is not worth a buffer.
        let block = u64::from(self.block_size);
        let left = open.file.size().saturating_sub(offset);
        let len = u64::from(size).min(left.next_multiple_of(block.max(1)));
        if len == 0 {
            return reply.bytes(&[]);
        }
        let buf = AlignedBuf::recycled(usize::try_from(len).unwrap_or(usize::MAX));
        let then = Box::new(move |result: e4::Result<usize>, buf: Option<AlignedBuf>| {
            match (result, buf) {
                (Ok(n), Some(buf)) => match buf.get(..n) {
                    Some(data) => reply.bytes(data),
                    None => reply.error(Errno::IO),
                },
                (Ok(_), None) => reply.error(Errno::IO),
                (Err(error), _) => reply.error(errno(error)),
            }
        });
        open.file.read_then(offset, buf, then);
    }

    pub(super) fn write(self: &Arc<Self>, write: Write<'_>, reply: Reply) {
        let open = match self.files.get(write.handle) {
            Ok(open) => open,
            Err(Fail(errno)) => return reply.error(errno),
        };
        let dropped = if write.kill_set_id {
            self.drop_privileges(&open.known)
        } else {
            self.drop_capability(&open.known)
        };
        if let Err(Fail(errno)) = dropped {
            return reply.error(errno);
        }
        let end = End {
            // What the kernel writes back, it flushes itself.
            durable: !write.from_cache
                && (self.options.sync || write.flags & OFlags::DSYNC.bits() != 0),
            offset: write.offset,
            len: write.payload.len() as u64,
            open: Arc::clone(&open),
            state: Arc::clone(self),
            reply,
        };
        let then =
            Box::new(move |result: e4::Result<usize>, _: Option<AlignedBuf>| end.over(result));
        open.file
            .write_then(write.offset, write.payload.into_buf(), then);
    }

    fn note_access(&self, open: &OpenFile) {
        if self.options.read_only || self.options.atime == crate::Atime::Never {
            return;
        }
        let now = e4_sync::now();
        {
            let mut noted = open.noted.lock();
            let strict = self.options.atime == crate::Atime::Strict;
            if !strict && noted.is_some_and(|then| now.duration_since(then) < NOTE_EVERY) {
                return;
            }
            *noted = Some(now);
        }
        self.accessed(&open.known.node);
    }
}

/// What happens when a write is over.
struct End {
    durable: bool,
    offset: u64,
    len: u64,
    open: Arc<OpenFile>,
    state: Arc<State>,
    reply: Reply,
}

impl End {
    fn over(self, result: e4::Result<usize>) {
        let written = match result {
            Ok(n) => u32::try_from(n).unwrap_or(u32::MAX),
            Err(error) => return self.reply.error(errno(error)),
        };
        let cached = &self.open.known.cached;
        let mut stale = false;
        if self.open.direct {
            // Marked first, looked at the count second: see `open_known`.
            if !cached.bypassed.load(Ordering::Acquire) {
                cached.bypassed.store(true, Ordering::Release);
            }
            stale = cached.cached_opens.load(Ordering::Acquire) > 0;
        }
        if !stale && !self.durable {
            return self.reply.written(written);
        }
        let state = Arc::clone(&self.state);
        state.workers.run(move || self.slowly(written, stale));
    }

    fn slowly(self, written: u32, stale: bool) {
        if stale {
            let ino = node_id(self.open.file.ino());
            self.state.drop_cache(ino, self.offset, self.len);
        }
        if self.durable
            && let Err(error) = self.open.file.fdatasync()
        {
            return self.reply.error(errno(error));
        }
        self.reply.written(written);
    }
}
