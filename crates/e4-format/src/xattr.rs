//! Extended attributes: in the inode behind its fields, and in a block of their own.
//!
//! Decisions: one list of entries serves both places; they differ in where it begins and what value
//! offsets count from. Values in inodes of their own (`ea_inode`) are an unsupported feature.

mod write;

pub use write::{
    REFCOUNT_MAX, block_hash, block_room, fits, inode_room, same_attributes, write_block,
    write_in_inode,
};

use crate::csum::crc32c;
use crate::error::FormatError;
use crate::superblock::Superblock;
use crate::units::FsBlock;

/// Magic number of an attribute block and of attributes in an inode.
pub const XATTR_MAGIC: u32 = 0xEA02_0000;
const BLOCK_HEADER: usize = 32;
const BLOCK_CSUM: usize = 0x10;
const ENTRY_HEADER: usize = 16;

/// What precedes the stored part of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum XattrNamespace {
    /// Nothing: the name is complete.
    None,
    /// `user.`
    User,
    /// `system.posix_acl_access`, complete.
    PosixAclAccess,
    /// `system.posix_acl_default`, complete.
    PosixAclDefault,
    /// `trusted.`
    Trusted,
    /// `security.`
    Security,
    /// `system.`
    System,
    /// `system.richacl`, complete.
    RichAcl,
    /// A number without a meaning.
    Unknown(u8),
}

impl XattrNamespace {
    const fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::None,
            1 => Self::User,
            2 => Self::PosixAclAccess,
            3 => Self::PosixAclDefault,
            4 => Self::Trusted,
            6 => Self::Security,
            7 => Self::System,
            8 => Self::RichAcl,
            other => Self::Unknown(other),
        }
    }

    /// The text to put before the stored name; `None` if the number has no meaning.
    #[must_use]
    pub const fn prefix(self) -> Option<&'static str> {
        Some(match self {
            Self::None => "",
            Self::User => "user.",
            Self::PosixAclAccess => "system.posix_acl_access",
            Self::PosixAclDefault => "system.posix_acl_default",
            Self::Trusted => "trusted.",
            Self::Security => "security.",
            Self::System => "system.",
            Self::RichAcl => "system.richacl",
            Self::Unknown(_) => return None,
        })
    }
}

/// One attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Xattr<'a> {
    /// What precedes the name.
    pub namespace: XattrNamespace,
    /// The stored part of the name.
    pub name: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// The attributes in an inode; `bytes` is the whole on-disk inode. Nothing if there are none.
#[must_use]
pub fn in_inode(bytes: &[u8], extra_isize: u16) -> Xattrs<'_> {
    let area = bytes
        .get(128 + usize::from(extra_isize)..)
        .unwrap_or_default();
    match area.split_first_chunk() {
        Some((magic, list)) if u32::from_le_bytes(*magic) == XATTR_MAGIC && extra_isize > 0 => {
            Xattrs {
                list,
                at: 0,
                done: false,
            }
        }
        _ => Xattrs {
            list: &[],
            at: 0,
            done: true,
        },
    }
}

/// The attributes of an attribute block, magic number and checksum verified.
///
/// # Errors
/// Wrong magic number, more than one block, or a wrong checksum.
pub fn in_block<'a>(
    bytes: &'a [u8],
    sb: &Superblock,
    at: FsBlock,
) -> Result<Xattrs<'a>, FormatError> {
    let word = |at: usize| {
        let b = bytes.get(at..).and_then(|b| b.first_chunk());
        b.map_or(0, |b| u32::from_le_bytes(*b))
    };
    if bytes.len() < BLOCK_HEADER {
        return Err(FormatError::Truncated {
            what: "attribute block",
            len: bytes.len(),
        });
    }
    if word(0) != XATTR_MAGIC || word(8) != 1 {
        return Err(FormatError::XattrHeader {
            block: at,
            magic: word(0),
            blocks: word(8),
        });
    }
    if sb.has_metadata_csum() {
        let (expected, found) = (block_csum(bytes, sb, at), word(BLOCK_CSUM));
        if expected != found {
            return Err(FormatError::XattrChecksum {
                block: at,
                expected,
                found,
            });
        }
    }
    Ok(Xattrs {
        list: bytes,
        at: BLOCK_HEADER,
        done: false,
    })
}

/// How many inodes share an attribute block.
#[must_use]
pub fn block_refcount(bytes: &[u8]) -> u32 {
    bytes
        .get(4..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

/// Changes how many inodes share an attribute block and stamps its checksum.
///
/// # Errors
/// The block is too short.
pub fn set_block_refcount(
    bytes: &mut [u8],
    sb: &Superblock,
    at: FsBlock,
    refcount: u32,
) -> Result<(), FormatError> {
    let len = bytes.len();
    match bytes.get_mut(4..).and_then(|b| b.first_chunk_mut()) {
        Some(to) if len >= BLOCK_HEADER => *to = refcount.to_le_bytes(),
        _ => {
            return Err(FormatError::Truncated {
                what: "attribute block",
                len,
            });
        }
    }
    if sb.has_metadata_csum() {
        let sum = block_csum(bytes, sb, at);
        if let Some(to) = bytes
            .get_mut(BLOCK_CSUM..)
            .and_then(|b| b.first_chunk_mut())
        {
            *to = sum.to_le_bytes();
        }
    }
    Ok(())
}

fn block_csum(bytes: &[u8], sb: &Superblock, at: FsBlock) -> u32 {
    let c = crc32c(sb.checksum_seed(), &at.get().to_le_bytes());
    let c = crc32c(c, bytes.get(..BLOCK_CSUM).unwrap_or_default());
    let c = crc32c(c, &[0; 4]);
    crc32c(c, bytes.get(BLOCK_CSUM + 4..).unwrap_or_default())
}

/// Attributes one after the other. Ends after the first error.
#[derive(Clone, Debug)]
pub struct Xattrs<'a> {
    /// What value offsets count from.
    list: &'a [u8],
    at: usize,
    done: bool,
}

impl<'a> Xattrs<'a> {
    fn entry(&self) -> Result<Option<(Xattr<'a>, usize)>, FormatError> {
        let at = self.at;
        let rest = self.list.get(at..).unwrap_or_default();
        // Four zero bytes end the list; so does the end of the area.
        if rest.first_chunk().is_none_or(|b| *b == [0u8; 4]) {
            return Ok(None);
        }
        let bad = FormatError::XattrEntry { offset: at };
        let Some((head, tail)) = rest.split_first_chunk::<ENTRY_HEADER>() else {
            return Err(bad);
        };
        let [name_len, index, o0, o1, i0, i1, i2, i3, s0, s1, s2, s3, ..] = *head;
        let name_len = usize::from(name_len);
        let name = tail.get(..name_len).ok_or(bad.clone())?;
        let inum = u32::from_le_bytes([i0, i1, i2, i3]);
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        if inum != 0 {
            return Err(FormatError::XattrValueInode {
                offset: at,
                inode: inum,
            });
        }
        let from = usize::from(u16::from_le_bytes([o0, o1]));
        let size = usize::try_from(size).map_err(|_| bad.clone())?;
        let value = if size == 0 {
            &[]
        } else {
            self.list
                .get(from..)
                .and_then(|v| v.get(..size))
                .ok_or(bad)?
        };
        let namespace = XattrNamespace::from_raw(index);
        let next = at + ENTRY_HEADER + name_len.next_multiple_of(4);
        Ok(Some((
            Xattr {
                namespace,
                name,
                value,
            },
            next,
        )))
    }
}

impl<'a> Iterator for Xattrs<'a> {
    type Item = Result<Xattr<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        match self.entry() {
            Ok(Some((attribute, next))) => {
                self.at = next;
                Some(Ok(attribute))
            }
            Ok(None) => {
                self.done = true;
                None
            }
            Err(e) => {
                self.done = true;
                Some(Err(e))
            }
        }
    }
}
