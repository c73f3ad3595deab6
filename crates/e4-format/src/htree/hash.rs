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
