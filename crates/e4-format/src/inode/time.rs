//! Times of an inode: seconds with two extra bits, and nanoseconds.

/// A point in time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp {
    /// Seconds since the epoch; negative before 1970.
    pub sec: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nsec: u32,
}

const NSEC_MAX: u32 = 999_999_999;

impl Timestamp {
    /// 1970-01-01.
    pub const EPOCH: Self = Self { sec: 0, nsec: 0 };
    /// The earliest time an inode can hold: 1901-12-13.
    pub const MIN: Self = Self {
        sec: i32::MIN as i64,
        nsec: 0,
    };
    /// The latest time an inode with extra fields can hold: 2446-05-10.
    pub const MAX: Self = Self {
        sec: i32::MAX as i64 + (3 << 32),
        nsec: NSEC_MAX,
    };

    /// The nearest time that can be stored; `wide` inodes have the extra fields (256 bytes and more).
    /// Without them seconds end in 2038 and there are no nanoseconds.
    #[must_use]
    pub fn clamp_storable(self, wide: bool) -> Self {
        if wide {
            return self.clamp(Self::MIN, Self::MAX);
        }
        let max = i64::from(i32::MAX);
        Self {
            sec: self.sec.clamp(Self::MIN.sec, max),
            nsec: 0,
        }
    }

    /// From the 32-bit seconds and the extra word: two more bits of seconds, then nanoseconds. A
    /// nonsensical count of nanoseconds reads as the largest sensible one.
    pub(super) const fn decode(secs: u32, extra: u32) -> Self {
        let sec = secs.cast_signed() as i64 + (((extra & 3) as i64) << 32);
        let nsec = extra >> 2;
        Self {
            sec,
            nsec: if nsec > NSEC_MAX { NSEC_MAX } else { nsec },
        }
    }

    /// Both words, clamped to what they can express.
    pub(super) fn encode(self) -> (u32, u32) {
        let t = self.clamp_storable(true);
        let secs = (t.sec & 0xFFFF_FFFF) as u32;
        let epoch = ((t.sec - i64::from(secs.cast_signed())) >> 32) as u32 & 3;
        (secs, t.nsec.min(NSEC_MAX) << 2 | epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table_of_the_format_documentation() {
        // The documentation's examples: extra bits, sign of the 32 bits, resulting first second.
        for (extra, secs, expect) in [
            (0, 0x8000_0000, -0x8000_0000),
            (0, 0, 0),
            (1, 0x8000_0000, 0x8000_0000),
            (1, 0, 0x1_0000_0000),
            (2, 0x8000_0000, 0x1_8000_0000),
            (3, 0, 0x3_0000_0000),
            (3, 0x7FFF_FFFF, 0x3_7FFF_FFFF),
        ] {
            let t = Timestamp::decode(secs, extra);
            assert_eq!(t.sec, expect, "{secs:#x} {extra}");
            assert_eq!(t.encode(), (secs, extra));
        }
    }

    proptest! {
        #[test]
        fn round_trip(sec in Timestamp::MIN.sec..=Timestamp::MAX.sec, nsec in 0..=NSEC_MAX) {
            let t = Timestamp { sec, nsec };
            let (a, b) = t.encode();
            prop_assert_eq!(Timestamp::decode(a, b), t);
        }

        #[test]
        fn decoded_words_encode_identically(secs: u32, epoch in 0u32..4, nsec in 0..=NSEC_MAX) {
            let extra = nsec << 2 | epoch;
            prop_assert_eq!(Timestamp::decode(secs, extra).encode(), (secs, extra));
        }

        #[test]
        fn never_panics(secs: u32, extra: u32, sec: i64, nsec: u32) {
            let _ = Timestamp::decode(secs, extra).encode();
            let _ = Timestamp { sec, nsec }.encode();
            let _ = Timestamp { sec, nsec }.clamp_storable(false);
        }
    }
}
