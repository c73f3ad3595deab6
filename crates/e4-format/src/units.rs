//! Units of the on-disk format as types, so that a physical block can never be passed where a
//! file block, a byte offset or an inode number is meant (S28, `narrow-offset`, was exactly that).
//!
//! Decisions: newtypes with `new`/`get`, no implicit conversions, checked arithmetic only. Plain
//! integers remain for *counts*, which carry no position.

use core::fmt;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident, $int:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name($int);

        impl $name {
            /// Wraps a raw number.
            #[must_use]
            pub const fn new(raw: $int) -> Self {
                Self(raw)
            }

            /// The raw number.
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }

            /// `self + n`, or `None` on overflow.
            #[must_use]
            pub const fn checked_add(self, n: $int) -> Option<Self> {
                match self.0.checked_add(n) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// `self - n`, or `None` on underflow.
            #[must_use]
            pub const fn checked_sub(self, n: $int) -> Option<Self> {
                match self.0.checked_sub(n) {
                    Some(v) => Some(Self(v)),
                    None => None,
                }
            }

            /// Distance from `earlier` to `self`, or `None` if `earlier` lies behind `self`.
            #[must_use]
            pub const fn distance_from(self, earlier: Self) -> Option<$int> {
                self.0.checked_sub(earlier.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

position!(
    /// A physical block of the filesystem, counted in filesystem blocks from the start of the image.
    FsBlock,
    u64
);
position!(
    /// A logical block of a file, counted in filesystem blocks from the start of the file.
    FileBlock,
    u32
);
position!(
    /// A byte position in a file or on the device.
    ByteOffset,
    u64
);
position!(
    /// A block group.
    GroupNo,
    u32
);

impl FileBlock {
    /// The largest addressable logical block (`EXT_MAX_BLOCKS - 1` in the format's terms).
    pub const MAX: Self = Self(u32::MAX - 1);
}

/// An inode number; inode 0 does not exist and cannot be represented.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct InodeNo(core::num::NonZeroU32);

impl InodeNo {
    /// The root directory.
    pub const ROOT: Self = match core::num::NonZeroU32::new(2) {
        Some(n) => Self(n),
        None => unreachable!(),
    };

    /// Wraps a raw inode number; `None` for 0, which the format uses for "none".
    #[must_use]
    pub const fn new(raw: u32) -> Option<Self> {
        match core::num::NonZeroU32::new(raw) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for InodeNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A journal transaction number. Numbers wrap, so they are compared by signed distance.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Tid(u32);

impl Tid {
    /// Wraps a raw transaction number.
    #[must_use]
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The transaction after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// True if `self` is `other` or newer, in wrapping order.
    #[must_use]
    pub const fn at_or_after(self, other: Self) -> bool {
        self.0.wrapping_sub(other.0).cast_signed() >= 0
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A validated block size: a power of two from 1 KiB to 64 KiB.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BlockSize {
    log2: u8,
}

impl BlockSize {
    /// 1 KiB blocks.
    pub const KIB1: Self = Self { log2: 10 };
    /// 2 KiB blocks.
    pub const KIB2: Self = Self { log2: 11 };
    /// 4 KiB blocks, what mke2fs chooses for all but small images.
    pub const KIB4: Self = Self { log2: 12 };

    /// From a size in bytes; `None` unless it is a power of two from 1024 to 65536.
    #[must_use]
    pub const fn from_bytes(bytes: u32) -> Option<Self> {
        if !bytes.is_power_of_two() || bytes < 1024 || bytes > 65536 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // 10..=16
        Some(Self {
            log2: bytes.trailing_zeros() as u8,
        })
    }

    /// Bytes per block.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        1 << self.log2
    }

    /// Bytes per block as a `usize`, for slicing.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a block is never empty
    pub const fn len(self) -> usize {
        1 << self.log2
    }

    /// Base-two logarithm of the size in bytes.
    #[must_use]
    pub const fn log2(self) -> u32 {
        self.log2 as u32
    }

    /// First byte of a physical block; `None` if it lies beyond 2^64.
    #[must_use]
    pub const fn byte_of(self, block: FsBlock) -> Option<ByteOffset> {
        match block.get().checked_mul(self.bytes() as u64) {
            Some(b) => Some(ByteOffset::new(b)),
            None => None,
        }
    }

    /// First byte of a logical block (cannot overflow: 2^32 blocks of 2^16 bytes).
    #[must_use]
    pub const fn byte_of_file(self, block: FileBlock) -> ByteOffset {
        ByteOffset::new((block.get() as u64) << self.log2)
    }

    /// The logical block that holds a byte; `None` past the last addressable block.
    #[must_use]
    pub const fn file_block_of(self, at: ByteOffset) -> Option<FileBlock> {
        let b = at.get() >> self.log2;
        if b > FileBlock::MAX.get() as u64 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation)] // just checked
        Some(FileBlock::new(b as u32))
    }

    /// Offset of a byte within its block.
    #[must_use]
    pub const fn within(self, at: ByteOffset) -> u32 {
        #[allow(clippy::cast_possible_truncation)] // masked to below 65536
        let low = (at.get() & (self.bytes() as u64 - 1)) as u32;
        low
    }

    /// How many blocks hold `bytes` bytes, rounding up.
    #[must_use]
    pub const fn blocks_for(self, bytes: u64) -> u64 {
        bytes.div_ceil(self.bytes() as u64)
    }
}
