//! A block device in host memory: sparse, so that a 16 TiB device costs nothing until written.
//!
//! Decisions: the address space is cut into chunks; a chunk exists once something non-trivial was
//! written to it. Chunks live in sharded maps, neighbours in different shards, so that parallel
//! random I/O rarely meets on a lock. Copies happen under the shard's lock: a reader sees each
//! chunk's bytes before or after a write, never half of one (stronger than a disk, and harmless:
//! the simulated disk is where weakness is tested).

use crate::inline::Inline;
use crate::store::{Store, queue_count};
use crate::{Backend, Completion, Device, DeviceError, DeviceInfo, QueueId, Request, Wait};
use e4_sync::{Mutex, Rank};
use hashbrown::HashMap;

/// Large enough that the allocator maps zeroed pages on demand instead of clearing the chunk, bytes.
const CHUNK: u64 = 1 << 20;
const SHARDS: usize = 64;

/// A block device in host memory. Never-written bytes read as zeros; flush does nothing.
pub struct MemoryDevice(Inline<Memory>);

struct Memory {
    info: DeviceInfo,
    shards: Vec<Mutex<HashMap<u64, Box<[u8]>>>>,
}

impl MemoryDevice {
    /// A zeroed device of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self::named(size, "memory")
    }

    /// As [`MemoryDevice::new`], with a name for messages.
    #[must_use]
    pub fn named(size: u64, name: &str) -> Self {
        let info = DeviceInfo {
            size,
            alignment: 1,
            direct: false,
            read_only: false,
            queues: queue_count(),
            backend: Backend::Memory,
            reason: "asked for a device in memory".into(),
            name: name.into(),
        };
        let shards = (0..SHARDS)
            .map(|_| Mutex::new(Rank::LEAF, HashMap::new()))
            .collect();
        Self(Inline::new(Memory { info, shards }))
    }

    /// A device that begins with `bytes` and has their size.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let device = Self::new(bytes.len() as u64);
        device.0.store().fill(0, bytes);
        device
    }

    /// Bytes of host memory in use for contents.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        let shards = &self.0.store().shards;
        shards.iter().map(|s| s.lock().len() as u64 * CHUNK).sum()
    }
}

impl Memory {
    fn shard(&self, chunk: u64) -> &Mutex<HashMap<u64, Box<[u8]>>> {
        &self.shards[(chunk % SHARDS as u64) as usize]
    }

    fn fill(&self, at: u64, mut data: &[u8]) {
        for (chunk, start, len) in pieces(at, data.len()) {
            let (part, rest) = data.split_at(len);
            data = rest;
            let mut shard = self.shard(chunk).lock();
            let bytes = shard
                .entry(chunk)
                .or_insert_with(|| vec![0; CHUNK as usize].into_boxed_slice());
            bytes[start..start + len].copy_from_slice(part);
        }
    }
}

/// Cuts a byte range at chunk borders: (chunk, first byte in it, bytes).
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let mut at = at;
    let mut left = len;
    core::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let (chunk, start) = (at / CHUNK, (at % CHUNK) as usize);
        let part = left.min(CHUNK as usize - start);
        at += part as u64;
        left -= part;
        Some((chunk, start, part))
    })
}

impl Store for Memory {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read(&self, at: u64, mut buf: &mut [u8]) -> Result<(), DeviceError> {
        for (chunk, start, len) in pieces(at, buf.len()) {
            let (part, rest) = buf.split_at_mut(len);
            buf = rest;
            match self.shard(chunk).lock().get(&chunk) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + len]),
                None => part.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.fill(at, data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        // Whole chunks are given back, edges are cleared; holes stay holes.
        let end = at + len;
        if len > 4 * SHARDS as u64 * CHUNK {
            // Walk the chunks that exist, not the range: 16 TiB must not take 2^28 steps.
            for shard in &self.shards {
                shard.lock().retain(|&chunk, bytes| {
                    let first = chunk * CHUNK;
                    let from = at.clamp(first, first + CHUNK) - first;
                    let to = end.clamp(first, first + CHUNK) - first;
                    bytes[from as usize..to as usize].fill(0);
                    to - from < CHUNK
                });
            }
            return Ok(());
        }
        for chunk in at / CHUNK..end.div_ceil(CHUNK) {
            let first = chunk * CHUNK;
            let from = at.max(first) - first;
            let to = end.min(first + CHUNK) - first;
            let mut shard = self.shard(chunk).lock();
            if to - from == CHUNK {
                shard.remove(&chunk);
            } else if let Some(bytes) = shard.get_mut(&chunk) {
                bytes[from as usize..to as usize].fill(0);
            }
        }
        Ok(())
    }
}

impl Device for MemoryDevice {
    fn info(&self) -> &DeviceInfo {
        self.0.info()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.0.read_at(at, buf)
    }
    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.0.write_at(at, data)
    }
    fn flush(&self) -> Result<(), DeviceError> {
        self.0.flush()
    }
    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.0.discard(at, len)
    }
    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        self.0.submit(queue, requests);
    }
    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.0.poll(queue, out, wait)
    }
}
