//! What the image will hold: names in order, and the inodes behind them.
//!
//! Decisions:
//! - Names and inodes are apart, so that hard links are nothing special. Inodes lie in one flat list: no depth
//!   of a hostile tree makes anything recurse, not even dropping it.
//! - Directories keep their names sorted: the order in which sources produced them leaves no trace.
//! - Paths never leave the tree. `..` in a path is refused; a symbolic link in the middle of one is followed
//!   inside the tree, as a process in a chroot would, because layers of images rely on it.
//! - Each name remembers the source that brought it: a whiteout deletes what earlier sources brought.

use crate::error::{BuildError, show};
use e4_format::{FileType, Timestamp};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Index of an inode in [`Tree::nodes`].
pub(crate) type NodeId = u32;
pub(crate) const ROOT: NodeId = 0;
/// Links followed in one path, as the kernel.
const MAX_HOPS: u32 = 40;
/// Longest path accepted, bytes: 16 times what a process can name at once.
pub(crate) const MAX_PATH: usize = 64 << 10;
const NAME_MAX: usize = 255;

/// An extended attribute: whole name (`user.x`) and value. ACLs in the form the kernel shows to programs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Attribute {
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Meta {
    /// Permission bits only.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` for a directory nobody described: it gets the image's time.
    pub(crate) mtime: Option<Timestamp>,
    pub(crate) xattrs: Vec<Attribute>,
}

impl Meta {
    /// The time the image shows: not after `epoch`, if there is one.
    pub(crate) fn shown_time(&self, epoch: Option<i64>) -> Option<Timestamp> {
        let time = self.mtime?;
        Some(match epoch {
            Some(sec) => time.min(Timestamp { sec, nsec: 0 }),
            None => time,
        })
    }

    /// Of a directory that is only named in the paths of others.
    pub(crate) fn implied() -> Self {
        Self {
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: None,
            xattrs: Vec::new(),
        }
    }
}

/// Where a file's bytes are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Nowhere: there are none.
    Nothing,
    /// In a file of the host: its directory (index into the scanned ones) and its name.
    Host { dir: u32, name: Box<[u8]> },
    /// In a stored stream, its pieces one after the other from `at`.
    Blob { blob: u32, at: u64 },
}

/// Starts and lengths in bytes, in order.
pub(crate) type Ranges = Box<[(u64, u64)]>;

/// Contents of a regular file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Content {
    pub(crate) size: u64,
    pub(crate) origin: Origin,
    /// What is data; `None`: all of it.
    pub(crate) data: Option<Ranges>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    pub(crate) node: NodeId,
    source: u32,
}

pub(crate) type Names = BTreeMap<Box<[u8]>, Child>;

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Directory(Names),
    File(Content),
    Symlink(Box<[u8]>),
    Device { block: bool, major: u32, minor: u32 },
    Fifo,
    Socket,
}

impl Kind {
    pub(crate) fn file_type(&self) -> FileType {
        match self {
            Self::Directory(_) => FileType::Directory,
            Self::File(_) => FileType::Regular,
            Self::Symlink(_) => FileType::Symlink,
            Self::Device { block: true, .. } => FileType::BlockDevice,
            Self::Device { block: false, .. } => FileType::CharDevice,
            Self::Fifo => FileType::Fifo,
            Self::Socket => FileType::Socket,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) meta: Meta,
    pub(crate) kind: Kind,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
    source: u32,
    max_files: u32,
}

/// What a path is made of; refuses what leads out, drops empty parts and `.`.
pub(crate) fn components(path: &[u8]) -> Result<SmallVec<[&[u8]; 16]>, BuildError> {
    let bad = |why| BuildError::Name {
        path: show(path.get(..200).unwrap_or(path)),
        why,
    };
    if path.len() > MAX_PATH {
        return Err(bad("the path is longer than 64 KiB"));
    }
    let mut parts = SmallVec::new();
    for part in path.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(BuildError::Traversal { path: show(path) }),
            _ if part.len() > NAME_MAX => return Err(bad("a name is longer than 255 bytes")),
            _ if part.contains(&0) => return Err(bad("a name contains a NUL")),
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

impl Tree {
    pub(crate) fn new(max_files: u32) -> Self {
        let root = Node {
            meta: Meta::implied(),
            kind: Kind::Directory(Names::new()),
        };
        Self {
            nodes: vec![root],
            source: 0,
            max_files,
        }
    }

    /// What comes from here on belongs to the next source.
    pub(crate) fn next_source(&mut self) {
        self.source += 1;
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id as usize)
    }

    pub(crate) fn names(&self, id: NodeId) -> Option<&Names> {
        match &self.node(id)?.kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    fn names_mut(&mut self, id: NodeId) -> Option<&mut Names> {
        match &mut self.nodes.get_mut(id as usize)?.kind {
            Kind::Directory(names) => Some(names),
            _ => None,
        }
    }

    pub(crate) fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.names(dir)?.get(name).map(|c| c.node)
    }

    fn push(&mut self, node: Node) -> Result<NodeId, BuildError> {
        let limit = self.max_files;
        let id = u32::try_from(self.nodes.len())
            .ok()
            .filter(|n| *n < limit)
            .ok_or(BuildError::TooManyFiles { limit })?;
        self.nodes.push(node);
        Ok(id)
    }

    /// Puts `node` under `name` in the directory `dir`. A directory over a directory keeps its names and takes
    /// over the rest; anything else replaces what was there, as a later member of an archive does.
    pub(crate) fn put(
        &mut self,
        dir: NodeId,
        name: &[u8],
        node: Node,
    ) -> Result<NodeId, BuildError> {
        if let (Some(old), Kind::Directory(_)) = (self.child(dir, name), &node.kind)
            && self.names(old).is_some()
        {
            if let Some(to) = self.nodes.get_mut(old as usize) {
                to.meta = node.meta;
            }
            self.attach(dir, name, old);
            return Ok(old);
        }
        let id = self.push(node)?;
        self.attach(dir, name, id);
        Ok(id)
    }

    /// Gives an inode a (further) name.
    pub(crate) fn attach(&mut self, dir: NodeId, name: &[u8], node: NodeId) {
        let source = self.source;
        if let Some(names) = self.names_mut(dir) {
            names.insert(name.into(), Child { node, source });
        }
    }

    pub(crate) fn set_root(&mut self, meta: Meta) {
        if let Some(root) = self.nodes.first_mut() {
            root.meta = meta;
        }
    }

    /// The directory at `parts`, made where it is missing.
    pub(crate) fn directory(&mut self, parts: &[&[u8]]) -> Result<NodeId, BuildError> {
        let mut at: Vec<NodeId> = vec![ROOT];
        // What is left to walk, the next part last.
        let mut left: Vec<Box<[u8]>> = Vec::new();
        let mut given = parts.iter();
        let mut hops = 0;
        loop {
            let owned = left.pop();
            let part: &[u8] = match &owned {
                Some(part) => part,
                None => match given.next() {
                    Some(part) => part,
                    None => return Ok(at.last().copied().unwrap_or(ROOT)),
                },
            };
            if part == b".." {
                if at.len() > 1 {
                    at.pop();
                }
                continue;
            }
            let dir = at.last().copied().unwrap_or(ROOT);
            let next = match self.child(dir, part) {
                Some(next) => next,
                None => {
                    let node = Node {
                        meta: Meta::implied(),
                        kind: Kind::Directory(Names::new()),
                    };
                    self.put(dir, part, node)?
                }
            };
            match self.node(next).map(|n| &n.kind) {
                Some(Kind::Directory(_)) => at.push(next),
                Some(Kind::Symlink(target)) => {
                    hops += 1;
                    if hops > MAX_HOPS || target.len() > 4096 {
                        let path = show(&parts.join(&b'/'));
                        return Err(BuildError::SymlinkLoop { path });
                    }
                    if target.first() == Some(&b'/') {
                        at.truncate(1);
                    }
                    let target = target.clone();
                    let useful = |p: &&[u8]| !p.is_empty() && *p != b".";
                    let more = target.split(|b| *b == b'/').filter(useful);
                    left.extend(more.rev().map(Box::from));
                }
                _ => {
                    return Err(BuildError::NotADirectory {
                        path: show(&parts.join(&b'/')),
                        part: show(part),
                    });
                }
            }
        }
    }

    /// The inode at `parts`, without making anything; links in the middle are followed.
    pub(crate) fn find(&mut self, parts: &[&[u8]]) -> Result<Option<NodeId>, BuildError> {
        let Some((last, parents)) = parts.split_last() else {
            return Ok(Some(ROOT));
        };
        // Making missing parents is harmless for hard links: their target must exist, else all fails.
        let dir = self.directory(parents)?;
        Ok(self.child(dir, last))
    }

    /// Deletes a name that an earlier source brought; of a directory that this source touched, only what earlier
    /// sources brought.
    pub(crate) fn whiteout(&mut self, dir: NodeId, name: &[u8]) {
        let source = self.source;
        let Some(child) = self.names(dir).and_then(|n| n.get(name)).copied() else {
            return;
        };
        if child.source < source {
            if let Some(names) = self.names_mut(dir) {
                names.remove(name);
            }
        } else {
            self.opaque(child.node);
        }
    }

    /// Deletes everything below `dir` that earlier sources brought.
    pub(crate) fn opaque(&mut self, dir: NodeId) {
        let source = self.source;
        let mut left = vec![dir];
        while let Some(dir) = left.pop() {
            let Some(names) = self.names_mut(dir) else {
                continue;
            };
            names.retain(|_, child| child.source >= source);
            left.extend(names.values().map(|c| c.node));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: u64) -> Node {
        Node {
            meta: Meta::implied(),
            kind: Kind::File(Content {
                size: n,
                origin: Origin::Nothing,
                data: None,
            }),
        }
    }

    fn add(tree: &mut Tree, path: &str, node: Node) -> Result<NodeId, BuildError> {
        let parts = components(path.as_bytes())?;
        let (name, dirs) = parts.split_last().unwrap();
        let dir = tree.directory(dirs)?;
        tree.put(dir, name, node)
    }

    fn link(target: &str) -> Node {
        Node {
            meta: Meta::implied(),
            kind: Kind::Symlink(target.as_bytes().into()),
        }
    }

    #[test]
    fn paths_stay_inside() {
        assert!(matches!(
            components(b"a/../b"),
            Err(BuildError::Traversal { .. })
        ));
        assert_eq!(components(b"//a/./b/").unwrap().as_slice(), [b"a", b"b"]);
        let mut tree = Tree::new(100);
        add(&mut tree, "d/up", link("../../../../etc")).unwrap();
        add(&mut tree, "d/up/passwd", file(1)).unwrap();
        let etc = tree.child(ROOT, b"etc").unwrap();
        assert!(tree.child(etc, b"passwd").is_some());
        add(&mut tree, "loop", link("loop")).unwrap();
        assert!(matches!(
            add(&mut tree, "loop/x", file(1)),
            Err(BuildError::SymlinkLoop { .. })
        ));
        add(&mut tree, "f", file(1)).unwrap();
        assert!(matches!(
            add(&mut tree, "f/x", file(1)),
            Err(BuildError::NotADirectory { .. })
        ));
    }

    #[test]
    fn whiteouts_delete_only_what_was_there_before() {
        let mut tree = Tree::new(100);
        for path in ["a/old", "a/both", "b/old", "c"] {
            add(&mut tree, path, file(1)).unwrap();
        }
        tree.next_source();
        add(&mut tree, "a/new", file(2)).unwrap();
        add(&mut tree, "a/both", file(2)).unwrap();
        let a = tree.child(ROOT, b"a").unwrap();
        tree.opaque(a);
        let names: Vec<_> = tree.names(a).unwrap().keys().map(|k| show(k)).collect();
        assert_eq!(names, ["both", "new"]);
        tree.whiteout(ROOT, b"b");
        tree.whiteout(ROOT, b"c");
        assert_eq!(tree.names(ROOT).unwrap().len(), 1);
    }

    #[test]
    fn files_are_bounded() {
        let mut tree = Tree::new(3);
        add(&mut tree, "1", file(0)).unwrap();
        add(&mut tree, "2", file(0)).unwrap();
        assert!(matches!(
            add(&mut tree, "3", file(0)),
            Err(BuildError::TooManyFiles { limit: 3 })
        ));
    }
}
