//! Everything that names something.

use e4::{NewInode, Node};
use e4_format::FileType;
use fuser::{Errno, FileAttr, FileHandle, FopenFlags, Generation, INodeNo, RenameFlags, Request};

use super::State;
use crate::attr::{file_attr, node_id};
use crate::errno::{Answer, Fail};

/// Longest name, bytes. The kernel's FUSE lets longer ones through.
pub(super) const NAME_MAX: u32 = 255;

/// What the kernel is told of a name.
pub(super) struct Entry {
    pub(super) attr: FileAttr,
    pub(super) generation: Generation,
}

fn check(name: &[u8]) -> Answer<&[u8]> {
    if name.len() > NAME_MAX as usize {
        return Err(Fail(Errno::ENAMETOOLONG));
    }
    Ok(name)
}

impl State {
    /// Hands a node out to the kernel: from here on it counts one more lookup.
    pub(super) fn entry(&self, node: Node) -> Answer<Entry> {
        // Looked at before it is counted: the kernel forgets only what it was told of.
        let stat = node.stat()?;
        let mut attr = file_attr(&stat, &self.options);
        // In an entry, fuser takes the number for the kernel's node id as well.
        attr.ino = node_id(stat.ino);
        self.nodes.handed_out(node);
        Ok(Entry {
            attr,
            generation: Generation(u64::from(stat.generation)),
        })
    }

    pub(super) fn lookup(&self, parent: INodeNo, name: &[u8]) -> Answer<Entry> {
        let dir = self.nodes.get(parent)?.node;
        let name = check(name)?;
        // A file of a handle is asked for by "." in itself.
        if name == b"." {
            return self.entry(dir);
        }
        match dir.lookup(name)? {
            Some(node) => self.entry(node),
            // Remembered by the kernel: node id 0 is a name that does not exist.
            None => Ok(Entry::missing()),
        }
    }

    fn new_inode(&self, req: &Request, kind: FileType, (mode, umask): (u32, u32)) -> NewInode {
        NewInode {
            kind,
            mode: (mode & 0o7777) as u16,
            umask: (umask & 0o777) as u16,
            uid: self.options.uid.unwrap_or_else(|| req.uid()),
            gid: self.options.gid.unwrap_or_else(|| req.gid()),
            rdev: 0,
        }
    }

    pub(super) fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &[u8],
        (mode, umask, rdev): (u32, u32, u32),
    ) -> Answer<Entry> {
        let kind = FileType::of_mode((mode & 0xFFFF) as u16).unwrap_or(FileType::Regular);
        let new = NewInode {
            rdev,
            ..self.new_inode(req, kind, (mode, umask))
        };
        let dir = self.nodes.get(parent)?.node;
        self.entry(dir.create(check(name)?, &new)?)
    }

    pub(super) fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &[u8],
        mode: (u32, u32),
    ) -> Answer<Entry> {
        let new = self.new_inode(req, FileType::Directory, mode);
        let dir = self.nodes.get(parent)?.node;
        self.entry(dir.create(check(name)?, &new)?)
    }

    pub(super) fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &[u8],
        target: &[u8],
    ) -> Answer<Entry> {
        let owner = self.new_inode(req, FileType::Symlink, (0o777, 0));
        let dir = self.nodes.get(parent)?.node;
        self.entry(dir.symlink(check(name)?, target, (owner.uid, owner.gid))?)
    }

    pub(super) fn link(&self, ino: INodeNo, parent: INodeNo, name: &[u8]) -> Answer<Entry> {
        let node = self.nodes.get(ino)?.node;
        let dir = self.nodes.get(parent)?.node;
        dir.link(check(name)?, &node)?;
        self.entry(node)
    }

    pub(super) fn unlink(&self, parent: INodeNo, name: &[u8]) -> Answer<()> {
        Ok(self.nodes.get(parent)?.node.unlink(check(name)?)?)
    }

    pub(super) fn rmdir(&self, parent: INodeNo, name: &[u8]) -> Answer<()> {
        Ok(self.nodes.get(parent)?.node.rmdir(check(name)?)?)
    }

    pub(super) fn rename(
        &self,
        (from, name): (INodeNo, &[u8]),
        (to, new_name): (INodeNo, &[u8]),
        flags: RenameFlags,
    ) -> Answer<()> {
        let how = match flags {
            f if f.is_empty() => e4::RenameFlags::Replace,
            RenameFlags::RENAME_NOREPLACE => e4::RenameFlags::NoReplace,
            RenameFlags::RENAME_EXCHANGE => e4::RenameFlags::Exchange,
            RenameFlags::RENAME_WHITEOUT => e4::RenameFlags::Whiteout,
            _ => return Err(Fail(Errno::EINVAL)),
        };
        let (from, to) = (self.nodes.get(from)?.node, self.nodes.get(to)?.node);
        Ok(from.rename(check(name)?, &to, check(new_name)?, how)?)
    }

    pub(super) fn readlink(&self, ino: INodeNo) -> Answer<Vec<u8>> {
        let known = self.nodes.get(ino)?;
        let target = known.node.read_link()?;
        self.accessed(&known.node);
        Ok(target)
    }

    /// Creates a regular file and opens it, in one request.
    pub(super) fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &[u8],
        mode: (u32, u32),
        flags: i32,
    ) -> Answer<(Entry, FileHandle, FopenFlags)> {
        let dir = self.nodes.get(parent)?.node;
        let name = check(name)?;
        let new = self.new_inode(req, FileType::Regular, mode);
        let node = match dir.create(name, &new) {
            // Somebody was faster, through another name of the directory: as good, unless demanded.
            Err(e4::Error::Exists { .. }) if flags & super::files::O_EXCL == 0 => {
                dir.lookup(name)?.ok_or(Fail(Errno::ENOENT))?
            }
            made => made?,
        };
        let known = self.nodes.handed_out(node.clone());
        let opened = self.open_known(&known, flags);
        let stat = node.stat();
        match (opened, stat) {
            (Ok((handle, open_flags)), Ok(stat)) => {
                let attr = file_attr(&stat, &self.options);
                let generation = Generation(u64::from(stat.generation));
                Ok((Entry { attr, generation }, handle, open_flags))
            }
            (opened, stat) => {
                // The kernel is not told of it.
                self.nodes.forget(node_id(node.ino()), 1);
                if let Ok((handle, _)) = opened {
                    self.release(handle);
                    stat?;
                } else {
                    opened?;
                }
                Err(Fail(Errno::EIO))
            }
        }
    }
}

impl Entry {
    /// "There is no such name", to be remembered.
    fn missing() -> Self {
        let epoch = std::time::UNIX_EPOCH;
        Self {
            attr: FileAttr {
                ino: INodeNo(0),
                size: 0,
                blocks: 0,
                atime: epoch,
                mtime: epoch,
                ctime: epoch,
                crtime: epoch,
                kind: fuser::FileType::RegularFile,
                perm: 0,
                nlink: 0,
                uid: 0,
                gid: 0,
                rdev: 0,
                blksize: 4096,
                flags: 0,
            },
            generation: Generation(0),
        }
    }
}
