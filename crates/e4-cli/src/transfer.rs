//! Copying whole files out of an image, several large requests in flight. (Into one: `e4::File::copy_from`.)
//!
//! Decision: chunks are handed to the sink in order, so that a pipe can be fed; the window is what
//! bounds the memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;

use anyhow::Result;
use e4::{AlignedBuf, File, Filesystem, IoEvent};
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
