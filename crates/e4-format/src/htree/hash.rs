//! Hashes of names, which order the entries of indexed directories.
//!
//! Decisions: written from the description of the algorithms: half-MD4 is three rounds of MD4's eight
//! steps over eight words, TEA is the Tiny Encryption Algorithm with the name as the key, legacy is the
//! first ext3 hash. Old images hash bytes above 127 as negative numbers; which is used is a property of
//! the image ([`HashVersion::unsigned`]). Vectors come from debugfs and from directories e2fsck built.

/// One of the three algorithms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HashAlgorithm {
    /// The first one.
    Legacy,
    /// The default.
    HalfMd4,
    /// Tiny Encryption Algorithm.
    Tea,
}

impl HashAlgorithm {
    /// From the number in a root or superblock, signed variants only (0 to 2).
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw {
            0 => Some(Self::Legacy),
            1 => Some(Self::HalfMd4),
            2 => Some(Self::Tea),
            _ => None,
        }
    }

    /// The number in a root or superblock.
    #[must_use]
    pub const fn raw(self) -> u8 {
        match self {
            Self::Legacy => 0,
            Self::HalfMd4 => 1,
            Self::Tea => 2,
        }
    }
}

/// An algorithm and how it takes bytes above 127.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashVersion {
    /// The algorithm.
    pub algorithm: HashAlgorithm,
    /// Bytes are 0 to 255; else -128 to 127.
    pub unsigned: bool,
}

/// Hash of a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct NameHash {
    /// Orders entries among blocks; the lowest bit is always 0.
    pub major: u32,
    /// Orders entries of the same major hash; 0 for legacy.
    pub minor: u32,
}

/// MD4's start values, used when the image has no seed.
const DEFAULT_SEED: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
/// The largest hash is reserved as the end of a directory stream.
const EOF: u32 = 0x7FFF_FFFF << 1;

impl HashVersion {
    /// Hashes a name. A seed of zeros stands for the default start values.
    #[must_use]
    pub fn hash(self, name: &[u8], seed: [u32; 4]) -> NameHash {
        let seed = if seed == [0; 4] { DEFAULT_SEED } else { seed };
        let (major, minor) = match self.algorithm {
            HashAlgorithm::Legacy => (self.legacy(name), 0),
            HashAlgorithm::HalfMd4 => self.half_md4(name, seed),
            HashAlgorithm::Tea => self.tea(name, seed),
        };
        let major = match major & !1 {
            EOF => EOF - 2,
            major => major,
        };
        NameHash { major, minor }
    }

    const fn byte(self, b: u8) -> u32 {
        if self.unsigned {
            b as u32
        } else {
            b.cast_signed() as i32 as u32
        }
    }

    fn legacy(self, name: &[u8]) -> u32 {
        let (mut now, mut before) = (0x12A3_FE2Du32, 0x37AB_E8F9u32);
        for b in name {
            let mixed = now ^ self.byte(*b).wrapping_mul(7_152_373);
            let mut next = before.wrapping_add(mixed);
            if next & 0x8000_0000 != 0 {
                next = next.wrapping_sub(0x7FFF_FFFF);
            }
            before = now;
            now = next;
        }
        now << 1
    }

    fn half_md4(self, name: &[u8], seed: [u32; 4]) -> (u32, u32) {
        let mut state = seed;
        let mut rest = name;
        while !rest.is_empty() {
            half_md4_step(&mut state, &self.words::<8>(rest));
            rest = rest.get(32..).unwrap_or_default();
        }
        let [_, major, minor, _] = state;
        (major, minor)
    }

    fn tea(self, name: &[u8], seed: [u32; 4]) -> (u32, u32) {
        let [mut a, mut b, ..] = seed;
        let mut rest = name;
        while !rest.is_empty() {
            (a, b) = tea_step(a, b, &self.words::<4>(rest));
            rest = rest.get(16..).unwrap_or_default();
        }
        (a, b)
    }

    /// The next `N` words of a name, big-endian within a word. What the name does not fill is padded
    /// with its remaining length, once per byte.
    fn words<const N: usize>(self, name: &[u8]) -> [u32; N] {
        #[allow(clippy::cast_possible_truncation)] // names have at most 255 bytes
        let pad = u32::from_ne_bytes([name.len() as u8; 4]);
        let mut words = [pad; N];
        for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
            // Added, not or-ed: a negative byte borrows from the ones before it.
            *word = bytes
                .iter()
                .fold(pad, |w, b| (w << 8).wrapping_add(self.byte(*b)));
        }
        words
    }
}

/// One block of half-MD4: MD4's three functions and constants, eight steps each.
fn half_md4_step(state: &mut [u32; 4], input: &[u32; 8]) {
    type Mix = fn(u32, u32, u32) -> u32;
    const ROUNDS: [(Mix, u32, [u32; 4], [usize; 8]); 3] = [
        (
            |x, y, z| z ^ (x & (y ^ z)),
            0,
            [3, 7, 11, 19],
            [0, 1, 2, 3, 4, 5, 6, 7],
        ),
        (
            |x, y, z| (x & y).wrapping_add((x ^ y) & z),
            0x5A82_7999,
            [3, 5, 9, 13],
            [1, 3, 5, 7, 0, 2, 4, 6],
        ),
        (
            |x, y, z| x ^ y ^ z,
            0x6ED9_EBA1,
            [3, 9, 11, 15],
            [3, 7, 2, 6, 1, 5, 0, 4],
        ),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, constant, shifts, order) in ROUNDS {
        for (i, shift) in order.iter().zip(shifts.iter().cycle()) {
            let word = input.get(*i).copied().unwrap_or_default();
            let sum = a
                .wrapping_add(mix(b, c, d))
                .wrapping_add(word)
                .wrapping_add(constant);
            (a, b, c, d) = (d, sum.rotate_left(*shift), b, c);
        }
    }
    for (to, add) in state.iter_mut().zip([a, b, c, d]) {
        *to = to.wrapping_add(add);
    }
}

/// Sixteen cycles of TEA.
fn tea_step(a: u32, b: u32, key: &[u32; 4]) -> (u32, u32) {
    const DELTA: u32 = 0x9E37_79B9;
    let [k0, k1, k2, k3] = *key;
    let (mut x, mut y, mut sum) = (a, b, 0u32);
    for _ in 0..16 {
        sum = sum.wrapping_add(DELTA);
        let mix = |v: u32, p: u32, q: u32| {
            (v << 4).wrapping_add(p) ^ v.wrapping_add(sum) ^ (v >> 5).wrapping_add(q)
        };
        x = x.wrapping_add(mix(y, k0, k1));
        y = y.wrapping_add(mix(x, k2, k3));
    }
    (a.wrapping_add(x), b.wrapping_add(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: &[u8] = b"a-rather-longer-name-that-needs-more-than-32-bytes-to-store";
    const HIGH: &[u8] = b"\xc3\xa9t\xc3\xa9\xff";

    /// debugfs 1.47.0: `debugfs -R 'dx_hash -h N NAME'` with N 0 to 5 (3 to 5 are the unsigned ones).
    #[rustfmt::skip]
    const WITHOUT_SEED: [(u8, &[u8], u32, u32); 18] = [
        (0, b"a", 0xe74b_53e2, 0), (0, LONG, 0xd5e2_25c2, 0), (0, HIGH, 0xbaf9_a34e, 0),
        (1, b"a", 0xd5fa_7d7a, 0xacb4_8187), (1, LONG, 0x00ca_bae4, 0x5ab8_ff6a),
        (1, HIGH, 0x74b5_2c04, 0x7ffe_1ef7),
        (2, b"a", 0x6d0e_a4c0, 0xc189_22df), (2, LONG, 0xd623_9824, 0xf94a_c86a),
        (2, HIGH, 0x02f1_8ca8, 0xd447_9ddf),
        (3, b"a", 0xe74b_53e2, 0), (3, LONG, 0xd5e2_25c2, 0), (3, HIGH, 0x92cc_cd7a, 0),
        (4, b"a", 0xd5fa_7d7a, 0xacb4_8187), (4, LONG, 0x00ca_bae4, 0x5ab8_ff6a),
        (4, HIGH, 0x0d5c_a812, 0xb9dc_4a1a),
        (5, b"a", 0x6d0e_a4c0, 0xc189_22df), (5, LONG, 0xd623_9824, 0xf94a_c86a),
        (5, HIGH, 0xec52_26fa, 0x0cfd_74d7),
    ];

    /// The same with `-s 01234567-89ab-cdef-0123-456789abcdef`.
    #[rustfmt::skip]
    const WITH_SEED: [(u8, &[u8], u32, u32); 6] = [
        (1, b"a", 0x35dc_0cc4, 0x3f1d_acef), (1, LONG, 0x1c29_a772, 0x51d4_3a80),
        (1, HIGH, 0x0c19_3e32, 0x7d7d_91a2),
        (4, b"a", 0x35dc_0cc4, 0x3f1d_acef), (4, LONG, 0x1c29_a772, 0x51d4_3a80),
        (4, HIGH, 0xff10_8726, 0x2fbc_e7c5),
    ];

    fn version(n: u8) -> HashVersion {
        HashVersion {
            algorithm: HashAlgorithm::from_raw(n % 3).unwrap(),
            unsigned: n >= 3,
        }
    }

    #[test]
    fn vectors_of_debugfs() {
        for (n, name, major, minor) in WITHOUT_SEED {
            assert_eq!(
                version(n).hash(name, [0; 4]),
                NameHash { major, minor },
                "{n} {name:?}"
            );
        }
        // The UUID's bytes are little-endian words.
        let seed = [0x6745_2301, 0xefcd_ab89, 0x6745_2301, 0xefcd_ab89];
        for (n, name, major, minor) in WITH_SEED {
            assert_eq!(
                version(n).hash(name, seed),
                NameHash { major, minor },
                "{n} {name:?}"
            );
        }
        // `-s 11111111-2222-3333-4444-555555555555`: that seed begins like the default, and TEA uses
        // no more of it.
        let seed = [0x1111_1111, 0x3333_2222, 0x5555_4444, 0x5555_5555];
        let hash = |n| version(n).hash(b"a", seed);
        assert_eq!(
            hash(0),
            NameHash {
                major: 0xe74b_53e2,
                minor: 0
            }
        );
        assert_eq!(
            hash(1),
            NameHash {
                major: 0x61ab_28ce,
                minor: 0x4ffe_6d79
            }
        );
        assert_eq!(
            hash(2),
            NameHash {
                major: 0xc60e_f7d0,
                minor: 0xf826_1194
            }
        );
    }

    #[test]
    fn any_length_any_version() {
        let name: Vec<u8> = (0..=255).collect();
        for n in 0..6 {
            for len in 0..=255 {
                assert_eq!(version(n).hash(&name[..len], [1, 2, 3, 4]).major & 1, 0);
            }
        }
    }
}
