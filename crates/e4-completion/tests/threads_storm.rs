//! The same storm under real threads.
#![cfg(not(any(loom, shuttle)))]

mod storm;

#[test]
fn real_threads() {
    for _ in 0..40 {
        storm::storm(400, 40);
    }
}
