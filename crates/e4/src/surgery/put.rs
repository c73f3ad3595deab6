//! Putting a file: complete under its name, or not at all.

use std::io::Read;

use e4_format::{FileType, InodeFlags};

use super::Progress;
use crate::dir::path::Last;
use crate::error::{Error, Result};
use crate::file::{FallocateMode, File, Stat};
use crate::fs::{Filesystem, OpenFlags};
use crate::inode::SetAttr;
use crate::node::{NewInode, Node, XattrSet};

/// How to put a file.
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// Permission bits of a file that did not exist.
    pub mode: u16,
    /// Owner and group of a file that did not exist.
    pub owner: (u32, u32),
    /// Set in any case, over what a replaced file had and over times. (Its size means nothing here.)
    pub set: SetAttr,
    /// A file that takes another's place gets that one's mode, owner, flags and extended attributes, as if it had been
    /// written over. Otherwise it is like a new one.
    pub keep: bool,
    /// What exists is left alone.
    pub if_absent: bool,
    /// A symbolic link is replaced itself, not what it points to; so are devices, fifos and sockets.
    pub force: bool,
    /// What is replaced must be as this says: inode, generation, size, mtime and ctime.
    pub unchanged: Option<Stat>,
    /// How many bytes will come, as far as known: reserves one extent for them where the space allows it.
    pub len: Option<u64>,
}

impl Default for PutOptions {
    fn default() -> Self {
        Self {
            mode: 0o644,
            owner: (0, 0),
            set: SetAttr::default(),
            keep: true,
            if_absent: false,
            force: false,
            unchanged: None,
            len: None,
        }
    }
}

/// What became of a put.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutOutcome {
    /// The name is new.
    Created,
    /// Another file had it.
    Replaced,
    /// It exists, and was to be left alone.
    LeftAlone,
}

impl Filesystem {
    /// Stores everything `source` has under `path`. After a crash the name stands for the old file or for the whole new one,
    /// never for a part; it is durable after the next [`Filesystem::sync`] or [`Filesystem::unmount`]. A replaced file that
    /// has other names keeps its contents under those; whoever has it open keeps it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use e4::device::MemoryDevice;
    /// # let device = std::sync::Arc::new(MemoryDevice::new(16 << 20));
    /// # e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {})?;
    /// use std::ops::ControlFlow;
    /// use e4::surgery::{PutOptions, PutOutcome};
    ///
    /// let fs = e4::Filesystem::open(device, &e4::MountOptions::default())?;
    /// let mut source: &[u8] = b"nameserver 1.1.1.1\n";
    /// let done = fs.put("/resolv.conf", &mut source, &PutOptions::default(), &mut |_| {
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(done, PutOutcome::Created);
    /// fs.unmount()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Source`] and [`Error::Cancelled`] as [`File::copy_from`]; [`Error::IsADirectory`];
    /// [`Error::NotARegularFile`] for what only `force` replaces; [`Error::ChangedMeanwhile`] against `unchanged`; the
    /// directory does not exist; no space. The old file then stands as it was.
    pub fn put(
        &self,
        path: &str,
        source: &mut dyn Read,
        options: &PutOptions,
        progress: Progress<'_>,
    ) -> Result<PutOutcome> {
        self.put_with(path, options, |file, _| {
            if let Some(len) = options.len.filter(|&len| len > 0) {
                file.fallocate(FallocateMode::Allocate, 0, len)?;
            }
            let written = file.copy_from(0, source, progress)?;
            if file.size() != written {
                // There was less than was said.
                file.truncate(written)?;
            }
            Ok(())
        })
    }

    /// As [`Filesystem::put`], with contents that `fill` writes, holes included: it gets the file before it has a name, and
    /// its inode.
    ///
    /// # Errors
    /// `fill`'s, and as [`Filesystem::put`].
    pub fn put_with<E: From<Error>>(
        &self,
        path: &str,
        options: &PutOptions,
        fill: impl FnOnce(&File, &Node) -> Result<(), E>,
    ) -> Result<PutOutcome, E> {
        let mounted = self.mounted();
        let last = if options.force {
            Last::Keep
        } else {
            Last::Follow
        };
        let (dir, name, _) = mounted.shared.walk(path, last)?;
        let dir = Node::new(dir, mounted);
        dir.put_named(path, &name, options, fill)
    }
}

impl Node {
    /// As [`Filesystem::put_with`], under a name of this directory; a symbolic link of this name is not followed.
    ///
    /// # Errors
    /// As [`Filesystem::put_with`]; this is no directory.
    pub fn put_with<E: From<Error>>(
        &self,
        name: &[u8],
        options: &PutOptions,
        fill: impl FnOnce(&File, &Self) -> Result<(), E>,
    ) -> Result<PutOutcome, E> {
        let shown = String::from_utf8_lossy(name);
        self.put_named(&shown, name, options, fill)
    }

    fn put_named<E: From<Error>>(
        &self,
        path: &str,
        name: &[u8],
        options: &PutOptions,
        fill: impl FnOnce(&File, &Self) -> Result<(), E>,
    ) -> Result<PutOutcome, E> {
        let old = self.lookup(name)?;
        if let Some(old) = &old {
            if options.if_absent {
                return Ok(PutOutcome::LeftAlone);
            }
            check_replaceable(path, old, options)?;
        } else if options.unchanged.is_some() {
            return Err(changed(path).into());
        }
        let node = self.tmpfile(&NewInode {
            uid: options.owner.0,
            gid: options.owner.1,
            ..NewInode::new(FileType::Regular, options.mode)
        })?;
        let file = node.open(OpenFlags::read_write())?;
        let kept = match &old {
            Some(old) if options.keep => Some(copy_attributes(old, &node)?),
            _ => None,
        };
        fill(&file, &node)?;
        // Pages and asynchronous writes of `fill`, and what they failed with.
        file.shared().flush_pages(file.inode(), 0..u64::MAX)?;
        file.wait_for_submitted()?;
        set_attributes(&node, kept.as_ref(), &options.set)?;
        if let Some(old) = &old {
            check_unchanged(path, old, options)?;
        }
        let named = match (&old, options.if_absent) {
            (None, true) => self.link(name, &node),
            (Some(old), _) if options.unchanged.is_some() => self.link_over(name, &node, Some(old)),
            _ => self.link_over(name, &node, None),
        };
        match (named, &old) {
            (Ok(()), None) => Ok(PutOutcome::Created),
            (Ok(()), Some(_)) => Ok(PutOutcome::Replaced),
            (Err(Error::Exists { .. }), _) if options.if_absent => Ok(PutOutcome::LeftAlone),
            (Err(Error::ChangedMeanwhile { .. }), _) => Err(changed(path).into()),
            (Err(error), _) => Err(error.into()),
        }
    }
}

fn set_attributes(node: &Node, kept: Option<&Stat>, set: &SetAttr) -> Result<()> {
    let change = SetAttr {
        mode: set.mode.or(kept.map(|old| old.mode)),
        uid: set.uid.or(kept.map(|old| old.uid)),
        gid: set.gid.or(kept.map(|old| old.gid)),
        size: None,
        flags: set
            .flags
            .or(kept.map(|old| InodeFlags::from_bits(old.flags))),
        ..*set
    };
    if change != SetAttr::default() {
        node.set_attr(&change)?;
    }
    Ok(())
}

/// Gives `node` the extended attributes of `old` and no others; what else `old` is.
fn copy_attributes(old: &Node, node: &Node) -> Result<Stat> {
    let names = old.list_xattr()?;
    for name in node.list_xattr()? {
        // From its directory's default ACL.
        if !names.contains(&name) {
            node.remove_xattr(&name)?;
        }
    }
    for name in names {
        if let Some(value) = old.get_xattr(&name)? {
            node.set_xattr(&name, &value, XattrSet::Any)?;
        }
    }
    old.stat()
}

fn check_replaceable(path: &str, old: &Node, options: &PutOptions) -> Result<()> {
    let path = || path.to_owned();
    match old.kind() {
        Some(FileType::Regular) => check_unchanged(&path(), old, options),
        Some(FileType::Directory) => Err(Error::IsADirectory { path: path() }),
        _ if options.force => Ok(()),
        _ => Err(Error::NotARegularFile { path: path() }),
    }
}

fn check_unchanged(path: &str, old: &Node, options: &PutOptions) -> Result<()> {
    let Some(expected) = &options.unchanged else {
        return Ok(());
    };
    let of = |s: &Stat| (s.ino, s.generation, s.size, s.mtime, s.ctime);
    if of(&old.stat()?) == of(expected) {
        Ok(())
    } else {
        Err(changed(path))
    }
}

fn changed(path: &str) -> Error {
    Error::ChangedMeanwhile {
        path: path.to_owned(),
    }
}
