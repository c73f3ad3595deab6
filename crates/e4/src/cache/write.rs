//! Buffered writes.
//!
//! Order: room in the cache (which may write back others' pages; nothing is locked yet), the inode's I/O lock, space for
//! holes, the old content of blocks written in part, then everything at once under the map's lock: bytes, dirt,
//! reservations, size. The old content is read with newcomers held off the block, so that no direct write of other bytes of
//! it can be lost in between.

use std::ops::Range;

use e4_completion::{Drain, DrainGuard};
use e4_format::{ByteOffset, FileBlock};
use e4_planted::planted;
use smallvec::SmallVec;

use super::budget::Room;
use super::reserve::Reservation;
use crate::data::converter::Conv;
use crate::data::sync::What;
use crate::data::write::Target;
use crate::error::{Error, Result};
use crate::file::File;
use crate::mount::Shared;

/// Where a write begins.
#[derive(Clone, Copy)]
enum Place {
    At(u64),
    /// At the end of file, wherever that is by then.
    End,
}

/// A block written in part, and what it holds.
type Base = (u32, Option<Box<[u8]>>);
type Bases = SmallVec<[Base; 2]>;

impl File {
    /// Writes `data` at byte `at` into the page cache. Readers see it when this returns; it reaches the image with
    /// [`File::fsync`], with age or under pressure, at [`crate::Filesystem::sync`] or unmount. A file opened with `dsync`: when
    /// it is durable. Large writes are made in portions, between which others may write.
    ///
    /// # Errors
    /// No space: fewer bytes than asked for, or none, were written; what keeps a block written in part from being read.
    /// Failures of writing back come from [`File::fsync`], once for each open file.
    pub fn write_buffered(&self, at: u64, data: &[u8]) -> Result<usize> {
        self.check_may_write(Some(ByteOffset::new(at)))?;
        if !self.inode().data().extent_mapped {
            return self.write_at(at, data);
        }
        self.shared()
            .target(ByteOffset::new(at), data.len() as u64)?;
        self.write_portions(Place::At(at), data)
    }

    /// As [`File::write_buffered`], at the end of file. Appenders do not overwrite each other.
    ///
    /// # Errors
    /// As [`File::write_buffered`].
    pub fn append(&self, data: &[u8]) -> Result<usize> {
        self.check_may_write(Some(ByteOffset::new(u64::MAX)))?;
        if !self.inode().data().extent_mapped {
            // Appenders take turns by the lock.
            let state = self.inode().data();
            let _turn = state.io.lock();
            return self.write_at(state.size(), data);
        }
        self.write_portions(Place::End, data)
    }

    fn write_portions(&self, place: Place, data: &[u8]) -> Result<usize> {
        let (shared, state) = (self.shared(), self.inode().data());
        let block = shared.cache.block;
        let portion = shared.cache.portion();
        let mut done = 0;
        let mut ended = Ok(());
        let mut touched: Option<Range<u64>> = None;
        while done < data.len() {
            let part = data
                .get(done..data.len().min(done + portion))
                .unwrap_or(&[]);
            let room = shared.room_to_write((part.len() / block + 2) * block)?;
            let turn = state.io.lock();
            let at = match place {
                Place::At(at) => at + done as u64,
                Place::End => state.size(),
            };
            let written = self.write_part(at, part, room);
            drop(turn);
            match written {
                Ok(()) => {
                    let end = at + part.len() as u64;
                    touched = Some(touched.map_or(at..end, |t| t.start..end));
                    done += part.len();
                }
                // Not as many at once, but perhaps some.
                Err(Error::NoSpace { .. }) if part.len() > block => {
                    match self.write_blockwise(place, done, part)? {
                        0 => {
                            ended = written;
                            break;
                        }
                        n => {
                            let end = at + n as u64;
                            touched = Some(touched.map_or(at..end, |t| t.start..end));
                            done += n;
                        }
                    }
                }
                Err(error) => {
                    ended = Err(error);
                    break;
                }
            }
        }
        shared.ring_if_pressed();
        if done == 0 {
            ended?;
        }
        if let Some(bytes) = touched
            && self.is_dsync()
        {
            shared.flush_pages(self.inode(), bytes)?;
            shared.make_durable(self.inode(), What::Data)?;
        }
        Ok(done)
    }

    /// As much of a portion as there is space for, block by block.
    fn write_blockwise(&self, place: Place, before: usize, part: &[u8]) -> Result<usize> {
        let (shared, state) = (self.shared(), self.inode().data());
        let block = shared.cache.block;
        let mut done = 0;
        while done < part.len() {
            let room = shared.room_to_write(2 * block)?;
            let turn = state.io.lock();
            let at = match place {
                Place::At(at) => at + (before + done) as u64,
                Place::End => state.size(),
            };
            let left = block - (at % block as u64) as usize;
            let piece = part.get(done..part.len().min(done + left)).unwrap_or(&[]);
            let written = self.write_part(at, piece, room);
            drop(turn);
            match written {
                Ok(()) => done += piece.len(),
                Err(Error::NoSpace { .. }) => break,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Writes one portion. The inode's I/O lock is held.
    fn write_part(&self, at: u64, data: &[u8], mut room: Room<'_>) -> Result<()> {
        let (shared, inode) = (self.shared(), self.inode());
        let state = inode.data();
        let target = shared.target(ByteOffset::new(at), data.len() as u64)?;
        if data.is_empty() {
            return Ok(());
        }
        let mut reservation = Some(shared.reserve(inode, target.blocks.clone())?);
        self.settle_old_end(&target)?;
        loop {
            let (bases, guard) = self.bases(&target)?;
            let applied = self.apply(&target, data, bases, &mut reservation, &mut room);
            drop(guard);
            if applied {
                break;
            }
        }
        state.note_written();
        shared.cache.put_on_clock(inode);
        shared.cache.list_dirty(inode);
        Ok(())
    }

    /// A write behind the end of file makes the rest of the old last block readable: what the device has there must be
    /// zeros, as the page has.
    fn settle_old_end(&self, target: &Target) -> Result<()> {
        let (shared, inode) = (self.shared(), self.inode());
        let bs = shared.sb.block_size();
        let old = inode.data().size();
        let Some(tail) = bs.file_block_of(ByteOffset::new(old)).map(FileBlock::get) else {
            return Ok(());
        };
        if bs.within(ByteOffset::new(old)) == 0 || tail >= target.blocks.start {
            return Ok(());
        }
        let _guard = self.hold_off(tail..tail + 1);
        shared.zero_tail(inode, old)
    }

    fn hold_off(&self, blocks: Range<u32>) -> DrainGuard<Conv> {
        let shared = self.shared();
        let bs = shared.sb.block_size();
        let byte = |b: u32| bs.byte_of_file(FileBlock::new(b)).get();
        let bytes = byte(blocks.start)..byte(blocks.end);
        let drive = || shared.drive();
        shared
            .engine
            .hold_off(self.inode(), bytes, Drain::Exclusive, &drive)
    }

    /// The old content of the first and last block, where they are written in part and not cached. Newcomers are held off
    /// them until the guard goes.
    fn bases(&self, target: &Target) -> Result<(Bases, Option<DrainGuard<Conv>>)> {
        let (shared, state) = (self.shared(), self.inode().data());
        let mut bases: Bases = shared
            .partial_blocks(target)
            .into_iter()
            .map(|block| (block, None))
            .collect();
        let missing: SmallVec<[u32; 2]> = {
            let map = state.cache.read();
            let absent = |b: &u32| !map.contains(*b);
            bases.iter().map(|(b, _)| *b).filter(absent).collect()
        };
        let (Some(first), Some(last)) = (missing.first(), missing.last()) else {
            return Ok((bases, None));
        };
        let guard = self.hold_off(*first..*last + 1);
        for (block, base) in &mut bases {
            if missing.contains(block) {
                let mut bytes = vec![0; shared.sb.block_size().len()].into_boxed_slice();
                shared.read_written_block(self.inode(), *block, &mut bytes)?;
                *base = Some(bytes);
            }
        }
        Ok((bases, Some(guard)))
    }

    /// All of it, at once. False if a page that is to be changed in part was evicted meanwhile.
    fn apply(
        &self,
        target: &Target,
        data: &[u8],
        mut bases: Bases,
        reservation: &mut Option<Reservation<'_>>,
        room: &mut Room<'_>,
    ) -> bool {
        let (shared, state) = (self.shared(), self.inode().data());
        let bs = shared.sb.block_size();
        let mut map = state.cache.write();
        if bases
            .iter()
            .any(|(b, base)| base.is_none() && !map.contains(*b))
        {
            return false;
        }
        map.spoil_fills(&target.blocks);
        let (mut added, mut dirtied) = (0, 0);
        let mut within = bs.within(ByteOffset::new(target.at)) as usize;
        let mut rest = data;
        for block in target.blocks.clone() {
            let n = rest.len().min(bs.len() - within);
            let (now, later) = rest.split_at(n);
            let base = bases
                .iter_mut()
                .find(|(b, _)| *b == block)
                .and_then(|(_, base)| base.take());
            let (new, became) = map.write(block, bs.len(), within, now, base);
            added += usize::from(new);
            dirtied += usize::from(became);
            (within, rest) = (0, later);
        }
        if let Some(reservation) = reservation.take() {
            reservation.give_to(&mut map);
        }
        state.grow(target.end);
        if planted!(SizeBeforeData) {
            let publisher = shared.epoch.enter();
            state.publish_end(target.end, publisher.parity());
            shared.list_unrecorded(self.inode());
        }
        // Under the lock: from then on others may count these pages out again.
        shared.cache.became_dirty(dirtied);
        drop(map);
        room.used(added);
        true
    }
}

impl Shared {
    /// The blocks of a write that it does not cover.
    fn partial_blocks(&self, target: &Target) -> SmallVec<[u32; 2]> {
        let bs = self.sb.block_size();
        let mut blocks = SmallVec::new();
        let (first, last) = (target.blocks.start, target.blocks.end - 1);
        let head = bs.within(ByteOffset::new(target.at)) != 0;
        let tail = bs.within(ByteOffset::new(target.end)) != 0;
        if head {
            blocks.push(first);
        }
        if tail && !(head && first == last) {
            blocks.push(last);
        }
        blocks
    }
}
