//! The filesystem as its users see it.

use e4_completion::Dump;
use e4_device::Device;
use e4_format::{FileType, Superblock};
use e4_journal::recovery::RecoveryReport;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use crate::data::context::IoContext;
use crate::dir::path::Last;
use crate::dir::{Birth, DirEntryInfo};
use crate::error::{Error, Result};
use crate::file::{File, Stat};
use crate::mount::{MountOptions, Mounted, StatFs, Stats, mount};
use crate::node::NewInode;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the flags of open(2), as people know them"
)]
pub struct OpenFlags {
    /// For writing.
    pub write: bool,
    /// Create it if it does not exist.
    pub create: bool,
    /// With `create`: it must not exist.
    pub exclusive: bool,
    /// Cut it to length 0.
    pub truncate: bool,
    /// A write is acknowledged only once durable (`O_DSYNC`).
    pub dsync: bool,
    /// Permission bits of a created file.
    pub mode: u16,
}

impl OpenFlags {
    /// For reading.
    #[must_use]
    pub const fn read() -> Self {
        Self {
            write: false,
            create: false,
            exclusive: false,
            truncate: false,
            dsync: false,
            mode: 0o644,
        }
    }

    /// For reading and writing.
    #[must_use]
    pub const fn read_write() -> Self {
        Self {
            write: true,
            ..Self::read()
        }
    }

    /// For reading and writing, created if missing.
    #[must_use]
    pub const fn create() -> Self {
        Self {
            create: true,
            ..Self::read_write()
        }
    }
}

impl Default for OpenFlags {
    fn default() -> Self {
        Self::read()
    }
}

/// A mounted filesystem. Clones are the same filesystem; all methods may be called from any thread.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use e4::{Filesystem, MountOptions, OpenFlags};
///
/// let device = e4::device::open(std::path::Path::new("disk.img"), &Default::default())?;
/// let fs = Filesystem::open(device, &MountOptions::default())?;
/// let file = fs.open_file("/log", OpenFlags::create())?;
/// file.write_at(0, b"hello")?;
/// file.fsync()?;
/// fs.unmount()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Filesystem {
    mounted: Arc<Mounted>,
}

impl Filesystem {
    /// Opens an image: recovers its journal if it needs that, finishes interrupted truncations.
    ///
    /// # Errors
    /// Not an ext4 image, damaged, unsupported features (by name), device errors. The image is then as it was, unless
    /// recovery had begun.
    pub fn open(device: Arc<dyn Device>, options: &MountOptions) -> Result<Self> {
        Ok(Self {
            mounted: Arc::new(mount(device, options)?),
        })
    }

    pub(crate) fn mounted(&self) -> &Arc<Mounted> {
        &self.mounted
    }

    /// What recovery found, if it was needed.
    #[must_use]
    pub fn recovery(&self) -> Option<&RecoveryReport> {
        self.mounted.recovery.as_ref()
    }

    /// Truncations and deletions that a crash had interrupted and opening finished.
    #[must_use]
    pub fn orphans_finished(&self) -> usize {
        self.mounted.orphans_finished.load(Ordering::Relaxed)
    }

    /// Commits everything, writes it home and marks the image clean. Later operations on open files fail.
    ///
    /// # Errors
    /// What kept it from becoming durable; the image then needs recovery, which the next open does.
    pub fn unmount(self) -> Result<()> {
        self.mounted.unmount()
    }

    /// Makes everything acknowledged so far durable.
    ///
    /// # Errors
    /// Journal or device.
    pub fn sync(&self) -> Result<()> {
        self.mounted.shared.sync()
    }

    /// Opens a file.
    ///
    /// # Errors
    /// It does not exist, exists although it must not, is no regular file, or the image is read-only.
    pub fn open_file(&self, path: &str, flags: OpenFlags) -> Result<File> {
        let shared = &self.mounted.shared;
        shared.check_open()?;
        if flags.write {
            shared.check_writable()?;
        }
        let (dir, name, found) = shared.walk(path, Last::Follow)?;
        let inode = match found {
            Some(_) if flags.create && flags.exclusive => {
                return Err(Error::Exists {
                    path: path.to_owned(),
                });
            }
            Some(inode) => inode,
            None if flags.create => {
                let new = NewInode::new(FileType::Regular, flags.mode);
                let birth = Birth {
                    new: &new,
                    target: b"",
                };
                match shared.create_in(&dir, &name, birth) {
                    // Somebody else was faster; without `exclusive` that is as good.
                    Err(Error::Exists { .. }) if !flags.exclusive => {
                        shared.resolve(path, Last::Follow)?
                    }
                    other => other?,
                }
            }
            None => {
                return Err(Error::NotFound {
                    path: path.to_owned(),
                });
            }
        };
        if flags.write && inode.data().kind == Some(FileType::Directory) {
            return Err(Error::IsADirectory {
                path: path.to_owned(),
            });
        }
        if flags.write {
            shared.check_not_immutable(inode.data(), &inode.data().core.read())?;
        }
        let mounted = Arc::clone(&self.mounted);
        let file = File::new(mounted, inode, path.to_owned(), flags.write, flags.dsync);
        if flags.truncate {
            file.truncate(0)?;
        }
        Ok(file)
    }

    /// Creates a directory.
    ///
    /// # Errors
    /// It exists, its parent does not, no space.
    pub fn mkdir(&self, path: &str, mode: u16) -> Result<()> {
        let shared = &self.mounted.shared;
        shared.check_writable()?;
        match shared.walk(path, Last::Keep)? {
            (_, _, Some(_)) => Err(Error::Exists {
                path: path.to_owned(),
            }),
            (dir, name, None) => {
                let new = NewInode::new(FileType::Directory, mode);
                let birth = Birth {
                    new: &new,
                    target: b"",
                };
                shared.create_in(&dir, &name, birth).map(drop)
            }
        }
    }

    /// What is known about a path; a symbolic link at its end is not followed.
    ///
    /// # Errors
    /// It does not exist.
    pub fn stat(&self, path: &str) -> Result<Stat> {
        let shared = &self.mounted.shared;
        shared.check_open()?;
        let inode = shared.resolve(path, Last::Keep)?;
        Ok(shared.stat_inode(&inode))
    }

    /// The names in a directory, `.` and `..` among them.
    ///
    /// # Errors
    /// It does not exist or is no directory.
    pub fn read_dir(&self, path: &str) -> Result<Vec<DirEntryInfo>> {
        let shared = &self.mounted.shared;
        shared.check_open()?;
        let dir = shared.resolve(path, Last::Follow)?;
        if dir.data().kind != Some(FileType::Directory) {
            return Err(Error::NotADirectory {
                path: path.to_owned(),
            });
        }
        shared.dir_entries(&dir)
    }

    /// The target of a symbolic link.
    ///
    /// # Errors
    /// It does not exist or is none.
    pub fn read_link(&self, path: &str) -> Result<Vec<u8>> {
        let shared = &self.mounted.shared;
        let inode = shared.resolve(path, Last::Keep)?;
        if inode.data().kind != Some(FileType::Symlink) {
            return Err(Error::Invalid {
                what: "not a symbolic link",
            });
        }
        shared.link_target(&inode)
    }

    /// A context for asynchronous operations on any of the filesystem's files.
    #[must_use]
    pub fn io_context(&self) -> IoContext {
        IoContext::new(Arc::clone(&self.mounted.shared))
    }

    /// The superblock as it was when the filesystem was opened, with the size of now.
    #[must_use]
    pub fn superblock(&self) -> Superblock {
        Superblock::clone(&self.mounted.shared.sb)
    }

    /// Sizes and free space.
    #[must_use]
    pub fn statfs(&self) -> StatFs {
        self.mounted.shared.statfs()
    }

    /// Tells the device that the free blocks in a range of its bytes are not needed: an image file gets holes there. Runs
    /// shorter than `least` bytes stay. Returns how many bytes.
    ///
    /// # Errors
    /// The image is read-only; the range is empty or begins behind the filesystem's end; damage.
    pub fn trim(&self, bytes: core::ops::Range<u64>, least: u64) -> Result<u64> {
        self.mounted.shared.trim(bytes, least)
    }

    /// How often damage was met since the image was opened ([`crate::ErrorPolicy`]).
    #[must_use]
    pub fn errors_found(&self) -> u64 {
        self.mounted.shared.errors_found()
    }

    /// What the filesystem has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.mounted.shared.snapshot()
    }

    /// Every operation in flight, by inode, stage and age.
    #[must_use]
    pub fn pending(&self) -> Dump {
        self.mounted.shared.engine.dump()
    }
}
