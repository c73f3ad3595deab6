//! The checksum of a piece, computed anew whatever the piece holds.
//!
//! Decision: computed here once more, from the format's description, because the format crate stamps only what
//! it has decoded and judged. Places and seeds are those of the sound image; only the generation of an inode and
//! the journal's UUID are read from the damaged one, as a reader would.

use e4_format::csum::{CRC32C_INIT, crc16, crc32c};
use e4_format::features::RoCompatFeatures;

use crate::bytes::{get16, get32, put, put16, put32, put32_be};
use crate::layout::{Class, Layout, Piece};

/// Puts the checksum of a piece right, and the one that covers it (of a bitmap, in its descriptor).
pub fn seal(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let csum = layout.sb.has_metadata_csum();
    match piece.class {
        Class::Superblock | Class::BackupSuperblock if csum => superblock(image, piece.at),
        Class::Descriptor => descriptor(image, layout, piece),
        Class::BlockBitmap => bitmap(image, layout, piece, (0x18, 0x38)),
        Class::InodeBitmap => bitmap(image, layout, piece, (0x1A, 0x3A)),
        Class::Inode | Class::FreeInode if csum => inode(image, layout, piece),
        Class::Directory if csum => directory(image, layout, piece),
        Class::HtreeRoot | Class::HtreeNode if csum => htree(image, layout, piece),
        Class::ExtentNode if csum => extent_node(image, layout, piece),
        Class::Xattr if csum => xattr(image, layout, piece),
        Class::Orphan if csum => orphan(image, layout, piece),
        Class::JournalSuperblock => journal_superblock(image, piece),
        Class::JournalDescriptor | Class::JournalRevoke => {
            journal_block(image, layout, piece, piece.len - 4);
        }
        Class::JournalCommit => journal_block(image, layout, piece, 0x10),
        _ => {}
    }
}

fn bytes<'a>(image: &'a mut [u8], piece: &Piece) -> &'a mut [u8] {
    image
        .get_mut(piece.at..)
        .and_then(|b| b.get_mut(..piece.len))
        .unwrap_or_default()
}

fn superblock(image: &mut [u8], at: usize) {
    let Some(sb) = image.get_mut(at..).and_then(|b| b.get_mut(..1024)) else {
        return;
    };
    let sum = crc32c(CRC32C_INIT, sb.get(..0x3FC).unwrap_or_default());
    put32(sb, 0x3FC, sum);
}

fn descriptor(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let sb = &layout.sb;
    let group = piece.owner.to_le_bytes();
    let d = bytes(image, piece);
    if sb.has_metadata_csum() {
        put16(d, 0x1E, 0);
        let sum = crc32c(crc32c(sb.checksum_seed(), &group), d);
        put16(d, 0x1E, low(sum));
    } else if sb.ro_compat().contains(RoCompatFeatures::GDT_CSUM) {
        let sum = crc16(crc16(!0, &sb.uuid()), &group);
        let sum = crc16(sum, d.get(..0x1E).unwrap_or_default());
        let sum = crc16(sum, d.get(0x20..).unwrap_or_default());
        put16(d, 0x1E, sum);
    }
}

fn low(sum: u32) -> u16 {
    (sum & 0xFFFF) as u16
}

fn high(sum: u32) -> u16 {
    (sum >> 16) as u16
}

fn bitmap(image: &mut [u8], layout: &Layout, piece: &Piece, at: (usize, usize)) {
    if !layout.sb.has_metadata_csum() {
        return;
    }
    let map = bytes(image, piece);
    let sum = match piece.class {
        Class::BlockBitmap => e4_format::bitmap::block_bitmap_csum(&layout.sb, map),
        _ => e4_format::bitmap::inode_bitmap_csum(&layout.sb, map),
    };
    let all = layout.of_class(Class::Descriptor);
    let Some(desc) = all.iter().find(|d| d.owner == piece.owner) else {
        return;
    };
    let d = bytes(image, desc);
    put16(d, at.0, low(sum));
    if d.len() >= 64 {
        put16(d, at.1, high(sum));
    }
    descriptor(image, layout, desc);
}

fn inode(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let seed = layout.sb.checksum_seed();
    let b = bytes(image, piece);
    put16(b, 0x7C, 0);
    let wide = b.len() > 128 && get16(b, 0x80) >= 4;
    if wide {
        put16(b, 0x82, 0);
    }
    let generation = get32(b, 0x64).to_le_bytes();
    let sum = crc32c(crc32c(seed, &piece.owner.to_le_bytes()), &generation);
    let sum = crc32c(sum, b);
    put16(b, 0x7C, low(sum));
    if wide {
        put16(b, 0x82, high(sum));
    }
}

/// Seed of the checksums below an inode.
fn inode_seed(image: &[u8], layout: &Layout, piece: &Piece) -> u32 {
    let generation = get32(image, piece.inode_at + 0x64).to_le_bytes();
    let seed = crc32c(layout.sb.checksum_seed(), &piece.owner.to_le_bytes());
    crc32c(seed, &generation)
}

fn directory(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let seed = inode_seed(image, layout, piece);
    let b = bytes(image, piece);
    let tail = b.len().saturating_sub(12);
    let sum = crc32c(seed, b.get(..tail).unwrap_or_default());
    put32(b, tail + 8, sum);
}

/// The checksum of an index covers its entries in use and the tail that follows the room for entries.
fn htree(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let seed = inode_seed(image, layout, piece);
    let b = bytes(image, piece);
    let table = if piece.class == Class::HtreeRoot {
        0x20
    } else {
        8
    };
    let (limit, count) = (
        usize::from(get16(b, table)),
        usize::from(get16(b, table + 2)),
    );
    let tail = table + limit * 8;
    let covered = table + count * 8;
    if tail + 8 > b.len() || covered > b.len() {
        return; // no place for a checksum
    }
    let sum = crc32c(seed, b.get(..covered).unwrap_or_default());
    let sum = crc32c(sum, b.get(tail..tail + 4).unwrap_or_default());
    put32(b, tail + 4, crc32c(sum, &[0; 4]));
}

fn extent_node(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let seed = inode_seed(image, layout, piece);
    let b = bytes(image, piece);
    let tail = 12 + usize::from(get16(b, 4)) * 12;
    if tail + 4 <= b.len() {
        let sum = crc32c(seed, b.get(..tail).unwrap_or_default());
        put32(b, tail, sum);
    }
}

fn xattr(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let seed = layout.sb.checksum_seed();
    let b = bytes(image, piece);
    put32(b, 0x10, 0);
    let sum = crc32c(crc32c(seed, &piece.block.to_le_bytes()), b);
    put32(b, 0x10, sum);
}

fn orphan(image: &mut [u8], layout: &Layout, piece: &Piece) {
    let seed = inode_seed(image, layout, piece);
    let b = bytes(image, piece);
    let tail = b.len().saturating_sub(8);
    let sum = crc32c(seed, &piece.block.to_le_bytes());
    let sum = crc32c(sum, b.get(..tail).unwrap_or_default());
    put32(b, tail + 4, sum);
}

/// Checksums v2 or v3 of the journal, by its superblock as it is now.
const CSUM_V2: u32 = 0x8;
const CSUM_V3: u32 = 0x10;

fn has_csum(sb: &[u8]) -> bool {
    get32(sb, 0x28).swap_bytes() & (CSUM_V2 | CSUM_V3) != 0
}

fn journal_superblock(image: &mut [u8], piece: &Piece) {
    let b = bytes(image, piece);
    if !has_csum(b) {
        return;
    }
    put32(b, 0xFC, 0);
    let sum = crc32c(CRC32C_INIT, b.get(..1024).unwrap_or_default());
    put32_be(b, 0xFC, sum);
}

fn journal_block(image: &mut [u8], layout: &Layout, piece: &Piece, at: usize) {
    let Some(sb) = layout.journal_at.and_then(|at| image.get(at..)) else {
        return;
    };
    if !has_csum(sb) {
        return;
    }
    let seed = crc32c(CRC32C_INIT, sb.get(0x30..0x40).unwrap_or_default());
    let b = bytes(image, piece);
    put(b, at, &[0; 4]);
    let sum = crc32c(seed, b);
    put32_be(b, at, sum);
}
