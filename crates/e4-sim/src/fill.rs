//! What a never-written byte contains: zeros, or poison that says which sector it belongs to.
//!
//! Poison repeats every 16 bytes: a magic word and the device's sector number. So any stretch of 32
//! leaked bytes is recognised and names where it came from, however it was cut and shifted.

use crate::tag::SECTOR;

/// `"e4POISON"`; no text, number or structure of the format looks like it.
const MAGIC: [u8; 8] = *b"e4POISON";
const PERIOD: usize = 16;

/// The contents of a device before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Fill {
    /// Recognisable garbage, different in every sector.
    #[default]
    Poison,
    /// A blank disk.
    Zeros,
}

impl Fill {
    /// The bytes a blank device holds at `at`.
    pub fn read(self, at: u64, buf: &mut [u8]) {
        if self == Fill::Zeros {
            return buf.fill(0);
        }
        let (mut at, mut rest) = (at, buf);
        while !rest.is_empty() {
            let sector = at / SECTOR as u64;
            let left = ((sector + 1) * SECTOR as u64 - at) as usize;
            let (part, tail) = rest.split_at_mut(left.min(rest.len()));
            let mut unit = unit(sector);
            unit.rotate_left((at % PERIOD as u64) as usize);
            for piece in part.chunks_mut(PERIOD) {
                piece.copy_from_slice(&unit[..piece.len()]);
            }
            at += part.len() as u64;
            rest = tail;
        }
    }
}

fn unit(sector: u64) -> [u8; PERIOD] {
    let mut unit = [0; PERIOD];
    unit[..8].copy_from_slice(&MAGIC);
    unit[8..].copy_from_slice(&sector.to_le_bytes());
    unit
}

/// The poison of block `block` of `block_size` bytes.
#[must_use]
pub fn poison(block: u64, block_size: usize) -> Vec<u8> {
    let mut bytes = vec![0; block_size];
    Fill::Poison.read(block * block_size as u64, &mut bytes);
    bytes
}

/// If `bytes` (at least 16) is nothing but the poison of consecutive sectors, starting anywhere: the first one's number.
#[must_use]
pub fn is_poison(bytes: &[u8]) -> Option<u64> {
    let (_, sector) = find_poison(bytes)?;
    let mut expected = vec![0; bytes.len()];
    // The start within the sector is unknown, but the pattern only knows the place within a period and
    // where the next sector begins; try them all.
    (0..SECTOR as u64).find_map(|shift| {
        Fill::Poison.read(sector * SECTOR as u64 + shift, &mut expected);
        (expected == bytes).then_some(sector)
    })
}

/// Looks for leaked poison anywhere in `bytes`: the first place it appears and the sector it came from.
#[must_use]
pub fn find_poison(bytes: &[u8]) -> Option<(usize, u64)> {
    let at = bytes.windows(8).position(|w| w == MAGIC)?;
    // The sector number follows the magic; at the very end of the bytes it precedes it.
    let number = bytes.get(at + 8..at + 16).or_else(|| {
        let start = at.checked_sub(8)?;
        bytes.get(start..at)
    })?;
    Some((at, u64::from_le_bytes(number.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_is_found_wherever_it_is_cut() {
        let block = poison(1000, 4096);
        assert_eq!(is_poison(&block), Some(8000));
        for from in 0..40 {
            let cut = &block[from..from + 32];
            let (_, sector) = find_poison(cut).expect("32 bytes are enough");
            assert_eq!(sector, 8000);
            assert_eq!(is_poison(cut), Some(8000));
        }
        let mut mixed = vec![0u8; 4096];
        mixed[333..365].copy_from_slice(&block[512..544]);
        assert_eq!(find_poison(&mixed).map(|(_, s)| s), Some(8001));
        assert_eq!(is_poison(&mixed), None);
        assert_eq!(find_poison(&[0; 4096]), None);
    }

    #[test]
    fn parts_agree_with_the_whole() {
        let mut whole = [0; 4096];
        Fill::Poison.read(77 * 4096, &mut whole);
        for (from, len) in [(500, 100), (0, 1), (511, 2), (13, 4000), (512, 512)] {
            let mut part = vec![0; len];
            Fill::Poison.read(77 * 4096 + from as u64, &mut part);
            assert_eq!(part, whole[from..from + len]);
        }
    }
}
