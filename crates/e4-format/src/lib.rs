//! Bytes to values and back for every on-disk structure of ext4 and jbd2.
//!
//! Architecture invariant: no I/O, no allocation, no `unsafe`; endianness lives here and nowhere else.
//! Sizes and offsets of the raw structures are asserted at compile time. Checksums are verified on
//! decode and stamped on encode; arbitrary bytes give errors, never panics.
#![cfg_attr(not(any(feature = "std", test)), no_std)]

pub mod bitmap;
pub mod csum;
pub mod dir;
pub mod error;
pub mod extent;
pub mod features;
pub mod group_desc;
pub mod htree;
pub mod indirect;
pub mod inode;
pub mod jbd2;
pub mod orphan;
pub mod superblock;
pub mod units;
pub mod xattr;

pub use bitmap::{Bitmap, BitmapMut};
pub use error::FormatError;
pub use extent::{Extent, ExtentIndex, ExtentState};
pub use group_desc::{BgFlags, GroupDesc};
pub use inode::{FileType, Inode, InodeFlags, MapKind, Timestamp, csum_seed_for};
pub use superblock::{Access, Superblock, check_mountable};
pub use units::{BlockSize, ByteOffset, FileBlock, FsBlock, GroupNo, InodeNo, Tid};
