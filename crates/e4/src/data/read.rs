//! Asynchronous direct reads: holes and unwritten blocks are zeros (I-1), everything else comes from
//! the device. An admission keeps truncate and punch away until the data has arrived (S12).

use e4_completion::{Admission, Intent};
use e4_device::{AlignedBuf, Op, Request};
use e4_format::{ByteOffset, FileBlock};
use e4_sync::Arc;

use super::context::{Io, Origin};
use super::converter::Conv;
use super::inflight::{InFlight, Pieces};
use super::write::{Pocket, Target};
use crate::error::Result;
use crate::extent::{Mapped, Piece};
use crate::file::File;
use crate::mount::Shared;

impl File {
    /// Begins a read of `buf.len()` bytes; its requests are left in the pocket.
    pub(crate) fn begin_read(
        &self,
        at: ByteOffset,
        buf: AlignedBuf,
        user_data: u64,
        origin: Origin<'_>,
        pocket: &mut Pocket<'_>,
    ) -> Result<Arc<Io>> {
        let io = origin.io(self, pocket.queue, user_data, buf.len(), false);
        // What is dirty in the page cache is not on the device yet.
        let flushed = if self.inode().data().cache.is_unclean() {
            pocket.start(self.shared());
            let end = at.get().saturating_add(buf.len() as u64);
            self.shared().flush_pages(self.inode(), at.get()..end)
        } else {
            Ok(())
        };
        match flushed.and_then(|()| self.begin_read_io(&io, at, buf, pocket)) {
            Ok(()) => Ok(io),
            Err(error) => io.refuse(error),
        }
    }

    /// As [`File::begin_read`], whatever the page cache has: for filling it.
    pub(crate) fn begin_read_below(
        &self,
        at: ByteOffset,
        buf: AlignedBuf,
        pocket: &mut Pocket<'_>,
    ) -> Result<Arc<Io>> {
        let io = Origin::Ack.io(self, pocket.queue, 0, buf.len(), false);
        self.begin_read_io(&io, at, buf, pocket)?;
        Ok(io)
    }

    fn begin_read_io(
        &self,
        io: &Arc<Io>,
        at: ByteOffset,
        buf: AlignedBuf,
        pocket: &mut Pocket<'_>,
    ) -> Result<()> {
        self.check_regular()?;
        let shared = self.shared();
        let inode = self.inode();
        let len = buf.len();
        // Past the largest file there is nothing, which is end of file and no error.
        let wanted = shared.target(at, len as u64);
        let Ok(wanted) = wanted else {
            io.return_buf(buf);
            io.finish(Ok(0));
            return Ok(());
        };
        let admission = shared.admit(
            inode,
            wanted.at..wanted.end.max(wanted.at + 1),
            Intent::Read,
            pocket,
        )?;
        // Looked at under the admission: a truncate cannot change it below us any more.
        //
        // A block-mapped file needs pending conversions flushed before it is read, and no lock of the inode for it. It
        // owes none that a reader could miss: data goes to the device before its pointer enters the map (see
        // `indirect`), and a size that was published is what `size` says. So this is all there is to wait for.
        let end = wanted.end.min(inode.data().size());
        if end <= wanted.at {
            io.return_buf(buf);
            io.finish(Ok(0));
            return Ok(());
        }
        let valid = usize::try_from(end - wanted.at).unwrap_or(len);
        let target = shared.target(at, end - wanted.at)?;
        shared.start_read(admission, &target, buf, valid, io, pocket)
    }
}

impl Shared {
    fn start_read(
        &self,
        admission: Admission<Conv>,
        target: &Target,
        mut buf: AlignedBuf,
        valid: usize,
        io: &Arc<Io>,
        pocket: &mut Pocket<'_>,
    ) -> Result<()> {
        let state = io.inode().data();
        let bs = self.sb.block_size();
        let pieces = state.map(&state.core.read(), target.blocks.clone())?;
        let written: Vec<Piece> = pieces
            .iter()
            .filter(|p| matches!(p.to, Mapped::Written(_)))
            .cloned()
            .collect();
        let skip = bs.within(ByteOffset::new(target.at)) as usize;
        if written.is_empty() {
            buf.fill(0);
            io.return_buf(buf);
            io.finish(Ok(valid));
            return Ok(());
        }
        let blocks = target.blocks.len();
        let start = bs.byte_of_file(FileBlock::new(target.blocks.start)).get();
        let transfers = self.transfers(&written)?;
        let straight = skip == 0 && buf.len() == blocks * bs.len();
        if let ([one], true) = (
            transfers.as_slice(),
            straight && written.len() == pieces.len(),
        ) {
            let what = InFlight::Read {
                admission,
                io: Arc::clone(io),
                valid,
            };
            let token = self.pump.register(pocket.queue, what);
            pocket.requests.push(Request {
                token,
                op: Op::Read { at: one.at, buf },
            });
            return Ok(());
        }
        buf.fill(0);
        let first = written
            .first()
            .map_or(target.blocks.start, |p| p.blocks.start);
        let base =
            usize::try_from(bs.byte_of_file(FileBlock::new(first)).get() - start).unwrap_or(0);
        let whole = Pieces::new(
            Arc::clone(io),
            admission,
            transfers.len(),
            Some(buf),
            skip,
            valid,
        );
        for t in transfers {
            let what = InFlight::Piece {
                whole: Arc::clone(&whole),
                at: base + t.offset,
            };
            let token = self.pump.register(pocket.queue, what);
            let buf = AlignedBuf::recycled(t.len);
            pocket.requests.push(Request {
                token,
                op: Op::Read { at: t.at, buf },
            });
        }
        Ok(())
    }
}
