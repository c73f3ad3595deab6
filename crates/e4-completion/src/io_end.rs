//! The submitter's handles. Each is consumed by the step that ends it, so the order admitted,
//! begun, submitted, done cannot be violated, and each owns its inode (I-39).
//!
//! ```text
//!   Admission --drop-------------------------------> over        (read, overwrite)
//!       | begin                       | submit_whole
//!       v                             v
//!     IoEnd --add_request--> RequestRef --request_done--> (last one: classify)
//!       | submitted             (one per device request)
//!       v
//!     gone: the engine owns the io_end
//! ```
//!
//! A handle that is dropped instead of consumed cannot leak a slot: an unsubmitted io_end without
//! requests just ends, one with requests fails with [`Converter::abandoned`], and so does a lost
//! request reference.

use crate::converter::{Body, Converter, SizeUpdate};
use crate::inode::InodeIo;
use crate::machine::{Event, Intent, Outcome};
use crate::segments::Segments;
use e4_sync::Arc;
use std::ops::Range;

/// The right to do I/O on a byte range; counted, so that a drain waits for it. Drop it when the
/// I/O of a read or an overwrite is over.
#[must_use = "dropping the admission ends it"]
pub struct Admission<C: Converter> {
    /// Present until consumed.
    inode: Option<Arc<InodeIo<C>>>,
    slot: u32,
    intent: Intent,
    bytes: Range<u64>,
}

/// A whole single-request write, for [`Admission::submit_whole`].
pub struct Whole<C: Converter> {
    /// Returned at acknowledgement.
    pub io: C::Io,
    /// Unwritten file blocks to publish; empty if none.
    pub blocks: Range<u32>,
    /// The size update carried, if any.
    pub size: Option<SizeUpdate>,
}

impl<C: Converter> Admission<C> {
    pub(crate) fn new(
        inode: Arc<InodeIo<C>>,
        slot: u32,
        intent: Intent,
        bytes: Range<u64>,
    ) -> Self {
        Admission {
            inode: Some(inode),
            slot,
            intent,
            bytes,
        }
    }

    /// The inode admitted to.
    pub fn inode(&self) -> &Arc<InodeIo<C>> {
        owner(&self.inode)
    }

    /// The admitted bytes.
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Makes it an io_end: the write owes a conversion, a size update or an acknowledgement. Only
    /// for [`Intent::Write`].
    pub fn begin(mut self, io: C::Io) -> IoEnd<C> {
        debug_assert_eq!(self.intent, Intent::Write);
        let inode = take(&mut self.inode);
        let stamp = inode.shared.clock.stamp();
        let id = match inode.feed(Event::Begin {
            slot: self.slot,
            stamp,
        }) {
            Outcome::Begun(id) => id,
            _ => 0,
        };
        tracing::trace!(target: "e4::io_end", inode = inode.key().0, io_end = id, stage = "begun");
        IoEnd {
            inode: Some(inode),
            slot: self.slot,
            id,
            requests: 0,
            error: None,
            body: Some(Body {
                io,
                segments: Segments::new(),
                size: None,
            }),
        }
    }

    /// Begins and submits a write that needs exactly one device request, in one critical section.
    /// The submitter's reference becomes the request's: hand the request to the device, or
    /// complete the reference with the error that prevented it.
    #[inline]
    pub fn submit_whole(mut self, whole: Whole<C>) -> RequestRef<C> {
        debug_assert_eq!(self.intent, Intent::Write);
        let inode = take(&mut self.inode);
        let stamp = inode.shared.clock.stamp();
        let segments = Segments::one(whole.blocks);
        let owed = !segments.is_empty() || whole.size.is_some();
        let payload = Body {
            io: whole.io,
            segments,
            size: whole.size,
        };
        let id = match inode.feed(Event::SubmittedWhole {
            slot: self.slot,
            payload,
            owed,
            stamp,
        }) {
            Outcome::Begun(id) => id,
            _ => 0,
        };
        tracing::trace!(
            target: "e4::io_end", inode = inode.key().0, io_end = id, stage = "submitted"
        );
        RequestRef {
            inode: Some(inode),
            slot: self.slot,
            id,
        }
    }
}

impl<C: Converter> Drop for Admission<C> {
    fn drop(&mut self) {
        if let Some(inode) = self.inode.take() {
            inode.feed(Event::Release(self.slot));
            if self.intent == Intent::Write {
                inode.shared.gate.leave(1);
            }
        }
    }
}

/// An io_end whose submitter still adds to it. Holds the first reference (I-38).
#[must_use = "an io_end that is not submitted ends at once"]
pub struct IoEnd<C: Converter> {
    /// Present until submitted.
    inode: Option<Arc<InodeIo<C>>>,
    slot: u32,
    id: u64,
    requests: u32,
    error: Option<C::Error>,
    body: Option<Body<C>>,
}

impl<C: Converter> IoEnd<C> {
    /// Its number within the inode, as in dumps and sync points.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its inode.
    pub fn inode(&self) -> &Arc<InodeIo<C>> {
        owner(&self.inode)
    }

    /// Adds unwritten file blocks that this write fills. Empty ranges are ignored.
    pub fn convert(&mut self, blocks: Range<u32>) {
        if let Some(body) = &mut self.body {
            body.segments.push(blocks);
        }
    }

    /// Sets the size update that takes effect with the conversion.
    pub fn update_size(&mut self, size: SizeUpdate) {
        if let Some(body) = &mut self.body {
            body.size = Some(size);
        }
    }

    /// Adds one device request. The reference must end in `request_done`.
    pub fn add_request(&mut self) -> RequestRef<C> {
        let inode = Arc::clone(owner(&self.inode));
        inode.feed(Event::AddRequest(self.slot));
        self.requests += 1;
        RequestRef {
            inode: Some(inode),
            slot: self.slot,
            id: self.id,
        }
    }

    /// Makes the whole io_end fail whatever its requests answer: something could not be submitted.
    pub fn fail(&mut self, error: C::Error) {
        self.error.get_or_insert(error);
    }

    /// The submitter lets go: everything is submitted. If every request is done already, the
    /// completion runs here.
    pub fn submitted(mut self) {
        self.let_go(true);
    }

    /// Gives up before any request was added and returns what was to be delivered.
    ///
    /// # Errors
    /// The io_end itself, if it has requests: then only the device can end it.
    pub fn cancel(mut self) -> Result<C::Io, Self> {
        if self.requests > 0 {
            return Err(self);
        }
        match self.body.take() {
            Some(body) => Ok(body.io),
            None => Err(self),
        }
    }

    fn let_go(&mut self, inline: bool) {
        let Some(inode) = self.inode.take() else {
            return;
        };
        let Some(payload) = self.body.take() else {
            inode.feed(Event::Release(self.slot));
            inode.shared.gate.leave(1);
            return;
        };
        let owed = !payload.segments.is_empty() || payload.size.is_some();
        let stamp = inode.shared.clock.stamp();
        tracing::trace!(
            target: "e4::io_end", inode = inode.key().0, io_end = self.id, stage = "submitted"
        );
        let event = Event::Submitted {
            slot: self.slot,
            payload,
            owed,
            error: self.error.take(),
            inline,
            stamp,
        };
        crate::complete::take_in(&inode, std::iter::once(event), inline);
    }
}

impl<C: Converter> Drop for IoEnd<C> {
    fn drop(&mut self) {
        let Some(inode) = &self.inode else {
            return;
        };
        if self.requests == 0 {
            self.body = None;
        } else {
            let error = inode.shared.converter.abandoned();
            self.error.get_or_insert(error);
        }
        self.let_go(false);
    }
}

/// One device request of one io_end. Consumed by [`crate::Engine::request_done`].
#[must_use = "a dropped request reference fails its io_end"]
pub struct RequestRef<C: Converter> {
    /// Present until done.
    pub(crate) inode: Option<Arc<InodeIo<C>>>,
    pub(crate) slot: u32,
    pub(crate) id: u64,
}

impl<C: Converter> RequestRef<C> {
    /// The io_end's number within its inode.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The io_end's inode.
    pub fn inode(&self) -> &Arc<InodeIo<C>> {
        owner(&self.inode)
    }

    /// Dissolves the reference into what the completion needs.
    #[inline]
    pub(crate) fn into_parts(mut self) -> (Arc<InodeIo<C>>, u32, u64) {
        (take(&mut self.inode), self.slot, self.id)
    }
}

impl<C: Converter> Drop for RequestRef<C> {
    fn drop(&mut self) {
        if let Some(inode) = self.inode.take() {
            let error = Some(inode.shared.converter.abandoned());
            let stamp = inode.shared.clock.stamp();
            let event = Event::RequestDone {
                slot: self.slot,
                error,
                inline: false,
                stamp,
            };
            crate::complete::take_in(&inode, std::iter::once(event), false);
        }
    }
}

/// The handles lose their inode only by being consumed.
fn owner<C: Converter>(inode: &Option<Arc<InodeIo<C>>>) -> &Arc<InodeIo<C>> {
    match inode {
        Some(inode) => inode,
        None => unreachable!("a consumed handle is never used again"),
    }
}

#[inline]
fn take<C: Converter>(inode: &mut Option<Arc<InodeIo<C>>>) -> Arc<InodeIo<C>> {
    match inode.take() {
        Some(inode) => inode,
        None => unreachable!("a consumed handle is never used again"),
    }
}
