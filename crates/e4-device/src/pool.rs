//! Page-aligned memory and its free lists.
//!
//! Decisions: a fresh mapping costs a system call, a page fault and a kernel memset per page, several
//! times what a 4 KiB write to RAM costs, so freed memory is kept in size classes (powers of two).
//! A buffer is usually freed by another thread than the one that allocated it (submitter and
//! reaper), so the lists are not thread-local: there are a few shards, each thread has a home, and an
//! empty home takes a handful from another shard.
//!
//! Invariants: memory on a list is initialised (it was born zeroed), so handing it out again is
//! sound, if not blank. A shard keeps at most 16 MiB. The locks are leaves of the lock
//! order: buffers may be created and dropped under any lock.
//!
//! Under the model checkers nothing is kept: their locks must not outlive one execution.

use e4_sync::atomic::{AtomicUsize, Ordering};
#[cfg(not(any(loom, shuttle)))]
use e4_sync::{Mutex, Rank};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Alignment of every buffer, bytes. Covers every direct-I/O rule we know of.
pub(crate) const ALIGNMENT: usize = 4096;
/// The largest capacity that is kept for reuse, bytes.
const LARGEST_KEPT: usize = 16 << 20;
/// Initialised memory, aligned to [`ALIGNMENT`], owned.
pub(crate) struct Pages {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: `Pages` owns its memory exclusively, like a `Box<[u8]>`; nothing about it is tied to a thread.
unsafe impl Send for Pages {}
// SAFETY: a shared reference only allows reading, see `slice`.
unsafe impl Sync for Pages {}

impl Pages {
    fn layout(capacity: usize) -> Layout {
        // Cannot fail: callers round a length that already exists in memory, far below isize::MAX.
        match Layout::from_size_align(capacity, ALIGNMENT) {
            Ok(layout) if capacity > 0 => layout,
            _ => unreachable!("capacity {capacity} of a buffer"),
        }
    }

    fn zeroed(capacity: usize) -> Pages {
        let layout = Self::layout(capacity);
        // SAFETY: `layout` has a size above zero.
        let raw = unsafe { alloc_zeroed(layout) };
        match NonNull::new(raw) {
            Some(start) => Pages { start, capacity },
            None => handle_alloc_error(layout),
        }
    }

    /// The first byte, for the kernel. Stays valid while `self` lives, wherever it is moved.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub(crate) fn slice(&self, len: usize) -> &[u8] {
        assert!(len <= self.capacity);
        // SAFETY: `capacity` initialised bytes belong to `self`, `len` is within, and `&self` keeps writers out.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), len) }
    }

    pub(crate) fn slice_mut(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.capacity);
        // SAFETY: as in `slice`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, freed once.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.capacity)) }
    }
}

/// Memory for `len` > 0 bytes and whether it is known to be all zeros.
pub(crate) fn take(len: usize) -> (Pages, bool) {
    let capacity = len.next_power_of_two().max(ALIGNMENT);
    if capacity > LARGEST_KEPT {
        return (Pages::zeroed(len.next_multiple_of(ALIGNMENT)), true);
    }
    match kept::take(class_of(capacity)) {
        Some(pages) => (pages, false),
        None => (Pages::zeroed(capacity), true),
    }
}

/// Keeps the memory for reuse, or frees it.
pub(crate) fn give(pages: Pages) {
    if pages.capacity <= LARGEST_KEPT {
        kept::give(pages);
    }
}

fn class_of(capacity: usize) -> usize {
    (capacity / ALIGNMENT).ilog2() as usize
}

/// A small number that belongs to this thread, dense and stable.
pub(crate) fn thread_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    std::thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    // A thread that is being torn down has no locals left and gets by with somebody else's number.
    INDEX.try_with(|i| *i).unwrap_or(0)
}

#[cfg(any(loom, shuttle))]
mod kept {
    use super::Pages;
    pub(super) fn take(_class: usize) -> Option<Pages> {
        None
    }
    pub(super) fn give(pages: Pages) {
        drop(pages);
    }
}

#[cfg(not(any(loom, shuttle)))]
mod kept {
    use super::*;

    const CLASSES: usize = (LARGEST_KEPT / ALIGNMENT).ilog2() as usize + 1;
    const SHARDS: usize = 8;
    /// How much one shard keeps, bytes.
    const SHARD_BYTES: usize = 16 << 20;
    /// How many buffers an empty shard takes from another one at a time.
    const STEAL: usize = 16;

    struct Shard {
        lists: [Vec<Pages>; CLASSES],
        bytes: usize,
    }

    /// On its own cache lines: neighbours would otherwise slow each other down.
    #[repr(align(128))]
    struct Padded(Mutex<Shard>);

    static SHARD: [Padded; SHARDS] = [const {
        Padded(Mutex::new(
            Rank::LEAF,
            Shard {
                lists: [const { Vec::new() }; CLASSES],
                bytes: 0,
            },
        ))
    }; SHARDS];

    pub(super) fn take(class: usize) -> Option<Pages> {
        let home = thread_index() % SHARDS;
        if let Some(pages) = SHARD[home].0.lock().pop(class) {
            return Some(pages);
        }
        let (first, rest) = steal(home, class)?;
        if !rest.is_empty() {
            let mut shard = SHARD[home].0.lock();
            rest.into_iter().for_each(|p| shard.push(class, p));
        }
        Some(first)
    }

    pub(super) fn give(pages: Pages) {
        let class = class_of(pages.capacity);
        let mut shard = SHARD[thread_index() % SHARDS].0.lock();
        if shard.bytes + pages.capacity <= SHARD_BYTES {
            shard.push(class, pages);
        } else {
            drop(shard); // freeing may be a system call
            drop(pages);
        }
    }

    /// Up to [`STEAL`] buffers of another shard. Busy shards are passed over.
    fn steal(home: usize, class: usize) -> Option<(Pages, Vec<Pages>)> {
        for step in 1..SHARDS {
            let Some(mut shard) = SHARD[(home + step) % SHARDS].0.try_lock() else {
                continue;
            };
            let Some(first) = shard.pop(class) else {
                continue;
            };
            let keep = shard.lists[class].len().saturating_sub(STEAL - 1);
            let rest = shard.lists[class].split_off(keep);
            shard.bytes -= rest.iter().map(|p| p.capacity).sum::<usize>();
            return Some((first, rest));
        }
        None
    }

    impl Shard {
        fn pop(&mut self, class: usize) -> Option<Pages> {
            let pages = self.lists[class].pop()?;
            self.bytes -= pages.capacity;
            Some(pages)
        }

        fn push(&mut self, class: usize, pages: Pages) {
            self.bytes += pages.capacity;
            self.lists[class].push(pages);
        }
    }
}
