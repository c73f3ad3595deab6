//! Bytes from a reader into a file, several large requests in flight; the window bounds the memory.

use core::ops::ControlFlow;
use std::io::{self, Read};

use e4_device::AlignedBuf;
use e4_sync::Arc;

use super::Progress;
use crate::data::context::IoContext;
use crate::error::{Error, Result};
use crate::file::File;

/// Bytes per request.
const CHUNK: usize = 1 << 20;
/// Requests in flight.
const WINDOW: usize = 8;

impl File {
    /// Writes everything `source` has into the file from byte `at` on, and returns the number of bytes. All of it is
    /// readable then, not durable.
    ///
    /// # Errors
    /// [`Error::Source`] if the source fails, [`Error::Cancelled`] if `progress` says so (what was written stays), and what
    /// keeps a file from being written.
    pub fn copy_from(&self, at: u64, source: &mut dyn Read, progress: Progress<'_>) -> Result<u64> {
        let mut ctx = IoContext::new(Arc::clone(self.shared()));
        let mut done = 0u64;
        let mut spare: Vec<AlignedBuf> = Vec::new();
        let mut size = FIRST;
        loop {
            let mut buf = match spare.pop() {
                Some(buf) if buf.len() == size => buf,
                _ if ctx.outstanding() < WINDOW => AlignedBuf::recycled(size),
                _ => {
                    collect(&mut ctx, 1, &mut spare)?;
                    continue;
                }
            };
            let got = fill(source, &mut buf)?;
            if got == size {
                ctx.write(self, at + done, buf, at)?;
                ctx.submit();
            } else {
                collect(&mut ctx, usize::MAX, &mut spare)?;
                let mut tail = buf.get(..got).unwrap_or_default();
                let mut to = at + done;
                while !tail.is_empty() {
                    let n = self.write_at(to, tail)?;
                    to += n as u64;
                    tail = tail.get(n..).unwrap_or_default();
                }
            }
            done += got as u64;
            let asked = progress(got as u64);
            if got < size {
                return Ok(done);
            }
            if asked == ControlFlow::Break(()) {
                collect(&mut ctx, usize::MAX, &mut spare)?;
                return Err(Error::Cancelled);
            }
            size = CHUNK;
        }
    }
}

/// The first request: small files should not cost large buffers.
const FIRST: usize = 64 << 10;

fn collect(ctx: &mut IoContext, min: usize, spare: &mut Vec<AlignedBuf>) -> Result<()> {
    let mut events = Vec::new();
    ctx.wait(min.min(ctx.outstanding()), &mut events);
    for event in events {
        event.result?;
        spare.extend(event.buf);
    }
    Ok(())
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut dyn Read, buf: &mut [u8]) -> Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match source.read(buf.get_mut(got..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                return Err(Error::Source {
                    source: Arc::new(e),
                });
            }
        }
    }
    Ok(got)
}
