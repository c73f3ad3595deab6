//! The order of everything: which inodes there are, what they are numbered, how many links they have.
//!
//! Decision: path order, directory before its contents, names as bytes. Inode numbers, directory blocks and file
//! contents all follow it, so that whoever walks the image reads forward.

use crate::error::BuildError;
use crate::tree::{Kind, NodeId, ROOT, Tree};
use e4_format::InodeNo;

/// Links an inode can count.
const LINK_MAX: u32 = 65000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Order {
    /// Inodes in order, without root and lost+found.
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) lost_and_found: NodeId,
    /// By node: position in `nodes` + 1; 0 for what nothing names any more.
    position: Vec<u32>,
    /// By node: names; for a directory 2 and its subdirectories.
    pub(crate) links: Vec<u32>,
    /// By node: the directory it was found in first.
    parent: Vec<NodeId>,
}

impl Order {
    pub(crate) fn of(tree: &Tree, lost_and_found: NodeId) -> Result<Self, BuildError> {
        let mut order = Self {
            nodes: Vec::with_capacity(tree.nodes.len()),
            lost_and_found,
            position: vec![0; tree.nodes.len()],
            links: vec![0; tree.nodes.len()],
            parent: vec![ROOT; tree.nodes.len()],
        };
        order.count(ROOT, 2);
        let mut open = vec![(ROOT, tree.names(ROOT).into_iter().flatten())];
        while let Some((dir, names)) = open.last_mut() {
            let Some((_, child)) = names.next() else {
                open.pop();
                continue;
            };
            let (dir, node) = (*dir, child.node);
            let Some(found) = tree.node(node) else {
                continue;
            };
            if order.links.get(node as usize).is_some_and(|n| *n == 0) {
                if let Some(to) = order.parent.get_mut(node as usize) {
                    *to = dir;
                }
                if node != lost_and_found {
                    order.nodes.push(node);
                    let at = u32::try_from(order.nodes.len()).unwrap_or(u32::MAX);
                    if let Some(to) = order.position.get_mut(node as usize) {
                        *to = at;
                    }
                }
            }
            if let Kind::Directory(names) = &found.kind {
                order.count(node, 2);
                order.count(dir, 1);
                open.push((node, Some(names).into_iter().flatten()));
            } else {
                order.count(node, 1);
            }
        }
        order.check_links(tree)?;
        Ok(order)
    }

    fn count(&mut self, node: NodeId, n: u32) {
        if let Some(links) = self.links.get_mut(node as usize) {
            *links += n;
        }
    }

    fn check_links(&self, tree: &Tree) -> Result<(), BuildError> {
        for node in &self.nodes {
            let links = self.links(*node);
            let directory = tree.names(*node).is_some();
            if links > LINK_MAX && !directory {
                return Err(BuildError::TooManyLinks {
                    path: crate::error::show(&self.path(tree, *node)),
                    links,
                });
            }
        }
        Ok(())
    }

    pub(crate) fn links(&self, node: NodeId) -> u32 {
        self.links.get(node as usize).copied().unwrap_or(0)
    }

    /// Links as the inode says them: a directory with too many says 1.
    pub(crate) fn stored_links(&self, node: NodeId) -> u16 {
        let links = self.links(node);
        if links >= LINK_MAX {
            // Only directories come here with more than 65000; exactly 65000 names are still counted.
            return if links == LINK_MAX { 65000 } else { 1 };
        }
        u16::try_from(links).unwrap_or(1)
    }

    pub(crate) fn parent(&self, node: NodeId) -> NodeId {
        self.parent.get(node as usize).copied().unwrap_or(ROOT)
    }

    /// An inode's number, if those of the content begin with `first`.
    pub(crate) fn ino(&self, node: NodeId, first: u32, lost_and_found: InodeNo) -> InodeNo {
        if node == ROOT {
            return InodeNo::ROOT;
        }
        if node == self.lost_and_found {
            return lost_and_found;
        }
        let position = self.position.get(node as usize).copied().unwrap_or(0);
        InodeNo::new(first + position.saturating_sub(1)).unwrap_or(InodeNo::ROOT)
    }

    /// A path of the inode, for messages.
    pub(crate) fn path(&self, tree: &Tree, node: NodeId) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut at = node;
        while at != ROOT {
            let dir = self.parent(at);
            let names = tree.names(dir).into_iter().flatten();
            let name = names.filter(|(_, c)| c.node == at).map(|(n, _)| n).next();
            parts.push(name.map_or(&b"?"[..], |n| n));
            at = dir;
        }
        parts.reverse();
        parts.join(&b'/')
    }
}
