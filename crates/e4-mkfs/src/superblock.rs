//! The superblock of a fresh image.

use crate::error::MkfsError;
use crate::geometry::Geometry;
use crate::params::Params;
use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};
use e4_format::superblock::{RawSuperblock, SUPERBLOCK_MAGIC, Superblock};

/// `s_state`: cleanly unmounted.
const STATE_VALID: u16 = 1;
/// `s_errors`: carry on.
const ERRORS_CONTINUE: u16 = 1;
/// `s_default_mount_opts`: user attributes and ACLs, as mke2fs sets.
const DEFAULT_MOUNT_OPTS: u32 = 0x0C;
/// `s_def_hash_version`: half MD4.
const HASH_HALF_MD4: u8 = 1;
/// `s_flags`: names are hashed as signed bytes, whatever this machine's `char` is.
const FLAG_SIGNED_HASH: u32 = 1;
/// `s_jnl_backup_type`: `s_jnl_blocks` holds a copy of the journal's map.
const JOURNAL_BACKUP_BLOCKS: u8 = 1;
const CHECKSUM_CRC32C: u8 = 1;
const FIRST_INODE: u32 = 11;
const JOURNAL_INODE: u32 = 8;
const EXTRA_ISIZE: u16 = 32;
/// Timestamps have 34 bits, the superblock's 40.
const TIME_LIMIT: i64 = 1 << 34;

/// What makes one image differ from another of the same shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) uuid: [u8; 16],
    pub(crate) hash_seed: [u8; 16],
    pub(crate) time: i64,
}

impl Identity {
    pub(crate) fn of(params: &Params) -> Result<Self, MkfsError> {
        let random = || uuid::Uuid::new_v4().into_bytes();
        let time = match params.time {
            Some(seconds) => seconds,
            None => std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .ok()
                .and_then(|d| i64::try_from(d.as_secs()).ok())
                .unwrap_or(0),
        };
        if !(0..TIME_LIMIT).contains(&time) {
            return Err(MkfsError::Time { seconds: time });
        }
        Ok(Self {
            uuid: params.uuid.unwrap_or_else(random),
            hash_seed: params.hash_seed.unwrap_or_else(random),
            time,
        })
    }
}

/// Everything but the free counts, the journal's map and the lifetime writes.
pub(crate) fn build(
    geo: &Geometry,
    params: &Params,
    id: &Identity,
) -> Result<Superblock, MkfsError> {
    let mut raw = RawSuperblock::zeroed();
    put_geometry(&mut raw, geo);
    raw.s_magic.set(SUPERBLOCK_MAGIC);
    raw.s_rev_level.set(1);
    raw.s_state.set(STATE_VALID);
    raw.s_errors.set(ERRORS_CONTINUE);
    raw.s_max_mnt_count.set(u16::MAX);
    raw.s_first_ino.set(FIRST_INODE);
    raw.s_uuid = id.uuid;
    for (word, bytes) in raw
        .s_hash_seed
        .iter_mut()
        .zip(id.hash_seed.as_chunks::<4>().0)
    {
        word.set(u32::from_le_bytes(*bytes));
    }
    raw.s_def_hash_version = HASH_HALF_MD4;
    raw.s_flags.set(FLAG_SIGNED_HASH);
    raw.s_default_mount_opts.set(DEFAULT_MOUNT_OPTS);
    put_text(&mut raw.s_volume_name, params.label.as_bytes()).ok_or(MkfsError::LabelTooLong {
        len: params.label.len(),
    })?;
    put_text(&mut raw.s_last_mounted, params.last_mounted.as_bytes()).ok_or(
        MkfsError::LastMountedTooLong {
            len: params.last_mounted.len(),
        },
    )?;
    put_features(&mut raw, geo, id);
    let mut sb = Superblock::from_raw(raw).map_err(|source| MkfsError::Format {
        what: "the superblock",
        source,
    })?;
    let secs = u64::try_from(id.time).unwrap_or(0);
    sb.set_mkfs_time(secs);
    sb.set_write_time(secs);
    sb.set_lastcheck(secs);
    Ok(sb)
}

fn put_geometry(raw: &mut RawSuperblock, geo: &Geometry) {
    let split = |n: u64| {
        let [a, b, c, d, e, f, g, h] = n.to_le_bytes();
        (
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        )
    };
    let log = geo.block_size.log2() - 10;
    raw.s_log_block_size.set(log);
    raw.s_log_cluster_size.set(log);
    raw.s_first_data_block.set(geo.first_data_block);
    let (lo, hi) = split(geo.blocks);
    raw.s_blocks_count_lo.set(lo);
    raw.s_blocks_count_hi.set(hi);
    let (lo, hi) = split(geo.reserved_blocks);
    raw.s_r_blocks_count_lo.set(lo);
    raw.s_r_blocks_count_hi.set(hi);
    raw.s_blocks_per_group.set(geo.blocks_per_group);
    raw.s_clusters_per_group.set(geo.blocks_per_group);
    raw.s_inodes_per_group.set(geo.inodes_per_group);
    // Bounded when the geometry was decided.
    raw.s_inodes_count
        .set(geo.inodes_per_group.saturating_mul(geo.groups));
    raw.s_inode_size.set(geo.inode_size);
    raw.s_reserved_gdt_blocks.set(geo.reserved_gdt);
    raw.s_log_groups_per_flex = geo.log_groups_per_flex;
    if geo.inode_size > 128 {
        raw.s_min_extra_isize.set(EXTRA_ISIZE);
        raw.s_want_extra_isize.set(EXTRA_ISIZE);
    }
}

fn put_features(raw: &mut RawSuperblock, geo: &Geometry, id: &Identity) {
    let features = &geo.features;
    raw.s_feature_compat.set(features.compat.bits());
    raw.s_feature_incompat.set(features.incompat.bits());
    raw.s_feature_ro_compat.set(features.ro_compat.bits());
    if features.incompat(IncompatFeatures::BIT64) {
        raw.s_desc_size.set(geo.desc_size);
    }
    if features.ro_compat(RoCompatFeatures::METADATA_CSUM) {
        raw.s_checksum_type = CHECKSUM_CRC32C;
    }
    if features.incompat(IncompatFeatures::CSUM_SEED) {
        let seed = e4_format::csum::crc32c(e4_format::csum::CRC32C_INIT, &id.uuid);
        raw.s_checksum_seed.set(seed);
    }
    if features.compat(CompatFeatures::HAS_JOURNAL) {
        raw.s_journal_inum.set(JOURNAL_INODE);
    }
    if features.compat(CompatFeatures::ORPHAN_FILE) {
        raw.s_orphan_file_inum.set(FIRST_INODE + 1);
    }
    for (to, group) in raw.s_backup_bgs.iter_mut().zip(geo.backup_bgs()) {
        to.set(group);
    }
}

/// Keeps a copy of the journal inode's map and size, from which e2fsck can rebuild it.
pub(crate) fn put_journal_backup(raw: &mut RawSuperblock, i_block: &[u8; 60], bytes: u64) {
    raw.s_jnl_backup_type = JOURNAL_BACKUP_BLOCKS;
    for (word, from) in raw.s_jnl_blocks.iter_mut().zip(i_block.as_chunks::<4>().0) {
        word.set(u32::from_le_bytes(*from));
    }
    let [a, b, c, d, e, f, g, h] = bytes.to_le_bytes();
    let [.., high, low] = &mut raw.s_jnl_blocks;
    high.set(u32::from_le_bytes([e, f, g, h]));
    low.set(u32::from_le_bytes([a, b, c, d]));
}

/// The copy that belongs at the start of `group`. Like mke2fs's, a backup does not claim to be clean.
pub(crate) fn backup_of(sb: &Superblock, group: u32) -> [u8; 1024] {
    let mut copy = sb.clone();
    let raw = copy.raw_mut();
    raw.s_block_group_nr
        .set(u16::try_from(group & 0xFFFF).unwrap_or(0));
    raw.s_state.set(raw.s_state.get() & !STATE_VALID);
    copy.encode()
}

fn put_text<const N: usize>(to: &mut [u8; N], text: &[u8]) -> Option<()> {
    to.get_mut(..text.len())?.copy_from_slice(text);
    Some(())
}
