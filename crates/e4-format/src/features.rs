//! Feature words of the superblock, by the names mke2fs and dumpe2fs print.
//!
//! Decisions: three distinct types, because a bit means nothing without its word. An incompatible
//! feature outside [`SUPPORTED_INCOMPAT`] refuses the image (its structures cannot be read correctly); a
//! read-only-compatible one outside [`SUPPORTED_RO_COMPAT`] allows reading only. A bit without a name
//! prints as dumpe2fs prints it (`FEATURE_I20`).

use core::fmt;

macro_rules! feature_word {
    ($(#[$doc:meta])* $name:ident, $letter:literal, $( #[doc = $bdoc:literal] $konst:ident = $bit:literal, $text:literal $(| $alias:literal)* ;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
        pub struct $name(u32);

        impl $name {
            $( #[doc = $bdoc] pub const $konst: Self = Self($bit); )*

            const NAMES: &'static [(u32, &'static str)] = &[$(($bit, $text)),*];

            /// Every feature that has a name, from the lowest bit up, with its name and what it means.
            pub const KNOWN: &'static [(Self, &'static str, &'static str)] =
                &[$((Self($bit), $text, $bdoc)),*];

            /// No feature.
            pub const EMPTY: Self = Self(0);

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

            /// True if every feature of `other` is set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// True if no feature is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }

            /// Both sets together.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The features of `self` that are not in `other`.
            #[must_use]
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// Sets every feature of `other`.
            pub const fn insert(&mut self, other: Self) {
                self.0 |= other.0;
            }

            /// Clears every feature of `other`.
            pub const fn remove(&mut self, other: Self) {
                self.0 &= !other.0;
            }

            /// The feature with this name, as mke2fs accepts it after `-O`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $( $text $(| $alias)* => Some(Self::$konst), )*
                    _ => None,
                }
            }

            /// Names of the set features, from the lowest bit up.
            pub fn names(self) -> impl Iterator<Item = FeatureName> + Clone {
                (0..32).filter(move |n| self.0 & (1 << n) != 0).map(|n| {
                    let bit = 1u32 << n;
                    match Self::NAMES.iter().find(|(b, _)| *b == bit) {
                        Some((_, text)) => FeatureName::Known(text),
                        None => FeatureName::Unknown { word: $letter, bit: n },
                    }
                })
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for (i, name) in self.names().enumerate() {
                    if i > 0 {
                        f.write_str(" ")?;
                    }
                    name.fmt(f)?;
                }
                Ok(())
            }
        }
    };
}

/// The printable name of one feature bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeatureName {
    /// A feature this crate knows by name (knowing is not supporting).
    Known(&'static str),
    /// A bit without a name.
    Unknown {
        /// `C`, `I` or `R` for the compat, incompat and ro_compat word; `j` and `J` for the journal's.
        word: char,
        /// Number of the bit, 0 to 31.
        bit: u32,
    },
}

impl fmt::Display for FeatureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(text) => f.write_str(text),
            Self::Unknown { word, bit } => write!(f, "FEATURE_{word}{bit}"),
        }
    }
}

feature_word!(
    /// `s_feature_compat`: may be ignored by those who do not know them.
    CompatFeatures, 'C',
    /// Directory block preallocation; never implemented.
    DIR_PREALLOC = 0x1, "dir_prealloc";
    /// AFS inodes.
    IMAGIC_INODES = 0x2, "imagic_inodes";
    /// There is a journal.
    HAS_JOURNAL = 0x4, "has_journal";
    /// Extended attributes.
    EXT_ATTR = 0x8, "ext_attr";
    /// Reserved descriptor blocks for growing online.
    RESIZE_INODE = 0x10, "resize_inode";
    /// Directories may carry an htree.
    DIR_INDEX = 0x20, "dir_index";
    /// Lazily initialised groups, superseded by `uninit_bg`.
    LAZY_BG = 0x40, "lazy_bg";
    /// Snapshot exclude bitmap.
    SNAPSHOT_BITMAP = 0x100, "snapshot_bitmap";
    /// Superblock backups in at most two groups.
    SPARSE_SUPER2 = 0x200, "sparse_super2";
    /// The journal may contain fast commits.
    FAST_COMMIT = 0x400, "fast_commit";
    /// Inode numbers and UUID must not change.
    STABLE_INODES = 0x800, "stable_inodes";
    /// Orphans are kept in a file instead of a list.
    ORPHAN_FILE = 0x1000, "orphan_file";
);

feature_word!(
    /// `s_feature_incompat`: an image with an unknown one must not be touched.
    IncompatFeatures, 'I',
    /// Compressed files; never implemented.
    COMPRESSION = 0x1, "compression";
    /// Directory entries carry the file type.
    FILETYPE = 0x2, "filetype";
    /// The journal holds transactions to replay.
    RECOVER = 0x4, "needs_recovery";
    /// This is an external journal, not a filesystem.
    JOURNAL_DEV = 0x8, "journal_dev";
    /// Descriptors are spread over meta block groups.
    META_BG = 0x10, "meta_bg";
    /// Files may be mapped by extents.
    EXTENTS = 0x40, "extent" | "extents";
    /// 64-bit block numbers and large descriptors.
    BIT64 = 0x80, "64bit";
    /// Multiple mount protection.
    MMP = 0x100, "mmp";
    /// Bitmaps and inode tables may lie in another group.
    FLEX_BG = 0x200, "flex_bg";
    /// Large attribute values in inodes of their own.
    EA_INODE = 0x400, "ea_inode";
    /// Data in directory entries.
    DIRDATA = 0x1000, "dirdata";
    /// The checksum seed is stored instead of derived from the UUID.
    CSUM_SEED = 0x2000, "metadata_csum_seed";
    /// Directories above 2 GiB or with three htree levels.
    LARGE_DIR = 0x4000, "large_dir";
    /// Small files inside the inode.
    INLINE_DATA = 0x8000, "inline_data";
    /// Encrypted files.
    ENCRYPT = 0x10000, "encrypt";
    /// Case-insensitive directories.
    CASEFOLD = 0x20000, "casefold";
);

feature_word!(
    /// `s_feature_ro_compat`: an image with an unknown one may be read but not written.
    RoCompatFeatures, 'R',
    /// Superblock backups only in groups that are powers of 3, 5 and 7.
    SPARSE_SUPER = 0x1, "sparse_super";
    /// Files of 2 GiB and more.
    LARGE_FILE = 0x2, "large_file";
    /// Files of 2^32 sectors and more.
    HUGE_FILE = 0x8, "huge_file";
    /// Group descriptors have crc16 checksums.
    GDT_CSUM = 0x10, "uninit_bg" | "gdt_csum";
    /// Directories may have more than 65000 subdirectories.
    DIR_NLINK = 0x20, "dir_nlink";
    /// Inodes have fields beyond 128 bytes.
    EXTRA_ISIZE = 0x40, "extra_isize";
    /// Quota in hidden inodes.
    QUOTA = 0x100, "quota";
    /// Space is allocated in clusters of several blocks.
    BIGALLOC = 0x200, "bigalloc";
    /// Every metadata structure has a crc32c checksum.
    METADATA_CSUM = 0x400, "metadata_csum";
    /// Replicas.
    REPLICA = 0x800, "replica";
    /// Marked read-only for ever.
    READONLY = 0x1000, "read-only";
    /// Project quota.
    PROJECT = 0x2000, "project";
    /// Blocks shared between files.
    SHARED_BLOCKS = 0x4000, "shared_blocks";
    /// Files with Merkle trees.
    VERITY = 0x8000, "verity";
    /// The orphan file is not empty.
    ORPHAN_PRESENT = 0x10000, "orphan_present";
);

/// What becomes of an image that has a feature.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Support {
    /// It is read and written.
    ReadWrite,
    /// It is read, and not written.
    ReadOnly,
    /// It is refused, with the feature named.
    Refused,
}

impl CompatFeatures {
    /// What becomes of images with these: whoever does not know them may ignore them.
    #[must_use]
    pub const fn support(self) -> Support {
        Support::ReadWrite
    }
}

impl IncompatFeatures {
    /// What becomes of images with these.
    #[must_use]
    pub const fn support(self) -> Support {
        if SUPPORTED_INCOMPAT.contains(self) {
            Support::ReadWrite
        } else {
            Support::Refused
        }
    }
}

impl RoCompatFeatures {
    /// What becomes of images with these.
    #[must_use]
    pub const fn support(self) -> Support {
        if SUPPORTED_RO_COMPAT.contains(self) {
            Support::ReadWrite
        } else if self.0 & REFUSED_RO_COMPAT.0 != 0 {
            Support::Refused
        } else {
            Support::ReadOnly
        }
    }
}

/// Incompatible features an image may have.
pub const SUPPORTED_INCOMPAT: IncompatFeatures = IncompatFeatures::FILETYPE
    .union(IncompatFeatures::RECOVER)
    .union(IncompatFeatures::EXTENTS)
    .union(IncompatFeatures::BIT64)
    .union(IncompatFeatures::FLEX_BG)
    .union(IncompatFeatures::CSUM_SEED);

/// Read-only-compatible features an image may have and still be written.
pub const SUPPORTED_RO_COMPAT: RoCompatFeatures = RoCompatFeatures::SPARSE_SUPER
    .union(RoCompatFeatures::LARGE_FILE)
    .union(RoCompatFeatures::HUGE_FILE)
    .union(RoCompatFeatures::GDT_CSUM)
    .union(RoCompatFeatures::DIR_NLINK)
    .union(RoCompatFeatures::EXTRA_ISIZE)
    .union(RoCompatFeatures::METADATA_CSUM)
    .union(RoCompatFeatures::ORPHAN_PRESENT);

/// Read-only-compatible features that not even reading copes with: bigalloc changes the unit of the
/// bitmaps and of every free count.
pub const REFUSED_RO_COMPAT: RoCompatFeatures = RoCompatFeatures::BIGALLOC;
