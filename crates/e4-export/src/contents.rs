//! Data and holes of files, read with several requests in flight.

use core::ops::Range;
use std::collections::VecDeque;

use e4::{Ack, AlignedBuf, File, Node, OpenFlags};
use e4_format::ExtentState;

use crate::Meter;
use crate::error::{ExportError, at};

/// Bytes per request.
const CHUNK: u64 = 1 << 20;
/// Requests in flight.
const WINDOW: usize = 4;

/// The parts of a file below its size that hold written data, joined where they touch; the rest reads as zeros.
///
/// # Errors
/// The image's.
pub fn data_ranges(file: &File) -> e4::Result<Vec<Range<u64>>> {
    let stat = file.stat();
    let block = u64::from(stat.block_size);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    if stat.size == 0 {
        return Ok(ranges);
    }
    for extent in file.extents()? {
        if extent.state != ExtentState::Written {
            continue;
        }
        let start = u64::from(extent.block.get()) * block;
        let end = (u64::from(extent.end()) * block).min(stat.size);
        match ranges.last_mut() {
            Some(last) if last.end == start && start < end => last.end = end,
            _ if start < end => ranges.push(start..end),
            _ => {}
        }
    }
    Ok(ranges)
}

pub(crate) fn open(path: &[u8], node: &Node) -> Result<File, ExportError> {
    node.open(OpenFlags::read()).map_err(at(path))
}

fn chunks(ranges: &[Range<u64>]) -> impl Iterator<Item = (u64, usize)> {
    ranges.iter().flat_map(|range| {
        let end = range.end;
        let starts = (range.start..end).step_by(CHUNK as usize);
        starts.map(move |at| (at, (end - at).min(CHUNK) as usize))
    })
}

/// Takes bytes and their offset in the file.
pub(crate) type Sink<'s> = &'s mut dyn FnMut(u64, &[u8]) -> Result<(), ExportError>;

/// Begins a read of whole blocks, of which the caller wants the first `len` bytes.
fn begin(file: &File, at: u64, len: usize) -> Ack {
    file.read(at, AlignedBuf::recycled(len.next_multiple_of(4096)))
}

/// Bytes of a finished read; fewer than wanted means that the file's blocks do not hold what its size says.
fn finish(path: &[u8], ack: Ack, len: usize) -> Result<AlignedBuf, ExportError> {
    let (result, buf) = ack.wait();
    let got = result.map_err(at(path))?;
    let mut buf = buf.unwrap_or_else(|| AlignedBuf::zeroed(len));
    if let Some(rest) = buf.get_mut(got..) {
        rest.fill(0);
    }
    Ok(buf)
}

/// Feeds the bytes of `ranges` (ascending) to `sink`, which is told their offset.
pub(crate) fn read(
    path: &[u8],
    file: &File,
    ranges: &[Range<u64>],
    meter: &mut Meter<'_>,
    sink: Sink<'_>,
) -> Result<(), ExportError> {
    let mut left = chunks(ranges);
    let mut flying: VecDeque<(u64, usize, Ack)> = VecDeque::new();
    loop {
        while flying.len() < WINDOW {
            let Some((at, len)) = left.next() else { break };
            flying.push_back((at, len, begin(file, at, len)));
        }
        let Some((at, len, ack)) = flying.pop_front() else {
            return Ok(());
        };
        let buf = finish(path, ack, len)?;
        meter.bytes(len)?;
        sink(at, buf.get(..len).unwrap_or_default())?;
    }
}

/// True if two files of one size hold the same; what is a hole in both is not read.
pub(crate) fn same(
    path: &[u8],
    (a, b): (&File, &File),
    meter: &mut Meter<'_>,
) -> Result<bool, ExportError> {
    let ranges = union(
        &data_ranges(a).map_err(at(path))?,
        &data_ranges(b).map_err(at(path))?,
    );
    let mut left = chunks(&ranges);
    let mut flying: VecDeque<(usize, Ack, Ack)> = VecDeque::new();
    loop {
        while flying.len() < WINDOW {
            let Some((at, len)) = left.next() else { break };
            flying.push_back((len, begin(a, at, len), begin(b, at, len)));
        }
        let Some((len, one, two)) = flying.pop_front() else {
            return Ok(true);
        };
        let (one, two) = (finish(path, one, len)?, finish(path, two, len)?);
        meter.bytes(2 * len)?;
        if one.get(..len) != two.get(..len) {
            return Ok(false);
        }
    }
}

/// What is in one or the other, both ascending.
fn union(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = a.iter().chain(b).cloned().collect();
    all.sort_unstable_by_key(|r| r.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in all {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::union;

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "ranges are the elements")]
    fn unions() {
        assert_eq!(union(&[0..4, 8..12], &[2..6, 12..20]), [0..6, 8..20]);
        assert_eq!(union(&[], &[1..2]), [1..2]);
    }
}
