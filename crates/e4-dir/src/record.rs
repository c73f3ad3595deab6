//! The entries of a block as values, and blocks packed from them.
//!
//! Decisions: entries move between blocks as the bytes they are, so that a type we do not know
//! survives; only their length changes. Packing writes each entry once; the format's own insert,
//! which looks for room from the start each time, would make a split quadratic.

use e4_format::dir::{self, RECORD_HEADER, record_size};
use e4_format::htree::HashVersion;
use e4_format::{FileBlock, FormatError};

use crate::context::{DirContext, is_dot};
use crate::error::{DirError, in_block};

/// One entry of a block, or the one about to be added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Record {
    /// Major hash of the name.
    pub(crate) hash: u32,
    /// Bytes the entry needs.
    pub(crate) size: usize,
    /// Where it is in its block; `None` for the new one.
    pub(crate) source: Option<Source>,
}

/// The bytes of an entry in its block, slack excluded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    pub(crate) offset: usize,
    name_len: usize,
}

/// The used entries of a block in order, `.` and `..` apart.
pub(crate) struct Records {
    /// `.` and `..`, if the block has them.
    pub(crate) dots: Vec<Source>,
    /// All others.
    pub(crate) names: Vec<Record>,
}

/// Reads the used entries of a block and hashes their names.
pub(crate) fn records(
    cx: &DirContext,
    hash: HashVersion,
    at: FileBlock,
    block: &[u8],
) -> Result<Records, DirError> {
    let mut all = Records {
        dots: Vec::new(),
        names: Vec::new(),
    };
    for e in dir::entries(block, &cx.format) {
        let e = e.map_err(in_block(at))?;
        if e.inode.is_none() {
            continue;
        }
        let source = Source {
            offset: e.offset,
            name_len: e.name.len(),
        };
        if is_dot(e.name) {
            all.dots.push(source);
        } else {
            let hash = cx.hash(hash, e.name).major;
            let size = record_size(e.name.len());
            all.names.push(Record {
                hash,
                size,
                source: Some(source),
            });
        }
    }
    Ok(all)
}

/// A block with these entries of `from` and nothing between them, not stamped. The last one has all
/// the slack.
pub(crate) fn pack(
    cx: &DirContext,
    at: FileBlock,
    from: &[u8],
    entries: impl IntoIterator<Item = Source>,
) -> Result<Vec<u8>, DirError> {
    let mut block = vec![0; cx.block_len()];
    dir::init_block(&mut block, &cx.format).map_err(in_block(at))?;
    let usable = cx.format.usable();
    let mut next = 0;
    let mut last = None;
    for source in entries {
        let size = record_size(source.name_len);
        let bytes = from
            .get(source.offset..)
            .and_then(|b| b.get(..RECORD_HEADER + source.name_len));
        let room = block
            .get_mut(..usable)
            .and_then(|b| b.get_mut(next..)?.get_mut(..size));
        let (Some(bytes), Some(room)) = (bytes, room) else {
            let source = FormatError::Truncated {
                what: "directory block",
                len: usable,
            };
            return Err(DirError::Block { block: at, source });
        };
        room.fill(0);
        if let Some(to) = room.get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        set_len(room, size);
        last = Some(next);
        next += size;
    }
    if let Some(last) = last
        && let Some(record) = block.get_mut(last..)
    {
        set_len(record, usable - last);
    }
    Ok(block)
}

/// Sets the length of the record that begins here. Only the whole of a block of 64 KiB does not fit
/// 16 bits; the format stores it as 65535.
fn set_len(record: &mut [u8], len: usize) {
    if let Some(to) = record.get_mut(4..).and_then(|b| b.first_chunk_mut()) {
        *to = u16::try_from(len).unwrap_or(u16::MAX).to_le_bytes();
    }
}
