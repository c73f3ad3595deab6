//! Little-endian and big-endian words in a byte slice; outside of it reads give 0 and writes do nothing.

/// A little-endian half-word.
#[must_use]
pub fn get16(b: &[u8], at: usize) -> u16 {
    b.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u16::from_le_bytes(*b))
}

/// A little-endian word.
#[must_use]
pub fn get32(b: &[u8], at: usize) -> u32 {
    b.get(at..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

/// A big-endian word.
#[must_use]
pub fn get32_be(b: &[u8], at: usize) -> u32 {
    get32(b, at).swap_bytes()
}

/// Stores bytes.
pub fn put(b: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = b.get_mut(at..).and_then(|b| b.get_mut(..bytes.len())) {
        to.copy_from_slice(bytes);
    }
}

/// Stores a little-endian half-word.
pub fn put16(b: &mut [u8], at: usize, v: u16) {
    put(b, at, &v.to_le_bytes());
}

/// Stores a little-endian word.
pub fn put32(b: &mut [u8], at: usize, v: u32) {
    put(b, at, &v.to_le_bytes());
}

/// Stores a big-endian word.
pub fn put32_be(b: &mut [u8], at: usize, v: u32) {
    put(b, at, &v.to_be_bytes());
}
