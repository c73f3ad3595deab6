//! Reads and writes: started by the thread that took the request, answered by whoever completes the I/O.
//!
//! A write's payload lies in the transport's buffer, which is reused when this returns, and never at an
//! aligned address; it is copied once, into an aligned buffer that then belongs to the operation.

use e4::{AlignedBuf, SetAttr};
use e4_sync::Arc;
use e4_sync::atomic::Ordering;
use fuser::{Errno, FileHandle, OpenFlags, ReplyData, ReplyWrite, WriteFlags};
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
    pub(super) fn read(&self, fh: FileHandle, offset: u64, size: u32, reply: ReplyData) {
        let open = match self.files.get(fh) {
            Ok(open) => open,
            Err(Fail(errno)) => return reply.error(errno),
        };
        self.note_access(&open);
        // The kernel asks for whole read-ahead windows; what lies behind the end of file is not worth a buffer.
        let block = u64::from(self.fs.statfs().block_size);
        let left = open.file.size().saturating_sub(offset);
        let len = u64::from(size).min(left.next_multiple_of(block.max(1)));
        if len == 0 {
            return reply.data(&[]);
        }
        let buf = AlignedBuf::recycled(usize::try_from(len).unwrap_or(usize::MAX));
        let then = Box::new(move |result: e4::Result<usize>, buf: Option<AlignedBuf>| {
            match (result, buf) {
                (Ok(n), Some(buf)) => match buf.get(..n) {
                    Some(data) => reply.data(data),
                    None => reply.error(Errno::EIO),
                },
                (Ok(_), None) => reply.error(Errno::EIO),
                (Err(error), _) => reply.error(errno(error)),
            }
        });
        open.file.read_then(offset, buf, then);
    }

    pub(super) fn write(
        state: &Arc<Self>,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        (how, flags): (WriteFlags, OpenFlags),
        reply: ReplyWrite,
    ) {
        let open = match state.files.get(fh) {
            Ok(open) => open,
            Err(Fail(errno)) => return reply.error(errno),
        };
        if how.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID)
            && let Err(error) = drop_set_id(&open)
        {
            return reply.error(errno(error));
        }
        let mut buf = AlignedBuf::recycled(data.len());
        buf.copy_from_slice(data);
        let end = End {
            // What the kernel writes back, it flushes itself.
            durable: !how.contains(WriteFlags::FUSE_WRITE_CACHE)
                && (state.options.sync || flags.0 & OFlags::DSYNC.bits().cast_signed() != 0),
            offset,
            len: data.len() as u64,
            open: Arc::clone(&open),
            state: Arc::clone(state),
            reply,
        };
        let then =
            Box::new(move |result: e4::Result<usize>, _: Option<AlignedBuf>| end.over(result));
        open.file.write_then(offset, buf, then);
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
    reply: ReplyWrite,
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

/// Takes set-user-id and set-group-id (of files that the group may execute) away, as any write without
/// privilege does.
fn drop_set_id(open: &OpenFile) -> e4::Result<()> {
    let mode = open.known.node.stat()?.mode;
    let mut kept = mode & !0o4000;
    if mode & 0o010 != 0 {
        kept &= !0o2000;
    }
    if kept != mode {
        open.known.node.set_attr(&SetAttr {
            mode: Some(kept),
            ..SetAttr::default()
        })?;
    }
    Ok(())
}
