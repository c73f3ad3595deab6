//! Buffered reads.
//!
//! What is cached is copied under the map's lock, together with a look at the size: never a byte behind the size it was
//! read under (S35). What is not is read from the device in one request, with read-ahead, by the same code as a direct read;
//! the caller gets its bytes from what was read, whether or not that may be cached (no room, or somebody changed the blocks
//! meanwhile).

use std::ops::Range;

use e4_device::AlignedBuf;
use e4_format::{ByteOffset, FileBlock};
use e4_sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::error::Result;
use crate::file::File;

/// First read-ahead window, bytes.
const WINDOW_MIN: usize = 64 << 10;
/// Largest one.
const WINDOW_MAX: usize = 1 << 20;

/// How one open file is read.
#[derive(Default)]
pub(crate) struct ReadAhead {
    /// Where what was read ahead ends: who asks for it next reads sequentially.
    next: AtomicU64,
    window: AtomicUsize,
}

impl ReadAhead {
    /// Bytes to read from `at` on, where `wanted` are asked for.
    fn plan(&self, at: u64, wanted: usize) -> usize {
        // Two readers of one handle may confuse each other's windows; nothing but speed depends on them.
        let sequential = at == self.next.load(Ordering::Relaxed);
        let window = match sequential {
            true => self.window.load(Ordering::Relaxed) * 2,
            false => 0,
        };
        let window = match sequential {
            true => window.clamp(WINDOW_MIN, WINDOW_MAX),
            false => 0,
        };
        self.window.store(window, Ordering::Relaxed);
        wanted.max(window)
    }

    fn read_to(&self, end: u64) {
        self.next.store(end, Ordering::Relaxed);
    }
}

impl File {
    /// Reads up to `out.len()` bytes from byte `at` through the page cache; fewer only at end of file. Sees whatever was
    /// written before, buffered or direct.
    ///
    /// # Errors
    /// What kept it from being read.
    pub fn read_buffered(&self, at: u64, out: &mut [u8]) -> Result<usize> {
        self.check_regular()?;
        if !self.inode().data().extent_mapped {
            return self.read_at(at, out);
        }
        let mut done = 0;
        while let Some(rest) = out.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let from = at.saturating_add(done as u64);
            let n = match self.copy_cached(from, rest) {
                Some(n) => n,
                None => self.fill(from, rest)?,
            };
            if n == 0 {
                break;
            }
            done += n;
        }
        Ok(done)
    }

    /// Copies what is cached from `at` on; 0 at end of file, `None` if the first byte is not cached.
    fn copy_cached(&self, at: u64, out: &mut [u8]) -> Option<usize> {
        let state = self.inode().data();
        let bs = self.shared().sb.block_size();
        let map = state.cache.read();
        let left = usize::try_from(state.size().saturating_sub(at)).unwrap_or(usize::MAX);
        let want = out.len().min(left);
        let Some(mut block) = bs.file_block_of(ByteOffset::new(at)).map(FileBlock::get) else {
            return Some(0);
        };
        let mut within = bs.within(ByteOffset::new(at)) as usize;
        let mut done = 0;
        while done < want {
            let Some(page) = map.get(block) else { break };
            let n = (bs.len() - within).min(want - done);
            let (to, from) = (out.get_mut(done..done + n)?, page.get(within..within + n)?);
            to.copy_from_slice(from);
            done += n;
            (block, within) = (block + 1, 0);
        }
        (done > 0 || want == 0).then_some(done)
    }

    /// Reads from the device what is not cached from `at` on, and hands the caller its part.
    fn fill(&self, at: u64, out: &mut [u8]) -> Result<usize> {
        let (shared, state) = (self.shared(), self.inode().data());
        let bs = shared.sb.block_size();
        let size = state.size();
        let first = at / bs.len() as u64;
        let ahead = self.ahead().plan(at, out.len());
        let most = ahead.min(shared.cache.portion().max(bs.len()));
        let end = at.saturating_add(most as u64).min(size);
        let last = bs.blocks_for(end).max(first + 1);
        let (Ok(first), Ok(last)) = (u32::try_from(first), u32::try_from(last)) else {
            return Ok(0);
        };
        let room = shared.cache.try_room((last - first) as usize * bs.len());
        let (blocks, id) = {
            let mut map = state.cache.write();
            // Up to the next page that is there.
            let last = map.first_in(first + 1..last).unwrap_or(last);
            (first..last, map.begin_fill(first..last))
        };
        let start = bs.byte_of_file(FileBlock::new(first)).get();
        let buf = AlignedBuf::recycled(blocks.len() * bs.len());
        let (result, buf) = self.read_below(start, buf).wait();
        let valid = match &result {
            Ok(n) => *n,
            Err(_) => 0,
        };
        let held =
            blocks.start..blocks.start + u32::try_from(valid.div_ceil(bs.len())).unwrap_or(0);
        {
            let mut map = state.cache.write();
            let fresh = map.end_fill(id);
            let mut added = 0;
            if let (true, Some(mut room), Some(buf)) = (fresh, room, buf.as_deref()) {
                for (block, data) in held.zip(buf.chunks_exact(bs.len())) {
                    added += usize::from(map.insert_clean(block, data));
                }
                room.used(added);
            }
            drop(map);
            if added > 0 {
                shared.cache.put_on_clock(self.inode());
            }
        }
        result?;
        shared
            .stats
            .pages_read
            .fetch_add(blocks.len() as u64, Ordering::Relaxed);
        self.ahead().read_to(start + valid as u64);
        Ok(part(
            buf.as_deref().unwrap_or(&[]),
            start..start + valid as u64,
            at,
            out,
        ))
    }
}

/// Copies what `out` wants from `at` on from `bytes`, which lie at `lies`.
fn part(bytes: &[u8], lies: Range<u64>, at: u64, out: &mut [u8]) -> usize {
    let skip = usize::try_from(at - lies.start).unwrap_or(usize::MAX);
    let valid = usize::try_from(lies.end - lies.start).unwrap_or(usize::MAX);
    let from = bytes.get(skip..valid).unwrap_or(&[]);
    let n = from.len().min(out.len());
    if let (Some(to), Some(from)) = (out.get_mut(..n), from.get(..n)) {
        to.copy_from_slice(from);
    }
    n
}
