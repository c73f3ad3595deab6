//! What the caller may choose.

use e4_mkfs::Params;
use std::path::PathBuf;

/// How large the image becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// As large as the content needs, and this many bytes free besides.
    Auto {
        /// Bytes that users of the image can still write.
        free: u64,
    },
    /// This many bytes.
    Fixed(u64),
}

/// Which holes the image's files have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Holes {
    /// Those of the source, as far as they cover whole blocks. On another host the same tree may be
    /// stored with other holes, and the image differs.
    #[default]
    Source,
    /// None: every block is written.
    None,
}

/// When names beginning with `.wh.` delete what earlier sources have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Whiteouts {
    /// In every source but the first.
    #[default]
    Auto,
    /// Everywhere; in the first source they delete nothing and vanish.
    Always,
    /// They are names like others.
    Never,
}

/// A range of owners and what it becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IdMap {
    /// First id in the source.
    pub from: u32,
    /// First id in the image.
    pub to: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// The image's id for `id`: by the first map that covers it, else the same.
    #[must_use]
    pub fn apply(maps: &[Self], id: u32) -> u32 {
        let covers = |m: &&Self| id.checked_sub(m.from).is_some_and(|n| n < m.count);
        match maps.iter().find(covers) {
            Some(m) => m.to.wrapping_add(id - m.from),
            None => id,
        }
    }
}

/// Everything the caller may choose. The default builds what `e4 build` builds without options.
#[derive(Clone, Debug)]
pub struct Options {
    /// Geometry and features, as for formatting. `uuid`, `hash_seed` and `time` are derived from the content where
    /// they are `None` (the time is the youngest file's, or `epoch`); `size` and `medium` are ignored; `inodes` is a minimum.
    pub mkfs: Params,
    /// How large.
    pub size: Size,
    /// `SOURCE_DATE_EPOCH`: times after it become this one.
    pub epoch: Option<i64>,
    /// Everything belongs to this user and group.
    pub owner: Option<(u32, u32)>,
    /// Users in the source to users in the image.
    pub uid_map: Vec<IdMap>,
    /// Groups in the source to groups in the image.
    pub gid_map: Vec<IdMap>,
    /// Patterns of paths to leave out: with a slash in the middle or in front from the root, else at any depth.
    pub exclude: Vec<String>,
    /// Extended attributes, ACLs and capabilities are taken over.
    pub xattrs: bool,
    /// Which holes files have.
    pub holes: Holes,
    /// What `.wh.` means.
    pub whiteouts: Whiteouts,
    /// Where the contents of compressed archives wait until they have a place; the system's temporary directory if
    /// `None`.
    pub spool_dir: Option<PathBuf>,
    /// Threads that read and write; the result does not depend on it.
    pub threads: usize,
    /// The most files (inodes) a source may produce: what bounds memory, at some 350 bytes each.
    pub max_files: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mkfs: Params {
                block_size: Some(4096),
                reserved_percent: 0.0,
                ..Params::default()
            },
            size: Size::Auto { free: 0 },
            epoch: None,
            owner: None,
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            exclude: Vec::new(),
            xattrs: true,
            holes: Holes::default(),
            whiteouts: Whiteouts::default(),
            spool_dir: None,
            threads: e4_sync::thread::available_parallelism().map_or(1, |n| n.get().min(8)),
            max_files: 1 << 26,
        }
    }
}
