//! Damage to an image: blind bytes, or fields of one piece, with the checksum put right afterwards or not.
//!
//! Decision: which class of piece is damaged is chosen first, each as often as the weights say, then which piece,
//! then where in it. So the one superblock gets as much attention as ten thousand inodes.

use e4_format::FileType;

use crate::bytes::{get16, get32, put16, put32};
use crate::layout::{Class, Layout, Piece};
use crate::random::Random;
use crate::seal::seal;

/// How often a class is chosen; those an image does not have are left out.
const WEIGHTS: [(Class, usize); 23] = [
    (Class::Superblock, 6),
    (Class::Descriptor, 8),
    (Class::BlockBitmap, 6),
    (Class::InodeBitmap, 5),
    (Class::Inode, 30),
    (Class::FreeInode, 3),
    (Class::Directory, 14),
    (Class::HtreeRoot, 4),
    (Class::HtreeNode, 4),
    (Class::ExtentNode, 5),
    (Class::Indirect, 4),
    (Class::Xattr, 6),
    (Class::Orphan, 4),
    (Class::JournalSuperblock, 2),
    (Class::JournalDescriptor, 3),
    (Class::JournalRevoke, 2),
    (Class::JournalCommit, 2),
    (Class::JournalData, 1),
    (Class::BackupSuperblock, 2),
    (Class::BackupDescriptors, 2),
    (Class::ReservedDescriptors, 2),
    (Class::Data, 1),
    (Class::Unused, 1),
];

/// What was done to an image.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The class of the (first) damaged piece.
    pub class: Class,
    /// Checksums were put right.
    pub sealed: bool,
    /// Every change in words, for the listing.
    pub what: String,
}

/// Damages an image once, twice or three times.
pub fn mutate(random: &mut Random, layout: &Layout, image: &mut [u8]) -> Mutation {
    let sealed = !random.chance(1, 5);
    let rounds = match random.below(20) {
        0 => 3,
        1..4 => 2,
        _ => 1,
    };
    let mut done: Option<Mutation> = None;
    for _ in 0..rounds {
        let Some(piece) = pick_piece(random, layout) else {
            continue;
        };
        let what = damage(random, layout, image, &piece);
        if sealed {
            seal(image, layout, &piece);
        }
        let text = format!("{:?} {} {what}", piece.class, piece.owner);
        match &mut done {
            None => {
                done = Some(Mutation {
                    class: piece.class,
                    sealed,
                    what: text,
                });
            }
            Some(m) => m.what = format!("{}; {text}", m.what),
        }
    }
    done.unwrap_or(Mutation {
        class: Class::Unused,
        sealed,
        what: "nothing".into(),
    })
}

fn pick_piece(random: &mut Random, layout: &Layout) -> Option<Piece> {
    let there = WEIGHTS
        .iter()
        .filter(|(c, _)| !layout.of_class(*c).is_empty());
    let total = there.clone().map(|(_, w)| w).sum();
    let mut left = random.below(total);
    for (class, weight) in there {
        if left < *weight {
            return pick_of(random, layout.of_class(*class));
        }
        left -= weight;
    }
    None
}

/// One of a class; among inodes half of the time not one of the many plain files.
fn pick_of(random: &mut Random, pieces: &[Piece]) -> Option<Piece> {
    if random.chance(1, 2) {
        let rare: Vec<&Piece> = pieces
            .iter()
            .filter(|p| p.owner < 16 || p.kind != Some(FileType::Regular))
            .collect();
        if let Some(piece) = random.pick(&rare) {
            return Some(**piece);
        }
    }
    random.pick(pieces).copied()
}

/// A byte of a piece worth damaging, relative to its start.
fn place(random: &mut Random, image: &[u8], piece: &Piece) -> usize {
    let bytes = image.get(piece.at..).unwrap_or_default();
    let bytes = bytes.get(..piece.len).unwrap_or_default();
    let at = match piece.class {
        Class::Superblock | Class::BackupSuperblock => match random.below(4) {
            0 => random.below(0x3FC),
            1 => 0x150 + random.below(0x140),
            _ => random.below(0x150),
        },
        Class::Inode | Class::FreeInode => match random.below(10) {
            0..3 => random.below(0x28),
            3..6 => 0x28 + random.below(0x3C),
            6..8 => 0x64 + random.below(0x20),
            _ => 0x80 + random.below(piece.len.saturating_sub(0x80)),
        },
        Class::Directory | Class::HtreeRoot if random.chance(3, 4) => record(random, bytes),
        Class::BlockBitmap | Class::InodeBitmap if random.chance(1, 2) => random.below(64),
        Class::Orphan if random.chance(1, 4) => piece.len - 1 - random.below(8),
        Class::JournalSuperblock if random.chance(3, 4) => random.below(0x60),
        _ => match random.below(4) {
            0 => random.below(piece.len),
            1 => piece.len - 1 - random.below(piece.len.min(64)),
            _ => random.below(piece.len.min(64)),
        },
    };
    at.min(piece.len.saturating_sub(1))
}

/// A byte in the head or the name of a directory record.
fn record(random: &mut Random, bytes: &[u8]) -> usize {
    let mut starts = vec![0];
    let mut at = 0;
    while let Some(len) = Some(usize::from(get16(bytes, at + 4))).filter(|n| *n >= 8)
        && at + len < bytes.len()
        && starts.len() < 512
    {
        at += len;
        starts.push(at);
    }
    let start = random.pick(&starts).copied().unwrap_or(0);
    let span = if random.chance(2, 3) { 8 } else { 16 };
    start + random.below(span)
}

/// A word that means something in this image: sizes, block and inode numbers, and the ends of ranges.
fn telling(random: &mut Random, layout: &Layout, old: u32) -> u32 {
    let sb = &layout.sb;
    let near = u32::try_from(random.below(8)).unwrap_or(1);
    let some_block = random.pick(&layout.used_blocks).copied().unwrap_or(1);
    match random.below(14) {
        0 => 0,
        1 => 1,
        2 => u32::MAX,
        3 => 1 << random.below(32),
        4 => old.wrapping_add(1 + near),
        5 => old.wrapping_sub(1 + near),
        6 => old ^ 1 << random.below(32),
        7 => u32::try_from(sb.blocks_count())
            .unwrap_or(u32::MAX)
            .wrapping_sub(near / 4),
        8 => sb.inodes_count().wrapping_add(1).wrapping_sub(near),
        9 => u32::try_from(random.below(sb.inodes_count() as usize + 2)).unwrap_or(0),
        10 => u32::try_from(some_block).unwrap_or(0),
        11 => u32::try_from(random.below(usize::try_from(sb.blocks_count()).unwrap_or(1)))
            .unwrap_or(0),
        12 => sb.block_size().bytes().wrapping_sub(near),
        _ => u32::try_from(random.bits() >> 32).unwrap_or(0),
    }
}

/// Changes something in a piece; what, in words.
fn damage(random: &mut Random, layout: &Layout, image: &mut [u8], piece: &Piece) -> String {
    let at = place(random, image, piece);
    let (start, end) = (piece.at, (piece.at + piece.len).min(image.len()));
    if random.chance(1, 10) {
        return chunk(random, layout, image, piece, at);
    }
    let Some(bytes) = image.get_mut(start..end) else {
        return "nothing".into();
    };
    let before = get32(bytes, at & !3);
    let Some(byte) = bytes.get(at).copied() else {
        return "nothing".into();
    };
    let shape = random.below(6);
    match shape {
        0 => put_byte(bytes, at, byte ^ 1 << random.below(8)),
        1 => put_byte(bytes, at, byte.wrapping_add(1)),
        2 => put_byte(bytes, at, u8::try_from(random.below(256)).unwrap_or(0)),
        3 => {
            let at = at & !1;
            let old = get16(bytes, at);
            let new = u16::try_from(telling(random, layout, old.into()) & 0xFFFF).unwrap_or(0);
            put16(bytes, at, new);
        }
        _ => {
            let at = at & !3;
            let new = telling(random, layout, get32(bytes, at));
            put32(bytes, at, new);
        }
    }
    let after = get32(bytes, at & !3);
    format!("+{:#x}: {before:#010x} -> {after:#010x}", at & !3)
}

fn put_byte(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

/// Copies, swaps or fills a few bytes: whole entries in the wrong place.
fn chunk(
    random: &mut Random,
    layout: &Layout,
    image: &mut [u8],
    piece: &Piece,
    at: usize,
) -> String {
    let len = *random.pick(&[4, 8, 12, 16, 32]).unwrap_or(&4);
    let from_piece = pick_of(random, layout.of_class(piece.class)).unwrap_or(*piece);
    let to = piece.at + (at & !3);
    let from = from_piece.at + (place(random, image, &from_piece) & !3);
    let read = |image: &[u8], at: usize| {
        image
            .get(at..)
            .and_then(|b| b.get(..len))
            .map(<[u8]>::to_vec)
    };
    let (Some(old), Some(other)) = (read(image, to), read(image, from)) else {
        return "nothing".into();
    };
    let what = random.below(4);
    let new = match what {
        0 => vec![0; len],
        1 => vec![0xFF; len],
        _ => other,
    };
    crate::bytes::put(image, to, &new);
    if what == 3 && from_piece == *piece {
        crate::bytes::put(image, from, &old);
    }
    let verb = [
        "cleared",
        "filled with ones",
        "copied from",
        "exchanged with",
    ];
    format!(
        "+{:#x}: {len} bytes {} {:?} +{:#x}",
        to - piece.at,
        verb.get(what).unwrap_or(&""),
        from_piece.owner,
        from - from_piece.at
    )
}
