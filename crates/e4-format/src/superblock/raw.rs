//! The superblock as it lies on disk. This struct is the specification; the offsets are asserted below.

use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The 1024 bytes at offset 1024 of the image, little-endian, with the kernel's field names.
#[allow(missing_docs)] // the kernel's names are the documentation
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawSuperblock {
    pub s_inodes_count: U32,
    pub s_blocks_count_lo: U32,
    pub s_r_blocks_count_lo: U32,
    pub s_free_blocks_count_lo: U32,
    pub s_free_inodes_count: U32,
    pub s_first_data_block: U32,
    pub s_log_block_size: U32,
    pub s_log_cluster_size: U32,
    pub s_blocks_per_group: U32,
    pub s_clusters_per_group: U32,
    pub s_inodes_per_group: U32,
    pub s_mtime: U32,
    pub s_wtime: U32,
    pub s_mnt_count: U16,
    pub s_max_mnt_count: U16,
    pub s_magic: U16,
    pub s_state: U16,
    pub s_errors: U16,
    pub s_minor_rev_level: U16,
    pub s_lastcheck: U32,
    pub s_checkinterval: U32,
    pub s_creator_os: U32,
    pub s_rev_level: U32,
    pub s_def_resuid: U16,
    pub s_def_resgid: U16,
    pub s_first_ino: U32,
    pub s_inode_size: U16,
    pub s_block_group_nr: U16,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_volume_name: [u8; 16],
    pub s_last_mounted: [u8; 64],
    pub s_algorithm_usage_bitmap: U32,
    pub s_prealloc_blocks: u8,
    pub s_prealloc_dir_blocks: u8,
    pub s_reserved_gdt_blocks: U16,
    pub s_journal_uuid: [u8; 16],
    pub s_journal_inum: U32,
    pub s_journal_dev: U32,
    pub s_last_orphan: U32,
    pub s_hash_seed: [U32; 4],
    pub s_def_hash_version: u8,
    pub s_jnl_backup_type: u8,
    pub s_desc_size: U16,
    pub s_default_mount_opts: U32,
    pub s_first_meta_bg: U32,
    pub s_mkfs_time: U32,
    pub s_jnl_blocks: [U32; 17],
    pub s_blocks_count_hi: U32,
    pub s_r_blocks_count_hi: U32,
    pub s_free_blocks_count_hi: U32,
    pub s_min_extra_isize: U16,
    pub s_want_extra_isize: U16,
    pub s_flags: U32,
    pub s_raid_stride: U16,
    pub s_mmp_interval: U16,
    pub s_mmp_block: U64,
    pub s_raid_stripe_width: U32,
    pub s_log_groups_per_flex: u8,
    pub s_checksum_type: u8,
    pub s_encryption_level: u8,
    pub s_reserved_pad: u8,
    pub s_kbytes_written: U64,
    pub s_snapshot_inum: U32,
    pub s_snapshot_id: U32,
    pub s_snapshot_r_blocks_count: U64,
    pub s_snapshot_list: U32,
    pub s_error_count: U32,
    pub s_first_error_time: U32,
    pub s_first_error_ino: U32,
    pub s_first_error_block: U64,
    pub s_first_error_func: [u8; 32],
    pub s_first_error_line: U32,
    pub s_last_error_time: U32,
    pub s_last_error_ino: U32,
    pub s_last_error_line: U32,
    pub s_last_error_block: U64,
    pub s_last_error_func: [u8; 32],
    pub s_mount_opts: [u8; 64],
    pub s_usr_quota_inum: U32,
    pub s_grp_quota_inum: U32,
    pub s_overhead_blocks: U32,
    pub s_backup_bgs: [U32; 2],
    pub s_encrypt_algos: [u8; 4],
    pub s_encrypt_pw_salt: [u8; 16],
    pub s_lpf_ino: U32,
    pub s_prj_quota_inum: U32,
    pub s_checksum_seed: U32,
    pub s_wtime_hi: u8,
    pub s_mtime_hi: u8,
    pub s_mkfs_time_hi: u8,
    pub s_lastcheck_hi: u8,
    pub s_first_error_time_hi: u8,
    pub s_last_error_time_hi: u8,
    pub s_first_error_errcode: u8,
    pub s_last_error_errcode: u8,
    pub s_encoding: U16,
    pub s_encoding_flags: U16,
    pub s_orphan_file_inum: U32,
    pub s_def_resuid_hi: U16,
    pub s_def_resgid_hi: U16,
    pub s_reserved: [U32; 93],
    pub s_checksum: U32,
}

const _: () = {
    assert!(size_of::<RawSuperblock>() == 1024);
    assert!(offset_of!(RawSuperblock, s_blocks_per_group) == 0x20);
    assert!(offset_of!(RawSuperblock, s_wtime) == 0x30);
    assert!(offset_of!(RawSuperblock, s_magic) == 0x38);
    assert!(offset_of!(RawSuperblock, s_lastcheck) == 0x40);
    assert!(offset_of!(RawSuperblock, s_rev_level) == 0x4C);
    assert!(offset_of!(RawSuperblock, s_first_ino) == 0x54);
    assert!(offset_of!(RawSuperblock, s_inode_size) == 0x58);
    assert!(offset_of!(RawSuperblock, s_feature_compat) == 0x5C);
    assert!(offset_of!(RawSuperblock, s_uuid) == 0x68);
    assert!(offset_of!(RawSuperblock, s_volume_name) == 0x78);
    assert!(offset_of!(RawSuperblock, s_last_mounted) == 0x88);
    assert!(offset_of!(RawSuperblock, s_algorithm_usage_bitmap) == 0xC8);
    assert!(offset_of!(RawSuperblock, s_reserved_gdt_blocks) == 0xCE);
    assert!(offset_of!(RawSuperblock, s_journal_inum) == 0xE0);
    assert!(offset_of!(RawSuperblock, s_last_orphan) == 0xE8);
    assert!(offset_of!(RawSuperblock, s_hash_seed) == 0xEC);
    assert!(offset_of!(RawSuperblock, s_def_hash_version) == 0xFC);
    assert!(offset_of!(RawSuperblock, s_desc_size) == 0xFE);
    assert!(offset_of!(RawSuperblock, s_first_meta_bg) == 0x104);
    assert!(offset_of!(RawSuperblock, s_mkfs_time) == 0x108);
    assert!(offset_of!(RawSuperblock, s_jnl_blocks) == 0x10C);
    assert!(offset_of!(RawSuperblock, s_blocks_count_hi) == 0x150);
    assert!(offset_of!(RawSuperblock, s_min_extra_isize) == 0x15C);
    assert!(offset_of!(RawSuperblock, s_flags) == 0x160);
    assert!(offset_of!(RawSuperblock, s_mmp_block) == 0x168);
    assert!(offset_of!(RawSuperblock, s_log_groups_per_flex) == 0x174);
    assert!(offset_of!(RawSuperblock, s_checksum_type) == 0x175);
    assert!(offset_of!(RawSuperblock, s_kbytes_written) == 0x178);
    assert!(offset_of!(RawSuperblock, s_error_count) == 0x194);
    assert!(offset_of!(RawSuperblock, s_first_error_block) == 0x1A0);
    assert!(offset_of!(RawSuperblock, s_last_error_time) == 0x1CC);
    assert!(offset_of!(RawSuperblock, s_last_error_block) == 0x1D8);
    assert!(offset_of!(RawSuperblock, s_mount_opts) == 0x200);
    assert!(offset_of!(RawSuperblock, s_usr_quota_inum) == 0x240);
    assert!(offset_of!(RawSuperblock, s_overhead_blocks) == 0x248);
    assert!(offset_of!(RawSuperblock, s_backup_bgs) == 0x24C);
    assert!(offset_of!(RawSuperblock, s_encrypt_algos) == 0x254);
    assert!(offset_of!(RawSuperblock, s_lpf_ino) == 0x268);
    assert!(offset_of!(RawSuperblock, s_checksum_seed) == 0x270);
    assert!(offset_of!(RawSuperblock, s_wtime_hi) == 0x274);
    assert!(offset_of!(RawSuperblock, s_encoding) == 0x27C);
    assert!(offset_of!(RawSuperblock, s_orphan_file_inum) == 0x280);
    assert!(offset_of!(RawSuperblock, s_reserved) == 0x288);
    assert!(offset_of!(RawSuperblock, s_checksum) == 0x3FC);
};

impl RawSuperblock {
    /// All fields zero, for a formatter to fill in.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }

    /// From the bytes on disk; every pattern is representable, nothing is checked.
    #[must_use]
    pub fn from_disk(bytes: &[u8; 1024]) -> Self {
        zerocopy::transmute!(*bytes)
    }

    /// The bytes on disk, checksum as it stands.
    #[must_use]
    pub fn to_disk(&self) -> [u8; 1024] {
        zerocopy::transmute!(self.clone())
    }
}
