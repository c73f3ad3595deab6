//! The inode as it lies on disk: 128 bytes every image has, and the fields behind them, of which
//! `i_extra_isize` says how many are in use.

use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(super) const GOOD_OLD_SIZE: usize = 128;

#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawInode {
    pub(super) i_mode: U16,
    pub(super) i_uid: U16,
    pub(super) i_size_lo: U32,
    pub(super) i_atime: U32,
    pub(super) i_ctime: U32,
    pub(super) i_mtime: U32,
    pub(super) i_dtime: U32,
    pub(super) i_gid: U16,
    pub(super) i_links_count: U16,
    pub(super) i_blocks_lo: U32,
    pub(super) i_flags: U32,
    pub(super) l_i_version: U32,
    pub(super) i_block: [u8; 60],
    pub(super) i_generation: U32,
    pub(super) i_file_acl_lo: U32,
    pub(super) i_size_high: U32,
    pub(super) i_obso_faddr: U32,
    pub(super) l_i_blocks_high: U16,
    pub(super) l_i_file_acl_high: U16,
    pub(super) l_i_uid_high: U16,
    pub(super) l_i_gid_high: U16,
    pub(super) l_i_checksum_lo: U16,
    pub(super) l_i_reserved: U16,
}

#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RawInodeExtra {
    pub(super) i_extra_isize: U16,
    pub(super) i_checksum_hi: U16,
    pub(super) i_ctime_extra: U32,
    pub(super) i_mtime_extra: U32,
    pub(super) i_atime_extra: U32,
    pub(super) i_crtime: U32,
    pub(super) i_crtime_extra: U32,
    pub(super) i_version_hi: U32,
    pub(super) i_projid: U32,
}

const _: () = {
    assert!(size_of::<RawInode>() == GOOD_OLD_SIZE);
    assert!(offset_of!(RawInode, i_gid) == 0x18);
    assert!(offset_of!(RawInode, i_blocks_lo) == 0x1C);
    assert!(offset_of!(RawInode, i_flags) == 0x20);
    assert!(offset_of!(RawInode, l_i_version) == 0x24);
    assert!(offset_of!(RawInode, i_block) == 0x28);
    assert!(offset_of!(RawInode, i_generation) == 0x64);
    assert!(offset_of!(RawInode, i_file_acl_lo) == 0x68);
    assert!(offset_of!(RawInode, i_size_high) == 0x6C);
    assert!(offset_of!(RawInode, l_i_blocks_high) == 0x74);
    assert!(offset_of!(RawInode, l_i_uid_high) == 0x78);
    assert!(offset_of!(RawInode, l_i_checksum_lo) == super::CSUM_LO);
    assert!(size_of::<RawInodeExtra>() == 0xA0 - GOOD_OLD_SIZE);
    assert!(offset_of!(RawInodeExtra, i_checksum_hi) == super::CSUM_HI - GOOD_OLD_SIZE);
    assert!(offset_of!(RawInodeExtra, i_ctime_extra) == 0x84 - GOOD_OLD_SIZE);
    assert!(offset_of!(RawInodeExtra, i_atime_extra) == 0x8C - GOOD_OLD_SIZE);
    assert!(offset_of!(RawInodeExtra, i_crtime) == 0x90 - GOOD_OLD_SIZE);
    assert!(offset_of!(RawInodeExtra, i_version_hi) == 0x98 - GOOD_OLD_SIZE);
    assert!(offset_of!(RawInodeExtra, i_projid) == 0x9C - GOOD_OLD_SIZE);
};

/// True if a field that ends at byte `end` of the inode is in use.
pub(super) fn fits(extra_isize: u16, end: usize) -> bool {
    GOOD_OLD_SIZE + usize::from(extra_isize) >= end
}

impl RawInodeExtra {
    pub(super) fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// Copies in the fields in use. All are aligned to 4 and so is `extra_isize`: none is cut in half.
    pub(super) fn take(&mut self, from: &[u8], extra_isize: u16) {
        for (to, from) in self
            .as_mut_bytes()
            .iter_mut()
            .zip(from)
            .take(extra_isize.into())
        {
            *to = *from;
        }
    }

    /// Copies out the fields in use.
    pub(super) fn give(&self, to: &mut [u8], extra_isize: u16) {
        for (to, from) in to.iter_mut().zip(self.as_bytes()).take(extra_isize.into()) {
            *to = *from;
        }
    }
}
