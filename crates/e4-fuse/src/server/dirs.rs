//! Listings.
//!
//! The kernel continues where a reply ended, by the cookie of the last name it got; `e4`'s cookies stay
//! good whatever is created or removed meanwhile. So nothing has to be remembered of an open directory, and the kernel
//! is told that opening one needs no request; it keeps what it has read until a name changes.

use std::ops::ControlFlow;

use e4::OpenFlags;
use e4_fuse_transport::{
    Capabilities, Entry, Errno, Handle, Listing, ListingPlus, NodeId, OpenReply, Reply,
};

use super::{ATTR_TTL, NAME_TTL, State};
use crate::attr::{attr, node_id, type_bits};
use crate::errno::Answer;

impl State {
    pub(super) fn opendir(&self, reply: Reply) {
        let agreed = self.agreed.get();
        if agreed.is_some_and(|a| a.capabilities.contains(Capabilities::NO_OPENDIR_SUPPORT)) {
            return reply.error(Errno::NOSYS);
        }
        reply.opened(Handle(0), OpenReply::CACHE_DIR | OpenReply::KEEP_CACHE);
    }

    pub(super) fn readdir(&self, node: NodeId, cookie: u64, room: u32) -> Answer<Listing> {
        let dir = self.nodes.get(node)?.node;
        if cookie == 0 {
            self.accessed(&dir);
        }
        let mut listing = Listing::new(room);
        dir.read_dir_from(cookie, &mut |entry, next| {
            let ino = u64::from(entry.ino.get());
            match listing.add(ino, next, type_bits(entry.file_type), &entry.name) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        })?;
        Ok(listing)
    }

    pub(super) fn readdirplus(&self, node: NodeId, cookie: u64, room: u32) -> Answer<ListingPlus> {
        let dir = self.nodes.get(node)?.node;
        if cookie == 0 {
            self.accessed(&dir);
        }
        let mut listing = ListingPlus::new(room);
        dir.read_dir_from(cookie, &mut |entry, next| {
            // A name removed meanwhile, or an inode that is damaged: the listing goes on, and whoever
            // asks for the name hears of it.
            let Ok(node) = self.fs.node(entry.ino) else {
                return ControlFlow::Continue(());
            };
            let Ok(stat) = node.stat() else {
                return ControlFlow::Continue(());
            };
            let shown = Entry {
                node: node_id(stat.ino).0,
                generation: u64::from(stat.generation),
                attr: attr(&stat, &self.options),
                name_valid: NAME_TTL,
                attr_valid: ATTR_TTL,
            };
            if listing.add(&shown, next, &entry.name).is_err() {
                return ControlFlow::Break(());
            }
            // The kernel counts a lookup for everything but these two.
            if entry.name != b"." && entry.name != b".." {
                self.nodes.handed_out(node);
            }
            ControlFlow::Continue(())
        })?;
        Ok(listing)
    }

    pub(super) fn fsyncdir(&self, node: NodeId) -> Answer<()> {
        let dir = self.nodes.get(node)?.node;
        Ok(dir.open(OpenFlags::read())?.fsync()?)
    }
}
