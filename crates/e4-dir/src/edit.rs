//! Everything that changes a directory other than adding names.
//!
//! Decisions: all of these change one block. Blocks that become empty stay: an htree leaf without
//! names is legal, and giving it back would move others.

use e4_format::htree::DxKind;
use e4_format::{FileBlock, FileType, InodeNo, dir};

use crate::context::{FIRST, check_new_name, is_dot};
use crate::error::{DirError, in_block};
use crate::lookup::{Target, locate};
use crate::root;
use crate::store::{
    DirRead, DirStore, Expect, index_kind, read, read_any, seal_index, seal_linear,
};

/// Writes the first block of a new directory: `.` and `..`.
///
/// # Errors
/// The directory has blocks already; an inode that cannot be; no space.
pub fn init<S: DirStore + ?Sized>(
    store: &mut S,
    parent: InodeNo,
    this: InodeNo,
) -> Result<(), S::Error> {
    let cx = *store.context();
    cx.check_inode(parent)?;
    cx.check_inode(this)?;
    let blocks = store.blocks();
    if blocks != 0 {
        return Err(DirError::NotNew { blocks }.into());
    }
    let mut block = vec![0; cx.block_len()];
    dir::init_first_block(&mut block, &cx.format, this, parent).map_err(in_block(FIRST))?;
    seal_linear(&cx, FIRST, &mut block)?;
    store.append(1)?;
    store.set_indexed(false);
    store.write(FIRST, &block)
}

/// Removes `name` and returns what it stood for; `None` if there is no such name.
///
/// # Errors
/// The name is none, or `.` or `..`; damage; the store failed. Nothing has been changed then.
pub fn remove<S: DirStore + ?Sized>(
    store: &mut S,
    name: &[u8],
) -> Result<Option<Target>, S::Error> {
    check_new_name(name)?;
    let cx = *store.context();
    let Some(found) = locate(store, name)? else {
        return Ok(None);
    };
    let mut block = found.block.to_vec();
    dir::remove(&mut block, &cx.format, name).map_err(in_block(found.at))?;
    seal_linear(&cx, found.at, &mut block)?;
    store.write(found.at, &block)?;
    Ok(Some(found.target))
}

/// Makes the existing `name` stand for another inode and returns what it stood for; `None` if there
/// is no such name.
///
/// # Errors
/// As for [`remove`], and an inode that cannot be.
pub fn replace<S: DirStore + ?Sized>(
    store: &mut S,
    name: &[u8],
    inode: InodeNo,
    file_type: FileType,
) -> Result<Option<Target>, S::Error> {
    check_new_name(name)?;
    let cx = *store.context();
    cx.check_inode(inode)?;
    let Some(found) = locate(store, name)? else {
        return Ok(None);
    };
    let mut block = found.block.to_vec();
    dir::set_inode(&mut block, &cx.format, name, inode, file_type).map_err(in_block(found.at))?;
    seal_linear(&cx, found.at, &mut block)?;
    store.write(found.at, &block)?;
    Ok(Some(found.target))
}

/// Makes `..` stand for another directory, as after a rename, and returns the one before.
///
/// # Errors
/// An inode that cannot be; a block 0 that does not begin with `.` and `..`; the store failed.
pub fn set_dotdot<S: DirStore + ?Sized>(
    store: &mut S,
    parent: InodeNo,
) -> Result<InodeNo, S::Error> {
    let cx = *store.context();
    cx.check_inode(parent)?;
    let index = store.is_indexed();
    let old = read(
        store,
        FIRST,
        if index { Expect::Root } else { Expect::Linear },
    )?;
    let (_, before) = root::dots(&cx, &old, index)?;
    let mut block = old.to_vec();
    let format = if index { cx.whole() } else { cx.format };
    dir::set_inode(&mut block, &format, b"..", parent, FileType::Directory)
        .map_err(in_block(FIRST))?;
    if index {
        seal_index(&cx, FIRST, DxKind::Root, &mut block)?;
    } else {
        seal_linear(&cx, FIRST, &mut block)?;
    }
    store.write(FIRST, &block)?;
    Ok(before)
}

/// True if there is no name but `.` and `..`. Reads all blocks of an empty directory.
///
/// # Errors
/// Damage, also a block 0 that does not begin with `.` and `..`; the store failed.
pub fn is_empty<S: DirRead + ?Sized>(store: &S) -> Result<bool, S::Error> {
    let cx = store.context();
    if store.blocks() == 0 {
        return Err(DirError::NoBlocks.into());
    }
    for at in (0..store.blocks()).map(FileBlock::new) {
        let block = read_any(store, at)?;
        let index = store.is_indexed() && index_kind(cx, at, &block).is_some();
        if at == FIRST {
            root::dots(cx, &block, index)?;
        }
        let format = if index { cx.whole() } else { cx.format };
        for e in dir::entries(&block, &format) {
            let e = e.map_err(in_block(at))?;
            if e.inode.is_some() && !is_dot(e.name) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
