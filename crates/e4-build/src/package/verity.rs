//! A dm-verity hash tree behind an image, as `veritysetup format` lays it out: superblock, then the levels from the
//! root down; SHA-256, format 1, salt first.
//!
//! Decision: salt and UUID are derived from the image's UUID, so that the root hash is as reproducible as the image.

use crate::digest;
use crate::error::BuildError;
use e4_device::Device;
use e4_sync::thread;
use sha2::{Digest, Sha256};

const BLOCK: usize = 4096;
const DIGEST: usize = 32;
const PER_BLOCK: u64 = (BLOCK / DIGEST) as u64;
const SUPERBLOCK: usize = 512;
/// Data blocks hashed between two reads.
const STEP: usize = 256;

/// What whoever mounts the image must know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerityInfo {
    /// The root hash.
    pub root: [u8; 32],
    /// The salt, which the superblock holds as well.
    pub salt: [u8; 32],
    /// Byte at which the tree begins: `--hash-offset`.
    pub hash_offset: u64,
    /// Blocks of 4096 bytes that are verified.
    pub data_blocks: u64,
}

/// The shape of a tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verity {
    data_blocks: u64,
    /// Blocks of each level, the lowest first.
    levels: Vec<u64>,
}

impl Verity {
    /// For an image of `bytes`; what is missing to whole blocks of 4096 counts as zeros.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let data_blocks = bytes.div_ceil(BLOCK as u64);
        let mut levels = Vec::new();
        let mut below = data_blocks;
        while below > 1 || levels.is_empty() {
            below = below.div_ceil(PER_BLOCK).max(1);
            levels.push(below);
        }
        Self {
            data_blocks,
            levels,
        }
    }

    /// Bytes of the image, of the superblock and of the tree behind it.
    #[must_use]
    pub fn device_bytes(&self) -> u64 {
        (self.data_blocks + 1 + self.levels.iter().sum::<u64>()) * BLOCK as u64
    }

    /// Hashes the image at the start of `device` and writes the tree behind it.
    ///
    /// # Errors
    /// The device's.
    pub fn write(
        &self,
        device: &dyn Device,
        uuid: [u8; 16],
        threads: usize,
    ) -> Result<VerityInfo, BuildError> {
        let half = |n: u8| digest::derive(&[n; 32], "e4-build verity", &uuid);
        let mut salt = [0; 32];
        salt[..16].copy_from_slice(&half(1));
        salt[16..].copy_from_slice(&half(2));
        let hash_offset = self.data_blocks * BLOCK as u64;
        let mut hashes = self.hash_data(device, &salt, threads)?;
        let mut end = self.device_bytes();
        let mut root = [0; 32];
        for blocks in &self.levels {
            // A level's blocks, zeros behind the last digest.
            hashes.resize(usize::try_from(*blocks).unwrap_or(0) * BLOCK, 0);
            end -= hashes.len() as u64;
            device.write_at(end, &hashes)?;
            let above: Vec<[u8; 32]> = hashes.chunks(BLOCK).map(|b| hash(&salt, b)).collect();
            root = above.first().copied().unwrap_or_default();
            hashes = above.concat();
        }
        let superblock = self.superblock(&half(3), &salt);
        device.write_at(hash_offset, &superblock)?;
        device.flush()?;
        Ok(VerityInfo {
            root,
            salt,
            hash_offset,
            data_blocks: self.data_blocks,
        })
    }

    fn superblock(&self, uuid: &[u8; 16], salt: &[u8; 32]) -> [u8; SUPERBLOCK] {
        let mut sb = [0; SUPERBLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = sb.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        let block = 4096u32.to_le_bytes();
        put(0, b"verity\0\0");
        put(8, &1u32.to_le_bytes());
        put(12, &1u32.to_le_bytes());
        put(16, uuid);
        put(32, b"sha256");
        put(64, &block);
        put(68, &block);
        put(72, &self.data_blocks.to_le_bytes());
        put(80, &32u16.to_le_bytes());
        put(88, salt);
        sb
    }

    /// The digests of all data blocks, each thread its part.
    fn hash_data(
        &self,
        device: &dyn Device,
        salt: &[u8; 32],
        threads: usize,
    ) -> Result<Vec<u8>, BuildError> {
        let threads = threads.clamp(1, 64);
        let blocks = usize::try_from(self.data_blocks).unwrap_or(0);
        let mut digests = vec![0; blocks * DIGEST];
        let part = blocks.div_ceil(threads).max(1);
        let zero = hash(salt, &[0; BLOCK]);
        thread::scope(|scope| {
            let parts = digests.chunks_mut(part * DIGEST).enumerate();
            let handles: Vec<_> = parts
                .map(|(n, to)| scope.spawn(move || hash_part(device, n * part, to, salt, &zero)))
                .collect();
            handles.into_iter().try_for_each(|h| match h.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })?;
        Ok(digests)
    }
}

fn hash(salt: &[u8; 32], block: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(salt);
    hash.update(block);
    hash.finalize().into()
}

fn hash_part(
    device: &dyn Device,
    first: usize,
    to: &mut [u8],
    salt: &[u8; 32],
    zero: &[u8; 32],
) -> Result<(), BuildError> {
    let mut buffer = vec![0; STEP * BLOCK];
    let mut at = (first * BLOCK) as u64;
    for some in to.chunks_mut(STEP * DIGEST) {
        let len = some.len() / DIGEST * BLOCK;
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        device.read_at(at, bytes)?;
        at += len as u64;
        for (block, to) in bytes.chunks(BLOCK).zip(some.chunks_mut(DIGEST)) {
            let empty = block.iter().all(|b| *b == 0);
            to.copy_from_slice(&if empty { *zero } else { hash(salt, block) });
        }
    }
    Ok(())
}
