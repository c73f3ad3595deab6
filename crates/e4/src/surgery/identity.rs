//! What an image is called: label and UUID.
//!
//! Decision: metadata checksums are seeded by the UUID unless the image notes the seed (`metadata_csum_seed`). A new UUID notes
//! it, with the feature, as `tune2fs` does on a mounted filesystem; so no checksum changes. The crc16 checksums of descriptors
//! (`uninit_bg`) have no such way out: their images keep their UUID.

use e4_format::features::{IncompatFeatures, RoCompatFeatures};
use e4_sync::Arc;

use crate::error::{Error, Result};
use crate::fs::Filesystem;

/// Most bytes of a label.
const LABEL_MAX: usize = 16;

/// What giving an image a new UUID has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UuidChange {
    /// The feature `metadata_csum_seed` was turned on, which kernels before 4.4 do not know.
    pub seed_noted: bool,
}

impl Filesystem {
    /// The volume label; not necessarily UTF-8.
    ///
    /// # Errors
    /// The superblock cannot be read.
    pub fn label(&self) -> Result<Vec<u8>> {
        let sb = self.mounted().shared.current_superblock()?;
        Ok(sb.label().to_vec())
    }

    /// Gives the image a label, at most 16 bytes, none of them 0; empty for none. Backups of the superblock included; durable
    /// with the next sync.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no label; read-only; journal or device.
    pub fn set_label(&self, label: &[u8]) -> Result<()> {
        if label.len() > LABEL_MAX || label.contains(&0) {
            return Err(Error::Invalid {
                what: "a label has at most 16 bytes, none of them zero",
            });
        }
        let mut name = [0; LABEL_MAX];
        if let Some(place) = name.get_mut(..label.len()) {
            place.copy_from_slice(label);
        }
        let shared = &self.mounted().shared;
        let _turn = shared.grow_turn.lock();
        shared.check_writable()?;
        let mut handle = shared.meta.start(1)?;
        shared.edit_superblock(&mut handle, |sb| sb.raw_mut().s_volume_name = name)?;
        drop(handle);
        shared.update_backup_superblocks()
    }

    /// The UUID.
    ///
    /// # Errors
    /// The superblock cannot be read.
    pub fn uuid(&self) -> Result<[u8; 16]> {
        Ok(self.mounted().shared.current_superblock()?.uuid())
    }

    /// Gives the image a UUID. Backups of the superblock included; durable with the next sync.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if checksums depend on the UUID and nothing can note their seed; read-only; journal or device.
    pub fn set_uuid(&self, uuid: [u8; 16]) -> Result<UuidChange> {
        let shared = &self.mounted().shared;
        let _turn = shared.grow_turn.lock();
        shared.check_writable()?;
        let now = shared.current_superblock()?;
        if now.uuid() == uuid {
            return Ok(UuidChange { seed_noted: false });
        }
        let checksums = now.has_metadata_csum();
        if !checksums && now.ro_compat().contains(RoCompatFeatures::GDT_CSUM) {
            return Err(Error::Unsupported {
                image: Arc::clone(&shared.image),
                what: "a new UUID for an image with uninit_bg: the checksum of every group \
                       descriptor depends on it (tune2fs -U does that, offline)"
                    .to_owned(),
            });
        }
        let seed_noted = checksums && !now.incompat().contains(IncompatFeatures::CSUM_SEED);
        let seed = now.checksum_seed();
        let mut handle = shared.meta.start(1)?;
        shared.edit_superblock(&mut handle, |sb| {
            if seed_noted {
                let features = sb.incompat().union(IncompatFeatures::CSUM_SEED);
                sb.raw_mut().s_feature_incompat.set(features.bits());
                sb.raw_mut().s_checksum_seed.set(seed);
            }
            sb.raw_mut().s_uuid = uuid;
        })?;
        drop(handle);
        shared.update_backup_superblocks()?;
        Ok(UuidChange { seed_noted })
    }
}
