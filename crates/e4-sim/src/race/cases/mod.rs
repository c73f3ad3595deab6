//! The named schedules under the historical strategies, as programs. `0`, `1`... in a prefix are
//! the actors whose steps lead into the schedule's window.

mod errors;
mod journal;
mod lifetime;
mod truncate;
mod window;

use super::case::Case;

/// Every case.
pub(super) fn all() -> Vec<Case> {
    let mut cases = window::cases();
    cases.extend(truncate::cases());
    cases.extend(errors::cases());
    cases.extend(lifetime::cases());
    cases.extend(journal::cases());
    cases
}
