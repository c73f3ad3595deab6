//! Extended attributes of inodes: reading, setting, removing.
//!
//! ```text
//!   names and rules (here) -> acl.rs    ACLs between their two forms, and what they do to the mode
//!                          -> store.rs  the area in the inode, blocks shared by reference count
//! ```
//!
//! Decisions: as ext4 does, an attribute goes into the inode if it fits there, else into the inode's attribute block, else
//! there is no space; the others stay where they are. Values in inodes of their own (`ea_inode`) are a feature
//! for which an image is refused.
//!
//! Locks: writers hold the inode's namespace lock; everybody the tree lock while they look.

mod acl;
mod store;

use e4_format::FileType;
use e4_format::xattr::{self, Xattr, XattrNamespace};
use e4_journal::Handle;
use e4_sync::Arc;

pub(crate) use acl::Acl;
pub(crate) use store::{CREDITS_PER_XATTR, Lists, XattrBlocks};

use crate::error::{Error, Result};
use crate::inode::{CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;
use crate::node::XattrSet;

/// Longest full name and largest value of any filesystem of Linux.
const NAME_MAX: usize = 255;
const VALUE_MAX: usize = 65536;

/// An attribute in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attr {
    pub(crate) namespace: XattrNamespace,
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

impl Attr {
    pub(crate) fn view(&self) -> Xattr<'_> {
        Xattr {
            namespace: self.namespace,
            name: &self.name,
            value: &self.value,
        }
    }

    fn is(&self, key: Key<'_>) -> bool {
        (self.namespace, self.name.as_slice()) == key
    }
}

/// Namespace and stored part of a name.
type Key<'a> = (XattrNamespace, &'a [u8]);

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn key_of(name: &[u8]) -> Result<Key<'_>> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(Error::AttributeName { len: name.len() });
    }
    if name.contains(&0) {
        return Err(Error::Invalid {
            what: "a zero byte in the name of an extended attribute",
        });
    }
    match XattrNamespace::split(name) {
        Some((
            namespace @ (XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault),
            _,
        )) => Ok((namespace, b"")),
        Some((XattrNamespace::User | XattrNamespace::Trusted | XattrNamespace::Security, b"")) => {
            Err(Error::Invalid {
                what: "an extended attribute without a name in its namespace",
            })
        }
        Some(
            key @ (XattrNamespace::User | XattrNamespace::Trusted | XattrNamespace::Security, _),
        ) => Ok(key),
        _ => Err(Error::AttributeNamespace { name: text(name) }),
    }
}

/// `user.` attributes are for files and directories only.
fn takes(state: &InodeState, namespace: XattrNamespace) -> bool {
    namespace != XattrNamespace::User
        || matches!(state.kind, Some(FileType::Regular | FileType::Directory))
}

impl Shared {
    /// The value of an attribute.
    pub(crate) fn get_xattr(&self, inode: &Inode, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.check_open()?;
        let key = key_of(name)?;
        let state = inode.data();
        if !takes(state, key.0) {
            return Ok(None);
        }
        let lists = self.load_lists(state, &state.core.read())?;
        match lists.find(key) {
            Some(attr) if Acl::is_one(key.0) => Acl::parse(&attr.value).map(|a| Some(a.to_wire())),
            found => Ok(found.map(|attr| attr.value.clone())),
        }
    }

    /// The full names of all attributes.
    pub(crate) fn list_xattr(&self, inode: &Inode) -> Result<Vec<Vec<u8>>> {
        self.check_open()?;
        let state = inode.data();
        let lists = self.load_lists(state, &state.core.read())?;
        let names = lists.all().filter_map(|attr| {
            let mut full = attr.namespace.prefix()?.as_bytes().to_vec();
            full.extend_from_slice(&attr.name);
            (!full.is_empty()).then_some(full)
        });
        Ok(names.collect())
    }

    /// Sets an attribute.
    pub(crate) fn set_xattr(
        &self,
        inode: &Inode,
        name: &[u8],
        value: &[u8],
        how: XattrSet,
    ) -> Result<()> {
        self.check_writable()?;
        let key = key_of(name)?;
        if value.len() > VALUE_MAX {
            return Err(Error::AttributeTooBig { len: value.len() });
        }
        let state = inode.data();
        let _names = state.namespace.write();
        self.check_attribute_write(state, key)?;
        if Acl::is_one(key.0) {
            return self.set_acl(state, key.0, Acl::from_wire(value)?);
        }
        self.change_xattr(state, key, Some(value), how, name)
    }

    /// Removes an attribute.
    pub(crate) fn remove_xattr(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        let key = key_of(name)?;
        let state = inode.data();
        let _names = state.namespace.write();
        self.check_attribute_write(state, key)?;
        if Acl::is_one(key.0) {
            return self.set_acl(state, key.0, None);
        }
        self.change_xattr(state, key, None, XattrSet::Replace, name)
    }

    fn check_attribute_write(&self, state: &InodeState, key: Key<'_>) -> Result<()> {
        self.check_free_to_change(state, &state.core.read())?;
        if !takes(state, key.0) {
            return Err(Error::NotPermitted {
                image: Arc::clone(&self.image),
                ino: state.ino,
                flag: "neither a file nor a directory",
            });
        }
        Ok(())
    }

    fn change_xattr(
        &self,
        state: &InodeState,
        key: Key<'_>,
        value: Option<&[u8]>,
        how: XattrSet,
        name: &[u8],
    ) -> Result<()> {
        let mut handle = self.meta.start(CREDITS_PER_STORE + CREDITS_PER_XATTR)?;
        let mut core = state.core.write();
        let old = self.load_lists(state, &core)?;
        match (old.find(key), how) {
            (Some(_), XattrSet::Create) => {
                return Err(Error::AttributeExists { name: text(name) });
            }
            (None, XattrSet::Replace) => return Err(Error::NoAttribute { name: text(name) }),
            (Some(attr), _) if value == Some(attr.value.as_slice()) => return Ok(()),
            _ => {}
        }
        let new = self.place_xattr(&old, key, value)?;
        self.store_lists(&mut handle, state, &mut core, &old, &new)?;
        core.disk.ctime = self.now();
        self.store_core(&mut handle, state, &core, false)
    }

    /// The lists with one attribute changed.
    pub(crate) fn place_xattr(
        &self,
        old: &Lists,
        key: Key<'_>,
        value: Option<&[u8]>,
    ) -> Result<Lists> {
        let mut new = old.without(key);
        let Some(value) = value else { return Ok(new) };
        let attr = Attr {
            namespace: key.0,
            name: key.1.to_vec(),
            value: value.to_vec(),
        };
        let block_room = xattr::block_room(self.sb.block_size().len());
        if xattr::fits(
            Lists::stored(&new.body) + attr.view().stored_len(),
            new.room,
        ) {
            new.body.push(attr);
        } else if xattr::fits(
            Lists::stored(&new.block) + attr.view().stored_len(),
            block_room,
        ) {
            new.block.push(attr);
        } else {
            return Err(Error::NoSpace {
                image: Arc::clone(&self.image),
                what: "extended attributes of one inode",
            });
        }
        Ok(new)
    }

    /// The ACL that new inodes in this directory start from.
    pub(crate) fn default_acl(&self, dir: &InodeState) -> Result<Option<Acl>> {
        let lists = self.load_lists(dir, &dir.core.read())?;
        let found = lists.find((XattrNamespace::PosixAclDefault, b""));
        found.map(|attr| Acl::parse(&attr.value)).transpose()
    }

    /// Lets the access ACL follow a change of the mode. The caller stores the inode ([`CREDITS_PER_XATTR`]).
    pub(crate) fn chmod_acl(
        &self,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
    ) -> Result<()> {
        let key = (XattrNamespace::PosixAclAccess, &b""[..]);
        let old = self.load_lists(state, core)?;
        let Some(attr) = old.find(key) else {
            return Ok(());
        };
        let mut acl = Acl::parse(&attr.value)?;
        acl.chmod(core.disk.mode);
        let new = self.place_xattr(&old, key, Some(&acl.to_disk()))?;
        self.store_lists(handle, state, core, &old, &new)
    }

    /// Sets or removes an ACL; an access ACL changes the mode as well, and may be nothing but a mode.
    fn set_acl(&self, state: &InodeState, which: XattrNamespace, acl: Option<Acl>) -> Result<()> {
        let default = which == XattrNamespace::PosixAclDefault;
        match state.kind {
            Some(FileType::Symlink) => {
                return Err(Error::AttributeNamespace {
                    name: "system.posix_acl".to_owned(),
                });
            }
            Some(FileType::Directory) => {}
            _ if default && acl.is_some() => return Err(Error::NoDefaultAcl { ino: state.ino }),
            _ if default => return Ok(()),
            _ => {}
        }
        acl.as_ref().map_or(Ok(()), Acl::check)?;
        let mut handle = self.meta.start(CREDITS_PER_STORE + CREDITS_PER_XATTR)?;
        let mut core = state.core.write();
        let old = self.load_lists(state, &core)?;
        let mut stored = acl;
        let mut mode = core.disk.mode;
        if let Some(acl) = stored.as_ref().filter(|_| !default) {
            let (bits, plain) = acl.mode();
            mode = mode & !0o777 | bits;
            if plain {
                stored = None;
            }
        }
        let key = (which, &b""[..]);
        let value = stored.map(|acl| acl.to_disk());
        let new = self.place_xattr(&old, key, value.as_deref())?;
        self.store_lists(&mut handle, state, &mut core, &old, &new)?;
        core.disk.mode = mode;
        core.disk.ctime = self.now();
        self.store_core(&mut handle, state, &core, false)
    }
}
