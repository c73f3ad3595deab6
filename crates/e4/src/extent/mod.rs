//! What file blocks map to, and extent trees on the image: the pure operations of `e4-extent`, bound to metadata
//! blocks, handles and the allocator, under the inode's tree lock (rank 80).
//!
//! Invariants:
//! - One lookup answers everybody (rule 5): the overlay of published ranges first, then the tree (or the block
//!   map, see `indirect`), both under the tree lock. `map` is that lookup; nothing else reads a mapping.
//! - Nodes are verified when they are loaded and stamped when they are written.

mod map;
mod status;
mod store;

pub(crate) use map::{Found, Mapped, Piece, View};
pub(crate) use status::Status;
pub(crate) use store::{
    NodeBytes, TreeEdit, TreeView, learn_rooms, read_node, shape, tree, tree_error,
};
