//! Extended attributes and ACLs. The kernel checks permissions and ACLs; `e4` keeps a file's mode and its
//! access ACL in step.

use e4::XattrSet;
use e4_sync::atomic::Ordering;
use fuser::{Errno, INodeNo, ReplyXattr};

use super::State;
use crate::errno::{Answer, Fail};

const XATTR_CREATE: i32 = 1;
const XATTR_REPLACE: i32 = 2;
/// Asked for by the kernel before every write that could have to remove it.
const CAPABILITY: &[u8] = b"security.capability";

/// Answers with the size, the value, or that it does not fit.
pub(super) fn reply_sized(reply: ReplyXattr, room: u32, value: &[u8]) {
    let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
    if room == 0 {
        reply.size(len);
    } else if len <= room {
        reply.data(value);
    } else {
        reply.error(Errno::ERANGE);
    }
}

impl State {
    pub(super) fn getxattr(&self, ino: INodeNo, name: &[u8]) -> Answer<Vec<u8>> {
        let known = self.nodes.get(ino)?;
        let capability = name == CAPABILITY;
        if capability && known.cached.no_capability.load(Ordering::Acquire) {
            return Err(Fail(Errno::ENODATA));
        }
        let value = known.node.get_xattr(name)?;
        if capability && value.is_none() {
            known.cached.no_capability.store(true, Ordering::Release);
        }
        value.ok_or(Fail(Errno::ENODATA))
    }

    pub(super) fn listxattr(&self, ino: INodeNo) -> Answer<Vec<u8>> {
        let mut list = Vec::new();
        for name in self.nodes.get(ino)?.node.list_xattr()? {
            list.extend_from_slice(&name);
            list.push(0);
        }
        Ok(list)
    }

    pub(super) fn setxattr(
        &self,
        ino: INodeNo,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Answer<()> {
        let how = match flags {
            0 => XattrSet::Any,
            XATTR_CREATE => XattrSet::Create,
            XATTR_REPLACE => XattrSet::Replace,
            _ => return Err(Fail(Errno::EINVAL)),
        };
        let known = self.nodes.get(ino)?;
        if name == CAPABILITY {
            known.cached.no_capability.store(false, Ordering::Release);
        }
        known.node.set_xattr(name, value, how)?;
        if name == CAPABILITY {
            known.cached.no_capability.store(false, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn removexattr(&self, ino: INodeNo, name: &[u8]) -> Answer<()> {
        Ok(self.nodes.get(ino)?.node.remove_xattr(name)?)
    }
}
