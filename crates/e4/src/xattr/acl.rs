//! POSIX ACLs: on disk, on the wire, and in the mode.
//!
//! Decisions: on disk ext4 leaves out the id where it means nothing; the kernel's form for programs has it everywhere. An
//! ACL is checked on its way in, so what is stored always has an owner, a group and others, in order. The
//! arithmetic between ACLs and modes is that of POSIX 1003.1e draft 17.

use e4_format::xattr::XattrNamespace;

use crate::error::{Error, Result};

const WIRE_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const NO_ID: u32 = u32::MAX;

const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ace {
    tag: u16,
    perm: u16,
    id: u32,
}

/// An access control list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    entries: Vec<Ace>,
}

/// What a new inode gets from its directory's default ACL.
#[derive(Default)]
pub(crate) struct Inherited {
    /// Its mode's lower nine bits.
    pub(crate) mode: u16,
    pub(crate) access: Option<Acl>,
    pub(crate) default: Option<Acl>,
}

fn bad(what: &'static str) -> Error {
    Error::Invalid { what }
}

/// The next two numbers of 16 bits.
fn take_pair(bytes: &[u8]) -> Option<(u16, u16, &[u8])> {
    let ([a, b, c, d], rest) = bytes.split_first_chunk::<4>()?;
    Some((
        u16::from_le_bytes([*a, *b]),
        u16::from_le_bytes([*c, *d]),
        rest,
    ))
}

fn take_word(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*word), rest))
}

impl Acl {
    pub(crate) fn is_one(namespace: XattrNamespace) -> bool {
        matches!(
            namespace,
            XattrNamespace::PosixAclAccess | XattrNamespace::PosixAclDefault
        )
    }

    /// From the kernel's form, to be [`checked`](Self::check); `None` if it has no entries.
    pub(crate) fn from_wire(bytes: &[u8]) -> Result<Option<Self>> {
        let (version, mut rest) = take_word(bytes).ok_or(bad("an ACL without a header"))?;
        if version != WIRE_VERSION {
            return Err(Error::AttributeNamespace {
                name: format!("system.posix_acl of version {version}"),
            });
        }
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let next = take_pair(rest).and_then(|(tag, perm, rest)| {
                take_word(rest).map(|(id, rest)| (tag, perm, id, rest))
            });
            let (tag, perm, id, after) = next.ok_or(bad("an ACL with part of an entry"))?;
            let id = if tag & (USER | GROUP) == 0 { NO_ID } else { id };
            entries.push(Ace { tag, perm, id });
            rest = after;
        }
        if entries.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { entries }))
    }

    /// From the form on disk.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = || bad("a damaged ACL on disk");
        let (version, mut rest) = take_word(bytes).ok_or_else(damaged)?;
        if version != DISK_VERSION {
            return Err(damaged());
        }
        let mut entries = Vec::new();
        while !rest.is_empty() {
            let (tag, perm, after) = take_pair(rest).ok_or_else(damaged)?;
            let (id, after) = match tag {
                USER | GROUP => take_word(after).ok_or_else(damaged)?,
                _ => (NO_ID, after),
            };
            entries.push(Ace { tag, perm, id });
            rest = after;
        }
        let acl = Self { entries };
        acl.check().map_err(|_| damaged())?;
        Ok(acl)
    }

    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let mut out = WIRE_VERSION.to_le_bytes().to_vec();
        for ace in &self.entries {
            out.extend_from_slice(&ace.tag.to_le_bytes());
            out.extend_from_slice(&ace.perm.to_le_bytes());
            out.extend_from_slice(&ace.id.to_le_bytes());
        }
        out
    }

    pub(crate) fn to_disk(&self) -> Vec<u8> {
        let mut out = DISK_VERSION.to_le_bytes().to_vec();
        for ace in &self.entries {
            out.extend_from_slice(&ace.tag.to_le_bytes());
            out.extend_from_slice(&ace.perm.to_le_bytes());
            if ace.tag & (USER | GROUP) != 0 {
                out.extend_from_slice(&ace.id.to_le_bytes());
            }
        }
        out
    }

    /// Owner, users, group, groups, a mask if there are users or groups, others: in this order.
    pub(super) fn check(&self) -> Result<()> {
        let disorder = bad("an ACL with missing, repeated or disordered entries");
        let (mut last, mut named, mut seen) = (0, false, 0);
        for ace in &self.entries {
            if ace.perm & !7 != 0 {
                return Err(bad("an ACL with unknown permissions"));
            }
            let repeatable = matches!(ace.tag, USER | GROUP);
            let known = matches!(ace.tag, USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER);
            if !known || ace.tag < last || (ace.tag == last && !repeatable) {
                return Err(disorder);
            }
            if repeatable && ace.id == NO_ID {
                return Err(bad("an ACL entry without an id"));
            }
            named |= repeatable;
            seen |= ace.tag;
            last = ace.tag;
        }
        let needed = USER_OBJ | GROUP_OBJ | OTHER | if named { MASK } else { 0 };
        if seen & needed == needed {
            Ok(())
        } else {
            Err(disorder)
        }
    }

    fn get_mut(&mut self, tag: u16) -> Option<&mut Ace> {
        self.entries.iter_mut().find(|ace| ace.tag == tag)
    }

    fn perm(&self, tag: u16) -> Option<u16> {
        self.entries
            .iter()
            .find(|ace| ace.tag == tag)
            .map(|ace| ace.perm)
    }

    /// The mode's lower nine bits, and whether they say all there is.
    pub(crate) fn mode(&self) -> (u16, bool) {
        let perm = |tag| self.perm(tag).unwrap_or(0);
        let group = self.perm(MASK).unwrap_or(perm(GROUP_OBJ));
        let plain = self
            .entries
            .iter()
            .all(|ace| matches!(ace.tag, USER_OBJ | GROUP_OBJ | OTHER));
        (perm(USER_OBJ) << 6 | group << 3 | perm(OTHER), plain)
    }

    /// After a chmod: the mode's bits become the owner's, the mask's (or the group's) and the others'.
    pub(crate) fn chmod(&mut self, mode: u16) {
        let group = if self.perm(MASK).is_some() {
            MASK
        } else {
            GROUP_OBJ
        };
        for (tag, shift) in [(USER_OBJ, 6), (group, 3), (OTHER, 0)] {
            if let Some(ace) = self.get_mut(tag) {
                ace.perm = mode >> shift & 7;
            }
        }
    }

    /// What an inode created with `mode` gets below a directory with this default ACL.
    pub(crate) fn inherit(&self, mode: u16, directory: bool) -> Inherited {
        let mut access = self.clone();
        let group = if self.perm(MASK).is_some() {
            MASK
        } else {
            GROUP_OBJ
        };
        let mut bits = mode & 0o777;
        for (tag, shift) in [(USER_OBJ, 6), (group, 3), (OTHER, 0)] {
            if let Some(ace) = access.get_mut(tag) {
                ace.perm &= mode >> shift;
                bits &= ace.perm << shift | !(7 << shift);
            }
        }
        let (_, plain) = access.mode();
        Inherited {
            mode: bits,
            access: (!plain).then_some(access),
            default: directory.then(|| self.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bytes: &[u8]) -> Result<Option<Acl>> {
        let acl = Acl::from_wire(bytes)?;
        acl.as_ref().map_or(Ok(()), Acl::check)?;
        Ok(acl)
    }

    fn wire(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let entries = entries
            .iter()
            .map(|&(tag, perm, id)| Ace { tag, perm, id })
            .collect();
        Acl { entries }.to_wire()
    }

    const FULL: [(u16, u16, u32); 6] = [
        (USER_OBJ, 7, NO_ID),
        (USER, 5, 1000),
        (GROUP_OBJ, 5, NO_ID),
        (GROUP, 4, 100),
        (MASK, 5, NO_ID),
        (OTHER, 1, NO_ID),
    ];

    #[test]
    fn forms_come_back() {
        let acl = taken(&wire(&FULL)).unwrap().unwrap();
        assert_eq!(acl.to_disk().len(), 4 + 4 * 4 + 2 * 8);
        assert_eq!(Acl::parse(&acl.to_disk()).unwrap(), acl);
        assert_eq!(acl.to_wire(), wire(&FULL));
        assert_eq!(acl.mode(), (0o751, false));
    }

    #[test]
    fn nonsense_is_refused() {
        for without in [0, 2, 4, 5] {
            let mut entries = FULL.to_vec();
            entries.remove(without);
            assert!(taken(&wire(&entries)).is_err(), "{without}");
        }
        let mut swapped = FULL;
        swapped.swap(0, 1);
        assert!(taken(&wire(&swapped)).is_err());
        assert!(taken(&wire(&[(USER_OBJ, 9, 0)])).is_err());
        let full = wire(&FULL);
        for len in (0..full.len()).filter(|len| len % 8 != 4) {
            assert!(taken(&full[..len]).is_err(), "{len}");
        }
        assert_eq!(taken(&wire(&[])).unwrap(), None);
    }

    #[test]
    fn inheriting_and_chmod() {
        let mut acl = taken(&wire(&FULL)).unwrap().unwrap();
        let child = acl.inherit(0o640, false);
        assert_eq!(child.mode, 0o640);
        assert_eq!(child.access.unwrap().perm(MASK), Some(4));
        assert!(child.default.is_none());
        assert_eq!(acl.inherit(0o777, true).mode, 0o751);
        acl.chmod(0o614);
        assert_eq!(acl.mode().0, 0o614);
        assert_eq!(acl.perm(GROUP_OBJ), Some(5));
    }
}
