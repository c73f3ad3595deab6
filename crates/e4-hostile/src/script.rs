//! A fuzzer's bytes as structure-aware damage: which seed image, which pieces, which fields, sealed or not.
//!
//! ```text
//!   byte 0      the seed image
//!   then, 8 bytes each, at most 24 times:
//!   0  class    1  piece    2-3  place in it    4  how (low 3 bits), unsealed (bit 3)    5-7  operands
//! ```
//!
//! Decision: every byte string is a script, and small changes to it are small changes to the image, which is what
//! a coverage-guided fuzzer works well with.

use crate::bytes::{get16, get32, put, put16, put32};
use crate::layout::{Class, Layout, Piece};
use crate::seal::seal;
use crate::seeds::{self, Seed};

const RECORD: usize = 8;
const MOST: usize = 24;
const UNSEALED: u8 = 8;

/// The image a script describes, and the seed it began with.
#[must_use]
pub fn image(script: &[u8]) -> Option<(&'static Seed, Vec<u8>)> {
    let (first, rest) = script.split_first()?;
    let seeds = seeds::all();
    let seed = seeds.get(usize::from(*first) % seeds.len())?;
    let mut image = seed.image.clone();
    for record in rest.as_chunks::<RECORD>().0.iter().take(MOST) {
        apply(&mut image, &seed.layout, record);
    }
    Some((seed, image))
}

fn apply(image: &mut [u8], layout: &Layout, record: &[u8; RECORD]) {
    let [class, which, p0, p1, how, a, b, c] = *record;
    let Some(class) = Class::ALL.get(usize::from(class) % Class::ALL.len()) else {
        return;
    };
    let pieces = layout.of_class(*class);
    let Some(piece) = pieces.get(usize::from(which) % pieces.len().max(1)) else {
        return;
    };
    let at = usize::from(u16::from_le_bytes([p0, p1])) % piece.len;
    change(image, layout, piece, at, how, [a, b, c]);
    if how & UNSEALED == 0 {
        seal(image, layout, piece);
    }
}

fn change(image: &mut [u8], layout: &Layout, piece: &Piece, at: usize, how: u8, operands: [u8; 3]) {
    let [a, b, c] = operands;
    let to = piece.at + at;
    let word = piece.at + (at & !3);
    match how & 7 {
        0 => put(image, to, &[a]),
        1 => put16(image, to & !1, u16::from_le_bytes([a, b])),
        2 => put32(image, word, u32::from_le_bytes([a, b, c, 0])),
        3 => put32(image, word, telling(layout, a, get32(image, word))),
        4 => {
            // A few bytes from another place of the same class.
            let pieces = layout.of_class(piece.class);
            let from = pieces
                .get(usize::from(a) % pieces.len().max(1))
                .unwrap_or(piece);
            let start = from.at + usize::from(b) * 4 % from.len;
            let len = 4 + usize::from(c & 31);
            if let Some(bytes) = image.get(start..start + len).map(<[u8]>::to_vec) {
                put(image, word, &bytes);
            }
        }
        5 => {
            let len = usize::from(b).min(piece.len - at);
            put(image, to, &vec![a; len]);
        }
        6 => {
            let old = get16(image, to & !1);
            put16(image, to & !1, old.wrapping_add(u16::from_le_bytes([a, b])));
        }
        _ => {
            let old = get32(image, word);
            put32(image, word, old ^ 1 << (a & 31));
        }
    }
}

/// Words that mean something in this image.
fn telling(layout: &Layout, n: u8, old: u32) -> u32 {
    let sb = &layout.sb;
    let blocks = u32::try_from(sb.blocks_count()).unwrap_or(u32::MAX);
    let low = u32::from(n & 15);
    match n >> 4 {
        0 => low,
        1 => blocks.wrapping_add(low).wrapping_sub(8),
        2 => sb.inodes_count().wrapping_add(low).wrapping_sub(8),
        3 => u32::MAX - low,
        4 => (1 << 31) + low,
        5 => (1 << 16) - 8 + low,
        6 => sb.block_size().bytes().wrapping_add(low).wrapping_sub(8),
        7 => 1 << low,
        8 => 1 << (low + 16),
        9 => old.wrapping_add(low),
        10 => old.wrapping_sub(low),
        11 => old.rotate_left(8 * (low & 3)),
        n => {
            let at = usize::from(n - 12) * 16 + usize::from(low as u8);
            let all = &layout.used_blocks;
            let block = all.get(at * 7 % all.len().max(1)).copied();
            u32::try_from(block.unwrap_or(0)).unwrap_or(0)
        }
    }
}
