//! Operations by path: thin forms of those of [`Node`].
//!
//! Paths are absolute, with or without the leading slash; symbolic links on the way are followed, the last component only
//! where it says so.

use crate::dir::path::Last;
use crate::error::{Error, Result};
use crate::file::Stat;
use crate::fs::Filesystem;
use crate::inode::{Hold, SetAttr};
use crate::node::{NewInode, Node, RenameFlags, XattrSet};

impl Filesystem {
    /// The inode of a path; a symbolic link at its end is followed if `follow`.
    ///
    /// # Errors
    /// It does not exist.
    pub fn lookup(&self, path: &str, follow: bool) -> Result<Node> {
        let shared = &self.mounted().shared;
        shared.check_open()?;
        let last = if follow { Last::Follow } else { Last::Keep };
        Ok(self.node_of(shared.resolve(path, last)?))
    }

    /// The directory a path's last component is in, and that component.
    fn parent(&self, path: &str) -> Result<(Node, Vec<u8>)> {
        let shared = &self.mounted().shared;
        shared.check_open()?;
        let (dir, name, _) = shared.walk(path, Last::Name)?;
        Ok((self.node_of(dir), name))
    }

    /// The directory that a new thing of this path would be made in, and its name there; the last component may exist. A
    /// symbolic link there is followed if `follow`, so that the name is that of what it points to.
    ///
    /// # Errors
    /// A directory on the way does not exist.
    pub fn place(&self, path: &str, follow: bool) -> Result<(Node, Vec<u8>)> {
        let shared = &self.mounted().shared;
        shared.check_open()?;
        let last = if follow { Last::Follow } else { Last::Keep };
        let (dir, name, _) = shared.walk(path, last)?;
        Ok((self.node_of(dir), name))
    }

    fn node_of(&self, hold: Hold) -> Node {
        Node::new(hold, self.mounted())
    }

    /// Creates a file, directory, fifo, socket or device.
    ///
    /// # Errors
    /// As [`Node::create`].
    pub fn mknod(&self, path: &str, new: &NewInode) -> Result<Node> {
        let (dir, name) = self.parent(path)?;
        if name == b"." {
            return Err(Error::Exists {
                path: path.to_owned(),
            });
        }
        dir.create(&name, new)
    }

    /// Removes a name of something that is no directory.
    ///
    /// # Errors
    /// As [`Node::unlink`].
    pub fn unlink(&self, path: &str) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        dir.unlink(&name)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`Node::rmdir`].
    pub fn rmdir(&self, path: &str) -> Result<()> {
        let (dir, name) = self.parent(path)?;
        dir.rmdir(&name)
    }

    /// Moves a name.
    ///
    /// # Errors
    /// As [`Node::rename`].
    pub fn rename(&self, from: &str, to: &str, flags: RenameFlags) -> Result<()> {
        let (dir, name) = self.parent(from)?;
        let (new_dir, new_name) = self.parent(to)?;
        dir.rename(&name, &new_dir, &new_name, flags)
    }

    /// Gives what `existing` stands for (a symbolic link itself, if it is one) one more name.
    ///
    /// # Errors
    /// As [`Node::link`].
    pub fn link(&self, existing: &str, path: &str) -> Result<()> {
        let target = self.lookup(existing, false)?;
        let (dir, name) = self.parent(path)?;
        dir.link(&name, &target)
    }

    /// Creates a symbolic link of root's.
    ///
    /// # Errors
    /// As [`Node::symlink`].
    pub fn symlink(&self, target: &[u8], path: &str) -> Result<Node> {
        let (dir, name) = self.parent(path)?;
        dir.symlink(&name, target, (0, 0))
    }

    /// Changes what is known about a path; a symbolic link at its end is followed if `follow`.
    ///
    /// # Errors
    /// As [`Node::set_attr`].
    pub fn set_attr(&self, path: &str, follow: bool, change: &SetAttr) -> Result<Stat> {
        self.lookup(path, follow)?.set_attr(change)
    }

    /// The value of an extended attribute.
    ///
    /// # Errors
    /// As [`Node::get_xattr`].
    pub fn get_xattr(&self, path: &str, follow: bool, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.lookup(path, follow)?.get_xattr(name)
    }

    /// The full names of the extended attributes.
    ///
    /// # Errors
    /// As [`Node::list_xattr`].
    pub fn list_xattr(&self, path: &str, follow: bool) -> Result<Vec<Vec<u8>>> {
        self.lookup(path, follow)?.list_xattr()
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// As [`Node::set_xattr`].
    pub fn set_xattr(
        &self,
        path: &str,
        follow: bool,
        name: &[u8],
        value: &[u8],
        how: XattrSet,
    ) -> Result<()> {
        self.lookup(path, follow)?.set_xattr(name, value, how)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// As [`Node::remove_xattr`].
    pub fn remove_xattr(&self, path: &str, follow: bool, name: &[u8]) -> Result<()> {
        self.lookup(path, follow)?.remove_xattr(name)
    }
}
