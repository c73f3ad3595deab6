//! A reader-writer lock with a place in the lock order. See [`crate::rank`]. Not recursive: a
//! second `read` by the same thread is refused by the order, since a waiting writer in between
//! would make it a deadlock.

use crate::backend;
use crate::rank::{Entry, Place, Rank};
use std::ops::{Deref, DerefMut};

/// A reader-writer lock of a given [`Rank`].
pub struct RwLock<T> {
    place: Place,
    inner: backend::RwLock<T>,
}

/// Holds an [`RwLock`] shared.
#[must_use = "dropping the guard at once unlocks"]
pub struct RwLockReadGuard<'a, T> {
    inner: backend::RwLockReadGuard<'a, T>,
    _entry: Entry,
}

/// Holds an [`RwLock`] exclusively.
#[must_use = "dropping the guard at once unlocks"]
pub struct RwLockWriteGuard<'a, T> {
    inner: backend::RwLockWriteGuard<'a, T>,
    _entry: Entry,
}

impl<T> RwLock<T> {
    /// A new, unlocked lock.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new(rank: Rank, value: T) -> Self {
        RwLock {
            place: Place::new(rank),
            inner: backend::RwLock::new(value),
        }
    }

    /// A new, unlocked lock.
    #[cfg(any(loom, shuttle))]
    pub fn new(rank: Rank, value: T) -> Self {
        RwLock {
            place: Place::new(rank),
            inner: backend::RwLock::new(value),
        }
    }

    /// Consumes the lock.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }

    /// Blocks until the lock is held shared.
    #[inline]
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.read_nested(0)
    }

    /// As [`RwLock::read`], ordered among locks of equal rank by `sub`.
    #[inline]
    #[track_caller]
    pub fn read_nested(&self, sub: u64) -> RwLockReadGuard<'_, T> {
        let entry = self.place.enter(sub);
        RwLockReadGuard {
            inner: self.inner.read(),
            _entry: entry,
        }
    }

    /// Blocks until the lock is held exclusively.
    #[inline]
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.write_nested(0)
    }

    /// As [`RwLock::write`], ordered among locks of equal rank by `sub`.
    #[inline]
    #[track_caller]
    pub fn write_nested(&self, sub: u64) -> RwLockWriteGuard<'_, T> {
        let entry = self.place.enter(sub);
        RwLockWriteGuard {
            inner: self.inner.write(),
            _entry: entry,
        }
    }

    /// Takes the lock shared if that needs no waiting.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        let inner = self.inner.try_read()?;
        Some(RwLockReadGuard {
            inner,
            _entry: self.place.enter_unchecked(),
        })
    }

    /// Takes the lock exclusively if it is free.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        let inner = self.inner.try_write()?;
        Some(RwLockWriteGuard {
            inner,
            _entry: self.place.enter_unchecked(),
        })
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

impl<T: std::fmt::Debug> std::fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.try_read() {
            Some(guard) => f.debug_tuple("RwLock").field(&&*guard).finish(),
            None => f.write_str("RwLock(<locked>)"),
        }
    }
}
