//! Feature selection by mke2fs names: `-O` lists with `^name` and `none`, and the rules between features.
//!
//! Decision: a feature that came with the defaults gives way with a note when what it needs is missing
//! (no journal on a tiny image takes `orphan_file` along); one that was asked for by name is an error.

use crate::error::MkfsError;
use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};

/// A set of features, and which of them were asked for by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Features {
    /// `s_feature_compat`.
    pub compat: CompatFeatures,
    /// `s_feature_incompat`.
    pub incompat: IncompatFeatures,
    /// `s_feature_ro_compat`.
    pub ro_compat: RoCompatFeatures,
    named: Named,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Named {
    compat: CompatFeatures,
    incompat: IncompatFeatures,
    ro_compat: RoCompatFeatures,
}

/// One feature, whichever word it lives in.
#[derive(Clone, Copy)]
enum Bit {
    Compat(CompatFeatures),
    Incompat(IncompatFeatures),
    RoCompat(RoCompatFeatures),
}

const WRITABLE_COMPAT: CompatFeatures = CompatFeatures::HAS_JOURNAL
    .union(CompatFeatures::EXT_ATTR)
    .union(CompatFeatures::RESIZE_INODE)
    .union(CompatFeatures::DIR_INDEX)
    .union(CompatFeatures::SPARSE_SUPER2)
    .union(CompatFeatures::STABLE_INODES)
    .union(CompatFeatures::ORPHAN_FILE);
const WRITABLE_INCOMPAT: IncompatFeatures = IncompatFeatures::FILETYPE
    .union(IncompatFeatures::EXTENTS)
    .union(IncompatFeatures::BIT64)
    .union(IncompatFeatures::FLEX_BG)
    .union(IncompatFeatures::CSUM_SEED);
const WRITABLE_RO_COMPAT: RoCompatFeatures = RoCompatFeatures::SPARSE_SUPER
    .union(RoCompatFeatures::LARGE_FILE)
    .union(RoCompatFeatures::HUGE_FILE)
    .union(RoCompatFeatures::GDT_CSUM)
    .union(RoCompatFeatures::DIR_NLINK)
    .union(RoCompatFeatures::EXTRA_ISIZE)
    .union(RoCompatFeatures::METADATA_CSUM)
    .union(RoCompatFeatures::PROJECT)
    .union(RoCompatFeatures::VERITY);

impl Features {
    /// No feature at all (`-O none`).
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// What `mke2fs -t ext2` sets.
    #[must_use]
    pub fn ext2() -> Self {
        Self {
            compat: CompatFeatures::EXT_ATTR
                | CompatFeatures::RESIZE_INODE
                | CompatFeatures::DIR_INDEX,
            incompat: IncompatFeatures::FILETYPE,
            ro_compat: RoCompatFeatures::SPARSE_SUPER | RoCompatFeatures::LARGE_FILE,
            named: Named::default(),
        }
    }

    /// What `mke2fs -t ext3` sets.
    #[must_use]
    pub fn ext3() -> Self {
        let mut set = Self::ext2();
        set.compat.insert(CompatFeatures::HAS_JOURNAL);
        set
    }

    /// What `mke2fs -t ext4` sets from e2fsprogs 1.47.1 on.
    #[must_use]
    pub fn ext4() -> Self {
        let mut set = Self::ext3();
        set.compat.insert(CompatFeatures::ORPHAN_FILE);
        set.incompat.insert(
            IncompatFeatures::EXTENTS
                | IncompatFeatures::BIT64
                | IncompatFeatures::FLEX_BG
                | IncompatFeatures::CSUM_SEED,
        );
        set.ro_compat.insert(
            RoCompatFeatures::HUGE_FILE
                | RoCompatFeatures::DIR_NLINK
                | RoCompatFeatures::EXTRA_ISIZE
                | RoCompatFeatures::METADATA_CSUM,
        );
        set
    }

    /// Edits the set by a list as given to `mke2fs -O`: words separated by commas or blanks; `name`
    /// sets, `^name` (or `-name`) clears, `none` clears everything so far.
    ///
    /// # Errors
    /// [`MkfsError::UnknownFeature`] names the word that is no feature.
    pub fn apply(&mut self, list: &str) -> Result<(), MkfsError> {
        for word in list.split([',', ' ', '\t']).filter(|w| !w.is_empty()) {
            if word.eq_ignore_ascii_case("none") {
                *self = Self::none();
                continue;
            }
            let (set, name) = match word.strip_prefix(['^', '-']) {
                Some(name) => (false, name),
                None => (true, word.strip_prefix('+').unwrap_or(word)),
            };
            let lower = name.to_ascii_lowercase();
            let bit = CompatFeatures::from_name(&lower)
                .map(Bit::Compat)
                .or_else(|| IncompatFeatures::from_name(&lower).map(Bit::Incompat))
                .or_else(|| RoCompatFeatures::from_name(&lower).map(Bit::RoCompat))
                .ok_or_else(|| MkfsError::UnknownFeature {
                    name: name.to_owned(),
                })?;
            self.edit(bit, set);
        }
        Ok(())
    }

    fn edit(&mut self, bit: Bit, set: bool) {
        match (bit, set) {
            (Bit::Compat(b), true) => {
                self.compat.insert(b);
                self.named.compat.insert(b);
            }
            (Bit::Incompat(b), true) => {
                self.incompat.insert(b);
                self.named.incompat.insert(b);
            }
            (Bit::RoCompat(b), true) => {
                self.ro_compat.insert(b);
                self.named.ro_compat.insert(b);
            }
            (Bit::Compat(b), false) => {
                self.compat.remove(b);
                self.named.compat.remove(b);
            }
            (Bit::Incompat(b), false) => {
                self.incompat.remove(b);
                self.named.incompat.remove(b);
            }
            (Bit::RoCompat(b), false) => {
                self.ro_compat.remove(b);
                self.named.ro_compat.remove(b);
            }
        }
    }

    /// True if `bit` is set.
    pub(crate) fn compat(&self, bit: CompatFeatures) -> bool {
        self.compat.contains(bit)
    }

    /// True if `bit` is set.
    pub(crate) fn incompat(&self, bit: IncompatFeatures) -> bool {
        self.incompat.contains(bit)
    }

    /// True if `bit` is set.
    pub(crate) fn ro_compat(&self, bit: RoCompatFeatures) -> bool {
        self.ro_compat.contains(bit)
    }

    /// Drops a default compat feature with a note, or refuses if it was asked for by name.
    pub(crate) fn drop_compat(
        &mut self,
        bit: CompatFeatures,
        feature: &'static str,
        needs: &'static str,
        notes: &mut Vec<String>,
    ) -> Result<(), MkfsError> {
        if !self.compat(bit) {
            return Ok(());
        }
        if self.named.compat.contains(bit) {
            return Err(MkfsError::FeatureNeeds { feature, needs });
        }
        self.compat.remove(bit);
        notes.push(format!("{feature} left out: it needs {needs}"));
        Ok(())
    }

    /// Settles the rules between features that do not depend on the size.
    ///
    /// # Errors
    /// A feature this formatter does not write, or one whose requirement is missing.
    pub(crate) fn resolve(&mut self, notes: &mut Vec<String>) -> Result<(), MkfsError> {
        self.refuse_unwritable()?;
        if self.ro_compat(RoCompatFeatures::METADATA_CSUM) {
            self.ro_compat.remove(RoCompatFeatures::GDT_CSUM);
        } else if self.incompat(IncompatFeatures::CSUM_SEED) {
            if self.named.incompat.contains(IncompatFeatures::CSUM_SEED) {
                return Err(MkfsError::FeatureNeeds {
                    feature: "metadata_csum_seed",
                    needs: "metadata_csum",
                });
            }
            self.incompat.remove(IncompatFeatures::CSUM_SEED);
            notes.push("metadata_csum_seed left out: it needs metadata_csum".to_owned());
        }
        if self.incompat(IncompatFeatures::BIT64) && !self.incompat(IncompatFeatures::EXTENTS) {
            return Err(MkfsError::FeatureNeeds {
                feature: "64bit",
                needs: "extent",
            });
        }
        if !self.compat(CompatFeatures::HAS_JOURNAL) {
            self.drop_compat(
                CompatFeatures::ORPHAN_FILE,
                "orphan_file",
                "has_journal",
                notes,
            )?;
        }
        if !self.ro_compat(RoCompatFeatures::SPARSE_SUPER)
            && !self.compat(CompatFeatures::SPARSE_SUPER2)
        {
            self.drop_compat(
                CompatFeatures::RESIZE_INODE,
                "resize_inode",
                "sparse_super",
                notes,
            )?;
        }
        Ok(())
    }

    fn refuse_unwritable(&self) -> Result<(), MkfsError> {
        fn first<T: Iterator<Item = e4_format::features::FeatureName>>(
            mut names: T,
        ) -> Result<(), MkfsError> {
            match names.next() {
                None => Ok(()),
                Some(e4_format::features::FeatureName::Known(name)) => {
                    Err(MkfsError::UnsupportedFeature { name })
                }
                Some(e4_format::features::FeatureName::Unknown { .. }) => {
                    Err(MkfsError::UnsupportedFeature {
                        name: "an unnamed feature bit",
                    })
                }
            }
        }
        first(self.compat.difference(WRITABLE_COMPAT).names())?;
        first(self.incompat.difference(WRITABLE_INCOMPAT).names())?;
        first(self.ro_compat.difference(WRITABLE_RO_COMPAT).names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ext4_is_the_upstream_default() {
        let set = Features::ext4();
        let text = format!("{} {} {}", set.compat, set.incompat, set.ro_compat);
        let mut words: Vec<_> = text.split(' ').collect();
        words.sort_unstable();
        let mut expected: Vec<_> = "has_journal ext_attr resize_inode dir_index orphan_file \
            filetype extent 64bit flex_bg metadata_csum_seed sparse_super large_file huge_file \
            dir_nlink extra_isize metadata_csum"
            .split_whitespace()
            .collect();
        expected.sort_unstable();
        assert_eq!(words, expected);
    }

    #[test]
    fn lists_set_clear_and_reset() {
        let mut set = Features::ext4();
        set.apply("^has_journal,large_dir ^64bit").unwrap();
        assert!(!set.compat(CompatFeatures::HAS_JOURNAL));
        assert!(set.incompat(IncompatFeatures::LARGE_DIR));
        assert!(!set.incompat(IncompatFeatures::BIT64));
        set.apply("none,extents").unwrap();
        assert!(set.compat.is_empty() && set.ro_compat.is_empty());
        assert!(set.incompat(IncompatFeatures::EXTENTS));
    }

    #[test]
    fn errors_name_the_word() {
        let mut set = Features::ext4();
        let err = set.apply("^64bit,nonsense").unwrap_err();
        assert!(matches!(err, MkfsError::UnknownFeature { ref name } if name == "nonsense"));
        set.apply("bigalloc").unwrap();
        let err = set.resolve(&mut Vec::new()).unwrap_err();
        assert!(matches!(
            err,
            MkfsError::UnsupportedFeature { name: "bigalloc" }
        ));
    }

    #[test]
    fn defaults_give_way_and_named_features_insist() {
        let mut set = Features::ext4();
        set.apply("^has_journal,^metadata_csum,^sparse_super")
            .unwrap();
        let mut notes = Vec::new();
        set.resolve(&mut notes).unwrap();
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert!(!set.compat(CompatFeatures::ORPHAN_FILE));

        for (list, feature) in [
            ("^has_journal,orphan_file", "orphan_file"),
            ("^metadata_csum,metadata_csum_seed", "metadata_csum_seed"),
            ("^sparse_super,resize_inode", "resize_inode"),
            ("^extent", "64bit"),
        ] {
            let mut set = Features::ext4();
            set.apply(list).unwrap();
            let err = set.resolve(&mut Vec::new()).unwrap_err();
            assert!(
                matches!(err, MkfsError::FeatureNeeds { feature: f, .. } if f == feature),
                "{list}: {err}"
            );
        }
    }
}
