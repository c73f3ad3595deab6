//! Making things in an image.

use anyhow::{Result, bail};
use e4::surgery::PutOptions;
use e4::{Error, FallocateMode, File, NewInode, Node, RenameFlags, SetAttr, XattrSet};
use e4_format::FileType;

use super::place::Task;

/// Larger files have their space reserved, so that they lie in one piece.
const RESERVE: u64 = 64 << 10;

/// What of the original the new thing gets.
fn kept(task: &Task<'_>) -> SetAttr {
    let (meta, how) = (task.meta, task.how);
    let owner = match (how.owner, how.keep.owner) {
        (Some(owner), _) => Some(owner),
        (None, true) => Some((meta.uid, meta.gid)),
        (None, false) => None,
    };
    let exact = how.keep.mode.then_some(meta.mode);
    SetAttr {
        mode: how
            .mode
            .or(exact)
            .filter(|_| meta.kind != FileType::Symlink),
        uid: owner.map(|o| o.0),
        gid: owner.map(|o| o.1),
        atime: how.keep.times.then_some(meta.atime),
        mtime: how.keep.times.then_some(meta.mtime),
        ..SetAttr::default()
    }
}

pub(super) fn directory(dir: &Node, name: &[u8], task: &Task<'_>) -> Result<Node> {
    if let Some(node) = dir.lookup(name)? {
        return Ok(node);
    }
    // Set-id bits and the like come last, with the rest.
    Ok(dir.create(
        name,
        &new(FileType::Directory, task.meta.mode & 0o777, task),
    )?)
}

fn new(kind: FileType, mode: u16, task: &Task<'_>) -> NewInode {
    let (uid, gid) = task.how.owner.unwrap_or((0, 0));
    NewInode {
        uid,
        gid,
        rdev: task.meta.rdev,
        ..NewInode::new(kind, mode)
    }
}

pub(super) fn make(dir: &Node, name: &[u8], task: &Task<'_>) -> Result<Node> {
    if task.meta.kind == FileType::Regular || task.meta.stream && !task.how.recursive {
        return file(dir, name, task);
    }
    // Under a name of its own first, complete.
    let aside = format!(".e4-cp-{}", std::process::id());
    let aside = aside.as_bytes();
    if dir.lookup(aside)?.is_some() {
        // A process of this number was killed here, after what it did had become durable.
        dir.unlink(aside)?;
    }
    let node = match task.meta.kind {
        FileType::Symlink => dir.symlink(
            aside,
            &task.thing.target()?,
            task.how.owner.unwrap_or((0, 0)),
        )?,
        kind => dir.create(aside, &new(kind, task.meta.mode, task))?,
    };
    let placed = attributes(&node, task)
        .and_then(|()| Ok(dir.rename(aside, dir, name, RenameFlags::Replace)?));
    if placed.is_err() {
        dir.unlink(aside)?;
    }
    placed.map(|()| node)
}

fn file(dir: &Node, name: &[u8], task: &Task<'_>) -> Result<Node> {
    let how = task.how;
    let options = PutOptions {
        mode: how.mode.unwrap_or(task.meta.mode),
        owner: how.owner.unwrap_or((0, 0)),
        set: kept(task),
        keep: !how.keep.xattrs,
        if_absent: how.if_absent,
        force: how.force || !task.top,
        ..PutOptions::default()
    };
    let mut made = None;
    dir.put_with(name, &options, |file, node| -> Result<()> {
        contents(file, task)?;
        if how.keep.xattrs {
            xattrs(node, task)?;
        }
        made = Some(node.clone());
        Ok(())
    })?;
    match made {
        Some(node) => Ok(node),
        None => bail!("exists, and is left alone"),
    }
}

fn contents(file: &File, task: &Task<'_>) -> Result<()> {
    let mut end = 0;
    task.thing.read(task.meta, task.bar, &mut |at, piece| {
        if at == 0 && task.meta.size >= RESERVE && !task.meta.stream && is_dense(task) {
            file.fallocate(FallocateMode::Allocate, 0, task.meta.size)?;
        }
        end = at + file.copy_from(at, piece, &mut |_| std::ops::ControlFlow::Continue(()))?;
        Ok(())
    })?;
    let size = match task.meta.stream {
        true => end,
        // It may have shrunk or grown while it was copied; what was read counts.
        false => end.max(task.meta.size),
    };
    if file.size() != size {
        file.truncate(size)?;
    }
    Ok(())
}

/// No holes worth keeping.
fn is_dense(task: &Task<'_>) -> bool {
    match task.thing {
        super::Thing::Host(path) => {
            std::os::unix::fs::MetadataExt::blocks(&match path.metadata() {
                Ok(meta) => meta,
                Err(_) => return false,
            }) * 512
                >= task.meta.size
        }
        _ => false,
    }
}

fn xattrs(node: &Node, task: &Task<'_>) -> Result<()> {
    let follow = task.top && !task.how.recursive;
    for (name, value) in task.thing.xattrs(follow)? {
        match node.set_xattr(&name, &value, XattrSet::Any) {
            // A namespace of the host's filesystem that ext4 does not have.
            Err(Error::AttributeNamespace { .. }) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Gives a thing what is kept of the original; an ACL first, because it changes the mode.
pub(super) fn attributes(node: &Node, task: &Task<'_>) -> Result<()> {
    if task.how.keep.xattrs {
        xattrs(node, task)?;
    }
    let mut change = kept(task);
    if task.meta.kind == FileType::Directory && !task.how.keep.mode {
        change.mode = None;
    }
    if change != SetAttr::default() {
        node.set_attr(&change)?;
    }
    Ok(())
}
