//! Owned, page-aligned buffers: the currency of queued requests.
//!
//! Decisions: a buffer moves with its request, so the kernel never writes into memory that somebody
//! has already freed or borrowed. Memory comes from and returns to [`crate::pool`].

use crate::pool::{self, Pages};
use e4_sync::Arc;

/// Owned bytes that begin on a 4096-byte boundary.
pub struct AlignedBuf {
    /// `None` only for an empty buffer.
    pages: Option<Pages>,
    len: usize,
}

impl AlignedBuf {
    /// A zeroed buffer of `len` bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let (mut buf, blank) = Self::take(len);
        if !blank {
            buf.fill(0);
        }
        buf
    }

    /// A buffer of `len` bytes whose contents are unspecified: whatever an earlier buffer of this process left.
    /// For reads and for callers that fill it completely; saves the clearing.
    #[must_use]
    pub fn recycled(len: usize) -> Self {
        Self::take(len).0
    }

    fn take(len: usize) -> (Self, bool) {
        if len == 0 {
            return (Self { pages: None, len }, true);
        }
        let (pages, blank) = pool::take(len);
        let pages = Some(pages);
        (Self { pages, len }, blank)
    }

    /// Shortens the buffer to `len` bytes; no effect if it is not longer.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// The first byte, for the kernel; valid while this buffer (moved or not) lives.
    #[cfg(target_os = "linux")]
    pub(crate) fn start(&self) -> *mut u8 {
        match &self.pages {
            Some(pages) => pages.start(),
            None => core::ptr::null_mut(),
        }
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.take() {
            pool::give(pages);
        }
    }
}

impl From<&[u8]> for AlignedBuf {
    fn from(bytes: &[u8]) -> Self {
        let mut buf = Self::recycled(bytes.len());
        buf.copy_from_slice(bytes);
        buf
    }
}

impl Clone for AlignedBuf {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl core::ops::Deref for AlignedBuf {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.pages {
            Some(pages) => pages.slice(self.len),
            None => &[],
        }
    }
}

impl core::ops::DerefMut for AlignedBuf {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.pages {
            Some(pages) => pages.slice_mut(self.len),
            None => &mut [],
        }
    }
}

impl core::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

/// The bytes of a write: a whole buffer, or part of one shared by several requests.
#[derive(Debug)]
pub enum IoSlice {
    /// The whole buffer.
    Owned(AlignedBuf),
    /// `len` bytes from `start` of a buffer that several requests share. The part must lie inside the
    /// buffer: a request that breaks this panics in the submitter.
    Shared {
        /// The buffer.
        buf: Arc<AlignedBuf>,
        /// First byte; for direct I/O a multiple of the device's alignment.
        start: usize,
        /// Bytes.
        len: usize,
    },
}

impl IoSlice {
    /// The first byte, for the kernel; valid while this slice (moved or not) lives.
    #[cfg(target_os = "linux")]
    pub(crate) fn start(&self) -> *const u8 {
        match self {
            Self::Owned(buf) => buf.start(),
            // Through the slice, so that a part outside the buffer cannot become a pointer.
            Self::Shared { .. } => self.as_ptr(),
        }
    }
}

impl core::ops::Deref for IoSlice {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(buf) => buf,
            Self::Shared { buf, start, len } => &buf[*start..*start + *len],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroed_is_zero_even_when_reused() {
        for len in [1, 512, 4096, 5000, 1 << 20, 20 << 20] {
            for _ in 0..3 {
                let mut buf = AlignedBuf::zeroed(len);
                assert_eq!(buf.len(), len);
                assert_eq!(buf.as_ptr() as usize % 4096, 0);
                assert!(buf.iter().all(|&b| b == 0), "length {len}");
                buf.fill(0xee);
            }
        }
    }

    #[test]
    fn memory_is_reused_on_one_thread() {
        // Other tests share the shards, so look for any reuse instead of one particular address.
        let mut seen = std::collections::HashSet::new();
        let mut reused = 0;
        for _ in 0..100 {
            reused += usize::from(!seen.insert(AlignedBuf::recycled(8192).as_ptr() as usize));
        }
        assert!(
            reused > 50,
            "only {reused} of 100 allocations reused memory"
        );
    }

    #[test]
    fn memory_freed_elsewhere_is_found_again() {
        let addresses: Vec<usize> = e4_sync::thread::spawn(|| {
            let bufs: Vec<_> = (0..64).map(|_| AlignedBuf::recycled(1 << 19)).collect();
            bufs.iter().map(|b| b.as_ptr() as usize).collect()
        })
        .join()
        .expect("thread");
        let mine: Vec<_> = (0..16).map(|_| AlignedBuf::recycled(1 << 19)).collect();
        assert!(
            mine.iter()
                .any(|b| addresses.contains(&(b.as_ptr() as usize)))
        );
    }

    #[test]
    fn empty_and_clone_and_truncate() {
        let empty = AlignedBuf::zeroed(0);
        assert!(empty.is_empty());
        let mut a = AlignedBuf::from(&b"hello"[..]);
        let b = a.clone();
        a[0] = b'j';
        assert_eq!((&a[..], &b[..]), (&b"jello"[..], &b"hello"[..]));
        a.truncate(2);
        assert_eq!(&a[..], b"je");
        a.truncate(9);
        assert_eq!(a.len(), 2);
    }
}
