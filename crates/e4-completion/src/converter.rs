//! The engine's port: what the filesystem implements, and what it is handed.

use crate::inode::InodeIo;
use crate::machine::{Class, Item};
use crate::segments::Segments;
use std::ops::Range;

/// Implemented by the filesystem. All methods are called with no engine lock held, from whichever
/// thread drained the inode's list: a reaper, a worker, or a caller of barrier, drain or admit.
///
/// Inside them a debug build refuses to take any lock of a rank up to the transaction handle's, to
/// open a handle, or to wait for a completion: whoever waits for us may hold those.
pub trait Converter: Send + Sync + Sized + 'static {
    /// What the submitter wants back at acknowledgement (buffer, waker, result cell). Opaque.
    type Io: Send + 'static;
    /// The filesystem's own part of an inode. Dropped with the last handle of the inode, possibly
    /// by a completing context: its `Drop` must only free memory.
    type Inode: Send + Sync + 'static;
    /// What goes wrong.
    type Error: Clone + Send + Sync + 'static;

    /// Publish half of the conversion: make the completed block ranges readable as written, and
    /// apply size updates. Must not block on transactions or completions. An item that cannot be
    /// published is failed with [`Batch::fail`]; the others go on (I-34).
    fn publish(&self, inode: &InodeIo<Self>, batch: &mut Batch<'_, Self>);

    /// Deliver. Called exactly once for each io_end, after publish, when a read by anyone already
    /// sees the data (I-27). May run user code (wakers) but must not wait.
    fn acknowledge(&self, inode: &InodeIo<Self>, io: Self::Io, outcome: Result<(), Self::Error>);

    /// The error of a request whose reference was dropped without an outcome.
    fn abandoned(&self) -> Self::Error;
}

/// A file-size change that takes effect with the conversion. Opaque to the engine.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SizeUpdate {
    /// New end of file in bytes, if the file is still shorter.
    pub end: u64,
    /// Size generation at submission: a truncate in between makes the update void.
    pub generation: u64,
}

/// What the submitter leaves for whoever drains.
pub(crate) struct Body<C: Converter> {
    pub(crate) io: C::Io,
    pub(crate) segments: Segments,
    pub(crate) size: Option<SizeUpdate>,
}

pub(crate) type EngineItem<C> = Item<Body<C>, <C as Converter>::Error>;

/// One drainer's private list. One item in place, because that is the common case.
pub(crate) struct Private<C: Converter> {
    first: Option<EngineItem<C>>,
    rest: Vec<EngineItem<C>>,
}

impl<C: Converter> Private<C> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Private {
            first: None,
            rest: Vec::new(),
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, item: EngineItem<C>) {
        if self.first.is_none() {
            self.first = Some(item);
        } else {
            self.rest.push(item);
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &EngineItem<C>> {
        self.first.iter().chain(&self.rest)
    }

    #[inline]
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut EngineItem<C>> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    fn get_mut(&mut self, index: usize) -> Option<&mut EngineItem<C>> {
        match index.checked_sub(1) {
            None => self.first.as_mut(),
            Some(i) => self.rest.get_mut(i),
        }
    }
}

/// The io_ends to publish together: all of one inode, in ticket order.
pub struct Batch<'a, C: Converter> {
    pub(crate) items: &'a mut Private<C>,
}

/// One io_end to publish.
pub struct Conversion<'a, C: Converter> {
    /// Names the item in [`Batch::fail`].
    pub index: usize,
    /// Per-inode number of the io_end.
    pub id: u64,
    /// Its place in the order of completion.
    pub ticket: u64,
    /// The admitted byte range.
    pub bytes: Range<u64>,
    /// File blocks that were unwritten at submission.
    pub segments: &'a Segments,
    /// The size update it carries.
    pub size: Option<SizeUpdate>,
    /// What the submitter left.
    pub io: &'a C::Io,
}

impl<C: Converter> Batch<'_, C> {
    /// The io_ends to publish.
    pub fn iter(&self) -> impl Iterator<Item = Conversion<'_, C>> {
        let numbered = self.items.iter().enumerate();
        numbered
            .filter(|(_, item)| item.class == Class::Convert)
            .filter_map(|(index, item)| {
                let body = item.payload.as_ref()?;
                Some(Conversion {
                    index,
                    id: item.id,
                    ticket: item.ticket,
                    bytes: item.range.clone(),
                    segments: &body.segments,
                    size: body.size,
                    io: &body.io,
                })
            })
    }

    /// Says that an item could not be published. The first error of an item stays.
    pub fn fail(&mut self, index: usize, error: C::Error) {
        if let Some(item) = self.items.get_mut(index)
            && item.error.is_none()
        {
            item.error = Some(error);
        }
    }

    /// Publishes each item with `f`, failing those for which it fails.
    pub fn for_each(&mut self, mut f: impl FnMut(Conversion<'_, C>) -> Result<(), C::Error>) {
        for index in 0..self.items.len() {
            let Some(item) = self.items.get_mut(index) else {
                return;
            };
            if item.class != Class::Convert || item.error.is_some() {
                continue;
            }
            let Some(body) = item.payload.as_ref() else {
                continue;
            };
            let conversion = Conversion {
                index,
                id: item.id,
                ticket: item.ticket,
                bytes: item.range.clone(),
                segments: &body.segments,
                size: body.size,
                io: &body.io,
            };
            item.error = f(conversion).err();
        }
    }
}
