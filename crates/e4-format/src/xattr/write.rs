//! Writing lists of extended attributes.
//!
//! Decisions: a list is always written whole, values packed from the end of the area in the order of the entries, so
//! there is no free space between them to look after. Entries of a block are sorted and hashed, because blocks
//! are shared by those who find an equal one; entries of an inode are neither.

use core::cmp::Ordering;

use super::{
    BLOCK_CSUM, BLOCK_HEADER, ENTRY_HEADER, XATTR_MAGIC, Xattr, XattrNamespace, block_csum,
};
use crate::error::FormatError;
use crate::superblock::Superblock;
use crate::units::FsBlock;

const BLOCK_HASH: usize = 12;
/// Bytes that end a list.
const END: usize = 4;
/// Most inodes that may share a block.
pub const REFCOUNT_MAX: u32 = 1024;

impl XattrNamespace {
    /// The number on disk.
    #[must_use]
    pub const fn to_raw(self) -> u8 {
        match self {
            Self::None => 0,
            Self::User => 1,
            Self::PosixAclAccess => 2,
            Self::PosixAclDefault => 3,
            Self::Trusted => 4,
            Self::Security => 6,
            Self::System => 7,
            Self::RichAcl => 8,
            Self::Unknown(raw) => raw,
        }
    }

    /// Splits a full name into namespace and stored part; `None` if no namespace begins like it.
    #[must_use]
    pub fn split(name: &[u8]) -> Option<(Self, &[u8])> {
        for whole in [Self::PosixAclAccess, Self::PosixAclDefault, Self::RichAcl] {
            if whole.prefix().is_some_and(|p| p.as_bytes() == name) {
                return Some((whole, b""));
            }
        }
        [Self::User, Self::Trusted, Self::Security, Self::System]
            .into_iter()
            .find_map(|ns| {
                let rest = name.strip_prefix(ns.prefix()?.as_bytes())?;
                Some((ns, rest))
            })
    }
}

impl Xattr<'_> {
    /// Bytes it takes in an area, entry and value.
    #[must_use]
    pub const fn stored_len(&self) -> usize {
        entry_len(self.name.len()) + self.value.len().next_multiple_of(4)
    }

    /// The order of entries in a block.
    #[must_use]
    pub fn cmp_in_block(&self, other: &Self) -> Ordering {
        let key = |a: &Self| (a.namespace.to_raw(), a.name.len());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.name.cmp(other.name))
    }

    /// Hash of an entry in a block: of the bytes of the name, then of the words of the value.
    fn hash(&self) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0_u32, |h, b| h.rotate_left(5) ^ u32::from(*b));
        self.value.chunks(4).fold(name, |h, chunk| {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            h.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

const fn entry_len(name: usize) -> usize {
    (ENTRY_HEADER + name).next_multiple_of(4)
}

/// Bytes of an inode's area that attributes may take, see [`fits`]; 0 if it has none.
#[must_use]
pub const fn inode_room(inode_size: usize, extra_isize: u16) -> usize {
    // The magic number comes first.
    match extra_isize {
        0 => 0,
        n => inode_size.saturating_sub(128 + n as usize + 4),
    }
}

/// Bytes of a block that attributes may take, see [`fits`].
#[must_use]
pub const fn block_room(block_len: usize) -> usize {
    block_len.saturating_sub(BLOCK_HEADER)
}

/// True if attributes that take `stored` bytes ([`Xattr::stored_len`]) fit `room`.
#[must_use]
pub const fn fits(stored: usize, room: usize) -> bool {
    stored + END <= room
}

/// Writes attributes behind the fields of an inode; `bytes` is the whole on-disk inode, whose checksum is the caller's
/// to stamp.
///
/// # Errors
/// They do not fit.
pub fn write_in_inode<'a>(
    bytes: &mut [u8],
    extra_isize: u16,
    attributes: impl Iterator<Item = Xattr<'a>> + Clone,
) -> Result<(), FormatError> {
    let room = inode_room(bytes.len(), extra_isize);
    let needed = attributes.clone().map(|a| a.stored_len()).sum();
    let empty = attributes.clone().next().is_none();
    if room == 0 && empty {
        return Ok(());
    }
    let area = bytes.get_mut(128 + usize::from(extra_isize)..);
    let area = area.and_then(|a| a.split_first_chunk_mut::<4>());
    let Some((magic, area)) = area.filter(|_| fits(needed, room)) else {
        return Err(FormatError::XattrSpace { needed, room });
    };
    area.fill(0);
    *magic = match empty {
        true => [0; 4],
        false => XATTR_MAGIC.to_le_bytes(),
    };
    put_list(area, 0, attributes, |_| 0).map(drop)
}

/// Makes `bytes` an attribute block with its hash and checksum. The attributes are sorted by
/// [`Xattr::cmp_in_block`].
///
/// # Errors
/// They do not fit.
pub fn write_block<'a>(
    bytes: &mut [u8],
    sb: &Superblock,
    at: FsBlock,
    refcount: u32,
    attributes: impl Iterator<Item = Xattr<'a>> + Clone,
) -> Result<(), FormatError> {
    let needed = attributes.clone().map(|a| a.stored_len()).sum();
    let room = block_room(bytes.len());
    if !fits(needed, room) {
        return Err(FormatError::XattrSpace { needed, room });
    }
    bytes.fill(0);
    let hash = put_list(bytes, BLOCK_HEADER, attributes, Xattr::hash)?;
    for (at, word) in [(0, XATTR_MAGIC), (4, refcount), (8, 1), (BLOCK_HASH, hash)] {
        put(bytes, at, &word.to_le_bytes());
    }
    if sb.has_metadata_csum() {
        let sum = block_csum(bytes, sb, at);
        put(bytes, BLOCK_CSUM, &sum.to_le_bytes());
    }
    Ok(())
}

/// The hash of all entries of a block, by which equal blocks are found; 0: not to be shared.
#[must_use]
pub fn block_hash(bytes: &[u8]) -> u32 {
    bytes
        .get(BLOCK_HASH..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

/// True if two blocks hold the same attributes, whatever their counts and checksums.
#[must_use]
pub fn same_attributes(a: &[u8], b: &[u8]) -> bool {
    a.get(BLOCK_HEADER..) == b.get(BLOCK_HEADER..) && block_hash(a) == block_hash(b)
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    if let Some(to) = bytes.get_mut(at..at + what.len()) {
        to.copy_from_slice(what);
    }
}

/// Entries from `first` on, values from the end down. Returns the hash of all.
fn put_list<'a>(
    area: &mut [u8],
    first: usize,
    attributes: impl Iterator<Item = Xattr<'a>>,
    hash: impl Fn(&Xattr<'a>) -> u32,
) -> Result<u32, FormatError> {
    let (mut at, mut value_at, mut all, mut shareable) = (first, area.len(), 0_u32, true);
    for a in attributes {
        let too_long = FormatError::XattrEntry { offset: at };
        let name_len = u8::try_from(a.name.len()).map_err(|_| too_long.clone())?;
        let size = u32::try_from(a.value.len()).map_err(|_| too_long.clone())?;
        let offset = if a.value.is_empty() {
            0
        } else {
            value_at = value_at.saturating_sub(a.value.len().next_multiple_of(4));
            put(area, value_at, a.value);
            u16::try_from(value_at).map_err(|_| too_long)?
        };
        let entry_hash = hash(&a);
        put(area, at, &[name_len, a.namespace.to_raw()]);
        put(area, at + 2, &offset.to_le_bytes());
        put(area, at + 8, &size.to_le_bytes());
        put(area, at + 12, &entry_hash.to_le_bytes());
        put(area, at + ENTRY_HEADER, a.name);
        at += entry_len(a.name.len());
        all = all.rotate_left(16) ^ entry_hash;
        shareable &= entry_hash != 0;
    }
    Ok(if shareable { all } else { 0 })
}
