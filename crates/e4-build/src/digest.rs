//! What identifies an image: SHA-256 over all that was decided, and over its contents' checksums.
//!
//! Decisions: the hash seed must be known before the layout (it decides which block holds which name), so it comes
//! from names, inodes and sizes alone; the UUID is needed only when metadata is written, so it covers the contents
//! as well, by a CRC-32C per file that the copying computes on the way. Equal trees with equal options give equal
//! identities; a changed byte gives another UUID (but for one chance in 2^32 per file: this names images, it does not
//! authenticate them; for that there is dm-verity).

use crate::layout::order::Order;
use crate::tree::{Kind, Node, NodeId, ROOT, Tree};
use e4_format::InodeNo;
use sha2::{Digest, Sha256};

/// Digest of everything but contents.
pub(crate) fn of_tree(tree: &Tree, order: &Order, epoch: Option<i64>) -> [u8; 32] {
    let mut hash = Hasher(Sha256::new(), order);
    hash.bytes(b"e4-build tree 1");
    let system = [ROOT, order.lost_and_found];
    for node in system.iter().chain(&order.nodes) {
        if let Some(found) = tree.node(*node) {
            hash.place(*node);
            hash.node(found, epoch);
        }
    }
    hash.0.finalize().into()
}

struct Hasher<'a>(Sha256, &'a Order);

impl Hasher<'_> {
    /// An inode by its place in the order: the index in the tree depends on the order of the sources' entries.
    fn place(&mut self, node: NodeId) {
        let lost_and_found = InodeNo::new(1).unwrap_or(InodeNo::ROOT);
        self.number(self.1.ino(node, 3, lost_and_found).get().into());
    }

    fn number(&mut self, n: u64) {
        self.0.update(n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
    }

    fn node(&mut self, node: &Node, epoch: Option<i64>) {
        let meta = &node.meta;
        let words = [u32::from(meta.mode), meta.uid, meta.gid];
        words.iter().for_each(|w| self.number((*w).into()));
        match meta.shown_time(epoch) {
            Some(t) => {
                self.number(t.sec.cast_unsigned());
                self.number(t.nsec.into());
            }
            None => self.number(u64::MAX),
        }
        for attribute in &meta.xattrs {
            self.bytes(&attribute.name);
            self.bytes(&attribute.value);
        }
        self.number(node.kind.file_type().mode_bits().into());
        match &node.kind {
            Kind::Directory(names) => {
                self.number(names.len() as u64);
                for (name, child) in names {
                    self.bytes(name);
                    self.place(child.node);
                }
            }
            Kind::File(content) => {
                self.number(content.size);
                for (at, len) in content.data.iter().flat_map(|d| d.iter()) {
                    self.number(*at);
                    self.number(*len);
                }
            }
            Kind::Symlink(target) => self.bytes(target),
            Kind::Device { major, minor, .. } => {
                self.number((*major).into());
                self.number((*minor).into());
            }
            Kind::Fifo | Kind::Socket => {}
        }
    }
}

/// An identifier derived from `digest` for one purpose, marked as a UUID of version 8 (custom).
pub(crate) fn derive(digest: &[u8; 32], purpose: &str, more: &[u8]) -> [u8; 16] {
    let mut hash = Sha256::new();
    hash.update((purpose.len() as u64).to_le_bytes());
    hash.update(purpose);
    hash.update(digest);
    hash.update(more);
    let all: [u8; 32] = hash.finalize().into();
    let mut id = [0; 16];
    id.copy_from_slice(all.first_chunk::<16>().unwrap_or(&[0; 16]));
    id[6] = id[6] & 0x0F | 0x80;
    id[8] = id[8] & 0x3F | 0x80;
    id
}
