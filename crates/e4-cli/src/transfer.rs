//! Copying whole files out of and into an image, several large requests in flight.
//!
//! Decision: chunks are handed to the sink in order, so that a pipe can be fed; the window is what
//! bounds the memory.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::ops::Range;

use anyhow::Result;
use e4::{AlignedBuf, File, Filesystem, IoContext, IoEvent};
use e4_format::ExtentState;

/// Bytes per request.
const CHUNK: usize = 1 << 20;
/// Requests in flight.
const WINDOW: usize = 8;

/// Feeds the bytes of `ranges` (ascending) to `sink`, which is told their offset.
///
/// # Errors
/// The image's, or the sink's.
pub fn copy_out<S>(fs: &Filesystem, file: &File, ranges: &[Range<u64>], mut sink: S) -> Result<()>
where
    S: FnMut(u64, &[u8]) -> io::Result<()>,
{
    let mut ctx = fs.io_context();
    let mut chunks = ranges.iter().flat_map(chunks_of).peekable();
    let mut order: VecDeque<(u64, usize)> = VecDeque::new();
    let mut arrived: BTreeMap<u64, IoEvent> = BTreeMap::new();
    let mut events = Vec::new();
    loop {
        while order.len() < WINDOW {
            let Some((at, len)) = chunks.next() else {
                break;
            };
            ctx.read(file, at, AlignedBuf::recycled(CHUNK), at)?;
            order.push_back((at, len));
        }
        let Some(&(at, len)) = order.front() else {
            return Ok(());
        };
        let Some(event) = arrived.remove(&at) else {
            ctx.wait(1, &mut events);
            arrived.extend(events.drain(..).map(|e| (e.user_data, e)));
            continue;
        };
        order.pop_front();
        let got = event.result?.min(len);
        if let Some(buf) = &event.buf {
            sink(at, &buf[..got.min(buf.len())])?;
        }
    }
}

fn chunks_of(range: &Range<u64>) -> impl Iterator<Item = (u64, usize)> + use<> {
    let Range { start, end } = *range;
    (start..end).step_by(CHUNK).map(move |at| {
        let len = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
        (at, len)
    })
}

/// The written parts of a file below its size; the rest reads as zeros.
///
/// # Errors
/// The image's.
pub fn written_ranges(file: &File, block_size: u32) -> Result<Vec<Range<u64>>> {
    let (size, bs) = (file.size(), u64::from(block_size));
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for extent in file.extents()? {
        if extent.state != ExtentState::Written {
            continue;
        }
        let start = u64::from(extent.block.get()) * bs;
        let end = (u64::from(extent.end()) * bs).min(size);
        match ranges.last_mut() {
            Some(last) if last.end == start && start < end => last.end = end,
            _ if start < end => ranges.push(start..end),
            _ => {}
        }
    }
    Ok(ranges)
}

/// Writes everything `source` has into the file from offset 0; returns the number of bytes. `progress`
/// hears how many bytes each step added.
///
/// # Errors
/// The source's, or the image's.
pub fn copy_in<R, P>(fs: &Filesystem, file: &File, source: &mut R, mut progress: P) -> Result<u64>
where
    R: Read,
    P: FnMut(u64),
{
    let mut ctx = fs.io_context();
    let mut at = 0u64;
    let mut spare: Vec<AlignedBuf> = Vec::new();
    loop {
        let mut buf = match spare.pop() {
            Some(buf) => buf,
            None if ctx.outstanding() < WINDOW => AlignedBuf::recycled(CHUNK),
            None => {
                collect(&mut ctx, 1, &mut spare)?;
                continue;
            }
        };
        let got = fill(source, &mut buf)?;
        if got == CHUNK {
            ctx.write(file, at, buf, at)?;
            ctx.submit();
        } else {
            collect(&mut ctx, usize::MAX, &mut spare)?;
            write_tail(file, at, &buf[..got])?;
        }
        at += got as u64;
        progress(got as u64);
        if got < CHUNK {
            return Ok(at);
        }
    }
}

fn write_tail(file: &File, mut at: u64, mut data: &[u8]) -> Result<()> {
    while !data.is_empty() {
        let n = file.write_at(at, data)?;
        at += n as u64;
        data = data.get(n..).unwrap_or_default();
    }
    Ok(())
}

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
fn fill<R: Read>(source: &mut R, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while got < buf.len() {
        match source.read(&mut buf[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
