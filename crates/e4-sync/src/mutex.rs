//! A mutex with a place in the lock order. See [`crate::rank`].

use crate::backend;
use crate::rank::{Entry, Place, Rank};
use std::ops::{Deref, DerefMut};

/// A mutual-exclusion lock of a given [`Rank`].
pub struct Mutex<T: ?Sized> {
    place: Place,
    inner: backend::Mutex<T>,
}

/// Holds a [`Mutex`]; unlocks on drop.
#[must_use = "dropping the guard at once unlocks the mutex"]
pub struct MutexGuard<'a, T: ?Sized> {
    // Field order: unlock first, then forget the rank.
    pub(crate) inner: backend::MutexGuard<'a, T>,
    _entry: Entry,
}

impl<T> Mutex<T> {
    /// A new, unlocked mutex.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new(rank: Rank, value: T) -> Self {
        Mutex {
            place: Place::new(rank),
            inner: backend::Mutex::new(value),
        }
    }

    /// A new, unlocked mutex.
    #[cfg(any(loom, shuttle))]
    pub fn new(rank: Rank, value: T) -> Self {
        Mutex {
            place: Place::new(rank),
            inner: backend::Mutex::new(value),
        }
    }

    /// Consumes the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Blocks until the lock is held. Debug builds panic on an acquisition against the order.
    #[inline]
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.lock_nested(0)
    }

    /// As [`Mutex::lock`], ordered among locks of equal rank by `sub` (the inode number): the
    /// second lock must have the larger one.
    #[inline]
    #[track_caller]
    pub fn lock_nested(&self, sub: u64) -> MutexGuard<'_, T> {
        let entry = self.place.enter(sub);
        MutexGuard {
            inner: self.inner.lock(),
            _entry: entry,
        }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = self.inner.try_lock()?;
        Some(MutexGuard {
            inner,
            _entry: self.place.enter_unchecked(),
        })
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: ?Sized + std::fmt::Debug> std::fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.try_lock() {
            Some(guard) => f.debug_tuple("Mutex").field(&&*guard).finish(),
            None => f.write_str("Mutex(<locked>)"),
        }
    }
}

impl<T: ?Sized + std::fmt::Debug> std::fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}
