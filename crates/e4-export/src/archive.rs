//! A writer of tar archives: ustar headers, and pax records for whatever does not fit them.
//!
//! Decisions:
//! - Header fields are the `tar` crate's; pax records are written here, because names and values are bytes, and sparse maps
//!   belong to them. What fits a header is not said twice, so small files cost one block.
//! - Holes as GNU tar's sparse format 1.0, which GNU tar, bsdtar, Python and Go read.
//! - Attributes as `SCHILY.xattr.*`, with `%` and `=` in names escaped as GNU tar does; ACLs as `SCHILY.acl.*`.
//! - No names of users and groups, no access times: archives of equal trees are equal bytes.

use core::ops::Range;
use std::io::{self, Write};

use e4_format::Timestamp;

use crate::acl;
use crate::facts::Xattr;

const BLOCK: u64 = 512;
/// The largest number in a field of eight octal digits.
const MAX_ID: u32 = 0o7_777_777;
/// The largest number in a field of twelve octal digits.
const MAX_LONG: u64 = 0o77_777_777_777;

/// What a member is.
#[derive(Clone, Debug)]
pub enum MemberKind<'a> {
    /// A directory.
    Directory,
    /// A regular file; its data follow by [`Archive::data`], those of all ranges one after the other.
    File {
        /// Bytes, holes included.
        size: u64,
        /// What is data, ascending; the rest is holes.
        data: &'a [Range<u64>],
    },
    /// One more name of an earlier member.
    HardLink(&'a [u8]),
    /// A symbolic link and its target.
    Symlink(&'a [u8]),
    /// A device.
    Device {
        /// Block device; else character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One member's header.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the fields of stat(2)")]
pub struct Member<'a> {
    /// Path from the archive's root, without a slash in front; empty for the root.
    pub path: &'a [u8],
    pub kind: MemberKind<'a>,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Timestamp,
    pub xattrs: &'a [Xattr],
}

/// Writes members one after the other.
pub struct Archive<W> {
    out: W,
    /// Bytes of data that the current member still owes, and of padding behind them.
    owed: u64,
    padding: u64,
}

/// Pax records in order of insertion.
#[derive(Default)]
struct Records(Vec<u8>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        // The length counts its own digits.
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len.to_string().len() + rest != len {
            len = len.to_string().len() + rest;
        }
        self.0.extend_from_slice(len.to_string().as_bytes());
        self.0.push(b' ');
        self.0.extend_from_slice(key);
        self.0.push(b'=');
        self.0.extend_from_slice(value);
        self.0.push(b'\n');
    }

    fn number(&mut self, key: &str, n: u64) {
        self.add(key.as_bytes(), n.to_string().as_bytes());
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

fn padding(len: u64) -> u64 {
    len.wrapping_neg() % BLOCK
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self {
            out,
            owed: 0,
            padding: 0,
        }
    }

    /// Begins a member. What it owes of data must follow before the next one.
    ///
    /// # Errors
    /// The output's; the member before is not complete; an ACL that cannot be understood.
    pub fn member(&mut self, member: &Member<'_>) -> io::Result<()> {
        self.close()?;
        let mut records = Records::default();
        let mut header = tar::Header::new_ustar();
        let mut path = member.path.to_vec();
        if matches!(member.kind, MemberKind::Directory) {
            if path.is_empty() {
                path.push(b'.');
            }
            path.push(b'/');
        }
        let mut map = Vec::new();
        let mut stored = 0;
        let mut link: &[u8] = b"";
        let kind = match &member.kind {
            MemberKind::Directory => b'5',
            MemberKind::File { size, data } => {
                let bytes: u64 = data.iter().map(|r| r.end - r.start).sum();
                self.owed = bytes;
                stored = bytes;
                map = sparse_map(*size, data);
                // Worth it only if the holes are larger than what describes them.
                let overhead = map.len() as u64 + 1024;
                if size - bytes > overhead {
                    records.number("GNU.sparse.major", 1);
                    records.number("GNU.sparse.minor", 0);
                    records.add(b"GNU.sparse.name", &path);
                    records.number("GNU.sparse.realsize", *size);
                    let base = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
                    path = [b"GNUSparseFile.0/", base].concat();
                    stored += map.len() as u64;
                } else if size != &bytes {
                    return Err(invalid("small holes must be given as data"));
                } else {
                    map.clear();
                }
                b'0'
            }
            MemberKind::HardLink(target) => {
                link = target;
                b'1'
            }
            MemberKind::Symlink(target) => {
                link = target;
                b'2'
            }
            MemberKind::Device {
                block,
                major,
                minor,
            } => {
                header.set_device_major(*major)?;
                header.set_device_minor(*minor)?;
                if *block { b'4' } else { b'3' }
            }
            MemberKind::Fifo => b'6',
        };
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(member.mode.into());
        set_name(&mut header.as_old_mut().name, &path, "path", &mut records);
        set_name(
            &mut header.as_old_mut().linkname,
            link,
            "linkpath",
            &mut records,
        );
        for (id, key) in [(member.uid, "uid"), (member.gid, "gid")] {
            let field = if id > MAX_ID { 0 } else { id };
            if key == "uid" {
                header.set_uid(field.into());
            } else {
                header.set_gid(field.into());
            }
            if id > MAX_ID {
                records.number(key, id.into());
            }
        }
        if stored > MAX_LONG {
            records.number("size", stored);
        }
        header.set_size(if stored > MAX_LONG { 0 } else { stored });
        let Timestamp { sec, nsec } = member.mtime;
        match u64::try_from(sec) {
            Ok(sec) if nsec == 0 && sec <= MAX_LONG => header.set_mtime(sec),
            _ => {
                let whole = u64::try_from(sec).unwrap_or(0);
                header.set_mtime(if whole <= MAX_LONG { whole } else { 0 });
                records.add(b"mtime", time(sec, nsec).as_bytes());
            }
        }
        attributes(member.xattrs, &mut records)?;
        if !records.0.is_empty() {
            self.extended(&path, &records.0)?;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(&map)?;
        self.padding = padding(self.owed);
        Ok(())
    }

    fn extended(&mut self, path: &[u8], records: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(records.len() as u64);
        let base = path.strip_suffix(b"/").unwrap_or(path);
        let base = base.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let name = [b"PaxHeaders/", base].concat();
        let field = &mut header.as_old_mut().name;
        for (to, from) in field.iter_mut().zip(&name) {
            *to = *from;
        }
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.out.write_all(records)?;
        self.pad(padding(records.len() as u64))
    }

    /// The next bytes of the current member's data.
    ///
    /// # Errors
    /// The output's; more than the member owes.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.owed.checked_sub(bytes.len() as u64);
        self.owed = left.ok_or_else(|| invalid("more data than the member has"))?;
        self.out.write_all(bytes)
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        let zeros = [0; BLOCK as usize];
        let len = usize::try_from(len).unwrap_or(0);
        self.out.write_all(zeros.get(..len).unwrap_or_default())
    }

    fn close(&mut self) -> io::Result<()> {
        if self.owed > 0 {
            return Err(invalid("a member without all its data"));
        }
        let padding = core::mem::take(&mut self.padding);
        self.pad(padding)
    }

    /// Ends the archive and hands the output back.
    ///
    /// # Errors
    /// The output's; the last member is not complete.
    pub fn finish(mut self) -> io::Result<W> {
        self.close()?;
        self.pad(BLOCK)?;
        self.pad(BLOCK)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Puts a name into its field, or into a record if it does not fit.
fn set_name(field: &mut [u8; 100], name: &[u8], key: &str, records: &mut Records) {
    for (to, from) in field.iter_mut().zip(name) {
        *to = *from;
    }
    if name.len() > field.len() {
        records.add(key.as_bytes(), name);
    }
}

/// The map of a sparse member, padded to whole blocks.
fn sparse_map(size: u64, data: &[Range<u64>]) -> Vec<u8> {
    let ends = data.last().is_some_and(|r| r.end == size);
    let mut text = format!("{}\n", data.len() + usize::from(!ends));
    for range in data {
        text += &format!("{}\n{}\n", range.start, range.end - range.start);
    }
    if !ends {
        text += &format!("{size}\n0\n");
    }
    let mut map = text.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK as usize), 0);
    map
}

/// What is to be stored of a file as data: its ranges, or all of it if its holes are not worth a map.
pub(crate) fn worth(size: u64, data: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let bytes: u64 = data.iter().map(|r| r.end - r.start).sum();
    if size - bytes > sparse_map(size, &data).len() as u64 + 1024 {
        data
    } else if size > 0 {
        core::iter::once(0..size).collect()
    } else {
        Vec::new()
    }
}

fn time(sec: i64, nsec: u32) -> String {
    let (sign, whole, nsec) = match (sec < 0, nsec) {
        (true, 0) => ("-", sec.unsigned_abs(), 0),
        (true, _) => ("-", (sec + 1).unsigned_abs(), 1_000_000_000 - nsec),
        (false, _) => ("", sec.unsigned_abs(), nsec),
    };
    let text = format!("{sign}{whole}.{nsec:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn attributes(xattrs: &[Xattr], records: &mut Records) -> io::Result<()> {
    for (name, value) in xattrs {
        let acl = match name.as_slice() {
            b"system.posix_acl_access" => "SCHILY.acl.access",
            b"system.posix_acl_default" => "SCHILY.acl.default",
            _ => {
                let mut key = b"SCHILY.xattr.".to_vec();
                for byte in name {
                    match byte {
                        b'%' => key.extend_from_slice(b"%25"),
                        b'=' => key.extend_from_slice(b"%3D"),
                        _ => key.push(*byte),
                    }
                }
                records.add(&key, value);
                continue;
            }
        };
        records.add(
            acl.as_bytes(),
            acl::to_text(value).map_err(invalid)?.as_bytes(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        for len in [1, 2, 5, 6, 7, 88, 89, 90, 91, 92, 980, 990, 995, 9990] {
            let mut records = Records::default();
            records.add(b"k", &vec![b'v'; len]);
            let text = String::from_utf8(records.0.clone()).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, records.0.len(), "{len}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time(12, 500_000_000), "12.5");
        assert_eq!(time(-2, 750_000_000), "-1.25");
        assert_eq!(time(-1, 750_000_000), "-0.25");
        assert_eq!(time(-7, 0), "-7");
        assert_eq!(time(100, 0), "100");
        assert_eq!(time(100, 1), "100.000000001");
    }

    #[test]
    fn members_must_be_complete() {
        let mut archive = Archive::new(Vec::new());
        let member = Member {
            path: b"f",
            kind: MemberKind::File {
                size: 3,
                data: std::slice::from_ref(&(0..3)),
            },
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Timestamp { sec: 0, nsec: 0 },
            xattrs: &[],
        };
        archive.member(&member).unwrap();
        assert!(archive.data(b"four").is_err());
        assert!(archive.member(&member).is_err());
        archive.data(b"abc").unwrap();
        archive.member(&member).unwrap();
        archive.data(b"abc").unwrap();
        assert_eq!(archive.finish().unwrap().len(), 4 * 512 + 1024);
    }
}
