//! Access control lists: from what programs see to what ext4 stores, with owners mapped.
//!
//! Programs see version 2: entries of tag, permissions and an id each. On disk it is version 1: only the entries
//! for a named user or group have an id. Both are little-endian.

use crate::options::IdMap;

const SEEN_VERSION: u32 = 2;
const DISK_VERSION: u32 = 1;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
const NO_ID: u32 = u32::MAX;

/// The stored form of `seen`.
pub(crate) fn to_disk(
    seen: &[u8],
    uids: &[IdMap],
    gids: &[IdMap],
) -> Result<Vec<u8>, &'static str> {
    let (version, entries) = seen.split_first_chunk::<4>().ok_or("too short")?;
    if u32::from_le_bytes(*version) != SEEN_VERSION {
        return Err("unknown version");
    }
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return Err("a torn entry");
    }
    let mut disk = DISK_VERSION.to_le_bytes().to_vec();
    for [t0, t1, p0, p1, i0, i1, i2, i3] in entries {
        disk.extend([*t0, *t1, *p0, *p1]);
        let id = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
        match u16::from_le_bytes([*t0, *t1]) {
            USER => disk.extend(IdMap::apply(uids, id).to_le_bytes()),
            GROUP => disk.extend(IdMap::apply(gids, id).to_le_bytes()),
            USER_OBJ | GROUP_OBJ | MASK | OTHER => {}
            _ => return Err("an unknown tag"),
        }
    }
    Ok(disk)
}

/// The form programs see, from the text that archives hold: `user::rw-,user:1000:r--,...`, separated by commas or
/// newlines, ids as numbers or as a fourth field behind a name. `None` for an `access` list that says no more than the mode.
pub(crate) fn from_text(text: &[u8], access: bool) -> Result<Option<Vec<u8>>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "not text")?;
    let mut entries = Vec::new();
    for line in text.split([',', '\n']) {
        let line = line.split('#').next().unwrap_or("").trim();
        if !line.is_empty() {
            entries.push(entry(line)?);
        }
    }
    if entries.len() > 1024 {
        return Err("more than 1024 entries");
    }
    entries.sort_unstable();
    let in_mode = |tag: u16| matches!(tag, USER_OBJ | GROUP_OBJ | OTHER);
    if entries.is_empty() || (access && entries.iter().all(|e| in_mode(e.0))) {
        return Ok(None);
    }
    let mut seen = SEEN_VERSION.to_le_bytes().to_vec();
    for (tag, id, perm) in entries {
        seen.extend(tag.to_le_bytes());
        seen.extend(perm.to_le_bytes());
        seen.extend(id.to_le_bytes());
    }
    Ok(Some(seen))
}

fn entry(line: &str) -> Result<(u16, u32, u16), &'static str> {
    let mut fields = line.split(':');
    let tag = fields.next().unwrap_or("");
    let mut who = fields.next().unwrap_or("");
    // The short form leaves an empty name out: other:r-x, mask:rwx.
    let mut perm = fields.next().unwrap_or("");
    if perm.is_empty() && matches!(tag, "other" | "o" | "mask" | "m") {
        (who, perm) = ("", who);
    }
    let number = |s: &str| s.parse::<u32>().ok();
    let id = || {
        let from_fourth = line.split(':').nth(3).and_then(number);
        from_fourth
            .or_else(|| number(who))
            .ok_or("a name without a number")
    };
    let (tag, id) = match (tag, who) {
        ("user" | "u", "") => (USER_OBJ, NO_ID),
        ("user" | "u", _) => (USER, id()?),
        ("group" | "g", "") => (GROUP_OBJ, NO_ID),
        ("group" | "g", _) => (GROUP, id()?),
        ("mask" | "m", "") => (MASK, NO_ID),
        ("other" | "o", "") => (OTHER, NO_ID),
        _ => return Err("an unknown entry"),
    };
    let mut bits = 0;
    for c in perm.chars() {
        bits |= match c {
            'r' => 4,
            'w' => 2,
            'x' => 1,
            '-' => 0,
            _ => return Err("an unknown permission"),
        };
    }
    Ok((tag, id, bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_to_seen_to_disk() {
        let text = b"user::rw-,user:lisa:r--:1000,group::r--,mask::r--,other::---\n";
        let seen = from_text(text, true).unwrap().unwrap();
        assert_eq!(seen.len(), 4 + 5 * 8);
        let map = [IdMap {
            from: 1000,
            to: 7,
            count: 1,
        }];
        let disk = to_disk(&seen, &map, &[]).unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(&disk[8..16], [2, 0, 4, 0, 7, 0, 0, 0]);
        assert_eq!(
            from_text(b"user::rw-,group::r--,other::---", true),
            Ok(None)
        );
        assert_eq!(
            from_text(b"u::rwx\ng:5:r-x\nm:rwx\no:r-x\n", true)
                .unwrap()
                .unwrap()
                .len(),
            36
        );
        for bad in ["user:lisa:rw-", "x::r", "user::q"] {
            assert!(from_text(bad.as_bytes(), true).is_err(), "{bad}");
        }
    }
}
