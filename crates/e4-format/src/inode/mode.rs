//! File types and inode flags.

/// How the contents of an inode are found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MapKind {
    /// There are none: a device, a pipe, a socket, a short symbolic link.
    None,
    /// `i_block` is the root of an extent tree.
    Extents,
    /// `i_block` holds the pointers of a block map ([`crate::indirect`]).
    Indirect,
    /// They are in the inode itself.
    Inline,
}

/// Type of a file, as mode bits and directory entries name it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FileType {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Symbolic link.
    Symlink,
}

impl FileType {
    /// From the upper four bits of a mode.
    #[must_use]
    pub const fn of_mode(mode: u16) -> Option<Self> {
        match mode & 0xF000 {
            0x1000 => Some(Self::Fifo),
            0x2000 => Some(Self::CharDevice),
            0x4000 => Some(Self::Directory),
            0x6000 => Some(Self::BlockDevice),
            0x8000 => Some(Self::Regular),
            0xA000 => Some(Self::Symlink),
            0xC000 => Some(Self::Socket),
            _ => None,
        }
    }

    /// The upper four bits of a mode.
    #[must_use]
    pub const fn mode_bits(self) -> u16 {
        match self {
            Self::Fifo => 0x1000,
            Self::CharDevice => 0x2000,
            Self::Directory => 0x4000,
            Self::BlockDevice => 0x6000,
            Self::Regular => 0x8000,
            Self::Symlink => 0xA000,
            Self::Socket => 0xC000,
        }
    }

    /// From the type byte of a directory entry; `None` for 0 (unknown) and damage.
    #[must_use]
    pub const fn of_dir_entry(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Regular),
            2 => Some(Self::Directory),
            3 => Some(Self::CharDevice),
            4 => Some(Self::BlockDevice),
            5 => Some(Self::Fifo),
            6 => Some(Self::Socket),
            7 => Some(Self::Symlink),
            _ => None,
        }
    }

    /// The type byte of a directory entry.
    #[must_use]
    pub const fn dir_entry_byte(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Socket => 6,
            Self::Symlink => 7,
        }
    }
}

/// `i_flags`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct InodeFlags(u32);

impl InodeFlags {
    /// No flag.
    pub const EMPTY: Self = Self(0);
    /// Writes are synchronous (`chattr +S`).
    pub const SYNC: Self = Self(0x8);
    /// Nothing may be changed (`chattr +i`).
    pub const IMMUTABLE: Self = Self(0x10);
    /// Writes only append (`chattr +a`).
    pub const APPEND: Self = Self(0x20);
    /// No dump (`chattr +d`).
    pub const NODUMP: Self = Self(0x40);
    /// No access time (`chattr +A`).
    pub const NOATIME: Self = Self(0x80);
    /// Encrypted.
    pub const ENCRYPT: Self = Self(0x800);
    /// The directory has an htree.
    pub const INDEX: Self = Self(0x1000);
    /// Data goes through the journal (`chattr +j`).
    pub const JOURNAL_DATA: Self = Self(0x4000);
    /// Directory changes are synchronous (`chattr +D`).
    pub const DIRSYNC: Self = Self(0x1_0000);
    /// Directories below are unrelated (`chattr +T`).
    pub const TOPDIR: Self = Self(0x2_0000);
    /// `i_blocks` counts filesystem blocks.
    pub const HUGE_FILE: Self = Self(0x4_0000);
    /// `i_block` is the root of an extent tree.
    pub const EXTENTS: Self = Self(0x8_0000);
    /// Merkle tree behind the data.
    pub const VERITY: Self = Self(0x10_0000);
    /// Holds an extended attribute's value.
    pub const EA_INODE: Self = Self(0x20_0000);
    /// Data in the inode.
    pub const INLINE_DATA: Self = Self(0x1000_0000);
    /// New files below inherit the project.
    pub const PROJINHERIT: Self = Self(0x2000_0000);
    /// Names below compare without case.
    pub const CASEFOLD: Self = Self(0x4000_0000);

    /// From the raw word; unknown bits are kept.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The raw word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// True if every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets flags.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Clears flags.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl core::ops::BitOr for InodeFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
