//! The two checksums of the format: crc32c (metadata_csum, jbd2 v2/v3) and crc16 (uninit_bg).
//!
//! Decisions: [`crc32c`] is the *raw* form the format uses, a running register without the customary
//! inversion before and after, so that a checksum can be continued over several pieces. With the feature
//! `std` it runs on the processor's instruction; without, on a table of our own. A property test keeps
//! the two equal.

/// Where every chain of checksums starts (`~0`).
pub const CRC32C_INIT: u32 = !0;

const fn table_of(poly: u32) -> [u32; 256] {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let mut c = i as u32;
        let mut bit = 0;
        while bit < 8 {
            c = if c & 1 == 1 { (c >> 1) ^ poly } else { c >> 1 };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
}

static CRC32C: [u32; 256] = table_of(0x82F6_3B78);
static CRC16: [u32; 256] = table_of(0xA001);

/// Continues a raw crc32c (Castagnoli) over `data`; start with [`CRC32C_INIT`].
#[cfg(feature = "std")]
#[must_use]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, data)
}

/// Continues a raw crc32c (Castagnoli) over `data`; start with [`CRC32C_INIT`].
#[cfg(not(feature = "std"))]
#[must_use]
pub fn crc32c(seed: u32, data: &[u8]) -> u32 {
    crc32c_table(seed, data)
}

/// The portable form of [`crc32c`], byte by byte through a table.
#[must_use]
pub fn crc32c_table(seed: u32, data: &[u8]) -> u32 {
    data.iter().fold(seed, |c, b| step(&CRC32C, c, *b))
}

/// Continues the reflected crc16 (polynomial 0x8005) of group descriptors without `metadata_csum`.
#[must_use]
pub fn crc16(seed: u16, data: &[u8]) -> u16 {
    let c = data
        .iter()
        .fold(u32::from(seed), |c, b| step(&CRC16, c, *b));
    #[allow(clippy::cast_possible_truncation)] // a 16-bit polynomial keeps the register below 2^16
    let c = c as u16;
    c
}

#[inline]
fn step(table: &[u32; 256], c: u32, b: u8) -> u32 {
    let [low, ..] = c.to_le_bytes();
    table[usize::from(low ^ b)] ^ (c >> 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn published_check_values() {
        // The catalogue values of CRC-32/ISCSI and CRC-16/ARC (which starts at 0) for "123456789".
        assert_eq!(!crc32c(CRC32C_INIT, b"123456789"), 0xE306_9283);
        assert_eq!(!crc32c_table(CRC32C_INIT, b"123456789"), 0xE306_9283);
        assert_eq!(crc16(0, b"123456789"), 0xBB3D);
        assert_eq!(crc16(0xFFFF, b"123456789"), 0x4B37); // CRC-16/MODBUS
    }

    proptest! {
        #[test]
        fn hardware_and_table_agree(seed: u32, data in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert_eq!(crc32c(seed, &data), crc32c_table(seed, &data));
        }

        #[test]
        fn continues_over_pieces(seed: u32, data in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..600) {
            let cut = cut.min(data.len());
            let (a, b) = data.split_at(cut);
            prop_assert_eq!(crc32c(crc32c(seed, a), b), crc32c(seed, &data));
        }
    }
}
