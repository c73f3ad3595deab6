//! Changing linear directory blocks. The checksum is not touched: stamp once when all changes are made.
//!
//! Decisions: a new entry takes the first record with enough slack; a removed one is given to the
//! record before it, or becomes unused if it is the first. Names are not checked for duplicates here.

use super::{
    DirFormat, NAME_MAX, RECORD_HEADER, encode_rec_len, entries, find, record_at, record_size,
};
use crate::error::FormatError;
use crate::inode::FileType;
use crate::units::InodeNo;

/// Makes the block empty: one unused record over all of it. Also what a fresh htree leaf looks like.
///
/// # Errors
/// The block is shorter than the block size.
pub fn init_block(block: &mut [u8], format: &DirFormat) -> Result<(), FormatError> {
    block.fill(0);
    write_record(block, format, 0, format.usable(), None, b"", None)
}

/// Makes the block the first of a directory: `.` and `..` and nothing else.
///
/// # Errors
/// The block is shorter than the block size.
pub fn init_first_block(
    block: &mut [u8],
    format: &DirFormat,
    this: InodeNo,
    parent: InodeNo,
) -> Result<(), FormatError> {
    block.fill(0);
    let dir = Some(FileType::Directory);
    let dot = record_size(1);
    write_record(block, format, 0, dot, Some(this), b".", dir)?;
    write_record(
        block,
        format,
        dot,
        format.usable() - dot,
        Some(parent),
        b"..",
        dir,
    )
}

/// Adds an entry; false if the block has no room for it.
///
/// # Errors
/// The chain of records is broken, or the name is empty or too long.
pub fn insert(
    block: &mut [u8],
    format: &DirFormat,
    name: &[u8],
    inode: InodeNo,
    file_type: FileType,
) -> Result<bool, FormatError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(FormatError::DirNameLength { len: name.len() });
    }
    let need = record_size(name.len());
    let mut room = None;
    for e in entries(block, format) {
        let e = e?;
        let used = if e.inode.is_some() {
            record_size(e.name.len())
        } else {
            0
        };
        if e.rec_len - used >= need {
            room = Some((e.offset, used, e.rec_len));
            break;
        }
    }
    let Some((offset, used, rec_len)) = room else {
        return Ok(false);
    };
    if used > 0 {
        set_rec_len(block, format, offset, used)?;
    }
    let at = offset + used;
    write_record(
        block,
        format,
        at,
        rec_len - used,
        Some(inode),
        name,
        Some(file_type),
    )?;
    Ok(true)
}

/// Adds an entry behind the last one, whose record begins at `last` and reaches to the end; returns where the new
/// one begins. For whoever fills a block from the start: nothing is searched. The caller knows that it fits.
///
/// # Errors
/// The record at `last` is broken or leaves no room, or the name is empty or too long.
pub fn append(
    block: &mut [u8],
    format: &DirFormat,
    last: usize,
    name: &[u8],
    inode: InodeNo,
    file_type: FileType,
) -> Result<usize, FormatError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(FormatError::DirNameLength { len: name.len() });
    }
    let e = record_at(block, format, last)?;
    let used = if e.inode.is_some() {
        record_size(e.name.len())
    } else {
        0
    };
    let room = e.rec_len - used;
    if room < record_size(name.len()) {
        return Err(FormatError::DirRecordLength {
            offset: last,
            found: e.rec_len,
        });
    }
    if used > 0 {
        set_rec_len(block, format, last, used)?;
    }
    let at = last + used;
    let (inode, kind) = (Some(inode), Some(file_type));
    write_record(block, format, at, room, inode, name, kind)?;
    Ok(at)
}

/// Removes the entry with this name and returns its inode; `None` if there is none.
///
/// # Errors
/// The chain of records is broken.
pub fn remove(
    block: &mut [u8],
    format: &DirFormat,
    name: &[u8],
) -> Result<Option<InodeNo>, FormatError> {
    let mut before: Option<(usize, usize)> = None;
    let mut at = 0;
    while at < format.usable() {
        let e = record_at(block, format, at)?;
        let rec_len = e.rec_len;
        if let Some(inode) = e.inode.filter(|_| e.name == name) {
            // A name nobody can look up any more need not stay readable in the slack.
            let used = record_size(e.name.len());
            match before {
                Some((offset, len)) => {
                    set_rec_len(block, format, offset, len + rec_len)?;
                    clear(block, at, used);
                }
                None => {
                    clear(block, at, used);
                    set_rec_len(block, format, at, rec_len)?;
                }
            }
            return Ok(Some(inode));
        }
        before = Some((at, rec_len));
        at += rec_len;
    }
    Ok(None)
}

/// Points an existing entry at another inode and returns the old one; `None` if there is no such entry.
///
/// # Errors
/// The chain of records is broken.
pub fn set_inode(
    block: &mut [u8],
    format: &DirFormat,
    name: &[u8],
    inode: InodeNo,
    file_type: FileType,
) -> Result<Option<InodeNo>, FormatError> {
    let Some(e) = find(block, format, name)? else {
        return Ok(None);
    };
    let (offset, old) = (e.offset, e.inode);
    let record = block
        .get_mut(offset..)
        .and_then(|b| b.first_chunk_mut::<RECORD_HEADER>());
    if let Some([a, b, c, d, _, _, _, kind]) = record {
        [*a, *b, *c, *d] = inode.get().to_le_bytes();
        *kind = type_byte(format, Some(file_type));
    }
    Ok(old)
}

fn type_byte(format: &DirFormat, file_type: Option<FileType>) -> u8 {
    file_type
        .filter(|_| format.file_type)
        .map_or(0, FileType::dir_entry_byte)
}

fn clear(block: &mut [u8], offset: usize, len: usize) {
    if let Some(record) = block.get_mut(offset..).and_then(|b| b.get_mut(..len)) {
        record.fill(0);
    }
}

fn set_rec_len(
    block: &mut [u8],
    format: &DirFormat,
    offset: usize,
    rec_len: usize,
) -> Result<(), FormatError> {
    let found = rec_len;
    let raw = encode_rec_len(rec_len, format.block_size.len());
    let raw = raw.ok_or(FormatError::DirRecordLength { offset, found })?;
    let len = block.len();
    match block
        .get_mut(offset + 4..)
        .and_then(|b| b.first_chunk_mut())
    {
        Some(at) => *at = raw.to_le_bytes(),
        None => {
            return Err(FormatError::Truncated {
                what: "directory block",
                len,
            });
        }
    }
    Ok(())
}

/// Writes a whole record; the caller has checked that it fits.
pub(crate) fn write_record(
    block: &mut [u8],
    format: &DirFormat,
    offset: usize,
    rec_len: usize,
    inode: Option<InodeNo>,
    name: &[u8],
    file_type: Option<FileType>,
) -> Result<(), FormatError> {
    let len = block.len();
    let short = FormatError::Truncated {
        what: "directory block",
        len,
    };
    set_rec_len(block, format, offset, rec_len)?;
    let name_len = u8::try_from(name.len());
    let name_len = name_len.map_err(|_| FormatError::DirNameLength { len: name.len() })?;
    let record = block.get_mut(offset..).ok_or(short.clone())?;
    let Some(([a, b, c, d, _, _, n, kind], rest)) = record.split_first_chunk_mut() else {
        return Err(short);
    };
    [*a, *b, *c, *d] = inode.map_or(0, InodeNo::get).to_le_bytes();
    *n = name_len;
    *kind = type_byte(format, file_type);
    let padded = record_size(name.len()) - RECORD_HEADER;
    let rest = rest.get_mut(..padded).ok_or(short)?;
    rest.fill(0);
    for (to, from) in rest.iter_mut().zip(name) {
        *to = *from;
    }
    Ok(())
}
