//! Extended attributes as ext4 stores them: in the inode behind its fields, the rest in one block.
//!
//! Decisions: everything goes into the inode if it fits there, else everything into a block, which equal sets
//! share, else what fits into the inode goes there in order. Entries are sorted as readers of blocks search them:
//! by namespace, length of name, name. Every entry carries its hash, which checkers verify.

use crate::acl;
use crate::error::{BuildError, show};
use crate::options::Options;
use crate::tree::Attribute;
use e4_format::xattr::XATTR_MAGIC;

/// Inodes that may share a block.
pub(crate) const MAX_SHARED: u32 = 1024;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;
const ACL_ACCESS: u8 = 2;
const ACL_DEFAULT: u8 = 3;

/// One attribute, ready to be stored.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Stored {
    index: u8,
    /// Before the name, so that deriving the order gives the stored one.
    len: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Both places.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Encoded {
    /// For the area behind the inode's fields; empty if there is none.
    pub(crate) inode: Vec<u8>,
    /// A whole block without reference count and checksum; empty if there is none.
    pub(crate) block: Vec<u8>,
}

/// The namespace's number and what is left of the name.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    match name {
        b"system.posix_acl_access" => return Some((ACL_ACCESS, b"")),
        b"system.posix_acl_default" => return Some((ACL_DEFAULT, b"")),
        _ => {}
    }
    let namespaces: [(&[u8], u8); 3] = [(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
    let found = namespaces
        .iter()
        .find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)));
    found.filter(|(_, rest)| !rest.is_empty() && rest.len() <= 255 && !rest.contains(&0))
}

/// True for attributes that ext4 has a place for.
pub(crate) fn is_storable(name: &[u8]) -> bool {
    split(name).is_some()
}

/// Encodes the attributes of the file at `path`; `room` is what the inode has behind its fields.
pub(crate) fn encode(
    attributes: &[Attribute],
    room: usize,
    block_len: usize,
    options: &Options,
    path: &dyn Fn() -> Vec<u8>,
) -> Result<Encoded, BuildError> {
    if attributes.is_empty() {
        return Ok(Encoded::default());
    }
    let mut all = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let Some((index, name)) = split(&attribute.name) else {
            return Err(BuildError::XattrName {
                path: show(&path()),
                name: show(&attribute.name),
            });
        };
        let value = if matches!(index, ACL_ACCESS | ACL_DEFAULT) {
            acl::to_disk(&attribute.value, &options.uid_map, &options.gid_map).map_err(|why| {
                BuildError::Acl {
                    path: show(&path()),
                    why,
                }
            })?
        } else {
            attribute.value.to_vec()
        };
        all.push(Stored {
            index,
            len: name.len(),
            name: name.to_vec(),
            value,
        });
    }
    all.sort();
    all.dedup_by(|a, b| a.index == b.index && a.name == b.name);
    let bytes = all.iter().map(size).sum();
    place(all, room, block_len).ok_or_else(|| BuildError::XattrsTooLarge {
        path: show(&path()),
        bytes,
    })
}

fn place(all: Vec<Stored>, room: usize, block_len: usize) -> Option<Encoded> {
    // Magic number in front, four zeros behind the last entry.
    let inode_room = room.saturating_sub(4 + 4);
    let block_room = block_len.saturating_sub(BLOCK_HEADER + 4);
    let total: usize = all.iter().map(size).sum();
    if total <= inode_room {
        return Some(Encoded {
            inode: in_inode(&all, room),
            block: Vec::new(),
        });
    }
    if total <= block_room {
        return Some(Encoded {
            inode: Vec::new(),
            block: in_block(&all, block_len),
        });
    }
    let mut used = 0;
    let (near, far): (Vec<_>, Vec<_>) = all.into_iter().partition(|s| {
        let fits = used + size(s) <= inode_room;
        used += if fits { size(s) } else { 0 };
        fits
    });
    (far.iter().map(size).sum::<usize>() <= block_room).then(|| Encoded {
        inode: in_inode(&near, room),
        block: in_block(&far, block_len),
    })
}

fn size(s: &Stored) -> usize {
    ENTRY + s.name.len().next_multiple_of(4) + s.value.len().next_multiple_of(4)
}

fn in_inode(list: &[Stored], room: usize) -> Vec<u8> {
    if list.is_empty() {
        return Vec::new();
    }
    let mut area = vec![0; room];
    let (magic, rest) = area.split_at_mut(4);
    magic.copy_from_slice(&XATTR_MAGIC.to_le_bytes());
    put_entries(rest, 0, list);
    area
}

fn in_block(list: &[Stored], block_len: usize) -> Vec<u8> {
    let mut block = vec![0; block_len];
    put_entries(&mut block, BLOCK_HEADER, list);
    // The hash of the whole block lets the kernel find equal ones.
    let whole = list.iter().fold(0u32, |h, s| h.rotate_left(16) ^ hash(s));
    put(&mut block, 0, &XATTR_MAGIC.to_le_bytes());
    put(&mut block, 8, &1u32.to_le_bytes());
    put(&mut block, 12, &whole.to_le_bytes());
    block
}

/// Entries from `at` upwards, values from the end downwards; value offsets count from the start of `area`.
fn put_entries(area: &mut [u8], mut at: usize, list: &[Stored]) {
    let mut end = area.len();
    for s in list {
        end -= s.value.len().next_multiple_of(4);
        let offset = if s.value.is_empty() { 0 } else { end };
        let mut head = [0; ENTRY];
        head[0] = u8::try_from(s.name.len()).unwrap_or(u8::MAX);
        head[1] = s.index;
        put(&mut head, 2, &narrow(offset).to_le_bytes());
        let len = u32::try_from(s.value.len()).unwrap_or(u32::MAX);
        put(&mut head, 8, &len.to_le_bytes());
        put(&mut head, 12, &hash(s).to_le_bytes());
        put(area, at, &head);
        put(area, at + ENTRY, &s.name);
        put(area, end, &s.value);
        at += ENTRY + s.name.len().next_multiple_of(4);
    }
}

fn put(area: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(to) = area.get_mut(at..at + bytes.len()) {
        to.copy_from_slice(bytes);
    }
}

fn narrow(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// An entry's hash: over the name's bytes, then over the value's words, zeros behind its end.
fn hash(s: &Stored) -> u32 {
    let h = s
        .name
        .iter()
        .fold(0u32, |h, b| h.rotate_left(5) ^ u32::from(*b));
    s.value.chunks(4).fold(h, |h, chunk| {
        let mut word = [0; 4];
        put(&mut word, 0, chunk);
        h.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(name: &str, len: usize) -> Attribute {
        Attribute {
            name: name.as_bytes().into(),
            value: vec![7; len].into(),
        }
    }

    fn encoded(list: &[Attribute]) -> Result<Encoded, BuildError> {
        encode(list, 96, 4096, &Options::default(), &|| b"f".to_vec())
    }

    #[test]
    fn places() {
        let small = encoded(&[attribute("user.a", 20)]).unwrap();
        assert_eq!((small.inode.len(), small.block.len()), (96, 0));
        let large = encoded(&[attribute("user.a", 3000)]).unwrap();
        assert_eq!((large.inode.len(), large.block.len()), (0, 4096));
        let both = encoded(&[attribute("user.a", 4000), attribute("user.b", 40)]).unwrap();
        assert_eq!((both.inode.len(), both.block.len()), (96, 4096));
        assert!(matches!(
            encoded(&[attribute("user.a", 5000)]),
            Err(BuildError::XattrsTooLarge { .. })
        ));
        assert!(matches!(
            encoded(&[attribute("weird.a", 5)]),
            Err(BuildError::XattrName { .. })
        ));
        let read: Vec<_> = e4_format::xattr::in_inode(&[vec![0; 160], both.inode].concat(), 32)
            .map(|x| x.unwrap().value.len())
            .collect();
        assert_eq!(read, [40]);
    }
}
