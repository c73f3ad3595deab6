//! Names that occur twice in a directory.
//!
//! Decision: sixteen bytes per entry (hash and place), sorted; names are compared, by reading them
//! again, only where hashes are equal. Beyond [`MAX_NAMES`] entries a directory is not searched.

use crate::context::Check;
use crate::directories::Dir;
use crate::problem::{EntryName, Problem};
use e4_format::{FileBlock, dir};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

/// Entries looked at per directory: 256 MiB of memory.
const MAX_NAMES: usize = 16 << 20;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hash: u64,
    logical: u32,
    offset: u32,
}

/// The names of one directory.
#[derive(Default)]
pub(crate) struct Names {
    entries: Vec<Entry>,
}

impl Names {
    pub(crate) fn add(&mut self, name: &[u8], logical: FileBlock, offset: usize) {
        if self.entries.len() < MAX_NAMES {
            let mut hasher = DefaultHasher::new();
            hasher.write(name);
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            self.entries.push(Entry {
                hash: hasher.finish(),
                logical: logical.get(),
                offset,
            });
        }
    }

    /// Reports every name that is there a second time.
    pub(crate) fn report_duplicates(mut self, c: &mut Check<'_>, dir: &Dir) {
        self.entries.sort_unstable();
        let mut cache: Option<(u32, Vec<u8>)> = None;
        for same in self
            .entries
            .chunk_by(|a, b| a.hash == b.hash)
            .filter(|s| s.len() > 1)
        {
            let mut seen = HashSet::new();
            for entry in same {
                let Some(name) = read_name(c, dir, *entry, &mut cache) else {
                    continue;
                };
                if !seen.insert(name.clone()) {
                    let name = EntryName::new(&name);
                    c.report(Problem::DuplicateName {
                        inode: dir.ino,
                        name,
                    });
                }
            }
        }
    }
}

fn read_name(
    c: &Check<'_>,
    dir: &Dir,
    entry: Entry,
    cache: &mut Option<(u32, Vec<u8>)>,
) -> Option<Vec<u8>> {
    if cache.as_ref().is_none_or(|(at, _)| *at != entry.logical) {
        let block = dir.runs.physical(entry.logical)?;
        *cache = Some((entry.logical, c.disk.block(block).ok()?));
    }
    let (_, bytes) = cache.as_ref()?;
    let record = bytes.get(usize::try_from(entry.offset).ok()?..)?;
    let len = usize::from(*record.get(6)?);
    record
        .get(dir::RECORD_HEADER..)?
        .get(..len)
        .map(<[u8]>::to_vec)
}
