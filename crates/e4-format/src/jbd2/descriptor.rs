//! Descriptor blocks: tags that say where the data blocks behind them belong.
//!
//! Decisions: one decoded [`Tag`] for all layouts. A tag is 8 bytes, 12 with 64-bit numbers; checksums
//! v2 add two bytes of padding, v3 makes it 16 in any case. The first tag is followed by the journal's
//! UUID, the others say that theirs is the same. The end of the list is a flag in the last tag.

use super::{BlockHeader, BlockKind, HEADER_SIZE, JournalCsum, JournalFormat};
use crate::csum::crc32c;
use crate::error::FormatError;
use crate::units::{FsBlock, Tid};

const UUID_SIZE: usize = 16;

const FLAG_ESCAPED: u16 = 1;
const FLAG_SAME_UUID: u16 = 2;
const FLAG_DELETED: u16 = 4;
const FLAG_LAST: u16 = 8;

/// Where one data block belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    /// The block of the filesystem.
    pub block: FsBlock,
    /// The copy in the log is escaped.
    pub escaped: bool,
    /// The block was deleted by this transaction; never written in practice.
    pub deleted: bool,
    /// Checksum of the copy in the log ([`data_csum`]): 32 bits with v3, 16 with v2, else 0.
    pub csum: u32,
}

impl Tag {
    /// Verifies the copy of a block as it lies in the log, before it is unescaped.
    ///
    /// # Errors
    /// The checksum differs.
    pub fn verify(&self, format: &JournalFormat, tid: Tid, data: &[u8]) -> Result<(), FormatError> {
        let (expected, found) = (data_csum(format, tid, data), self.csum);
        if expected != found {
            let block = self.block;
            return Err(FormatError::JournalDataChecksum {
                block,
                tid,
                expected,
                found,
            });
        }
        Ok(())
    }
}

/// Checksum of a data block as it lies in the log, as its tag stores it.
#[must_use]
pub fn data_csum(format: &JournalFormat, tid: Tid, data: &[u8]) -> u32 {
    let sum = || crc32c(crc32c(format.seed, &tid.get().to_be_bytes()), data);
    match format.csum {
        JournalCsum::V3 => sum(),
        JournalCsum::V2 => sum() & 0xFFFF,
        JournalCsum::V1 | JournalCsum::None => 0,
    }
}

const fn tag_size(format: &JournalFormat) -> usize {
    match (format.csum, format.bit64) {
        (JournalCsum::V3, _) => 16,
        (JournalCsum::V2, true) => 14,
        (JournalCsum::V2, false) => 10,
        (_, true) => 12,
        (_, false) => 8,
    }
}

/// Tags a descriptor block has room for.
#[must_use]
pub const fn tags_per_block(format: &JournalFormat) -> usize {
    (format.usable() - HEADER_SIZE - UUID_SIZE) / tag_size(format)
}

/// The tags of a descriptor block, after its header and checksum were verified.
///
/// # Errors
/// Not a descriptor block, or a wrong checksum.
pub fn tags<'a>(block: &'a [u8], format: &JournalFormat) -> Result<Tags<'a>, FormatError> {
    let block = format.whole(block)?;
    let header = BlockHeader::expect(block, BlockKind::Descriptor)?;
    format.verify_tail(block, header)?;
    let rest = block.get(HEADER_SIZE..format.usable()).unwrap_or_default();
    Ok(Tags {
        rest,
        format: *format,
        done: false,
    })
}

/// See [`tags`].
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    rest: &'a [u8],
    format: JournalFormat,
    done: bool,
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        if self.done {
            return None;
        }
        let (raw, rest) = self.rest.split_at_checked(tag_size(&self.format))?;
        let (tag, flags) = decode(raw, &self.format)?;
        let skip = if flags & FLAG_SAME_UUID == 0 {
            UUID_SIZE
        } else {
            0
        };
        self.rest = rest.get(skip..).unwrap_or_default();
        self.done = flags & FLAG_LAST != 0;
        Some(tag)
    }
}

fn decode(raw: &[u8], format: &JournalFormat) -> Option<(Tag, u16)> {
    let word = |at: usize| raw.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b));
    let half = |at: usize| raw.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b));
    let v3 = format.csum == JournalCsum::V3;
    // Flags are the low half of v3's second word, and the second half-word of the others'.
    let flags = half(6)?;
    let high = if format.bit64 { word(8)? } else { 0 };
    let csum = match format.csum {
        JournalCsum::V3 => word(12)?,
        JournalCsum::V2 => u32::from(half(4)?),
        JournalCsum::V1 | JournalCsum::None => 0,
    };
    debug_assert!(raw.len() >= if v3 { 16 } else { 8 });
    let block = FsBlock::new(u64::from(high) << 32 | u64::from(word(0)?));
    let escaped = flags & FLAG_ESCAPED != 0;
    Some((
        Tag {
            block,
            escaped,
            deleted: flags & FLAG_DELETED != 0,
            csum,
        },
        flags,
    ))
}

/// Fills a descriptor block tag by tag.
#[derive(Debug)]
pub struct DescriptorWriter<'a> {
    block: &'a mut [u8],
    format: JournalFormat,
    at: usize,
    /// Byte of the flags of the last tag written.
    last_flags: Option<usize>,
}

impl<'a> DescriptorWriter<'a> {
    /// Begins a descriptor block; the old contents are cleared.
    ///
    /// # Errors
    /// The block is too short.
    pub fn new(block: &'a mut [u8], format: &JournalFormat, tid: Tid) -> Result<Self, FormatError> {
        let block = format.whole_mut(block)?;
        block.fill(0);
        BlockHeader {
            kind: BlockKind::Descriptor,
            tid,
        }
        .encode(block)?;
        Ok(Self {
            block,
            format: *format,
            at: HEADER_SIZE,
            last_flags: None,
        })
    }

    /// Adds a tag; false if the block is full (or the number has more bits than the journal's).
    /// `csum` comes from [`data_csum`].
    pub fn push(&mut self, block: FsBlock, escaped: bool, csum: u32) -> bool {
        let first = self.last_flags.is_none();
        let size = tag_size(&self.format);
        let need = size + if first { UUID_SIZE } else { 0 };
        let limit = self.format.usable();
        if self.at + need > limit || (!self.format.bit64 && block.get() >> 32 != 0) {
            return false;
        }
        let mut flags = if escaped { FLAG_ESCAPED } else { 0 };
        if !first {
            flags |= FLAG_SAME_UUID;
        }
        let [h0, h1, h2, h3, l0, l1, l2, l3] = block.get().to_be_bytes();
        let [c0, c1, c2, c3] = csum.to_be_bytes();
        let [f0, f1] = flags.to_be_bytes();
        let raw: [u8; 16] = if self.format.csum == JournalCsum::V3 {
            [l0, l1, l2, l3, 0, 0, f0, f1, h0, h1, h2, h3, c0, c1, c2, c3]
        } else {
            // The upper half lies behind the flags, if the tag is long enough to have one.
            [l0, l1, l2, l3, c2, c3, f0, f1, h0, h1, h2, h3, 0, 0, 0, 0]
        };
        let to = self.block.get_mut(self.at..).unwrap_or_default();
        for (to, from) in to.iter_mut().zip(raw).take(size) {
            *to = from;
        }
        if first {
            let to = to.get_mut(size..).unwrap_or_default();
            for (to, from) in to.iter_mut().zip(self.format.uuid) {
                *to = from;
            }
        }
        self.last_flags = Some(self.at + 6);
        self.at += need;
        true
    }

    /// True if no tag fits any more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        let first = if self.last_flags.is_none() {
            UUID_SIZE
        } else {
            0
        };
        self.at + tag_size(&self.format) + first > self.format.usable()
    }

    /// Marks the last tag as such and stamps the checksum.
    pub fn finish(self) {
        let flags = self.last_flags.and_then(|at| self.block.get_mut(at..));
        if let Some([_, low]) = flags.and_then(|b| b.first_chunk_mut()) {
            *low |= FLAG_LAST.to_be_bytes()[1];
        }
        self.format.stamp_tail(self.block);
    }
}
