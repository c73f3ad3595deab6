//! Bugs for runners to find: a panic, too much memory, too much time.

use std::hint::black_box;

pub(super) fn panic(data: &[u8]) {
    assert!(data.iter().all(|b| *b != 0x77), "planted");
}

/// Pages that are touched: an allocation alone costs nothing.
pub(super) fn memory(data: &[u8]) {
    if data.len() > 3 {
        black_box(vec![1u8; 400 << 20]);
    }
}

pub(super) fn time(data: &[u8]) {
    let rounds: u64 = if data.len() > 3 { 40_000_000_000 } else { 1 };
    let mut n = 1u64;
    for i in 0..rounds {
        n = black_box(n.wrapping_mul(i | 1));
        // Long enough to be found, short enough not to hang a test: five seconds at most.
        if i % (1 << 24) == 0 && cpu_seconds() > 5 {
            break;
        }
    }
}

fn cpu_seconds() -> i64 {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec
}
