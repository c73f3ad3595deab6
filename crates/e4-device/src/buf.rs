//! Owned, aligned buffers. PLACEHOLDER layout without `unsafe`: replaced by real 4096-byte alignment.

/// Owned bytes aligned to 4096.
#[derive(Debug)]
pub struct AlignedBuf {
    bytes: Box<[u8]>,
}

impl AlignedBuf {
    /// A zeroed buffer of `len` bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self { bytes: vec![0; len].into_boxed_slice() }
    }
}

impl core::ops::Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl core::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

/// The bytes of a write: a whole buffer, or part of one shared by several requests.
#[derive(Debug)]
pub enum IoSlice {
    /// The whole buffer.
    Owned(AlignedBuf),
    /// `len` bytes from `start` of a buffer that several requests share.
    Shared {
        /// The buffer.
        buf: std::sync::Arc<AlignedBuf>,
        /// First byte.
        start: usize,
        /// Bytes.
        len: usize,
    },
}

impl core::ops::Deref for IoSlice {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(buf) => buf,
            Self::Shared { buf, start, len } => &buf[*start..*start + *len],
        }
    }
}
