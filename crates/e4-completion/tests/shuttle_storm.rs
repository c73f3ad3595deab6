//! The storm under shuttle: 10,000 random schedules and 10,000 with priorities (PCT).
//! `E4_SCHEDULES` changes the number.
#![cfg(shuttle)]

mod storm;

fn schedules() -> usize {
    let asked = std::env::var("E4_SCHEDULES").ok();
    asked.and_then(|n| n.parse().ok()).unwrap_or(10_000)
}

#[test]
fn random_schedules() {
    shuttle::check_random(|| storm::storm(6, 2), schedules());
}

#[test]
fn schedules_with_priorities() {
    shuttle::check_pct(|| storm::storm(6, 2), schedules(), 3);
}
