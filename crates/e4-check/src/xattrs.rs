//! Extended attributes: those in inodes, and attribute blocks with their counts of users.
//!
//! Invariant: an attribute block is read once, however many inodes name it.

use crate::context::{Check, XattrUse};
use crate::inodes::Found;
use crate::problem::{Problem, Sum};
use e4_format::{FsBlock, InodeNo, xattr};

/// Bytes of an attribute block before its entries.
const BLOCK_HEADER: usize = 32;

/// Checks the attributes of one inode.
pub(crate) fn check_inode(c: &mut Check<'_>, found: &Found<'_>) {
    let (ino, inode) = (found.ino, &found.inode);
    match xattr::in_inode(found.bytes, inode.extra_isize).find_map(Result::err) {
        Some(error) => c.report(Problem::XattrInInode { inode: ino, error }),
        None => {
            let area = found
                .bytes
                .get(128 + usize::from(inode.extra_isize)..)
                .unwrap_or_default();
            if xattr::in_inode(found.bytes, inode.extra_isize)
                .next()
                .is_some()
            {
                // Offsets count from behind the magic number.
                check_entries(c, ino, area.get(4..).unwrap_or_default(), 0);
            }
        }
    }
    let Some(block) = inode.file_acl else { return };
    if !c.is_data_block(block) {
        // Nobody asks for the attributes of an inode without a name.
        let first = u64::from(c.sb.first_data_block());
        let exists = (first..c.sb.blocks_count()).contains(&block.get());
        if exists || !crate::hidden::is_unnamed(c, ino) {
            c.report(Problem::XattrOutside { inode: ino, block });
        }
        return;
    }
    if let Some(known) = c.xattrs.get_mut(&block.get()) {
        known.users = known.users.saturating_add(1);
        return;
    }
    let refcount = check_block(c, ino, block);
    c.claims.claim(block.get(), 1);
    c.xattrs
        .insert(block.get(), XattrUse { users: 1, refcount });
}

/// Checks an attribute block; its own count of users, if it is one.
fn check_block(c: &mut Check<'_>, ino: InodeNo, block: FsBlock) -> Option<u32> {
    let bytes = match c.disk.block(block) {
        Ok(bytes) => bytes,
        Err(problem) => {
            c.report(problem);
            return None;
        }
    };
    let error = match xattr::in_block(&bytes, &c.sb, block) {
        Ok(mut entries) => entries.find_map(Result::err),
        Err(error) => Some(error),
    };
    match error {
        None => {
            check_entries(c, ino, &bytes, BLOCK_HEADER);
            Some(xattr::block_refcount(&bytes))
        }
        Some(error) => {
            c.report(Problem::XattrBlock {
                inode: ino,
                block,
                error,
            });
            None
        }
    }
}

/// Hashes and values of a list of entries that is known to lie inside its area.
fn check_entries(c: &mut Check<'_>, ino: InodeNo, area: &[u8], first: usize) {
    let in_block = first > 0;
    let mut at = first;
    let mut values: Vec<(usize, usize, usize)> = Vec::new();
    loop {
        let Some(entry) = Entry::read(area, at) else {
            // Four zero bytes end the list; anything else there is an entry nobody can read.
            let left = area.get(at..).and_then(|a| a.first_chunk::<4>());
            if left.is_some_and(|b| *b != [0; 4]) {
                c.report(Problem::XattrName {
                    inode: ino,
                    offset: at,
                });
            }
            break;
        };
        let expected = entry.hash_of(u32::from);
        // Some machines hashed names as signed bytes. In an inode the hash may be left out.
        let signed = entry.hash_of(|b| i32::from(b.cast_signed()).cast_unsigned());
        let left_out = !in_block && entry.hash == 0;
        if entry.hash != expected && entry.hash != signed && !left_out {
            let (found, expected) = (Sum(entry.hash), Sum(expected));
            c.report(Problem::XattrHash {
                inode: ino,
                offset: at,
                found,
                expected,
            });
        }
        if entry.index == 0 {
            c.report(Problem::XattrName {
                inode: ino,
                offset: at,
            });
        }
        if !entry.value.is_empty() {
            let len = entry.value.len().next_multiple_of(4);
            values.push((entry.from, entry.from + len, at));
        }
        at = entry.next;
    }
    values.sort_unstable();
    // The list itself, with the four zero bytes at its end, is no place for values either.
    let mut end = at + 4;
    for (from, to, offset) in values {
        if from < end {
            c.report(Problem::XattrOverlap { inode: ino, offset });
        }
        end = end.max(to);
    }
}

/// An entry as it lies in its area.
struct Entry<'a> {
    index: u8,
    name: &'a [u8],
    from: usize,
    value: &'a [u8],
    /// The value and what fills its last word.
    padded: &'a [u8],
    hash: u32,
    next: usize,
}

impl<'a> Entry<'a> {
    fn read(area: &'a [u8], at: usize) -> Option<Self> {
        let (head, rest) = area.get(at..)?.split_first_chunk::<16>()?;
        let [
            name_len,
            index,
            o0,
            o1,
            _,
            _,
            _,
            _,
            s0,
            s1,
            s2,
            s3,
            h0,
            h1,
            h2,
            h3,
        ] = *head;
        if head.starts_with(&[0; 4]) {
            return None;
        }
        let name_len = usize::from(name_len);
        let from = usize::from(u16::from_le_bytes([o0, o1]));
        let size = usize::try_from(u32::from_le_bytes([s0, s1, s2, s3])).ok()?;
        Some(Self {
            index,
            name: rest.get(..name_len)?,
            from,
            value: match size {
                0 => &[],
                _ => area.get(from..)?.get(..size)?,
            },
            padded: match size {
                0 => &[],
                _ => {
                    let rest = area.get(from..)?;
                    rest.get(..size.next_multiple_of(4)).unwrap_or(rest)
                }
            },
            hash: u32::from_le_bytes([h0, h1, h2, h3]),
            next: at + 16 + name_len.next_multiple_of(4),
        })
    }

    /// The format's hash: name bytes rotated in by 5 bits, value words by 16. The last word is taken as it lies
    /// there, its filling included.
    fn hash_of(&self, byte: impl Fn(u8) -> u32) -> u32 {
        let name = self
            .name
            .iter()
            .fold(0u32, |h, b| h.rotate_left(5) ^ byte(*b));
        self.padded.chunks(4).fold(name, |h, word| {
            let mut bytes = [0; 4];
            bytes
                .iter_mut()
                .zip(word)
                .for_each(|(to, from)| *to = *from);
            h.rotate_left(16) ^ u32::from_le_bytes(bytes)
        })
    }
}

/// Compares the counts of users.
pub(crate) fn check_refcounts(c: &mut Check<'_>) {
    let mut wrong: Vec<(u64, u32, u32)> = c
        .xattrs
        .iter()
        .filter_map(|(at, x)| Some((*at, x.refcount.filter(|n| *n != x.users)?, x.users)))
        .collect();
    wrong.sort_unstable();
    for (at, found, expected) in wrong {
        c.report(Problem::XattrRefcount {
            block: FsBlock::new(at),
            found,
            expected,
        });
    }
}
