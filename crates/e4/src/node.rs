//! Inodes as a file server holds them: a [`Node`] is an inode that stays as long as somebody has it, whatever
//! happens to its names.
//!
//! Decisions: everything here is one operation on one directory or inode, with names as bytes; paths are walked
//! elsewhere. Each operation is one journal handle (large deletions: several, with the inode noted as orphan), so a
//! crash leaves all of it or nothing. Permissions are the caller's to check; `chattr` flags are checked here.

use core::ops::ControlFlow;

use e4_format::{FileType, InodeNo};
use e4_sync::Arc;

use crate::dir::{Birth, DirEntryInfo, Entry, Over};
use crate::error::{Error, Result};
use crate::file::{File, Stat};
use crate::fs::{Filesystem, OpenFlags};
use crate::inode::{Hold, SetAttr};
use crate::mount::{Mounted, Shared};

/// What a new inode is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewInode {
    /// Regular, directory, fifo, socket, character or block device. (Symbolic links: [`Node::symlink`].)
    pub kind: FileType,
    /// Permission bits: 07777.
    pub mode: u16,
    /// Bits taken out of the mode, unless the directory has a default ACL. 0 if the caller has done that.
    pub umask: u16,
    /// Owner.
    pub uid: u32,
    /// Group, unless the directory says otherwise (setgid).
    pub gid: u32,
    /// Device of a device file, as Linux numbers devices (minor in bits 0-7 and 20-31, major in bits 8-19).
    pub rdev: u32,
}

impl NewInode {
    /// A new inode of root's.
    #[must_use]
    pub const fn new(kind: FileType, mode: u16) -> Self {
        Self {
            kind,
            mode,
            umask: 0,
            uid: 0,
            gid: 0,
            rdev: 0,
        }
    }
}

/// What [`Node::rename`] does about the new name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RenameFlags {
    /// Replaces what it stands for.
    #[default]
    Replace,
    /// It must not exist.
    NoReplace,
    /// It must exist, and the two change places.
    Exchange,
    /// As `Replace`; the old name then stands for a whiteout, a character device 0:0.
    Whiteout,
}

/// What [`Node::set_xattr`] expects.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum XattrSet {
    /// Nothing.
    #[default]
    Any,
    /// The attribute must not exist.
    Create,
    /// The attribute must exist.
    Replace,
}

/// An inode in use. Clones are the same inode. A deleted inode lives until the last [`Node`] and the last
/// [`File`] of it are gone.
#[derive(Clone)]
pub struct Node {
    // Dropped before `mounted`.
    hold: Hold,
    mounted: Arc<Mounted>,
}

impl Filesystem {
    /// The root directory.
    ///
    /// # Errors
    /// It is damaged.
    pub fn root(&self) -> Result<Node> {
        self.node(InodeNo::ROOT)
    }

    /// An inode by number, as handles of NFS and FUSE name it.
    ///
    /// # Errors
    /// [`Error::Stale`] if there is none of this number; damage.
    pub fn node(&self, ino: InodeNo) -> Result<Node> {
        let mounted = self.mounted();
        mounted.shared.check_open()?;
        let stale = || Error::Stale {
            image: Arc::clone(&mounted.shared.image),
            ino: ino.get(),
        };
        if mounted.shared.is_reserved(ino) {
            return Err(stale());
        }
        match mounted.shared.inode(ino) {
            Ok(inode) => Ok(Node {
                hold: Hold::new(inode).ok_or_else(stale)?,
                mounted: Arc::clone(mounted),
            }),
            Err(Error::BadInode { .. }) => Err(stale()),
            Err(other) => Err(other),
        }
    }
}

impl Node {
    fn shared(&self) -> &Arc<Shared> {
        &self.mounted.shared
    }

    pub(crate) fn new(hold: Hold, mounted: &Arc<Mounted>) -> Self {
        Self {
            hold,
            mounted: Arc::clone(mounted),
        }
    }

    fn with(&self, hold: Hold) -> Self {
        Self::new(hold, &self.mounted)
    }

    /// Its number.
    #[must_use]
    pub fn ino(&self) -> InodeNo {
        self.hold.data().ino
    }

    /// Its generation: tells inodes apart that had the same number one after the other.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.hold.data().core.read().disk.generation
    }

    /// What it is; `None`: damage.
    #[must_use]
    pub fn kind(&self) -> Option<FileType> {
        self.hold.data().kind
    }

    /// What is known about it.
    ///
    /// # Errors
    /// The filesystem is closed.
    pub fn stat(&self) -> Result<Stat> {
        self.shared().check_open()?;
        Ok(self.shared().stat_inode(&self.hold))
    }

    /// Changes what is known about it, and returns what it is afterwards.
    ///
    /// # Errors
    /// It is immutable or append-only; a size for something that is no regular file; no space.
    pub fn set_attr(&self, change: &SetAttr) -> Result<Stat> {
        let observer = self.hold.observer();
        self.shared().set_attr(&self.hold, &observer, change)?;
        self.stat()
    }

    /// What a name in this directory stands for, `.` and `..` included.
    ///
    /// # Errors
    /// This is no directory; damage.
    pub fn lookup(&self, name: &[u8]) -> Result<Option<Self>> {
        let shared = self.shared();
        shared.check_open()?;
        let found = shared.lookup_in(&self.hold, name)?;
        Ok(found.map(|hold| self.with(hold)))
    }

    /// Shows the names of this directory from `cookie` on (0: the beginning), `.` and `..` among them, each with the
    /// cookie to continue behind it. Names that stay are shown exactly once, whatever else changes meanwhile.
    /// No lock is held while `each` runs.
    ///
    /// # Errors
    /// This is no directory, or was removed; damage.
    pub fn read_dir_from(
        &self,
        cookie: u64,
        each: &mut dyn FnMut(&DirEntryInfo, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        self.shared().check_open()?;
        self.shared().read_dir_from(&self.hold, cookie, each)
    }

    /// Creates something in this directory.
    ///
    /// # Errors
    /// The name exists or cannot be; this is no directory, was removed, or is immutable; no space.
    pub fn create(&self, name: &[u8], new: &NewInode) -> Result<Self> {
        if new.kind == FileType::Symlink {
            return Err(Error::Invalid {
                what: "a symbolic link without a target",
            });
        }
        let birth = Birth { new, target: b"" };
        let hold = self.shared().create_in(&self.hold, name, birth)?;
        Ok(self.with(hold))
    }

    /// Opens it. Of the flags, those about names (`create`, `exclusive`, `mode`) mean nothing here.
    ///
    /// # Errors
    /// The image is read-only, or this is a directory to be written; with `truncate`: as [`File::truncate`].
    pub fn open(&self, flags: OpenFlags) -> Result<File> {
        let shared = self.shared();
        shared.check_open()?;
        let path = || format!("inode {}", self.ino());
        if flags.write {
            shared.check_writable()?;
            if self.kind() == Some(FileType::Directory) {
                return Err(Error::IsADirectory { path: path() });
            }
            let state = self.hold.data();
            shared.check_not_immutable(state, &state.core.read())?;
        }
        let mounted = Arc::clone(&self.mounted);
        let file = File::new(mounted, self.hold.clone(), path(), flags.write, flags.dsync);
        if flags.truncate {
            file.truncate(0)?;
        }
        Ok(file)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// It is none; damage.
    pub fn read_link(&self) -> Result<Vec<u8>> {
        self.shared().check_open()?;
        if self.kind() != Some(FileType::Symlink) {
            return Err(Error::Invalid {
                what: "not a symbolic link",
            });
        }
        self.shared().link_target(&self.hold)
    }

    /// Creates a symbolic link in this directory.
    ///
    /// # Errors
    /// As [`Node::create`]; a target that is empty, or does not fit a block.
    pub fn symlink(&self, name: &[u8], target: &[u8], owner: (u32, u32)) -> Result<Self> {
        let (uid, gid) = owner;
        let new = NewInode {
            uid,
            gid,
            ..NewInode::new(FileType::Symlink, 0o777)
        };
        let birth = Birth { new: &new, target };
        let hold = self.shared().create_in(&self.hold, name, birth)?;
        Ok(self.with(hold))
    }

    /// Gives `target` one more name, in this directory.
    ///
    /// # Errors
    /// The name exists; `target` is a directory, immutable or append-only, deleted, or has 65000 links; no space.
    pub fn link(&self, name: &[u8], target: &Self) -> Result<()> {
        let over = Over::Nothing;
        self.shared().link(&self.hold, name, &target.hold, over)
    }

    /// Lets a name of this directory stand for `target`, whatever it stood for before (nothing, or anything but a
    /// directory), in one handle: after a crash it stands for the one or the other. With `only`, the name must stand for
    /// that inode until then. What `target` has been written and acknowledged is durable with the name.
    ///
    /// # Errors
    /// As [`Node::link`] and [`Node::unlink`]; [`Error::ChangedMeanwhile`] if the name does not stand for `only`.
    pub fn link_over(&self, name: &[u8], target: &Self, only: Option<&Self>) -> Result<()> {
        let over = only.map_or(Over::Anything, |node| Over::Only(&node.hold));
        self.shared().link(&self.hold, name, &target.hold, over)
    }

    /// Removes a name of something that is no directory. If it was the last one, the inode goes with its last user.
    ///
    /// # Errors
    /// There is no such name; it is a directory; it or this directory is immutable or append-only.
    pub fn unlink(&self, name: &[u8]) -> Result<()> {
        self.shared().unlink(&self.hold, name)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// There is no such name; it is no directory, not empty, or immutable or append-only, or this one is.
    pub fn rmdir(&self, name: &[u8]) -> Result<()> {
        self.shared().rmdir(&self.hold, name)
    }

    /// Moves a name of this directory to `new_name` of `to`. If both names stand for one inode, nothing happens.
    ///
    /// # Errors
    /// As rename(2): `ENOENT`, `EEXIST`, `ENOTDIR`, `EISDIR`, `ENOTEMPTY`, `EINVAL` (a directory below itself),
    /// `EPERM`, `EMLINK`, `ENOSPC`.
    pub fn rename(
        &self,
        name: &[u8],
        to: &Self,
        new_name: &[u8],
        flags: RenameFlags,
    ) -> Result<()> {
        let from = Entry {
            dir: &self.hold,
            name,
        };
        let to = Entry {
            dir: &to.hold,
            name: new_name,
        };
        self.shared().rename(from, to, flags)
    }

    /// An inode without a name, in this directory's neighbourhood; it lives until its last user goes, unless
    /// [`Node::link`] gives it a name.
    ///
    /// # Errors
    /// Not a regular file; this is no directory; no space.
    pub fn tmpfile(&self, new: &NewInode) -> Result<Self> {
        if new.kind != FileType::Regular {
            return Err(Error::Invalid {
                what: "only regular files can do without a name",
            });
        }
        let birth = Birth { new, target: b"" };
        let hold = self.shared().tmpfile(&self.hold, birth)?;
        Ok(self.with(hold))
    }

    /// The value of an extended attribute by its full name (`user.x`); an ACL in the form the kernel hands out.
    ///
    /// # Errors
    /// A namespace that does not exist; damage.
    pub fn get_xattr(&self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.shared().get_xattr(&self.hold, name)
    }

    /// The full names of the extended attributes.
    ///
    /// # Errors
    /// Damage.
    pub fn list_xattr(&self) -> Result<Vec<Vec<u8>>> {
        self.shared().list_xattr(&self.hold)
    }

    /// Sets an extended attribute. An access ACL changes the mode as well.
    ///
    /// # Errors
    /// It exists, or does not, against `how`; the namespace does not exist, or is not for this kind of file; it does not fit;
    /// this inode is immutable or append-only.
    pub fn set_xattr(&self, name: &[u8], value: &[u8], how: XattrSet) -> Result<()> {
        self.shared().set_xattr(&self.hold, name, value, how)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// There is none of this name; as [`Node::set_xattr`].
    pub fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.shared().remove_xattr(&self.hold, name)
    }
}
