//! The oracle itself: what it allows, and that it fails on everything it should.

use super::*;
use crate::fill::poison;

const F: u64 = 7;

fn content(file: u64, block: u64, generation: Generation) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let generation = generation.0;
    Tag {
        file,
        block,
        generation,
    }
    .stamp(&mut bytes);
    bytes
}

fn zeros() -> Vec<u8> {
    vec![0; 4096]
}

#[test]
fn sequential_rules() {
    let h = History::with_clock(Atomicity::Block, Clock::default());
    let judge = |c: &[u8], durable| h.judge(F, 5, c, durable);
    assert_eq!(judge(&zeros(), true), Ok(()), "nothing was ever written");
    let a = h.write(F, 4..8);
    for durable in [false, true] {
        assert_eq!(judge(&zeros(), durable), Ok(()));
        assert_eq!(
            judge(&content(F, 5, a), durable),
            Ok(()),
            "in flight: may be there"
        );
    }
    h.acknowledged(F, 4..8, a);
    assert_eq!(
        judge(&zeros(), true),
        Ok(()),
        "not durable: may be lost in a crash"
    );
    assert!(matches!(
        judge(&zeros(), false),
        Err(Violation::Lost { required, promise: "acknowledged", .. }) if required == a
    ));
    let b = h.write(F, 5..6);
    h.acknowledged(F, 5..6, b);
    assert_eq!(
        judge(&content(F, 5, a), true),
        Ok(()),
        "an older one may survive a crash"
    );
    assert!(matches!(
        judge(&content(F, 5, a), false),
        Err(Violation::Outdated { found, required, .. }) if found == a && required == b
    ));
    let mark = h.sync_begins(F);
    let c = h.write(F, 5..6);
    h.acknowledged(F, 5..6, c);
    h.synced(mark);
    assert!(matches!(judge(&zeros(), true), Err(Violation::Lost { .. })));
    assert!(matches!(
        judge(&content(F, 5, a), true),
        Err(Violation::Outdated { required, promise: "acknowledged durable", .. }) if required == b
    ));
    assert_eq!(judge(&content(F, 5, b), true), Ok(()), "durable");
    assert_eq!(judge(&content(F, 5, c), true), Ok(()), "later than durable");
    // The fsync covered block 4 too, where a is still the newest.
    assert_eq!(h.judge(F, 4, &content(F, 4, a), true), Ok(()));
    assert!(h.judge(F, 4, &zeros(), true).is_err());
    assert_eq!(h.judge(F, 100, &zeros(), true), Ok(()));
}

#[test]
fn what_is_never_allowed() {
    for atomicity in [Atomicity::Block, Atomicity::Sector] {
        let h = History::with_clock(atomicity, Clock::default());
        let a = h.write(F, 0..2);
        let judge = |c: &[u8]| h.judge(F, 0, c, true);
        assert!(matches!(
            judge(&poison(3, 4096)),
            Err(Violation::Stale { sector: 24, .. })
        ));
        let mut partly = content(F, 0, a);
        partly[3600..3700].copy_from_slice(&poison(3, 4096)[3600..3700]);
        assert!(matches!(
            judge(&partly),
            Err(Violation::Stale { sector: 31, .. })
        ));
        assert!(matches!(
            judge(&content(8, 0, a)),
            Err(Violation::Misplaced { .. })
        ));
        assert!(matches!(
            judge(&content(F, 1, a)),
            Err(Violation::Misplaced { .. })
        ));
        assert!(matches!(
            judge(&content(F, 0, Generation(99))),
            Err(Violation::NeverSubmitted { .. })
        ));
        assert!(matches!(
            judge(&[1; 4096]),
            Err(Violation::Foreign { sector: 0, .. })
        ));
        let mut bit = content(F, 0, a);
        bit[1000] ^= 4;
        assert!(matches!(
            judge(&bit),
            Err(Violation::Foreign { sector: 1, .. })
        ));
    }
}

#[test]
fn torn_blocks() {
    let mixed = |a, b| {
        let mut bytes = content(F, 0, a);
        bytes[2048..].copy_from_slice(&content(F, 0, b)[2048..]);
        bytes
    };
    let by_block = History::with_clock(Atomicity::Block, Clock::default());
    let by_sector = History::with_clock(Atomicity::Sector, Clock::default());
    for h in [&by_block, &by_sector] {
        let a = h.write(F, 0..1);
        h.durable(F, 0..1, a);
        let b = h.write(F, 0..1);
        let torn = h.judge(F, 0, &mixed(a, b), true);
        if core::ptr::eq(h, &by_sector) {
            assert_eq!(torn, Ok(()));
        } else {
            assert!(matches!(torn, Err(Violation::Torn { .. })));
        }
        h.durable(F, 0..1, b);
        assert!(
            h.judge(F, 0, &mixed(a, b), true).is_err(),
            "half of it is outdated"
        );
        let mut half_lost = content(F, 0, b);
        half_lost[..512].fill(0);
        assert!(h.judge(F, 0, &half_lost, true).is_err());
    }
}

/// Overlapping writes in flight at the same time may land in either order.
#[test]
fn concurrent_writes_have_no_order() {
    let h = History::with_clock(Atomicity::Block, Clock::default());
    let a = h.write(F, 0..1);
    let b = h.write(F, 0..1);
    h.durable(F, 0..1, b);
    assert_eq!(
        h.judge(F, 0, &content(F, 0, a), true),
        Ok(()),
        "still in flight"
    );
    h.durable(F, 0..1, a);
    for g in [a, b] {
        assert_eq!(h.judge(F, 0, &content(F, 0, g), true), Ok(()));
        assert_eq!(h.judge(F, 0, &content(F, 0, g), false), Ok(()));
    }
    assert!(h.judge(F, 0, &zeros(), true).is_err());
    let c = h.write(F, 0..1);
    h.durable(F, 0..1, c);
    for g in [a, b] {
        assert!(h.judge(F, 0, &content(F, 0, g), true).is_err());
    }
}

#[test]
fn a_failed_write_may_have_any_effect_until_the_next() {
    let h = History::with_clock(Atomicity::Block, Clock::default());
    let a = h.write(F, 0..1);
    h.durable(F, 0..1, a);
    let b = h.write(F, 0..1);
    h.failed(F, 0..1, b);
    for g in [a, b] {
        assert_eq!(h.judge(F, 0, &content(F, 0, g), false), Ok(()));
    }
    let c = h.write(F, 0..1);
    h.acknowledged(F, 0..1, c);
    for g in [a, b] {
        assert!(h.judge(F, 0, &content(F, 0, g), false).is_err());
    }
}

#[test]
fn zeroing_is_a_generation() {
    let h = History::with_clock(Atomicity::Block, Clock::default());
    let a = h.write(F, 0..10);
    h.durable(F, 0..10, a);
    assert!(h.judge(F, 5, &zeros(), true).is_err());
    let cut = h.zero(F, 4..u64::MAX);
    assert_eq!(h.judge(F, 5, &zeros(), true), Ok(()), "may have happened");
    assert_eq!(h.judge(F, 5, &content(F, 5, a), true), Ok(()), "or not yet");
    assert!(h.judge(F, 3, &zeros(), true).is_err(), "outside the range");
    h.durable(F, 4..u64::MAX, cut);
    assert_eq!(h.judge(F, 5, &zeros(), true), Ok(()));
    assert!(matches!(
        h.judge(F, 5, &content(F, 5, a), true),
        Err(Violation::Outdated { required, .. }) if required == cut
    ));
    let b = h.write(F, 5..6);
    h.durable(F, 5..6, b);
    assert!(matches!(
        h.judge(F, 5, &zeros(), true),
        Err(Violation::Lost { required, .. }) if required == b
    ));
    assert_eq!(h.judge(F, 6, &zeros(), true), Ok(()));
}

/// One history, judged at different moments of the same log.
#[test]
fn views_of_the_past() {
    use crate::disk::{SimDisk, SimOptions};
    let disk = SimDisk::new(&SimOptions::new(1 << 20, 1));
    let h = History::with_clock(Atomicity::Block, disk.clock());
    disk.mark(0);
    let before = disk.clock().position();
    disk.mark(1);
    let a = h.write(F, 0..1);
    disk.mark(2);
    let in_flight = disk.clock().position();
    disk.mark(3);
    h.durable(F, 0..1, a);
    let durable = disk.clock().position();
    let judge = |at, c: &[u8]| h.at(at).judge(F, 0, c, true);
    let new = content(F, 0, a);
    assert_eq!(judge(before, &zeros()), Ok(()));
    assert!(matches!(
        judge(before, &new),
        Err(Violation::NeverSubmitted { .. })
    ));
    assert_eq!(judge(in_flight, &zeros()), Ok(()));
    assert_eq!(judge(in_flight, &new), Ok(()));
    assert!(judge(durable, &zeros()).is_err());
    assert_eq!(judge(durable, &new), Ok(()));
}

/// What is forgotten is still judged as outdated, and memory stays bounded.
#[test]
fn forgetting() {
    let h = History::new(Atomicity::Block);
    let mut last = h.write(F, 0..1);
    let first = last;
    for _ in 0..1000 {
        h.durable(F, 0..1, last);
        last = h.write(F, 0..1);
    }
    assert!(h.file(F, |f| f.blocks[&0].len()) < 5);
    assert!(matches!(
        h.judge(F, 0, &content(F, 0, first), true),
        Err(Violation::Outdated { .. })
    ));
    assert_eq!(h.judge(F, 0, &content(F, 0, last), true), Ok(()));
    for _ in 0..100 {
        let cut = h.zero(F, 0..u64::MAX);
        h.durable(F, 0..u64::MAX, cut);
    }
    assert!(h.file(F, |f| f.zeroed.len()) < 3);
    assert_eq!(h.judge(F, 0, &zeros(), true), Ok(()));
}
