//! Extended attributes and ACLs. The kernel checks permissions and ACLs; `e4` keeps a file's mode and its
//! access ACL in step.

use e4::{SetAttr, XattrSet};
use e4_fuse_transport::{Errno, NodeId};
use e4_sync::atomic::Ordering;

use super::State;
use crate::errno::{Answer, Fail};
use crate::nodes::Known;

const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;
/// A file's capabilities; any write takes them away.
const CAPABILITY: &[u8] = b"security.capability";

impl State {
    pub(super) fn getxattr(&self, node: NodeId, name: &[u8]) -> Answer<Vec<u8>> {
        let known = self.nodes.get(node)?;
        let capability = name == CAPABILITY;
        if capability && known.cached.no_capability.load(Ordering::Acquire) {
            return Err(Fail(Errno::NODATA));
        }
        let value = known.node.get_xattr(name)?;
        if capability && value.is_none() {
            known.cached.no_capability.store(true, Ordering::Release);
        }
        value.ok_or(Fail(Errno::NODATA))
    }

    pub(super) fn listxattr(&self, node: NodeId) -> Answer<Vec<u8>> {
        let mut list = Vec::new();
        for name in self.nodes.get(node)?.node.list_xattr()? {
            list.extend_from_slice(&name);
            list.push(0);
        }
        Ok(list)
    }

    pub(super) fn setxattr(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        flags: u32,
        kill_set_group_id: bool,
    ) -> Answer<()> {
        let how = match flags {
            0 => XattrSet::Any,
            XATTR_CREATE => XattrSet::Create,
            XATTR_REPLACE => XattrSet::Replace,
            _ => return Err(Fail(Errno::INVAL)),
        };
        let known = self.nodes.get(node)?;
        if name == CAPABILITY {
            known.cached.no_capability.store(false, Ordering::Release);
        }
        known.node.set_xattr(name, value, how)?;
        if name == CAPABILITY {
            known.cached.no_capability.store(false, Ordering::Release);
        }
        if kill_set_group_id {
            // An ACL set by who is not in the file's group.
            let mode = known.node.stat()?.mode;
            if mode & 0o2000 != 0 {
                known.node.set_attr(&SetAttr {
                    mode: Some(mode & !0o2000),
                    ..SetAttr::default()
                })?;
            }
        }
        Ok(())
    }

    /// Takes a file's capabilities away, if it has any.
    pub(super) fn drop_capability(&self, known: &Known) -> Answer<()> {
        if known.cached.no_capability.load(Ordering::Acquire) || self.options.read_only {
            return Ok(());
        }
        if known.node.get_xattr(CAPABILITY)?.is_some() {
            known.node.remove_xattr(CAPABILITY)?;
        }
        known.cached.no_capability.store(true, Ordering::Release);
        Ok(())
    }

    pub(super) fn removexattr(&self, node: NodeId, name: &[u8]) -> Answer<()> {
        Ok(self.nodes.get(node)?.node.remove_xattr(name)?)
    }
}
