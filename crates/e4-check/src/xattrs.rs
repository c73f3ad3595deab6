//! Extended attributes: those in inodes, and attribute blocks with their counts of users.
//!
//! Invariant: an attribute block is read once, however many inodes name it.

use crate::context::{Check, XattrUse};
use crate::inodes::Found;
use crate::problem::Problem;
use e4_format::{FsBlock, InodeNo, xattr};

/// Checks the attributes of one inode.
pub(crate) fn check_inode(c: &mut Check<'_>, found: &Found<'_>) {
    let (ino, inode) = (found.ino, &found.inode);
    for entry in xattr::in_inode(found.bytes, inode.extra_isize) {
        if let Err(error) = entry {
            c.report(Problem::XattrInInode { inode: ino, error });
        }
    }
    let Some(block) = inode.file_acl else { return };
    if !c.is_data_block(block) {
        c.report(Problem::XattrOutside { inode: ino, block });
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
        None => Some(xattr::block_refcount(&bytes)),
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
