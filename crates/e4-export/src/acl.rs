//! Access control lists: from what programs see to the text archives hold.
//!
//! Programs see version 2: entries of tag, permissions and an id each, little-endian. The text names users and groups by
//! number, so that it means the same everywhere.

/// The list as text: `user::rw-,user:1000:r--,group::r--,mask::r--,other::---`.
pub(crate) fn to_text(seen: &[u8]) -> Result<String, &'static str> {
    let (version, entries) = seen.split_first_chunk::<4>().ok_or("too short")?;
    if u32::from_le_bytes(*version) != 2 {
        return Err("unknown version");
    }
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return Err("a torn entry");
    }
    let mut lines = Vec::new();
    for [t0, t1, p0, p1, i0, i1, i2, i3] in entries {
        let perm = u16::from_le_bytes([*p0, *p1]);
        let id = u32::from_le_bytes([*i0, *i1, *i2, *i3]);
        let who = match u16::from_le_bytes([*t0, *t1]) {
            0x01 => "user:".to_owned(),
            0x02 => format!("user:{id}"),
            0x04 => "group:".to_owned(),
            0x08 => format!("group:{id}"),
            0x10 => "mask:".to_owned(),
            0x20 => "other:".to_owned(),
            _ => return Err("an unknown tag"),
        };
        let bit = |mask, c| if perm & mask != 0 { c } else { '-' };
        lines.push(format!(
            "{who}:{}{}{}",
            bit(4, 'r'),
            bit(2, 'w'),
            bit(1, 'x')
        ));
    }
    Ok(lines.join(","))
}

#[cfg(test)]
mod tests {
    use super::to_text;

    #[test]
    fn text() {
        let mut seen = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in [(1u16, 6u16, u32::MAX), (2, 4, 1000), (16, 5, u32::MAX)] {
            seen.extend(tag.to_le_bytes());
            seen.extend(perm.to_le_bytes());
            seen.extend(id.to_le_bytes());
        }
        assert_eq!(to_text(&seen).unwrap(), "user::rw-,user:1000:r--,mask::r-x");
        assert!(to_text(&seen[..7]).is_err());
        assert!(to_text(&[1, 0, 0, 0]).is_err());
    }
}
