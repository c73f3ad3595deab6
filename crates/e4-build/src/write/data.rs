//! Copying contents: chunks of neighbouring blocks, read and written by several threads.
//!
//! Decisions:
//! - A chunk is what lies together in the image, up to some megabytes: one write, however many files it holds.
//! - Threads take chunks in order, so that sources are read and the image is written front to back.
//! - Each piece's CRC-32C is computed while its bytes are warm; a file's is combined from its pieces, so that it does
//!   not depend on where chunks end.

use super::{OnProgress, Writer, checksum};
use crate::Progress;
use crate::error::BuildError;
use crate::layout::Layout;
use crate::source::Reader;
use crate::tree::Kind;
use e4_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use e4_sync::thread;
use std::ops::Range;

/// Bytes of a chunk: small enough to stay in a processor's cache until it is written.
const CHUNK: u64 = 1 << 20;

/// Neighbouring bytes of one file.
#[derive(Clone, Copy, Debug)]
struct Piece {
    node: u32,
    /// Byte of the file.
    from: u64,
    /// Bytes of the file; what is missing to whole blocks is zeros.
    len: u64,
    /// Byte of the image.
    at: u64,
}

/// All pieces in order of the image, and where chunks of them begin.
#[derive(Debug, Default)]
struct Work {
    pieces: Vec<Piece>,
    chunks: Vec<Range<usize>>,
    bytes: u64,
}

fn plan(writer: &Writer<'_>) -> Work {
    let layout: &Layout = &writer.layout;
    let block = u64::from(layout.draft.superblock().block_size().bytes());
    let mut work = Work::default();
    for (node, placed) in writer.nodes().into_iter().zip(&layout.placed) {
        let size = match writer.tree.node(node).map(|n| &n.kind) {
            Some(Kind::File(content)) => content.size,
            Some(Kind::Symlink(target)) => target.len() as u64,
            _ => continue,
        };
        for extent in layout.extents_of(placed) {
            let from = u64::from(extent.block.get()) * block;
            let end = (from + u64::from(extent.len) * block).min(size);
            let mut piece = from;
            let mut at = extent.start.get() * block;
            while piece < end {
                let len = (end - piece).min(CHUNK);
                let from = piece;
                work.pieces.push(Piece {
                    node,
                    from,
                    len,
                    at,
                });
                work.bytes += len;
                piece += len;
                at += len;
            }
        }
    }
    let mut start = 0;
    let padded = |p: &Piece| p.len.next_multiple_of(block);
    let mut end = 0;
    for (i, piece) in work.pieces.iter().enumerate() {
        let begin = work.pieces.get(start).map_or(0, |p| p.at);
        if i > start && (piece.at != end || piece.at + padded(piece) - begin > CHUNK) {
            work.chunks.push(start..i);
            start = i;
        }
        end = piece.at + padded(piece);
    }
    if start < work.pieces.len() {
        work.chunks.push(start..work.pieces.len());
    }
    work
}

/// What the threads share.
struct Shared<'a> {
    writer: &'a Writer<'a>,
    work: &'a Work,
    next: AtomicUsize,
    done: AtomicU64,
    stop: AtomicBool,
}

/// Checksums of pieces, by piece.
type Sums = Vec<(usize, u32)>;

/// Copies everything; returns what identifies the contents: the checksum of each file, in order.
pub(super) fn copy(
    writer: &Writer<'_>,
    progress: &mut OnProgress<'_>,
) -> Result<Vec<u8>, BuildError> {
    let work = plan(writer);
    let shared = Shared {
        writer,
        work: &work,
        next: AtomicUsize::new(0),
        done: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let helpers = writer
        .options
        .threads
        .clamp(1, 64)
        .min(work.chunks.len().max(1))
        - 1;
    let total = work.bytes;
    let (mut results, own) = thread::scope(|scope| {
        let handles: Vec<_> = (0..helpers)
            .map(|_| scope.spawn(|| shared.run(&mut |_| true)))
            .collect();
        // The caller's thread works as well, and is the one that talks to the caller.
        let own = shared.run(&mut |done| {
            let now = Progress {
                done,
                total,
                files: work.pieces.len() as u64,
            };
            progress(now).is_continue()
        });
        let joined = |h: thread::ScopedJoinHandle<'_, _>| match h.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        (handles.into_iter().map(joined).collect::<Vec<_>>(), own)
    });
    results.push(own);
    let mut sums = vec![0; work.pieces.len()];
    // A thread that was only told to stop reports less than the one that failed.
    let mut failure: Option<BuildError> = None;
    for result in results {
        match result {
            Ok(list) => {
                for (piece, sum) in list {
                    if let Some(to) = sums.get_mut(piece) {
                        *to = sum;
                    }
                }
            }
            Err(e) => failure = Some(failure.unwrap_or(e)),
        }
    }
    if let Some(e) = failure {
        return Err(e);
    }
    if shared.stop.load(Ordering::Relaxed) {
        return Err(BuildError::Cancelled);
    }
    Ok(combine(&work.pieces, &sums))
}

/// Per file: where its pieces begin, how long they are, and their joined checksum.
fn combine(pieces: &[Piece], sums: &[u32]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut last: Option<(Piece, u32)> = None;
    let mut put = |(piece, sum): (Piece, u32)| {
        all.extend(piece.from.to_le_bytes());
        all.extend(piece.len.to_le_bytes());
        all.extend(sum.to_le_bytes());
    };
    for (piece, sum) in pieces.iter().zip(sums) {
        match &mut last {
            // Logically adjacent: one range, wherever its blocks lie.
            Some((p, s)) if p.node == piece.node && p.from + p.len == piece.from => {
                *s = crc32c::crc32c_combine(*s, *sum, usize::try_from(piece.len).unwrap_or(0));
                p.len += piece.len;
            }
            _ => {
                if let Some(done) = last.replace((*piece, *sum)) {
                    put(done);
                }
            }
        }
    }
    last.into_iter().for_each(put);
    all
}

impl Shared<'_> {
    /// Takes chunks until there are none; `tell` is given the bytes done and says whether to go on.
    fn run(&self, tell: &mut dyn FnMut(u64) -> bool) -> Result<Sums, BuildError> {
        let result = self.chunks(tell);
        if result.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        result
    }

    fn chunks(&self, tell: &mut dyn FnMut(u64) -> bool) -> Result<Sums, BuildError> {
        let block = self.writer.layout.draft.superblock().block_size().len();
        let mut reader = Reader::new(self.writer.sources);
        let mut buffer = vec![0; usize::try_from(CHUNK).unwrap_or(0) + block];
        let mut sums = Sums::new();
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = self.work.chunks.get(n) else {
                break;
            };
            let pieces = self.work.pieces.get(chunk.clone()).unwrap_or_default();
            let mut used = 0;
            let mut bytes = 0;
            for (piece, i) in pieces.iter().zip(chunk.start..) {
                let len = usize::try_from(piece.len).unwrap_or(0);
                let padded = len.next_multiple_of(block);
                let place = buffer.get_mut(used..used + padded).unwrap_or_default();
                let (data, tail) = place.split_at_mut(len.min(padded));
                self.read(&mut reader, piece, data)?;
                tail.fill(0);
                sums.push((i, checksum(data)));
                used += padded;
                bytes += piece.len;
            }
            if let Some(first) = pieces.first() {
                let whole = buffer.get(..used).unwrap_or_default();
                self.writer.device.write_at(first.at, whole)?;
            }
            let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            if !tell(done) {
                self.stop.store(true, Ordering::Relaxed);
            }
        }
        Ok(sums)
    }

    fn read(
        &self,
        reader: &mut Reader<'_>,
        piece: &Piece,
        to: &mut [u8],
    ) -> Result<(), BuildError> {
        match self.writer.tree.node(piece.node) {
            Some(node) => match &node.kind {
                Kind::File(content) => reader.read(content, &node.meta, piece.from, to),
                Kind::Symlink(target) => {
                    let from = usize::try_from(piece.from).unwrap_or(usize::MAX);
                    let part = target.get(from..from + to.len()).unwrap_or_default();
                    to.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
                    Ok(())
                }
                _ => Ok(()),
            },
            None => Ok(()),
        }
    }
}
