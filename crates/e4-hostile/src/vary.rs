//! Varying inputs without a coverage-guided fuzzer: seeded, and the same on every machine.

use crate::random::Random;

/// A variation of an input, at most `max_len` bytes long; `other` lends parts.
#[must_use]
pub fn vary(random: &mut Random, input: &[u8], other: &[u8], max_len: usize) -> Vec<u8> {
    let mut out = input.to_vec();
    for _ in 0..=random.below(6) {
        step(random, &mut out, other);
    }
    out.truncate(max_len);
    out
}

fn step(random: &mut Random, out: &mut Vec<u8>, other: &[u8]) {
    let noise = random.bits().to_le_bytes();
    let at = random.below(out.len());
    match random.below(8) {
        0 => {
            if let Some(byte) = out.get_mut(at) {
                *byte ^= 1 << (noise[0] & 7);
            }
        }
        1 => {
            if let Some(byte) = out.get_mut(at) {
                *byte = noise[0];
            }
        }
        2 => {
            let words = [
                0u32,
                1,
                2,
                0x7FFF_FFFF,
                0x8000_0000,
                u32::MAX,
                0xFFFF,
                0x8000,
            ];
            let word = random.pick(&words).copied().unwrap_or(0);
            let bytes = if noise[0] & 1 == 0 {
                word.to_le_bytes()
            } else {
                word.to_be_bytes()
            };
            let len = 1 << (noise[1] & 1) << (noise[1] >> 1 & 1);
            crate::bytes::put(out, at & !1, bytes.get(..len).unwrap_or(&bytes));
        }
        3 => {
            if let Some(byte) = out.get_mut(at) {
                *byte = byte.wrapping_add(noise[0] & 15).wrapping_sub(7);
            }
        }
        4 => {
            let len = 1 + random.below(16);
            let from = random.below(other.len());
            let part = other
                .get(from..(from + len).min(other.len()))
                .unwrap_or_default();
            crate::bytes::put(out, at, part);
        }
        // A script grows by records of eight bytes.
        5 => out.extend(noise),
        6 => {
            let end = (at + 1 + random.below(24)).min(out.len());
            out.drain(at..end);
        }
        _ => {
            let end = (at + 8).min(out.len());
            let copy = out.get(at..end).unwrap_or_default().to_vec();
            out.extend(copy);
        }
    }
}
