//! What differs between two trees.
//!
//! Decisions:
//! - Both are walked side by side in path order; metadata are compared first, contents only of files whose type and size
//!   agree, and not where both have holes. [`DiffOptions::quick`] takes equal size and time for equal contents, as rsync does.
//! - Hard links count: names that share a file on one side and not on the other have changed, also if they hold the same.
//! - Inode numbers, change and access times and the places of blocks do not count.
//!
//! Memory: what changed, the names of files that have several, and one number per directory.

use core::fmt;
use std::collections::{BTreeSet, HashMap};

use e4::{Filesystem, Node};
use e4_format::{FileType, InodeNo};

use crate::contents;
use crate::error::{ExportError, at};
use crate::facts::{Facts, xattrs};
use crate::tar::is_lost_and_found;
use crate::walk::{Name, Seen, names};
use crate::{Meter, Watch};

/// How two names differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the words of stat(2)")]
pub enum What {
    Type,
    Contents,
    Target,
    Device,
    Mode,
    Owner,
    Time,
    Xattrs,
    /// Which names are one file.
    Links,
}

impl What {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Type,
        Self::Contents,
        Self::Target,
        Self::Device,
        Self::Mode,
        Self::Owner,
        Self::Time,
        Self::Xattrs,
        Self::Links,
    ];
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Type => "type",
            Self::Contents => "contents",
            Self::Target => "target",
            Self::Device => "device",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "mtime",
            Self::Xattrs => "xattrs",
            Self::Links => "links",
        })
    }
}

/// What happened to a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeKind {
    /// Only the second tree has it.
    Added(Facts),
    /// Only the first tree has it.
    Removed(Facts),
    /// Both have it, differently.
    Changed {
        /// In the first tree.
        from: Facts,
        /// In the second tree.
        to: Facts,
        /// In what; never empty.
        what: BTreeSet<What>,
    },
}

/// One name that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Path below the tops, without a slash in front; empty for the tops.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: ChangeKind,
    /// The directory it is in was added or removed as well, or stopped or began to be one.
    pub follows: bool,
}

/// All that differs, in path order.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Name by name.
    pub changes: Vec<Change>,
    /// Directories of both trees of whose names in the first tree the second has none.
    pub emptied: BTreeSet<Vec<u8>>,
}

/// What counts as a difference.
#[derive(Clone, Debug, Default)]
pub struct DiffOptions {
    /// These do not. The type always does.
    pub ignore: BTreeSet<What>,
    /// Files of equal size and time are taken to hold the same.
    pub quick: bool,
}

/// Compares the tree below `a` with that below `b`.
///
/// # Errors
/// The images', or [`ExportError::Cancelled`].
pub fn diff(
    a: (&Filesystem, &Node),
    b: (&Filesystem, &Node),
    options: &DiffOptions,
    watch: Watch<'_>,
) -> Result<Difference, ExportError> {
    let mut differ = Differ {
        options,
        meter: Meter::new(watch),
        found: Difference::default(),
        links: [HashMap::new(), HashMap::new()],
        pairs: Vec::new(),
        same: HashMap::new(),
        seen: Default::default(),
    };
    differ.run([a.0, b.0], [a.1.clone(), b.1.clone()])?;
    if !options.ignore.contains(&What::Links) {
        differ.compare_links();
    }
    differ.found.changes.sort_by(|x, y| order(&x.path, &y.path));
    Ok(differ.found)
}

/// Path order: a directory, what is in it, then its next sibling.
pub(crate) fn order(a: &[u8], b: &[u8]) -> core::cmp::Ordering {
    a.split(|c| *c == b'/').cmp(b.split(|c| *c == b'/'))
}

/// A name and the inodes it has in the two trees.
type Pair = (Box<[u8]>, [Option<InodeNo>; 2]);

struct Level {
    path: usize,
    left: Vec<Pair>,
    /// Only one side has this directory.
    follows: bool,
}

/// A name of both trees that may be one of several of its file on one of them.
struct LinkedPair {
    path: Vec<u8>,
    facts: [Facts; 2],
}

struct Differ<'a> {
    options: &'a DiffOptions,
    meter: Meter<'a>,
    found: Difference,
    /// Names of files that have several, by inode.
    links: [HashMap<InodeNo, Vec<Vec<u8>>>; 2],
    pairs: Vec<LinkedPair>,
    /// Whether two inodes with several names hold the same.
    same: HashMap<(InodeNo, InodeNo), bool>,
    seen: [Seen; 2],
}

impl Differ<'_> {
    fn run(&mut self, fs: [&Filesystem; 2], tops: [Node; 2]) -> Result<(), ExportError> {
        let mut path: Vec<u8> = Vec::new();
        let mut levels: Vec<Level> = Vec::new();
        let mut next = Some((tops.map(Some), false));
        loop {
            if let Some((nodes, follows)) = next.take()
                && let Some(level) = self.visit(&path, nodes, follows)?
            {
                levels.push(level);
            }
            let Some(level) = levels.last_mut() else {
                return Ok(());
            };
            path.truncate(level.path);
            let Some((name, inodes)) = level.left.pop() else {
                levels.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let [a, b] = inodes;
            let get = |fs: &Filesystem, ino: Option<InodeNo>| {
                ino.map(|ino| fs.node(ino)).transpose().map_err(at(&path))
            };
            let nodes = [get(fs[0], a)?, get(fs[1], b)?];
            next = Some((nodes, level.follows));
        }
    }

    /// Compares one name; returns what is below it.
    fn visit(
        &mut self,
        path: &[u8],
        mut nodes: [Option<Node>; 2],
        follows: bool,
    ) -> Result<Option<Level>, ExportError> {
        let mut facts = [None, None];
        for (node, facts) in nodes.iter_mut().zip(&mut facts) {
            let Some(found) = node else { continue };
            let stat = found.stat().map_err(at(path))?;
            if is_lost_and_found(path, found, &stat)? {
                *node = None;
                continue;
            }
            *facts = Some(Facts::of(path, &stat)?);
        }
        self.meter.name()?;
        for (facts, links) in facts.iter().zip(&mut self.links) {
            if let Some(f) = facts.as_ref().filter(|f| f.is_linked()) {
                links.entry(f.ino).or_default().push(path.to_vec());
            }
        }
        let is_dir = |f: &Option<Facts>| {
            f.as_ref()
                .is_some_and(|f| f.file_type == FileType::Directory)
        };
        let dirs = [is_dir(&facts[0]), is_dir(&facts[1])];
        let kind = match (facts, &nodes) {
            ([None, None], _) | ([Some(_), Some(_)], [None, _] | [_, None]) => return Ok(None),
            ([Some(facts), None], _) => Some(ChangeKind::Removed(facts)),
            ([None, Some(facts)], _) => Some(ChangeKind::Added(facts)),
            ([Some(from), Some(to)], [Some(a), Some(b)]) => {
                let what = self.compare(path, [a, b], [&from, &to])?;
                if from.is_linked() || to.is_linked() {
                    self.pairs.push(LinkedPair {
                        path: path.to_vec(),
                        facts: [from.clone(), to.clone()],
                    });
                }
                (!what.is_empty()).then_some(ChangeKind::Changed { from, to, what })
            }
        };
        if let Some(kind) = kind {
            self.found.changes.push(Change {
                path: path.to_vec(),
                kind,
                follows,
            });
        }
        self.below(path, &nodes, dirs)
    }

    fn below(
        &mut self,
        path: &[u8],
        nodes: &[Option<Node>; 2],
        dirs: [bool; 2],
    ) -> Result<Option<Level>, ExportError> {
        if dirs == [false, false] {
            return Ok(None);
        }
        let mut lists = [Vec::new(), Vec::new()];
        for (side, list) in lists.iter_mut().enumerate() {
            if let (Some(Some(node)), Some(true)) = (nodes.get(side), dirs.get(side)) {
                if let Some(seen) = self.seen.get_mut(side) {
                    seen.enter(node.ino(), path)?;
                }
                *list = names(node, path)?;
            }
        }
        let [a, b] = lists;
        let left = merge(a, b);
        let both = dirs == [true, true];
        if both {
            let gone = left
                .iter()
                .filter(|p| matches!(p.1, [Some(_), None]))
                .count();
            let kept = left.iter().any(|p| matches!(p.1, [Some(_), Some(_)]));
            if gone > 0 && !kept {
                self.found.emptied.insert(path.to_vec());
            }
        }
        Ok(Some(Level {
            path: path.len(),
            left,
            follows: !both,
        }))
    }

    fn compare(
        &mut self,
        path: &[u8],
        nodes: [&Node; 2],
        [from, to]: [&Facts; 2],
    ) -> Result<BTreeSet<What>, ExportError> {
        let mut what = BTreeSet::new();
        let ignore = &self.options.ignore;
        let mut note = |differs: bool, which| {
            if differs && !ignore.contains(&which) {
                what.insert(which);
            }
        };
        // Symbolic links have no mode of their own.
        let link = from.file_type == FileType::Symlink && to.file_type == FileType::Symlink;
        note(from.mode != to.mode && !link, What::Mode);
        note((from.uid, from.gid) != (to.uid, to.gid), What::Owner);
        note(from.mtime != to.mtime, What::Time);
        if from.file_type != to.file_type {
            what.insert(What::Type);
            return Ok(what);
        }
        note(from.device != to.device, What::Device);
        if !ignore.contains(&What::Xattrs) {
            let [a, b] = nodes;
            note(xattrs(path, a)? != xattrs(path, b)?, What::Xattrs);
        }
        match from.file_type {
            FileType::Symlink if !ignore.contains(&What::Target) => {
                let [a, b] = nodes.map(|n| n.read_link().map_err(at(path)));
                note(a? != b?, What::Target);
            }
            FileType::Regular if !ignore.contains(&What::Contents) => {
                let differs =
                    from.size != to.size || !self.same_contents(path, nodes, [from, to])?;
                if differs {
                    what.insert(What::Contents);
                }
            }
            _ => {}
        }
        Ok(what)
    }

    fn same_contents(
        &mut self,
        path: &[u8],
        [a, b]: [&Node; 2],
        [from, to]: [&Facts; 2],
    ) -> Result<bool, ExportError> {
        if from.size == 0 || (self.options.quick && from.mtime == to.mtime) {
            return Ok(true);
        }
        let linked = from.is_linked() && to.is_linked();
        if linked && let Some(same) = self.same.get(&(from.ino, to.ino)) {
            return Ok(*same);
        }
        let files = (&contents::open(path, a)?, &contents::open(path, b)?);
        let same = contents::same(path, files, &mut self.meter)?;
        if linked {
            self.same.insert((from.ino, to.ino), same);
        }
        Ok(same)
    }

    /// Adds the names whose file has other names in the two trees.
    fn compare_links(&mut self) {
        let [a, b] = &self.links;
        let mut known: HashMap<(InodeNo, InodeNo), bool> = HashMap::new();
        let mut more = Vec::new();
        for LinkedPair { path, facts } in &self.pairs {
            let [from, to] = facts;
            let own = std::slice::from_ref(path);
            let names = |links: &HashMap<InodeNo, Vec<Vec<u8>>>, f: &Facts| {
                links.get(&f.ino).map_or_else(|| own.to_vec(), Clone::clone)
            };
            let same = *known
                .entry((from.ino, to.ino))
                .or_insert_with(|| names(a, from) == names(b, to));
            if !same {
                more.push((path.clone(), facts.clone()));
            }
        }
        let mut place: HashMap<Vec<u8>, usize> = HashMap::new();
        for (n, change) in self.found.changes.iter().enumerate() {
            place.insert(change.path.clone(), n);
        }
        for (path, [from, to]) in more {
            let known = place
                .get(&path)
                .and_then(|n| self.found.changes.get_mut(*n));
            if let Some(change) = known {
                if let ChangeKind::Changed { what, .. } = &mut change.kind {
                    what.insert(What::Links);
                }
                continue;
            }
            let what = BTreeSet::from([What::Links]);
            self.found.changes.push(Change {
                path,
                kind: ChangeKind::Changed { from, to, what },
                follows: false,
            });
        }
    }
}

/// Names of either list, the last one first.
fn merge(a: Vec<Name>, b: Vec<Name>) -> Vec<Pair> {
    let mut merged: Vec<Pair> = Vec::with_capacity(a.len().max(b.len()));
    let mut a = a.into_iter().peekable();
    let mut b = b.into_iter().peekable();
    loop {
        let order = match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(_), None) => core::cmp::Ordering::Less,
            (None, Some(_)) => core::cmp::Ordering::Greater,
            (Some(x), Some(y)) => x.0.cmp(&y.0),
        };
        let one = if order.is_le() { a.next() } else { None };
        let two = if order.is_ge() { b.next() } else { None };
        let inodes = [one.as_ref().map(|x| x.1), two.as_ref().map(|x| x.1)];
        if let Some((name, _)) = one.or(two) {
            merged.push((name, inodes));
        }
    }
    merged.reverse();
    merged
}
