//! The converter: the engine's port, implemented by the filesystem. One of the two joints of the data
//! path (the other is the reaper, `inflight`).
//!
//! *Publish* makes a completed range readable: bits in the inode's overlay, the visible size, the
//! inode on the list of those with something to record. No lock above rank 80 is needed for it, so it runs in
//! the completing context and nobody hops to a worker. *Record* is in `record`.

use e4_completion::{Batch, Converter, InodeIo};
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use super::context::Io;
use crate::error::{Error, Sticky};
use crate::inode::InodeState;

/// The filesystem as the engine sees it. Everything it needs travels with the io_end.
pub(crate) struct Conv;

impl Converter for Conv {
    type Io = Arc<Io>;
    type Inode = InodeState;
    type Error = Sticky;

    fn publish(&self, inode: &InodeIo<Self>, batch: &mut Batch<'_, Self>) {
        let state = inode.data();
        let shared = &state.shared;
        // While this exists, a commit that has flipped the epoch waits: what is set below belongs to
        // exactly one epoch, and is on the list before the commit looks (rule 1, commit-all).
        let publisher = shared.epoch.enter();
        let parity = publisher.parity();
        let (mut segments, mut blocks, mut charged) = (0_u32, 0_u64, 0_u32);
        let mut published = None;
        let mut timed = false;
        let mut overlay = state.overlay.publisher(parity);
        batch.for_each(|conversion| {
            for range in conversion.segments.iter() {
                let range = if planted!(PublishAcrossGaps) {
                    range.start.saturating_sub(1)..range.end + 1
                } else {
                    range
                };
                blocks += u64::from(range.end - range.start);
                overlay.publish(range);
                segments += 1;
            }
            // Not the segments: neighbouring extents were charged one by one and are published as one range.
            charged += conversion.io.charged.load(Ordering::Relaxed);
            timed |= !conversion.io.writeback;
            if let Some(size) = conversion.size {
                state.publish_end(size.end, parity);
            }
            if published.is_none() {
                published = Some(Arc::clone(conversion.io.inode()));
            }
            Ok(())
        });
        drop(overlay);
        // After the bits, and before the publisher lets the commit go on.
        if let Some(inode) = published {
            shared.list_unrecorded(&inode);
        }
        if timed {
            state.note_written();
        }
        drop(publisher);
        state.charge.published(charged);
        shared
            .stats
            .conversions
            .fetch_add(u64::from(segments), Ordering::Relaxed);
        shared
            .stats
            .blocks_published
            .fetch_add(blocks, Ordering::Relaxed);
        shared.arm_commit_timer();
    }

    fn acknowledge(&self, inode: &InodeIo<Self>, io: Arc<Io>, outcome: Result<(), Sticky>) {
        if outcome.is_err() && !planted!(LeakCharge) {
            let state = inode.data();
            state
                .charge
                .dropped(&state.shared, io.charged.load(Ordering::Relaxed));
        }
        let len = io.len;
        io.finish(outcome.map(|()| len).map_err(Error::from));
    }

    fn abandoned(&self) -> Sticky {
        Error::Closed.into()
    }
}
