//! Times between the kernel and the inode.
//!
//! Two conversions on purpose: what fuser *hands in* for times before 1970 is not what it *takes out*.
//! Handed in (fuser 0.18.0), seconds and nanoseconds are both subtracted from the epoch, so a fraction counts
//! in the wrong direction; decoded with the same rule, the original pair comes back exactly.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e4_format::Timestamp;

/// From a time as fuser hands it in.
pub(crate) fn from_request(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Timestamp {
            sec: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nsec: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Timestamp {
                sec: i64::try_from(before.as_secs()).map_or(i64::MIN, |s| -s),
                nsec: before.subsec_nanos(),
            }
        }
    }
}

/// To a time as fuser takes it for a reply.
pub(crate) fn to_reply(time: Timestamp) -> SystemTime {
    let fraction = Duration::new(0, time.nsec);
    let whole = Duration::from_secs(time.sec.unsigned_abs());
    let base = if time.sec >= 0 {
        UNIX_EPOCH.checked_add(whole)
    } else {
        UNIX_EPOCH.checked_sub(whole)
    };
    base.and_then(|t| t.checked_add(fraction))
        .unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_before_the_epoch() {
        // 1969-12-31 23:59:58.25 is -2 s + 0.25 s; fuser hands in -(2 s + 0.25 s).
        let handed_in = UNIX_EPOCH - Duration::new(2, 250_000_000);
        let want = Timestamp {
            sec: -2,
            nsec: 250_000_000,
        };
        assert_eq!(from_request(handed_in), want);
        let reply = to_reply(want);
        assert_eq!(
            UNIX_EPOCH.duration_since(reply).expect("before the epoch"),
            Duration::new(1, 750_000_000)
        );
    }

    #[test]
    fn after_the_epoch_both_agree() {
        let t = Timestamp {
            sec: 15_000_000_000,
            nsec: 999_999_999,
        };
        assert_eq!(from_request(to_reply(t)), t);
    }
}
