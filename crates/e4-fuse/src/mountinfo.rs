//! What is mounted where, from `/proc/self/mountinfo`; and images' names as mount sources.
//!
//! Decision: the source of a mount is the image's path with the characters that the option string of a mount
//! cannot carry (comma, backslash, control characters; fuser passes them on as they are) percent-encoded.

use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountEntry {
    /// Major and minor number of its device.
    pub(crate) device: (u32, u32),
    pub(crate) mount_point: PathBuf,
    pub(crate) fs_type: String,
    /// As the kernel shows it, unescaped.
    pub(crate) source: Vec<u8>,
}

/// The file system type our mounts have.
pub(crate) const FS_TYPE: &str = "fuse.e4";
/// The part of it behind the dot.
pub(crate) const SUBTYPE: &str = "e4";

/// The topmost mount at exactly this path.
pub(crate) fn at(path: &Path) -> std::io::Result<Option<MountEntry>> {
    let text = std::fs::read("/proc/self/mountinfo")?;
    let entries = text.split(|&b| b == b'\n').filter_map(parse);
    Ok(entries.rev().find(|e| e.mount_point == path))
}

fn parse(line: &[u8]) -> Option<MountEntry> {
    // 36 35 98:0 /root /mount/point options optional-fields... - type source super-options
    let mut fields = line.split(|&b| b == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let mount_point = unescape(fields.nth(1)?);
    fields.find(|f| *f == b"-")?;
    let fs_type = String::from_utf8_lossy(fields.next()?).into_owned();
    let source = unescape(fields.next()?);
    Some(MountEntry {
        device: (major.parse().ok()?, minor.parse().ok()?),
        mount_point: PathBuf::from(std::ffi::OsString::from_vec(mount_point)),
        fs_type,
        source,
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..3).filter(|_| byte == b'\\').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match code {
            Some(code) => {
                out.push(code);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    out
}

/// An image's path as the source of a mount.
pub(crate) fn encode_source(image: &Path) -> String {
    let mut out = String::new();
    for &byte in image.as_os_str().as_bytes() {
        match byte {
            b',' | b'\\' | b'%' | 0..=32 | 127.. => {
                use std::fmt::Write;
                let _ = write!(out, "%{byte:02X}");
            }
            plain => out.push(char::from(plain)),
        }
    }
    out
}

/// The image behind the source of a mount.
pub(crate) fn decode_source(source: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(source.len());
    let mut rest = source;
    while let Some((&byte, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| byte == b'%').and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 16).ok()
        });
        if let Some(code) = code {
            out.push(code);
            rest = &tail[2..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive() {
        let odd = Path::new("/a b/x,suid,dev\\/100%/\u{e4}.img");
        let source = encode_source(odd);
        assert!(!source.contains([',', '\\', ' ']) && source.is_ascii());
        assert_eq!(decode_source(source.as_bytes()), odd);
    }

    #[test]
    fn a_line_of_mountinfo() {
        let line = b"45 28 0:39 / /mnt/a\\040b rw,nosuid shared:7 - fuse.e4 /x.img rw,user_id=0";
        let entry = parse(line).expect("a mount");
        assert_eq!(entry.device, (0, 39));
        assert_eq!(entry.mount_point, Path::new("/mnt/a b"));
        assert_eq!(
            (entry.fs_type.as_str(), entry.source.as_slice()),
            (FS_TYPE, &b"/x.img"[..])
        );
        assert!(parse(b"").is_none() && parse(b"1 2 3").is_none());
    }
}
