//! A superblock made by hand, for tests that need no image.

use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};
use e4_format::superblock::RawSuperblock;
use e4_format::{BlockSize, Superblock};

/// Features of a sample.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) block_size: BlockSize,
    pub(crate) bit64: bool,
    pub(crate) ro: RoCompatFeatures,
    pub(crate) inode_size: u16,
}

impl Shape {
    pub(crate) const FULL: Self = Self {
        block_size: BlockSize::KIB1,
        bit64: true,
        ro: RoCompatFeatures::METADATA_CSUM.union(RoCompatFeatures::HUGE_FILE),
        inode_size: 256,
    };

    /// With every kind of group descriptor checksum, descriptor and inode size.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let sums = [
            RoCompatFeatures::METADATA_CSUM,
            RoCompatFeatures::GDT_CSUM,
            RoCompatFeatures::EMPTY,
        ];
        let sizes = [BlockSize::KIB1, BlockSize::KIB2, BlockSize::KIB4];
        sizes.into_iter().flat_map(move |block_size| {
            sums.into_iter().flat_map(move |ro| {
                [(true, 256), (false, 256), (true, 128), (false, 1024)].map(
                    |(bit64, inode_size)| Self {
                        block_size,
                        bit64,
                        ro,
                        inode_size,
                    },
                )
            })
        })
    }

    /// Three and a bit groups.
    pub(crate) fn raw(self) -> RawSuperblock {
        let bs = self.block_size;
        let per_group = bs.bytes() * 8;
        let mut raw = RawSuperblock::zeroed();
        raw.s_magic.set(0xEF53);
        raw.s_rev_level.set(1);
        raw.s_log_block_size.set(bs.log2() - 10);
        raw.s_log_cluster_size.set(bs.log2() - 10);
        let first = u32::from(bs == BlockSize::KIB1);
        raw.s_first_data_block.set(first);
        raw.s_blocks_count_lo.set(3 * per_group + 100 + first);
        raw.s_blocks_per_group.set(per_group);
        raw.s_clusters_per_group.set(per_group);
        raw.s_inodes_per_group.set(1024);
        raw.s_inodes_count.set(4 * 1024);
        raw.s_first_ino.set(11);
        raw.s_inode_size.set(self.inode_size);
        raw.s_desc_size.set(64);
        raw.s_checksum_type = 1;
        raw.s_uuid = *b"0123456789abcdef";
        raw.s_min_extra_isize.set(32);
        raw.s_want_extra_isize.set(32);
        raw.s_journal_inum.set(8);
        raw.s_def_hash_version = 1;
        raw.s_log_groups_per_flex = 4;
        let mut incompat =
            IncompatFeatures::FILETYPE | IncompatFeatures::EXTENTS | IncompatFeatures::FLEX_BG;
        if self.bit64 {
            incompat.insert(IncompatFeatures::BIT64);
        }
        raw.s_feature_incompat.set(incompat.bits());
        raw.s_feature_compat.set(CompatFeatures::HAS_JOURNAL.bits());
        raw.s_feature_ro_compat
            .set((self.ro | RoCompatFeatures::SPARSE_SUPER).bits());
        raw
    }

    pub(crate) fn superblock(self) -> Superblock {
        Superblock::from_raw(self.raw()).unwrap()
    }
}
