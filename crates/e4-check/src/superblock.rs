//! The superblock: the primary one, or the best backup; then the backups against it.
//!
//! Decision: a superblock whose checksum is wrong but whose fields make sense is used (and reported):
//! what the image really looks like is better known from it than from an old backup.

use crate::problem::Problem;
use crate::report::Collector;
use e4_device::Device;
use e4_format::features::{CompatFeatures, RoCompatFeatures};
use e4_format::superblock::{
    RawSuperblock, SUPERBLOCK_MAGIC, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, Superblock,
};
use e4_format::{BlockSize, FormatError, FsBlock, GroupNo};

/// Groups whose backups are tried, with full groups of every block size.
const BACKUP_GROUPS: [u32; 5] = [1, 3, 5, 7, 9];

/// Finds a usable superblock; `None` (with the reason reported) if there is none.
pub(crate) fn load(
    device: &dyn Device,
    replayed: Option<[u8; SUPERBLOCK_SIZE]>,
    found: &mut Collector,
) -> Option<Superblock> {
    let primary = match replayed {
        Some(bytes) => bytes,
        None => read_at(device, SUPERBLOCK_OFFSET, found)?,
    };
    let error = match Superblock::parse(&primary) {
        Ok(sb) => return fits(sb, device, found),
        Err(error) => error,
    };
    if matches!(
        error,
        FormatError::UnsupportedIncompat { .. } | FormatError::UnsupportedRoCompat { .. }
    ) {
        found.push(Problem::UnsupportedFeatures { error });
        return None;
    }
    found.push(Problem::SuperblockInvalid {
        error: error.clone(),
    });
    if matches!(error, FormatError::SuperblockChecksum { .. })
        && let Ok(sb) = Superblock::from_raw(RawSuperblock::from_disk(&primary))
        && sb.check_device(device.info().size).is_ok()
    {
        return Some(sb);
    }
    let sb = from_backup(device, found);
    if sb.is_none() {
        found.push(Problem::NoSuperblock {});
    }
    sb
}

fn read_at(device: &dyn Device, at: u64, found: &mut Collector) -> Option<[u8; SUPERBLOCK_SIZE]> {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    match device.read_at(at, &mut bytes) {
        Ok(()) => Some(bytes),
        Err(error) => {
            found.push(Problem::ReadFailed {
                block: FsBlock::new(at / 1024),
                error,
            });
            found.push(Problem::NoSuperblock {});
            None
        }
    }
}

fn fits(sb: Superblock, device: &dyn Device, found: &mut Collector) -> Option<Superblock> {
    if let Err(FormatError::DeviceTooSmall { blocks, device }) = sb.check_device(device.info().size)
    {
        found.push(Problem::LargerThanDevice { blocks, device });
        return None;
    }
    Some(sb)
}

fn from_backup(device: &dyn Device, found: &mut Collector) -> Option<Superblock> {
    for log in 10..=16u32 {
        let Some(bs) = BlockSize::from_bytes(1 << log) else {
            continue;
        };
        let per_group = (bs.bytes() * 8).min(65528);
        for group in BACKUP_GROUPS {
            let block = u64::from(bs == BlockSize::KIB1) + u64::from(group) * u64::from(per_group);
            let mut bytes = [0; SUPERBLOCK_SIZE];
            if device.read_at(block << log, &mut bytes).is_err() {
                break;
            }
            let Ok(sb) = Superblock::parse(&bytes) else {
                continue;
            };
            // Found by chance with the wrong block size, it would be somebody else's.
            let group = GroupNo::new(group);
            let at = sb.group_first_block(group);
            if sb.block_size() == bs
                && at == Some(FsBlock::new(block))
                && sb.check_device(device.info().size).is_ok()
            {
                found.push(Problem::BackupSuperblockUsed {
                    group,
                    block: FsBlock::new(block),
                });
                return Some(sb);
            }
        }
    }
    None
}

/// The same superblock without checksum features; they decide nothing about geometry.
pub(crate) fn lenient(sb: &Superblock) -> Superblock {
    let mut raw = sb.raw().clone();
    let mut ro = sb.ro_compat();
    ro.remove(RoCompatFeatures::METADATA_CSUM | RoCompatFeatures::GDT_CSUM);
    raw.s_feature_ro_compat.set(ro.bits());
    Superblock::from_raw(raw).unwrap_or_else(|_| sb.clone())
}

/// What the fields say about the state of the image.
pub(crate) fn check_state(sb: &Superblock, now: u64, found: &mut Collector) {
    check_features(sb, found);
    check_times(sb, now, found);
    if sb.reserved_blocks_count() > sb.blocks_count() / 2 {
        let (found_, blocks) = (sb.reserved_blocks_count(), sb.blocks_count());
        found.push(Problem::ReservedBlocks {
            found: found_,
            blocks,
        });
    }
    let raw = sb.raw();
    // What e2fsck takes for an external journal, and an impossible size even if nobody uses it.
    let uuid = sb.journal_uuid();
    let external = sb.compat().contains(CompatFeatures::HAS_JOURNAL) && sb.journal_inum().is_none();
    if !external && uuid != [0; 16] {
        let [a, b, c, d, ..] = uuid;
        let value = u32::from_be_bytes([a, b, c, d]);
        found.push(Problem::SuperblockField {
            field: "s_journal_uuid",
            value,
        });
    }
    let desc_size = raw.s_desc_size.get();
    if desc_size != 0 && (!desc_size.is_power_of_two() || desc_size > 1024) {
        let value = desc_size.into();
        found.push(Problem::SuperblockField {
            field: "s_desc_size",
            value,
        });
    }
    let flex = raw.s_log_groups_per_flex;
    if flex >= 32 {
        found.push(Problem::SuperblockField {
            field: "s_log_groups_per_flex",
            value: flex.into(),
        });
    }
    let room = sb.inode_size().saturating_sub(128);
    for (field, value) in [
        ("s_min_extra_isize", raw.s_min_extra_isize.get()),
        ("s_want_extra_isize", raw.s_want_extra_isize.get()),
    ] {
        if room > 0 && (usize::from(value) > room || value % 4 != 0) {
            found.push(Problem::SuperblockField {
                field,
                value: value.into(),
            });
        }
    }
    if sb.state().has_errors() || sb.error_count() > 0 {
        found.push(Problem::ErrorsRecorded {
            count: sb.error_count(),
        });
    }
    if !sb.state().is_clean() && !sb.needs_recovery() {
        found.push(Problem::NotUnmounted {});
    }
}

/// Compatible features that are known here. Others do not keep anybody from mounting, but what they demand of
/// an image cannot be judged.
const KNOWN_COMPAT: CompatFeatures = CompatFeatures::DIR_PREALLOC
    .union(CompatFeatures::IMAGIC_INODES)
    .union(CompatFeatures::HAS_JOURNAL)
    .union(CompatFeatures::EXT_ATTR)
    .union(CompatFeatures::RESIZE_INODE)
    .union(CompatFeatures::DIR_INDEX)
    .union(CompatFeatures::SPARSE_SUPER2)
    .union(CompatFeatures::FAST_COMMIT)
    .union(CompatFeatures::STABLE_INODES)
    .union(CompatFeatures::ORPHAN_FILE);

const KNOWN_RO_COMPAT: RoCompatFeatures = RoCompatFeatures::SPARSE_SUPER
    .union(RoCompatFeatures::LARGE_FILE)
    .union(RoCompatFeatures::HUGE_FILE)
    .union(RoCompatFeatures::GDT_CSUM)
    .union(RoCompatFeatures::DIR_NLINK)
    .union(RoCompatFeatures::EXTRA_ISIZE)
    .union(RoCompatFeatures::QUOTA)
    .union(RoCompatFeatures::METADATA_CSUM)
    .union(RoCompatFeatures::READONLY)
    .union(RoCompatFeatures::PROJECT)
    .union(RoCompatFeatures::SHARED_BLOCKS)
    .union(RoCompatFeatures::VERITY)
    .union(RoCompatFeatures::ORPHAN_PRESENT);

fn check_features(sb: &Superblock, found: &mut Collector) {
    let compat = sb.compat().difference(KNOWN_COMPAT).bits();
    let ro_compat = sb.ro_compat().difference(KNOWN_RO_COMPAT).bits();
    for (word, bits) in [("compatible", compat), ("read-only compatible", ro_compat)] {
        if bits != 0 {
            found.push(Problem::UnknownFeatures { word, bits });
        }
    }
    // One of the two checksums of descriptors, not both.
    if sb.has_metadata_csum() && sb.ro_compat().contains(RoCompatFeatures::GDT_CSUM) {
        let (field, value) = ("s_feature_ro_compat", sb.ro_compat().bits());
        found.push(Problem::SuperblockField { field, value });
    }
}

/// How far clocks may differ, seconds.
const CLOCK_SLACK: u64 = 86_400;

fn check_times(sb: &Superblock, now: u64, found: &mut Collector) {
    let raw = sb.raw();
    for (field, value) in [
        ("s_mtime", raw.s_mtime.get()),
        ("s_wtime", raw.s_wtime.get()),
    ] {
        if u64::from(value) > now.saturating_add(CLOCK_SLACK) {
            found.push(Problem::SuperblockTime { field, value });
        }
    }
}

/// Compares every backup with the superblock in use.
pub(crate) fn check_backups(device: &dyn Device, sb: &Superblock, found: &mut Collector) {
    for group in sb
        .group_numbers()
        .skip(1)
        .filter(|g| sb.has_super_backup(*g))
    {
        let Some(block) = sb.group_first_block(group) else {
            continue;
        };
        let Some(at) = sb.block_size().byte_of(block) else {
            continue;
        };
        let mut bytes = [0; SUPERBLOCK_SIZE];
        if let Err(error) = device.read_at(at.get(), &mut bytes) {
            found.push(Problem::ReadFailed { block, error });
            continue;
        }
        let raw = RawSuperblock::from_disk(&bytes);
        if raw.s_magic.get() != SUPERBLOCK_MAGIC {
            let error = FormatError::SuperblockMagic {
                found: raw.s_magic.get(),
            };
            found.push(Problem::BackupSuperblockInvalid {
                group,
                block,
                error,
            });
            continue;
        }
        match Superblock::parse(&bytes) {
            Err(error) => found.push(Problem::BackupSuperblockInvalid {
                group,
                block,
                error,
            }),
            Ok(backup) => {
                if let Some(field) = difference(sb, &backup) {
                    found.push(Problem::BackupSuperblockDiffers {
                        group,
                        block,
                        field,
                    });
                }
            }
        }
    }
}

/// The first field in which a backup differs that never changes while an image is mounted.
fn difference(a: &Superblock, b: &Superblock) -> Option<&'static str> {
    let (x, y) = (a.raw(), b.raw());
    let fields = [
        ("number of blocks", a.blocks_count() == b.blocks_count()),
        ("number of inodes", a.inodes_count() == b.inodes_count()),
        ("block size", a.block_size() == b.block_size()),
        (
            "number of blocks per group",
            a.blocks_per_group() == b.blocks_per_group(),
        ),
        (
            "number of inodes per group",
            a.inodes_per_group() == b.inodes_per_group(),
        ),
        ("inode size", a.inode_size() == b.inode_size()),
        ("descriptor size", a.desc_size() == b.desc_size()),
        (
            "reserve of descriptor blocks",
            a.reserved_gdt_blocks() == b.reserved_gdt_blocks(),
        ),
        ("UUID", x.s_uuid == y.s_uuid),
        ("journal inode", a.journal_inum() == b.journal_inum()),
        ("hash seed", a.hash_seed() == b.hash_seed()),
    ];
    fields
        .into_iter()
        .find(|(_, same)| !same)
        .map(|(name, _)| name)
}
