//! Times of an image as text, in the user's time zone.

use e4_format::Timestamp;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};

fn zoned(sec: i64, nsec: u32) -> Option<Zoned> {
    let nsec = i32::try_from(nsec).ok()?;
    let at = jiff::Timestamp::new(sec, nsec).ok()?;
    Some(at.to_zoned(TimeZone::system()))
}

/// `2026-11-22T17:04:05+00:00`; the bare number of seconds if there is no such date.
#[must_use]
pub(super) fn rfc3339(sec: i64, nsec: u32) -> String {
    match zoned(sec, nsec) {
        Some(t) => t.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
        None => sec.to_string(),
    }
}

/// As `stat` prints it: `2026-11-22 17:04:05.123456789 +0000`.
#[must_use]
pub(super) fn full(time: Timestamp) -> String {
    match zoned(time.sec, time.nsec) {
        Some(t) => t.strftime("%Y-%m-%d %H:%M:%S.%9f %z").to_string(),
        None => time.sec.to_string(),
    }
}

/// As `ls -l` prints it: the time of day within the last six months, else the year.
#[must_use]
pub(super) fn short(time: Timestamp) -> String {
    const HALF_A_YEAR: SignedDuration = SignedDuration::from_hours(24 * 182);
    let Some(t) = zoned(time.sec, time.nsec) else {
        return time.sec.to_string();
    };
    let age = Zoned::now().duration_since(&t);
    let recent = age <= HALF_A_YEAR && age >= SignedDuration::ZERO;
    let form = if recent { "%b %e %H:%M" } else { "%b %e  %Y" };
    t.strftime(form).to_string()
}
