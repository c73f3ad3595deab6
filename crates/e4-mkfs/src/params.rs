//! What the caller may choose, and what is chosen for him.
//!
//! Decision: every field is an option over what mke2fs would do for an image of that size, so
//! `Params::default()` formats like `mke2fs -t ext4`. With `uuid`, `hash_seed` and `time` given, the
//! bytes written are a pure function of parameters and size.

use crate::feature_list::Features;

/// How the image will be used, which decides block size and inode density (`mke2fs -T`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usage {
    /// 1 KiB blocks, an inode per 8 KiB; chosen below 3 MiB.
    Floppy,
    /// 1 KiB blocks, an inode per 4 KiB; chosen below 512 MiB.
    Small,
    /// 4 KiB blocks, an inode per 16 KiB.
    General,
    /// 4 KiB blocks, an inode per 32 KiB; chosen from 4 TiB on.
    Big,
    /// 4 KiB blocks, an inode per 64 KiB; chosen from 16 TiB on.
    Huge,
    /// 4 KiB blocks, an inode per 4 KiB: many small files.
    News,
    /// 4 KiB blocks, an inode per MiB: few large files.
    Largefile,
    /// 4 KiB blocks, an inode per 4 MiB: very few huge files.
    Largefile4,
}

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

impl Usage {
    /// What mke2fs picks for a size in bytes.
    #[must_use]
    pub fn for_size(bytes: u64) -> Self {
        match bytes {
            n if n < 3 * MIB => Self::Floppy,
            n if n < 512 * MIB => Self::Small,
            n if n < 4 * TIB => Self::General,
            n if n < 16 * TIB => Self::Big,
            _ => Self::Huge,
        }
    }

    /// The usage with this mke2fs name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "floppy" => Self::Floppy,
            "small" => Self::Small,
            "default" => Self::General,
            "big" => Self::Big,
            "huge" => Self::Huge,
            "news" => Self::News,
            "largefile" => Self::Largefile,
            "largefile4" => Self::Largefile4,
            _ => return None,
        })
    }

    pub(crate) fn block_size(self) -> u32 {
        match self {
            Self::Floppy | Self::Small => 1024,
            _ => 4096,
        }
    }

    pub(crate) fn bytes_per_inode(self) -> u64 {
        match self {
            Self::Small | Self::News => 4096,
            Self::Floppy => 8192,
            Self::General => 16384,
            Self::Big => 32768,
            Self::Huge => 65536,
            Self::Largefile => 1 << 20,
            Self::Largefile4 => 4 << 20,
        }
    }
}

/// What is known about the medium before formatting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Medium {
    /// Every byte reads as zero (a freshly created or truncated file): nothing but metadata with
    /// content is written.
    Zeroed,
    /// Anything may be on it: inode tables and journal are read, and zeroed where they are not zero.
    #[default]
    Unknown,
}

/// Parameters of [`format()`](crate::format).
#[derive(Clone, Debug)]
pub struct Params {
    /// Bytes of the filesystem; the whole device, rounded down to 4 KiB, if `None`.
    pub size: Option<u64>,
    /// `-T`; by size if `None`.
    pub usage: Option<Usage>,
    /// `-b`, bytes; by usage if `None`.
    pub block_size: Option<u32>,
    /// `-I`, bytes; 256 if `None`.
    pub inode_size: Option<u32>,
    /// `-i`, bytes; by usage if `None`.
    pub bytes_per_inode: Option<u64>,
    /// `-N`; by `bytes_per_inode` if `None`. Rounded up to what fills inode tables evenly.
    pub inodes: Option<u64>,
    /// `-g`; 8 blocks per byte of a block if `None`.
    pub blocks_per_group: Option<u32>,
    /// `-G`; 16 if `None`. Ignored without `flex_bg`.
    pub flex_bg_size: Option<u32>,
    /// `-m`: blocks kept for root, in percent of all.
    pub reserved_percent: f64,
    /// `-O`.
    pub features: Features,
    /// `-J size=`, MiB; by size if `None`. Ignored without `has_journal`.
    pub journal_mib: Option<u64>,
    /// `-L`, at most 16 bytes.
    pub label: String,
    /// `-M`, at most 64 bytes.
    pub last_mounted: String,
    /// `-U`; random if `None`.
    pub uuid: Option<[u8; 16]>,
    /// `-E hash_seed=`; random if `None`.
    pub hash_seed: Option<[u8; 16]>,
    /// Seconds since the epoch for every timestamp (`SOURCE_DATE_EPOCH`); the clock if `None`.
    pub time: Option<i64>,
    /// `-E root_owner=`: user and group of the root directory.
    pub root_owner: (u32, u32),
    /// `-E resize=`: blocks up to which growing online is prepared; 1024 times the size if `None`.
    pub resize_limit: Option<u64>,
    /// What is known about the medium.
    pub medium: Medium,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            size: None,
            usage: None,
            block_size: None,
            inode_size: None,
            bytes_per_inode: None,
            inodes: None,
            blocks_per_group: None,
            flex_bg_size: None,
            reserved_percent: 5.0,
            features: Features::ext4(),
            journal_mib: None,
            label: String::new(),
            last_mounted: String::new(),
            uuid: None,
            hash_seed: None,
            time: None,
            root_owner: (0, 0),
            resize_limit: None,
            medium: Medium::default(),
        }
    }
}
