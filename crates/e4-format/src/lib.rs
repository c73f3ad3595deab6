//! Bytes to values and back for every on-disk structure of ext4 and jbd2.
//!
//! Architecture invariant: no I/O, no allocation, no `unsafe`; endianness lives here and nowhere else.
#![cfg_attr(not(feature = "std"), no_std)]

pub mod units;
pub use units::{BlockSize, ByteOffset, FileBlock, FsBlock, GroupNo, InodeNo, Tid};
