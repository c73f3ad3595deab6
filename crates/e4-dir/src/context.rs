//! What an operation must know about the image and the directory's inode.

use e4_format::dir::{DirFormat, NAME_MAX};
use e4_format::features::{CompatFeatures, IncompatFeatures};
use e4_format::htree::{HashAlgorithm, HashVersion, INDIRECT_LEVELS_MAX, NameHash};
use e4_format::{FileBlock, InodeNo, Superblock};

use crate::error::DirError;

/// Levels of inner nodes below the root with `large_dir`.
const INDIRECT_LEVELS_LARGE: u8 = 2;

/// What the blocks of one directory look like and how its names hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirContext {
    /// Block size, checksum tail, types in entries, number of inodes.
    pub format: DirFormat,
    /// The image has `dir_index`: directories may have an htree.
    pub dir_index: bool,
    /// The image has `large_dir`: an htree may have three levels.
    pub large_dir: bool,
    /// Checksum seed of the directory's inode ([`e4_format::csum_seed_for`]).
    pub csum_seed: u32,
    /// Seed of the hash, from the superblock.
    pub hash_seed: [u32; 4],
    /// Hash for new indexes; `None` if we do not know it: then none are made.
    pub default_hash: Option<HashVersion>,
    /// The image hashes bytes as 0 to 255.
    pub unsigned_hash: bool,
}

impl DirContext {
    /// For the directories of an image; `csum_seed` is the inode's ([`e4_format::csum_seed_for`]).
    #[must_use]
    pub fn new(sb: &Superblock, csum_seed: u32) -> Self {
        Self {
            format: sb.dir_format(),
            dir_index: sb.compat().contains(CompatFeatures::DIR_INDEX),
            large_dir: sb.incompat().contains(IncompatFeatures::LARGE_DIR),
            csum_seed,
            hash_seed: sb.hash_seed(),
            default_hash: sb.def_hash_version(),
            // What the number 0 (legacy, signed) means in this image tells its signedness.
            unsigned_hash: sb.hash_version(0).is_some_and(|v| v.unsigned),
        }
    }

    /// Levels of inner nodes an index may have below its root.
    #[must_use]
    pub const fn indirect_levels_max(&self) -> u8 {
        if self.large_dir {
            INDIRECT_LEVELS_LARGE
        } else {
            INDIRECT_LEVELS_MAX
        }
    }

    /// The hash a root names; `None` for one we do not know.
    #[must_use]
    pub const fn hash_version(&self, stored: u8) -> Option<HashVersion> {
        let (raw, unsigned) = match stored {
            0..=2 => (stored, self.unsigned_hash),
            3..=5 => (stored - 3, true),
            _ => return None,
        };
        match HashAlgorithm::from_raw(raw) {
            Some(algorithm) => Some(HashVersion {
                algorithm,
                unsigned,
            }),
            None => None,
        }
    }

    /// Hash of a name.
    pub(crate) fn hash(&self, version: HashVersion, name: &[u8]) -> NameHash {
        version.hash(name, self.hash_seed)
    }

    /// Format of index blocks: their disguise as directory blocks leaves no room for a linear tail.
    pub(crate) const fn whole(&self) -> DirFormat {
        DirFormat {
            csum_tail: false,
            ..self.format
        }
    }

    /// Bytes per block.
    pub(crate) const fn block_len(&self) -> usize {
        self.format.block_size.len()
    }

    /// Refuses inode numbers the image does not have, before they reach a block.
    pub(crate) const fn check_inode(&self, inode: InodeNo) -> Result<(), DirError> {
        let count = self.format.inodes_count;
        if inode.get() > count {
            Err(DirError::InodeRange { inode, count })
        } else {
            Ok(())
        }
    }
}

/// Block 0: `.`, `..`, and the root of the index if there is one.
pub(crate) const FIRST: FileBlock = FileBlock::new(0);

/// True for `.` and `..`.
pub(crate) fn is_dot(name: &[u8]) -> bool {
    matches!(name, b"." | b"..")
}

/// Refuses what no entry may be called.
pub(crate) fn check_name(name: &[u8]) -> Result<(), DirError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(DirError::NameLength { len: name.len() });
    }
    match name.iter().position(|b| matches!(b, 0 | b'/')) {
        Some(at) => Err(DirError::NameByte {
            at,
            byte: name.get(at).copied().unwrap_or_default(),
        }),
        None => Ok(()),
    }
}

/// As [`check_name`], and refuses `.` and `..`.
pub(crate) fn check_new_name(name: &[u8]) -> Result<(), DirError> {
    check_name(name)?;
    if is_dot(name) {
        Err(DirError::DotName)
    } else {
        Ok(())
    }
}
