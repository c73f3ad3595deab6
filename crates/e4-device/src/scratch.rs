//! A device that forgets: writes go to memory over a device that is only read.
//!
//! For looking at images that must stay as they are, but have to be recovered to be understood: evidence, an image
//! somebody else uses, a file without permission to write.
//!
//! Decision: memory grows with the number of distinct 4 KiB blocks written, which for a recovery is at most the length of the
//! journal. Nothing here reaches the device below, flush included.

use crate::inline::Inline;
use crate::store::{Store, queue_count};
use crate::{Completion, Device, DeviceError, DeviceInfo, QueueId, Request, Wait};
use e4_sync::{Arc, Mutex, Rank};
use std::collections::BTreeMap;

/// Bytes kept per changed block.
const BLOCK: u64 = 4096;

/// See the module.
pub struct ScratchDevice(Inline<Scratch>);

struct Scratch {
    info: DeviceInfo,
    below: Arc<dyn Device>,
    changed: Mutex<BTreeMap<u64, Box<[u8]>>>,
}

impl ScratchDevice {
    /// Lies over `below`, which is never written.
    #[must_use]
    pub fn new(below: Arc<dyn Device>) -> Self {
        let info = DeviceInfo {
            alignment: 1,
            read_only: false,
            queues: queue_count(),
            reason: "changes stay in memory".into(),
            ..below.info().clone()
        };
        Self(Inline::new(Scratch {
            info,
            below,
            changed: Mutex::new(Rank::LEAF, BTreeMap::new()),
        }))
    }

    /// Bytes of memory that changes occupy.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        self.0.store().changed.lock().len() as u64 * BLOCK
    }
}

/// Cuts a byte range at block borders: block, first byte in it, bytes.
fn pieces(at: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize)> {
    let end = at + len as u64;
    let mut at = at;
    core::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let start = at % BLOCK;
        let len = (BLOCK - start).min(end - at);
        let piece = (at / BLOCK, start as usize, len as usize);
        at += len;
        Some(piece)
    })
}

impl Store for Scratch {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.below.read_at(at, buf)?;
        let changed = self.changed.lock();
        let last = at.saturating_add(buf.len() as u64) / BLOCK;
        if changed.range(at / BLOCK..=last).next().is_none() {
            return Ok(());
        }
        let mut left = buf;
        for (block, start, len) in pieces(at, left.len()) {
            let (part, rest) = left.split_at_mut(len);
            left = rest;
            if let Some(bytes) = changed.get(&block) {
                part.copy_from_slice(&bytes[start..start + len]);
            }
        }
        Ok(())
    }

    fn write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        let mut left = data;
        for (block, start, len) in pieces(at, data.len()) {
            let (part, rest) = left.split_at(len);
            left = rest;
            let known = self.changed.lock().contains_key(&block);
            let mut fresh = None;
            if !known {
                // Not under the lock: the device below may wait.
                let mut bytes = vec![0; BLOCK as usize].into_boxed_slice();
                let there = BLOCK.min(self.info.size - block * BLOCK) as usize;
                self.below.read_at(block * BLOCK, &mut bytes[..there])?;
                fresh = Some(bytes);
            }
            let mut changed = self.changed.lock();
            if let Some(fresh) = fresh {
                changed.entry(block).or_insert(fresh);
            }
            if let Some(bytes) = changed.get_mut(&block) {
                bytes[start..start + len].copy_from_slice(part);
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn discard(&self, _at: u64, _len: u64) -> Result<(), DeviceError> {
        Ok(())
    }
}

impl Device for ScratchDevice {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn changes_are_seen_and_never_reach_the_device_below() {
        let original: Vec<u8> = (0..20_001u32).map(|n| (n % 251) as u8).collect();
        let below = Arc::new(MemoryDevice::from_bytes(&original));
        let scratch = ScratchDevice::new(below.clone());
        let mut expected = original.clone();
        for (at, len, byte) in [(0, 1, 1), (4000, 200, 2), (1024, 9000, 3), (19_990, 11, 4)] {
            scratch.write_at(at as u64, &vec![byte; len]).unwrap();
            expected[at..at + len].fill(byte);
            for (from, len) in [(0, 20_001), (4095, 2), (8191, 4097), (20_000, 1)] {
                let mut found = vec![0; len];
                scratch.read_at(from as u64, &mut found).unwrap();
                assert_eq!(found, expected[from..from + len]);
            }
        }
        assert!(scratch.write_at(20_000, &[0; 2]).is_err());
        assert_eq!(scratch.changed_bytes(), 4 * BLOCK);
        let mut kept = vec![0; 20_001];
        below.read_at(0, &mut kept).unwrap();
        assert_eq!(kept, original);
    }
}
