//! One metadata block in memory.
//!
//! Decisions:
//! - The bytes are a copy-on-write `Arc`. A reader, the committer and the checkpoint list each hold the
//!   version they saw; a writer copies only while somebody else still holds the current version. So nobody
//!   ever waits for the I/O of a commit in order to modify a block, and the checkpoint always has
//!   the *committed* version at hand.
//! - A writer holds the buffer's lock (rank 115) as long as it holds the [`BlockMut`]. [`crate::Handle::modify`]
//!   borrows the handle mutably, so one thread has at most one: no order among buffers is needed.
//! - A buffer that was forgotten is *detached*: taken out of the cache and dead for writers. A block that becomes
//!   metadata again gets a new buffer, so a stale [`Block`] can never reach the new content.
//!
//! Invariant: a [`Block`] is handed out only after its bytes were loaded or created.

use core::ops::{Deref, DerefMut};

use e4_device::{AlignedBuf, Device};
use e4_format::{BlockSize, FsBlock, Tid};
use e4_sync::atomic::{AtomicBool, AtomicU32, Ordering};
use e4_sync::{Arc, Mutex, MutexGuard, Rank};

use crate::error::JournalError;
use crate::options::{Verify, VerifyTag};

/// Not loaded. Any other value is the tag of the last successful verification plus one.
const UNLOADED: u32 = 0;

/// The bytes of a block and what the journal knows about them.
pub(crate) struct BufferState {
    /// Current version; empty until loaded.
    pub(crate) data: Arc<[u8]>,
    /// The transaction that has this buffer on its list. May name a transaction long gone.
    pub(crate) joined: Option<Tid>,
    /// Forgotten: no longer reachable through the cache, refuses writers.
    pub(crate) detached: bool,
}

/// A cached block. Evictable exactly while the cache holds the only reference.
pub(crate) struct Buffer {
    block: FsBlock,
    loaded: AtomicU32,
    referenced: AtomicBool,
    state: Mutex<BufferState>,
}

impl Buffer {
    pub(crate) fn new(block: FsBlock) -> Self {
        Self {
            block,
            loaded: AtomicU32::new(UNLOADED),
            referenced: AtomicBool::new(true),
            state: Mutex::new(
                Rank::META_BUFFER,
                BufferState {
                    data: Arc::from([]),
                    joined: None,
                    detached: false,
                },
            ),
        }
    }

    pub(crate) fn block(&self) -> FsBlock {
        self.block
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock()
    }

    /// For the clock: marks the buffer as used.
    pub(crate) fn touch(&self) {
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }

    /// For the clock: was it used since the hand came by last?
    pub(crate) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }

    /// Loads the block if it is not loaded, and runs the check if it did not pass the last one.
    pub(crate) fn ensure(
        &self,
        device: &dyn Device,
        size: BlockSize,
        verify: &Verify<'_>,
    ) -> Result<(), JournalError> {
        // Acquire pairs with the release below: whoever sees the tag may rely on the bytes under the lock.
        let seen = self.loaded.load(Ordering::Acquire);
        if Self::satisfies(seen, verify.tag) {
            return Ok(());
        }
        e4_sync::may_wait_for_device();
        let mut state = self.state.lock();
        if self.loaded.load(Ordering::Relaxed) == UNLOADED {
            state.data = load(device, size, self.block)?;
            self.set_tag(VerifyTag::NONE);
        }
        if !Self::satisfies(self.loaded.load(Ordering::Relaxed), verify.tag) {
            (verify.check)(self.block, &state.data).map_err(|source| JournalError::Verify {
                block: self.block,
                source,
            })?;
            self.set_tag(verify.tag);
        }
        Ok(())
    }

    fn satisfies(loaded: u32, wanted: VerifyTag) -> bool {
        loaded != UNLOADED && (wanted == VerifyTag::NONE || loaded == u32::from(wanted.raw()) + 1)
    }

    /// Replaces the content by zeros that need no loading.
    pub(crate) fn fill_zero(&self, state: &mut BufferState, size: BlockSize) {
        state.data = zeroed(size);
        self.set_tag(VerifyTag::NONE);
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire) != UNLOADED
    }

    fn set_tag(&self, tag: VerifyTag) {
        self.loaded
            .store(u32::from(tag.raw()) + 1, Ordering::Release);
    }
}

/// Loads adjacent blocks with one read; those loaded meanwhile stay as they are.
pub(crate) fn load_run(
    device: &dyn Device,
    size: BlockSize,
    first: FsBlock,
    buffers: &[Arc<Buffer>],
) {
    e4_sync::may_wait_for_device();
    let mut bytes = AlignedBuf::recycled(buffers.len() * size.len());
    let Some(at) = size.byte_of(first) else {
        return;
    };
    if device.read_at(at.get(), &mut bytes).is_err() {
        return;
    }
    for (buffer, data) in buffers.iter().zip(bytes.chunks_exact(size.len())) {
        let mut state = buffer.lock();
        if !buffer.is_loaded() && !state.detached {
            state.data = Arc::from(data);
            buffer.set_tag(VerifyTag::NONE);
        }
    }
}

fn zeroed(size: BlockSize) -> Arc<[u8]> {
    std::iter::repeat_n(0u8, size.len()).collect()
}

fn load(device: &dyn Device, size: BlockSize, block: FsBlock) -> Result<Arc<[u8]>, JournalError> {
    let at = size
        .byte_of(block)
        .ok_or(JournalError::BlockBeyondDevice { block })?;
    let mut data = zeroed(size);
    device
        .read_at(at.get(), Arc::make_mut(&mut data))
        .map_err(|source| JournalError::Read { block, source })?;
    Ok(data)
}

/// A metadata block in the cache. Cheap to clone; keeps the block from being evicted.
#[derive(Clone)]
pub struct Block {
    pub(crate) buffer: Arc<Buffer>,
}

impl Block {
    /// Which block.
    #[must_use]
    pub fn number(&self) -> FsBlock {
        self.buffer.block
    }

    /// The current content. The snapshot stays as it is whatever happens to the block later; holding it
    /// makes the next writer copy, so drop it soon.
    #[must_use]
    pub fn data(&self) -> BlockData {
        BlockData(Arc::clone(&self.buffer.lock().data))
    }
}

impl core::fmt::Debug for Block {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Block({})", self.buffer.block)
    }
}

/// A snapshot of a block's bytes.
#[derive(Clone)]
pub struct BlockData(pub(crate) Arc<[u8]>);

impl Deref for BlockData {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for BlockData {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl core::fmt::Debug for BlockData {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BlockData({} bytes)", self.0.len())
    }
}

/// Write access to a block that belongs to the handle's transaction. Readers of the block wait while it exists:
/// compute first, then take it, fill in, drop it.
pub struct BlockMut<'a> {
    buffer: &'a Buffer,
    state: MutexGuard<'a, BufferState>,
}

impl<'a> BlockMut<'a> {
    pub(crate) fn new(buffer: &'a Buffer, state: MutexGuard<'a, BufferState>) -> Self {
        Self { buffer, state }
    }

    /// Which block.
    #[must_use]
    pub fn number(&self) -> FsBlock {
        self.buffer.block
    }

    /// Declares the content valid as this kind of block, so that the next reader need not check what
    /// we have just written (its checksum may be stamped later).
    pub fn set_verified(&mut self, tag: VerifyTag) {
        self.buffer.set_tag(tag);
    }
}

impl Deref for BlockMut<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.state.data
    }
}

impl DerefMut for BlockMut<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        // Copies if a reader, the committer or the checkpoint still holds this version. Nobody can take a new
        // reference meanwhile: that needs the lock we hold.
        Arc::make_mut(&mut self.state.data)
    }
}

impl core::fmt::Debug for BlockMut<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "BlockMut({})", self.buffer.block)
    }
}
