//! Asynchronous direct writes.
//!
//! Decisions:
//! - Blocks are allocated at submission, always *unwritten* (rule 6): a crash before the conversion shows
//!   zeros, never what the blocks held before.
//! - A write over written blocks, inside the file, needs neither io_end nor charge (I-53). A failed one
//!   is still recorded with the inode, so that fsync reports it (I-32).
//! - A write that does not cover whole blocks runs alone on its blocks: it completes the edge blocks
//!   (from the device where they are written, with zeros where not) and holds newcomers off until its
//!   data is down (S18, S38).
//! - Before anything here waits, the caller's queued requests are started: nobody can be made to wait
//!   for a request that sits in its own thread's pocket.

use std::ops::Range;

use e4_completion::{Admission, Drain, Intent, Refused, SizeUpdate, Whole};
use e4_device::{AlignedBuf, IoSlice, Op, QueueId, Request, Wait};
use e4_format::{ByteOffset, FileBlock, FsBlock, MapKind};
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;
use smallvec::SmallVec;

use super::charge;
use super::context::{Io, Origin};
use super::converter::Conv;
use super::inflight::{InFlight, Pieces};
use crate::error::{Error, Result};
use crate::extent::{Mapped, Piece, learn_rooms};
use crate::file::File;
use crate::inode::Inode;
use crate::mount::Shared;

/// Where a caller's requests wait to be started.
pub(crate) struct Pocket<'a> {
    pub(crate) queue: QueueId,
    pub(crate) requests: &'a mut Vec<Request>,
}

impl Pocket<'_> {
    pub(crate) fn start(&mut self, shared: &Shared) {
        shared.pump.submit(self.queue, self.requests);
    }
}

/// Bytes of a write, checked against the file's limits.
pub(crate) struct Target {
    pub(crate) at: u64,
    pub(crate) end: u64,
    pub(crate) blocks: Range<u32>,
}

impl Shared {
    /// Checks that a byte range fits a file and names its blocks.
    pub(crate) fn target(&self, at: ByteOffset, len: u64) -> Result<Target> {
        let too_big = || Error::FileTooBig { at, len };
        let end = at.get().checked_add(len).ok_or_else(too_big)?;
        let bs = self.sb.block_size();
        let first = bs.file_block_of(at).ok_or_else(too_big)?.get();
        let last = if len == 0 {
            first
        } else {
            bs.file_block_of(ByteOffset::new(end - 1))
                .ok_or_else(too_big)?
                .get()
                + 1
        };
        Ok(Target {
            at: at.get(),
            end,
            blocks: first..last,
        })
    }

    /// The bytes of a target, rounded out to whole blocks.
    pub(crate) fn whole_blocks(&self, target: &Target) -> Range<u64> {
        let byte = |b: u32| self.sb.block_size().byte_of_file(FileBlock::new(b)).get();
        byte(target.blocks.start)..byte(target.blocks.end)
    }

    /// Reaps what is there; how waiters inside the engine make progress.
    pub(crate) fn drive(&self) -> bool {
        if self.pump.in_flight() == 0 {
            return false;
        }
        self.pump
            .reap_some(self, Wait::For(std::time::Duration::from_millis(1)))
    }

    pub(crate) fn admit(
        &self,
        inode: &Inode,
        bytes: Range<u64>,
        intent: Intent,
        pocket: &mut Pocket<'_>,
    ) -> Result<Admission<Conv>> {
        match self.engine.try_admit(inode, bytes.clone(), intent) {
            Ok(admission) => return Ok(admission),
            Err(Refused::Aborted) => return Err(self.aborted_error()),
            Err(_) => {}
        }
        pocket.start(self);
        self.engine
            .admit_with(inode, bytes, intent, &|| self.drive())
            .map_err(|_| self.aborted_error())
    }
}

impl File {
    /// Begins a write; its request is left in the pocket. Returns the operation.
    pub(crate) fn begin_write(
        &self,
        at: ByteOffset,
        buf: AlignedBuf,
        user_data: u64,
        origin: Origin<'_>,
        pocket: &mut Pocket<'_>,
    ) -> Result<Arc<Io>> {
        let io = origin.io(self, pocket.queue, user_data, buf.len(), self.is_dsync());
        match self.begin_write_io(&io, at, buf, pocket) {
            Ok(()) => Ok(io),
            Err(error) => io.refuse(error),
        }
    }

    fn begin_write_io(
        &self,
        io: &Arc<Io>,
        at: ByteOffset,
        buf: AlignedBuf,
        pocket: &mut Pocket<'_>,
    ) -> Result<()> {
        self.check_may_write(Some(at))?;
        let shared = self.shared();
        let inode = self.inode();
        let len = buf.len();
        let target = shared.target(at, len as u64)?;
        if len == 0 {
            io.return_buf(buf);
            io.finish(Ok(0));
            return Ok(());
        }
        io.set_overlaps(&target.blocks);
        let bs = shared.sb.block_size();
        let aligned = bs.within(at) == 0 && bs.within(ByteOffset::new(target.end)) == 0;
        if aligned {
            let mut buf = buf;
            loop {
                let admission = shared.admit_direct_write(inode, &target, pocket)?;
                match shared.start_write(inode, admission, &target, buf, io, pocket)? {
                    Started::Submitted => break,
                    Started::NeedsZeroOut(back) => {
                        shared.zero_out(inode, target.blocks.clone())?;
                        buf = back;
                    }
                    Started::NeedsFilling(back) => {
                        let written = self.write_holes(&target, &back);
                        io.return_buf(back);
                        io.finish(written.map(|()| len));
                        break;
                    }
                }
            }
        } else {
            pocket.start(shared);
            let result = loop {
                match self.write_unaligned(&target, &buf) {
                    Ok(true) => break Ok(()),
                    Ok(false) => {
                        if let Err(error) = shared.zero_out(inode, target.blocks.clone()) {
                            break Err(error);
                        }
                    }
                    Err(error) => break Err(error),
                }
            };
            io.return_buf(buf);
            io.finish(result.map(|()| len));
        }
        Ok(())
    }

    /// Writes whole blocks, some of them holes of a file without unwritten state: alone on them, and done when it returns.
    fn write_holes(&self, target: &Target, data: &[u8]) -> Result<()> {
        let shared = self.shared();
        let inode = self.inode();
        let guard = shared.engine.drain(
            inode,
            target.at..target.end,
            Drain::Exclusive,
            self.observer(),
            &|| shared.drive(),
        )?;
        let written = shared.write_filling(inode, target.blocks.start, data, target.end);
        drop(guard);
        written
    }

    /// Writes part of a block: alone on its blocks, and done when it returns. False: zeros must take the
    /// place of splits first.
    fn write_unaligned(&self, target: &Target, data: &[u8]) -> Result<bool> {
        let shared = self.shared();
        let inode = self.inode();
        let bs = shared.sb.block_size();
        let first = bs.byte_of_file(FileBlock::new(target.blocks.start)).get();
        let whole = bs.byte_of_file(FileBlock::new(target.blocks.end)).get();
        let guard = loop {
            shared.flush_pages(inode, first..whole)?;
            let guard = shared.engine.drain(
                inode,
                first..whole,
                Drain::Exclusive,
                self.observer(),
                &|| shared.drive(),
            )?;
            if shared.drop_clean_pages(inode.data(), target.blocks.clone()) {
                break guard;
            }
        };
        let mut buf = AlignedBuf::zeroed(usize::try_from(whole - first).unwrap_or(usize::MAX));
        let edges = [target.blocks.start, target.blocks.end - 1];
        for (i, &block) in edges.iter().enumerate() {
            if i == 1 && block == edges[0] {
                break;
            }
            let offset = (block - target.blocks.start) as usize * bs.len();
            if let Some(slot) = buf.get_mut(offset..offset + bs.len()) {
                shared.read_written_block(inode, block, slot)?;
            }
        }
        let skip = usize::try_from(target.at - first).unwrap_or(0);
        if let Some(slot) = buf.get_mut(skip..skip + data.len()) {
            slot.copy_from_slice(data);
        }
        if inode.data().needs_filling(target.blocks.clone())? {
            let written = shared.write_filling(inode, target.blocks.start, &buf, target.end);
            drop(guard);
            return written.map(|()| true);
        }
        let admission = guard
            .admit(first..whole, Intent::Write, &|| shared.drive())
            .map_err(|_| shared.aborted_error())?;
        let mut requests = Vec::new();
        let queue = shared.pump.assign_queue();
        let mut pocket = Pocket {
            queue,
            requests: &mut requests,
        };
        let io = Io::new(
            Arc::clone(shared),
            Arc::clone(inode),
            queue,
            0,
            data.len(),
            false,
            (None, None),
        );
        let blocks = target.blocks.clone();
        let exact = Target {
            at: first,
            end: target.end,
            blocks,
        };
        let started = shared.start_write(inode, admission, &exact, buf, &io, &mut pocket)?;
        match started {
            Started::Submitted => {}
            Started::NeedsZeroOut(_) => return Ok(false),
            // Not on blocks that were found mapped, with everybody held off since.
            Started::NeedsFilling(_) => {
                return Err(Error::Invalid {
                    what: "a block that came unmapped under a write",
                });
            }
        }
        pocket.start(shared);
        shared.pump.wait_until(queue, &**shared, || io.is_done());
        drop(guard);
        io.take_plain().map(|_| true)
    }
}

impl Shared {
    /// Fills `slot` with a block's content if the block is written, else leaves it as it is (zeros).
    /// The caller has shut out everybody else who could write the block. Bytes behind the end of file
    /// come back as zeros: whatever the block holds there must not surface when the file grows.
    pub(crate) fn read_written_block(
        &self,
        inode: &Inode,
        block: u32,
        slot: &mut [u8],
    ) -> Result<()> {
        let state = inode.data();
        let pieces = state.map(&state.core.read(), block..block + 1)?;
        let content = pieces.first().and_then(|p| match p.to {
            Mapped::Written(at) => Some(at),
            Mapped::Unwritten(at) if planted!(PartialBlockNotZeroed) => Some(at),
            _ => None,
        });
        if let Some(at) = content {
            self.device.read_at(self.byte_of(at)?, slot)?;
            let start = self
                .sb
                .block_size()
                .byte_of_file(FileBlock::new(block))
                .get();
            let valid = state.size().saturating_sub(start);
            if let Some(rest) = usize::try_from(valid).ok().and_then(|v| slot.get_mut(v..)) {
                rest.fill(0);
            }
        }
        Ok(())
    }

    /// Admits a direct write of whole blocks, with nothing of them in the page cache.
    fn admit_direct_write(
        &self,
        inode: &Inode,
        target: &Target,
        pocket: &mut Pocket<'_>,
    ) -> Result<Admission<Conv>> {
        let cache = &inode.data().cache;
        loop {
            if cache.is_unclean() {
                pocket.start(self);
                self.flush_pages(inode, target.at..target.end)?;
            }
            let bytes = target.at..target.end;
            let admission = self.admit(inode, bytes, Intent::Write, pocket)?;
            // Whoever writes through the cache from here on comes after, or will be written over: both are orders.
            if self.drop_clean_pages(inode.data(), target.blocks.clone()) {
                return Ok(admission);
            }
        }
    }

    /// First byte of a block on the device.
    pub(crate) fn byte_of(&self, block: FsBlock) -> Result<u64> {
        let byte = self.sb.block_size().byte_of(block);
        byte.map(ByteOffset::get).ok_or(Error::Invalid {
            what: "a block beyond 2^64 bytes",
        })
    }

    /// Maps, allocates, charges and builds the requests of a write of whole blocks.
    pub(crate) fn start_write(
        self: &Arc<Self>,
        inode: &Inode,
        admission: Admission<Conv>,
        target: &Target,
        buf: AlignedBuf,
        io: &Arc<Io>,
        pocket: &mut Pocket<'_>,
    ) -> Result<Started> {
        let state = inode.data();
        let (pieces, unwritten, on_disk) = loop {
            let core = state.core.read();
            let pieces = state.map(&core, target.blocks.clone())?;
            if pieces.iter().any(|p| p.to == Mapped::Hole) {
                let extents = core.disk.map_kind() == MapKind::Extents;
                drop(core);
                if !extents {
                    pocket.start(self);
                    drop(admission);
                    return Ok(Started::NeedsFilling(buf));
                }
                pocket.start(self);
                self.fill_holes(inode, target.blocks.clone())?;
                continue;
            }
            let unwritten = pieces
                .iter()
                .filter(|p| matches!(p.to, Mapped::Unwritten(_)))
                .count();
            let unwritten = u32::try_from(unwritten).unwrap_or(u32::MAX);
            if unwritten == 0 {
                break (pieces, 0, core.disk.size);
            }
            match state.charge_for(&core, unwritten)? {
                Ok(()) => break (pieces, unwritten, core.disk.size),
                Err(why) => {
                    if why == charge::Refused::Credits && learn_rooms(state, &core)? {
                        continue;
                    }
                    drop(core);
                    pocket.start(self);
                    // Everybody records; what was charged for it comes back. Nobody needs it durable here.
                    self.drive();
                    if why == charge::Refused::Credits && self.meta.wait_for_record() {
                        continue;
                    }
                    self.meta.commit_all()?;
                    if why == charge::Refused::Space {
                        let core = state.core.read();
                        if state.charge_for(&core, unwritten)?.is_err() {
                            // Others' blocks of the same extents must be drained for that: not while
                            // we are admitted ourselves.
                            drop(admission);
                            return Ok(Started::NeedsZeroOut(buf));
                        }
                        state.charge.dropped(self, unwritten);
                    }
                }
            }
        };
        // The size readers see may be ahead already: the page cache moves it when it is written to.
        let extends = target.end > on_disk.min(state.size());
        if unwritten == 0 && !extends {
            self.stats.overwrites.fetch_add(1, Ordering::Relaxed);
            self.submit_overwrite(admission, &pieces, buf, io, pocket)?;
            return Ok(Started::Submitted);
        }
        io.charged.store(unwritten, Ordering::Relaxed);
        if planted!(PublishBeforeData) {
            self.publish_too_early(inode, &pieces);
        }
        self.stats.io_ends.fetch_add(1, Ordering::Relaxed);
        let size = extends.then_some(SizeUpdate {
            end: target.end,
            generation: 0,
        });
        self.submit_converting(admission, &pieces, buf, io, size, pocket)?;
        Ok(Started::Submitted)
    }

    /// The mistake of a planted bug; no caller without it.
    fn publish_too_early(&self, inode: &Inode, pieces: &[Piece]) {
        let publisher = self.epoch.enter();
        for piece in pieces {
            let overlay = &inode.data().overlay;
            overlay.publish(piece.blocks.clone(), publisher.parity());
        }
        self.list_unrecorded(inode);
    }

    fn submit_overwrite(
        &self,
        admission: Admission<Conv>,
        pieces: &[Piece],
        buf: AlignedBuf,
        io: &Arc<Io>,
        pocket: &mut Pocket<'_>,
    ) -> Result<()> {
        let transfers = self.transfers(pieces)?;
        if let [one] = transfers.as_slice() {
            let what = InFlight::Overwrite {
                admission,
                io: Arc::clone(io),
            };
            let token = self.pump.register(pocket.queue, what);
            pocket.requests.push(Request {
                token,
                op: Op::Write {
                    at: one.at,
                    data: IoSlice::Owned(buf),
                },
            });
            return Ok(());
        }
        let whole = Pieces::new(Arc::clone(io), admission, transfers.len(), None, 0, 0);
        let buf = Arc::new(buf);
        for t in transfers {
            let what = InFlight::Piece {
                whole: Arc::clone(&whole),
                at: t.offset,
            };
            let token = self.pump.register(pocket.queue, what);
            let data = IoSlice::Shared {
                buf: Arc::clone(&buf),
                start: t.offset,
                len: t.len,
            };
            pocket.requests.push(Request {
                token,
                op: Op::Write { at: t.at, data },
            });
        }
        Ok(())
    }

    fn submit_converting(
        &self,
        admission: Admission<Conv>,
        pieces: &[Piece],
        buf: AlignedBuf,
        io: &Arc<Io>,
        size: Option<SizeUpdate>,
        pocket: &mut Pocket<'_>,
    ) -> Result<()> {
        let transfers = self.transfers(pieces)?;
        let unwritten = || {
            pieces
                .iter()
                .filter(|p| matches!(p.to, Mapped::Unwritten(_)))
        };
        if let ([one], [piece]) = (transfers.as_slice(), pieces) {
            let blocks = match piece.to {
                Mapped::Unwritten(_) => piece.blocks.clone(),
                _ => 0..0,
            };
            let request = admission.submit_whole(Whole {
                io: Arc::clone(io),
                blocks,
                size,
            });
            let what = InFlight::Convert {
                request,
                io: Arc::clone(io),
            };
            let token = self.pump.register(pocket.queue, what);
            pocket.requests.push(Request {
                token,
                op: Op::Write {
                    at: one.at,
                    data: IoSlice::Owned(buf),
                },
            });
            return Ok(());
        }
        let mut io_end = admission.begin(Arc::clone(io));
        for piece in unwritten() {
            io_end.convert(piece.blocks.clone());
        }
        if let Some(size) = size {
            io_end.update_size(size);
        }
        let buf = Arc::new(buf);
        for t in transfers {
            let request = io_end.add_request();
            let what = InFlight::Convert {
                request,
                io: Arc::clone(io),
            };
            let token = self.pump.register(pocket.queue, what);
            let data = IoSlice::Shared {
                buf: Arc::clone(&buf),
                start: t.offset,
                len: t.len,
            };
            pocket.requests.push(Request {
                token,
                op: Op::Write { at: t.at, data },
            });
        }
        // Every request is in the pocket before the submitter lets go, so none can complete first.
        drop(buf);
        io_end.submitted();
        Ok(())
    }

    /// Merges physically contiguous pieces into device transfers, whatever their state.
    pub(crate) fn transfers(&self, pieces: &[Piece]) -> Result<SmallVec<[Transfer; 2]>> {
        let bs = self.sb.block_size();
        let mut out: SmallVec<[Transfer; 2]> = SmallVec::new();
        let start = pieces.first().map_or(0, |p| p.blocks.start);
        for piece in pieces {
            let Some(at) = piece.physical() else { continue };
            let at = self.byte_of(at)?;
            let offset = (piece.blocks.start - start) as usize * bs.len();
            let len = piece.len() as usize * bs.len();
            match out.last_mut() {
                Some(last)
                    if last.at + last.len as u64 == at && last.offset + last.len == offset =>
                {
                    last.len += len;
                }
                _ => out.push(Transfer { at, offset, len }),
            }
        }
        Ok(out)
    }
}

/// What became of [`Shared::start_write`].
pub(crate) enum Started {
    /// Its requests are in the pocket.
    Submitted,
    /// There is no space for splitting extents: [`Shared::zero_out`] first. The admission is given back.
    NeedsZeroOut(AlignedBuf),
    /// Holes of a file without unwritten state: [`Shared::write_filling`] writes them. The admission is given back.
    NeedsFilling(AlignedBuf),
}

/// One contiguous transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    /// Device byte.
    pub(crate) at: u64,
    /// Byte in the operation's buffer, counted from its first block.
    pub(crate) offset: usize,
    pub(crate) len: usize,
}
