//! Everything that names something.

use e4::{NewInode, Node, Stat};
use e4_format::FileType;
use e4_fuse_transport::{Caller, Entry, Errno, Handle, NodeId, OpenReply};
use rustix::fs::{OFlags, RenameFlags};

use super::{ATTR_TTL, NAME_TTL, State};
use crate::attr::{attr, node_id};
use crate::errno::{Answer, Fail};

/// Longest name, bytes. The kernel's FUSE lets longer ones through.
pub(super) const NAME_MAX: u32 = 255;

fn check(name: &[u8]) -> Answer<&[u8]> {
    if name.len() > NAME_MAX as usize {
        return Err(Fail(Errno::NAMETOOLONG));
    }
    Ok(name)
}

impl State {
    /// Hands a node out to the kernel: from here on it counts one more lookup.
    pub(super) fn entry(&self, node: Node) -> Answer<Entry> {
        // Looked at before it is counted: the kernel forgets only what it was told of.
        let stat = node.stat()?;
        self.nodes.handed_out(node);
        Ok(self.entry_of(&stat))
    }

    fn entry_of(&self, stat: &Stat) -> Entry {
        Entry {
            node: node_id(stat.ino).0,
            generation: u64::from(stat.generation),
            attr: attr(stat, &self.options),
            name_valid: NAME_TTL,
            attr_valid: ATTR_TTL,
        }
    }

    pub(super) fn lookup(&self, parent: NodeId, name: &[u8]) -> Answer<Entry> {
        let dir = self.nodes.get(parent)?.node;
        let name = check(name)?;
        // A file of a handle is asked for by "." in itself.
        if name == b"." {
            return self.entry(dir);
        }
        match dir.lookup(name)? {
            Some(node) => self.entry(node),
            // Remembered by the kernel: node id 0 is a name that does not exist.
            None => Ok(Entry {
                name_valid: NAME_TTL,
                ..Entry::default()
            }),
        }
    }

    fn new_inode(&self, by: Caller, kind: FileType, (mode, umask): (u32, u32)) -> NewInode {
        NewInode {
            kind,
            mode: (mode & 0o7777) as u16,
            umask: (umask & 0o777) as u16,
            uid: self.options.uid.unwrap_or(by.uid),
            gid: self.options.gid.unwrap_or(by.gid),
            rdev: 0,
        }
    }

    pub(super) fn mknod(
        &self,
        by: Caller,
        parent: NodeId,
        name: &[u8],
        (mode, umask, rdev): (u32, u32, u32),
    ) -> Answer<Entry> {
        let kind = FileType::of_mode((mode & 0xFFFF) as u16).unwrap_or(FileType::Regular);
        let new = NewInode {
            rdev,
            ..self.new_inode(by, kind, (mode, umask))
        };
        let dir = self.nodes.get(parent)?.node;
        self.entry(dir.create(check(name)?, &new)?)
    }

    pub(super) fn mkdir(
        &self,
        by: Caller,
        parent: NodeId,
        name: &[u8],
        mode: (u32, u32),
    ) -> Answer<Entry> {
        let new = self.new_inode(by, FileType::Directory, mode);
        let dir = self.nodes.get(parent)?.node;
        self.entry(dir.create(check(name)?, &new)?)
    }

    pub(super) fn symlink(
        &self,
        by: Caller,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
    ) -> Answer<Entry> {
        let owner = self.new_inode(by, FileType::Symlink, (0o777, 0));
        let dir = self.nodes.get(parent)?.node;
        self.entry(dir.symlink(check(name)?, target, (owner.uid, owner.gid))?)
    }

    pub(super) fn link(&self, ino: NodeId, parent: NodeId, name: &[u8]) -> Answer<Entry> {
        let node = self.nodes.get(ino)?.node;
        let dir = self.nodes.get(parent)?.node;
        dir.link(check(name)?, &node)?;
        self.entry(node)
    }

    pub(super) fn unlink(&self, parent: NodeId, name: &[u8]) -> Answer<()> {
        Ok(self.nodes.get(parent)?.node.unlink(check(name)?)?)
    }

    pub(super) fn rmdir(&self, parent: NodeId, name: &[u8]) -> Answer<()> {
        Ok(self.nodes.get(parent)?.node.rmdir(check(name)?)?)
    }

    pub(super) fn rename(
        &self,
        (from, name): (NodeId, &[u8]),
        (to, new_name): (NodeId, &[u8]),
        flags: u32,
    ) -> Answer<()> {
        let how = match RenameFlags::from_bits_retain(flags) {
            f if f.is_empty() => e4::RenameFlags::Replace,
            RenameFlags::NOREPLACE => e4::RenameFlags::NoReplace,
            RenameFlags::EXCHANGE => e4::RenameFlags::Exchange,
            RenameFlags::WHITEOUT => e4::RenameFlags::Whiteout,
            _ => return Err(Fail(Errno::INVAL)),
        };
        let (from, to) = (self.nodes.get(from)?.node, self.nodes.get(to)?.node);
        Ok(from.rename(check(name)?, &to, check(new_name)?, how)?)
    }

    pub(super) fn readlink(&self, ino: NodeId) -> Answer<Vec<u8>> {
        let known = self.nodes.get(ino)?;
        let target = known.node.read_link()?;
        self.accessed(&known.node);
        Ok(target)
    }

    /// Creates a regular file and opens it, in one request.
    pub(super) fn create(
        &self,
        by: Caller,
        parent: NodeId,
        name: &[u8],
        mode: (u32, u32),
        (flags, kill_set_id): (u32, bool),
    ) -> Answer<(Entry, Handle, OpenReply)> {
        let dir = self.nodes.get(parent)?.node;
        let name = check(name)?;
        let new = self.new_inode(by, FileType::Regular, mode);
        match dir.create(name, &new) {
            // Somebody was faster, through another name of the directory: as good, unless demanded.
            Err(e4::Error::Exists { .. }) if flags & OFlags::EXCL.bits() == 0 => {
                let node = dir.lookup(name)?.ok_or(Fail(Errno::NOENT))?;
                self.hand_out_open(node, flags, kill_set_id)
            }
            // Nothing in it that truncation could take.
            made => self.hand_out_open(made?, flags & !OFlags::TRUNC.bits(), false),
        }
    }

    /// A file without a name, open.
    pub(super) fn tmpfile(
        &self,
        by: Caller,
        parent: NodeId,
        mode: (u32, u32),
        flags: u32,
    ) -> Answer<(Entry, Handle, OpenReply)> {
        let dir = self.nodes.get(parent)?.node;
        let new = self.new_inode(by, FileType::Regular, mode);
        self.hand_out_open(dir.tmpfile(&new)?, flags, false)
    }

    fn hand_out_open(
        &self,
        node: Node,
        flags: u32,
        kill_set_id: bool,
    ) -> Answer<(Entry, Handle, OpenReply)> {
        let known = self.nodes.handed_out(node);
        let opened = self.open_known(&known, flags, kill_set_id);
        let stat = known.node.stat();
        match (opened, stat) {
            (Ok((handle, how)), Ok(stat)) => Ok((self.entry_of(&stat), handle, how)),
            (opened, stat) => {
                // The kernel is not told of it.
                self.nodes.forget(node_id(known.node.ino()), 1);
                if let Ok((handle, _)) = opened {
                    self.release(handle);
                    stat?;
                } else {
                    opened?;
                }
                Err(Fail(Errno::IO))
            }
        }
    }
}
