//! Android's sparse format: what fastboot flashes and simg2img unpacks.
//!
//! Decision: blocks of zeros are written as fills, never as "don't care": the unpacked image is the image, whatever
//! the medium held before.

use crate::error::BuildError;
use e4_device::Device;
use std::io::{self, Write};

const BLOCK: usize = 4096;
const MAGIC: u32 = 0xED26_FF3A;
const RAW: u16 = 0xCAC1;
const FILL: u16 = 0xCAC2;
const FILE_HEADER: u16 = 28;
const CHUNK_HEADER: u16 = 12;
/// Longest chunk of contents, blocks.
const LONGEST: usize = 1024;

/// Runs of blocks: whether they hold anything, and how many.
fn runs(device: &dyn Device) -> Result<Vec<(bool, u32)>, BuildError> {
    let blocks = device.info().size / BLOCK as u64;
    let mut runs: Vec<(bool, u32)> = Vec::new();
    let mut buffer = vec![0; LONGEST * BLOCK];
    let mut done = 0;
    while done < blocks {
        let n = usize::try_from(blocks - done)
            .unwrap_or(LONGEST)
            .min(LONGEST);
        let bytes = buffer.get_mut(..n * BLOCK).unwrap_or_default();
        device.read_at(done * BLOCK as u64, bytes)?;
        for block in bytes.chunks(BLOCK) {
            let full = block.iter().any(|b| *b != 0);
            match runs.last_mut() {
                Some((kind, len)) if *kind == full && (!full || *len < LONGEST as u32) => *len += 1,
                _ => runs.push((full, 1)),
            }
        }
        done += n as u64;
    }
    Ok(runs)
}

/// Writes the whole device, a multiple of 4096 bytes, to `out`; returns how many bytes that were.
///
/// # Errors
/// The device's or the writer's; a device of another size.
pub fn write_android_sparse(device: &dyn Device, out: &mut dyn Write) -> Result<u64, BuildError> {
    if !device.info().size.is_multiple_of(BLOCK as u64) {
        let why = "the image is no multiple of 4096 bytes";
        return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, why)));
    }
    let runs = runs(device)?;
    let total: u64 = runs.iter().map(|(_, n)| u64::from(*n)).sum();
    header(&runs, total, out).map_err(failed)?;
    let mut written = u64::from(FILE_HEADER);
    let mut at = 0;
    let mut buffer = vec![0; LONGEST * BLOCK];
    for (full, blocks) in &runs {
        let len = *blocks as usize * BLOCK;
        let body = if *full { len } else { 4 };
        let mut chunk = Vec::with_capacity(CHUNK_HEADER.into());
        chunk.extend(if *full { RAW } else { FILL }.to_le_bytes());
        chunk.extend([0, 0]);
        chunk.extend(blocks.to_le_bytes());
        let size = u32::from(CHUNK_HEADER) + u32::try_from(body).unwrap_or(u32::MAX);
        chunk.extend(size.to_le_bytes());
        out.write_all(&chunk).map_err(failed)?;
        if *full {
            let bytes = buffer.get_mut(..len).unwrap_or_default();
            device.read_at(at, bytes)?;
            out.write_all(bytes).map_err(failed)?;
        } else {
            out.write_all(&[0; 4]).map_err(failed)?;
        }
        at += len as u64;
        written += u64::from(size);
    }
    out.flush().map_err(failed)?;
    Ok(written)
}

fn header(runs: &[(bool, u32)], total: u64, out: &mut dyn Write) -> io::Result<()> {
    let wide = |n: u64| {
        let why = "more blocks than the sparse format counts";
        u32::try_from(n).map_err(|_| io::Error::new(io::ErrorKind::FileTooLarge, why))
    };
    let mut bytes = Vec::with_capacity(FILE_HEADER.into());
    bytes.extend(MAGIC.to_le_bytes());
    for half in [1u16, 0, FILE_HEADER, CHUNK_HEADER] {
        bytes.extend(half.to_le_bytes());
    }
    for word in [BLOCK as u64, total, runs.len() as u64, 0] {
        bytes.extend(wide(word)?.to_le_bytes());
    }
    out.write_all(&bytes)
}

fn failed(e: io::Error) -> BuildError {
    BuildError::host(std::path::Path::new("the sparse image"), "writing", e)
}
