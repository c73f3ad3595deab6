//! THE lock order: ranks, the per-thread record of held ranks, and the waiting rules.
//!
//! Acquire only upwards. Outermost first:
//!
//! ```text
//!  filesystem gate 10 . rename 20 . inode namespace 30 . inode table 35 . inode I/O 40 .
//!  byte range 50 . dirty data 60 . TRANSACTION HANDLE 70 . extent tree and on-disk size 80 . extent status 85 .
//!  attribute blocks 88 . block group 90 . orphan list 95 . journal state/lists 100/105 . metadata shard/buffer 110/115 . page map 118 .
//!  engine inode/ready list 120/125 . device ring 130 . leaf 200
//! ```
//!
//! The waiting rules are the deadlock proof:
//! - for a *completion, slot or charge* the waiter holds only ranks below 70;
//! - for a *transaction* (start, restart, commit) the waiter holds nothing from 70 up;
//! - for *plain device I/O* any rank but 85.
//!
//! Whoever converts acquires only ranks from 70 up, so it can never wait for a waiter.
//!
//! Invariants: in release builds a rank occupies no memory and costs no instruction. A `try_lock`
//! is recorded but not checked: it cannot wait, so it cannot close a cycle. Two locks of one rank
//! need a sub-order (the inode number), see [`crate::Mutex::lock_nested`].

/// A place in the lock order. Larger is further in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(u16);

macro_rules! ranks {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl Rank {
            $($(#[$doc])* pub const $name: Rank = Rank($value);)*

            /// The name of the rank, for messages.
            pub const fn name(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    _ => "unnamed rank",
                }
            }

            /// Every named rank, outermost first.
            pub const ALL: &'static [Rank] = &[$(Rank($value)),*];
        }
    };
}

ranks! {
    /// Freeze, unmount, remount.
    FILESYSTEM_GATE = 10, "filesystem gate";
    /// One rename across directories at a time.
    RENAME = 20, "rename";
    /// Directory contents and link counts of one inode.
    INODE_NAMESPACE = 30, "inode namespace";
    /// The table of loaded inodes, held while one is loaded.
    INODE_TABLE = 35, "inode table";
    /// The inode I/O lock (size, truncate).
    INODE_IO = 40, "inode I/O";
    /// Byte-range locks of one inode.
    BYTE_RANGE = 50, "byte range";
    /// Dirty data of one inode: the turn of whoever writes it back, or unmaps its blocks.
    DIRTY_DATA = 60, "dirty data";
    /// An open journal handle (a [`Held`] token, not a mutex).
    HANDLE = 70, "transaction handle";
    /// Extent tree and on-disk size of one inode.
    EXTENT_TREE = 80, "extent tree";
    /// Extent status cache of one inode.
    EXTENT_STATUS = 85, "extent status";
    /// Reference counts of shared blocks of extended attributes.
    XATTR_BLOCKS = 88, "attribute blocks";
    /// Allocation state of one block group.
    BLOCK_GROUP = 90, "block group";
    /// The orphan list.
    ORPHAN = 95, "orphan list";
    /// The journal's state word.
    JOURNAL_STATE = 100, "journal state";
    /// The journal's transaction and checkpoint lists.
    JOURNAL_LISTS = 105, "journal lists";
    /// A shard of the metadata cache.
    META_SHARD = 110, "metadata shard";
    /// One metadata buffer.
    META_BUFFER = 115, "metadata buffer";
    /// The cached pages of one inode. Nothing is waited for under it: completions take it.
    PAGE_MAP = 118, "page map";
    /// The engine's per-inode state.
    ENGINE_INODE = 120, "engine inode";
    /// The engine's list of inodes with work.
    ENGINE_READY = 125, "engine ready list";
    /// A device's submission or completion ring.
    DEVICE_RING = 130, "device ring";
    /// Innermost: a lock under which nothing else is ever taken (counters, test doubles).
    LEAF = 200, "leaf";
}

impl Rank {
    /// A rank outside the named ones, for tests of the order itself.
    pub const fn new(value: u16) -> Rank {
        Rank(value)
    }

    /// The numeric place in the order.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Debug for Rank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.0)
    }
}

/// A lock's place, stored in the lock. Occupies nothing in release builds.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    #[cfg(all(debug_assertions, not(loom)))]
    rank: Rank,
}

impl Place {
    #[allow(unused_variables, reason = "stored in debug builds only")]
    pub(crate) const fn new(rank: Rank) -> Place {
        Place {
            #[cfg(all(debug_assertions, not(loom)))]
            rank,
        }
    }

    /// Checks the order and records the acquisition; call before blocking on the lock.
    #[inline]
    #[track_caller]
    #[allow(unused_variables, reason = "used in debug builds only")]
    pub(crate) fn enter(self, sub: u64) -> Entry {
        #[cfg(all(debug_assertions, not(loom)))]
        {
            held::check(self.rank, sub);
            held::push(self.rank, sub)
        }
        #[cfg(not(all(debug_assertions, not(loom))))]
        Entry {}
    }

    /// Records an acquisition by `try_lock`, which cannot wait.
    #[inline]
    pub(crate) fn enter_unchecked(self) -> Entry {
        #[cfg(all(debug_assertions, not(loom)))]
        {
            held::push(self.rank, 0)
        }
        #[cfg(not(all(debug_assertions, not(loom))))]
        Entry {}
    }
}

/// The record of one held rank; dropping it forgets the rank. Not `Send` in effect: it lives in a
/// guard that is not.
pub(crate) struct Entry {
    #[cfg(all(debug_assertions, not(loom)))]
    id: u64,
}

#[cfg(all(debug_assertions, not(loom)))]
impl Drop for Entry {
    fn drop(&mut self) {
        held::pop(self.id);
    }
}

/// A token for something that takes part in the order without being a mutex: a journal handle
/// ([`Rank::HANDLE`]), a byte range ([`Rank::BYTE_RANGE`]). Stays on the thread that took it.
pub struct Held {
    _entry: Entry,
    _not_send: std::marker::PhantomData<*const ()>,
}

impl Held {
    /// Asserts that `rank` may be acquired now and records it until the token is dropped.
    #[inline]
    #[track_caller]
    pub fn acquire(rank: Rank) -> Held {
        Held::acquire_nested(rank, 0)
    }

    /// As [`Held::acquire`], ordered among tokens of the same rank by `sub`.
    #[inline]
    #[track_caller]
    pub fn acquire_nested(rank: Rank, sub: u64) -> Held {
        Held {
            _entry: Place::new(rank).enter(sub),
            _not_send: std::marker::PhantomData,
        }
    }
}

/// Debug builds: panics if this thread holds a rank at or above `rank`.
#[inline]
#[track_caller]
#[allow(unused_variables, reason = "used in debug builds only")]
pub fn assert_no_rank_at_or_above(rank: Rank) {
    #[cfg(all(debug_assertions, not(loom)))]
    if let Some(top) = held::highest() {
        assert!(
            top < rank,
            "waiting rule: {top:?} is held where nothing from {rank:?} up may be"
        );
    }
}

/// First waiting rule: before waiting for a completion, a slot or a charge.
#[inline]
#[track_caller]
pub fn may_wait_for_completion() {
    assert_no_rank_at_or_above(Rank::HANDLE);
}

/// Second waiting rule: before waiting for a transaction (start, restart, commit).
#[inline]
#[track_caller]
pub fn may_wait_for_transaction() {
    assert_no_rank_at_or_above(Rank::HANDLE);
}

/// Third waiting rule: before waiting for plain device I/O (a metadata block).
#[inline]
#[track_caller]
pub fn may_wait_for_device() {
    #[cfg(all(debug_assertions, not(loom)))]
    assert!(
        !held::holds(Rank::EXTENT_STATUS),
        "waiting rule: device I/O under {:?}",
        Rank::EXTENT_STATUS
    );
}

#[cfg(all(debug_assertions, not(loom)))]
mod held {
    //! The ranks this thread holds, in order of acquisition. Guards may be dropped in any order.

    use super::{Entry, Rank};
    use std::cell::RefCell;

    struct Stack {
        next: u64,
        held: Vec<(Rank, u64, u64)>,
    }

    crate::thread_local! {
        static HELD: RefCell<Stack> = const { RefCell::new(Stack { next: 0, held: Vec::new() }) };
    }

    #[track_caller]
    pub(super) fn check(rank: Rank, sub: u64) {
        let worst = HELD.with(|s| {
            let stack = s.borrow();
            let top = stack.held.iter().map(|&(r, s, _)| (r, s)).max();
            top.filter(|&t| t >= (rank, sub))
        });
        if let Some((held, held_sub)) = worst {
            panic!("lock order: {rank:?}/{sub} requested while {held:?}/{held_sub} is held");
        }
    }

    pub(super) fn push(rank: Rank, sub: u64) -> Entry {
        HELD.with(|s| {
            let mut stack = s.borrow_mut();
            let id = stack.next;
            stack.next += 1;
            stack.held.push((rank, sub, id));
            Entry { id }
        })
    }

    pub(super) fn pop(id: u64) {
        // A guard may outlive the thread-local at thread exit; there is nothing left to record then.
        let _ = HELD.try_with(|s| s.borrow_mut().held.retain(|&(_, _, i)| i != id));
    }

    pub(super) fn highest() -> Option<Rank> {
        HELD.with(|s| s.borrow().held.iter().map(|&(r, _, _)| r).max())
    }

    pub(super) fn holds(rank: Rank) -> bool {
        HELD.with(|s| s.borrow().held.iter().any(|&(r, _, _)| r == rank))
    }
}
