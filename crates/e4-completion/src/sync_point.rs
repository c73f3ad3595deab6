//! Sync points P1..P7: named places in the life of an io_end where a test may park the thread that
//! passes. Compiled out unless the `sync-points` feature is on (tests and the race lab).
//!
//! | point | place | what is true there |
//! |---|---|---|
//! | P1 | the device has answered, the io_end is not on the list | nobody can find it there |
//! | P2 | on the list, no drainer woken | lost-wake-up territory |
//! | P3 | spliced, conversion not begun | the list is empty, work is pending and private |
//! | P4 | published, error and stage not recorded | readers see the data, waiters are not told |
//! | P5 | recorded, not delivered, slot still in use | waiters are still blocked |
//! | P6 | just before delivery | a read by anyone already sees the data |
//! | P7 | delivered, slot not given back | the last moment the inode must be alive |
//!
//! A place is addressed by (point, inode, io_end). io_ends are numbered per inode in the order of
//! admission, so a test knows the number before the io_end gets its ticket (at P1 there is none).
//! No engine lock is held at any point, and nothing is timed: a test waits for *parked*, acts, and
//! releases.

/// A place in the life of an io_end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Point {
    /// The device has answered.
    P1,
    /// Appended to the list.
    P2,
    /// Spliced off the list.
    P3,
    /// Published.
    P4,
    /// Recorded as converted.
    P5,
    /// Before delivery.
    P6,
    /// After delivery, before the slot is given back.
    P7,
}

#[cfg(feature = "sync-points")]
pub use controller::{Parked, SyncPoints};

#[cfg(feature = "sync-points")]
mod controller {
    use super::Point;
    use e4_sync::atomic::{AtomicBool, Ordering};
    use e4_sync::{Arc, Condvar, Mutex, Rank};

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Phase {
        Armed,
        Parked,
        Released,
    }

    struct Rule {
        at: (Point, u64, u64),
        number: u64,
        phase: Phase,
    }

    struct Rules {
        next: u64,
        rules: Vec<Rule>,
        passed: Vec<(Point, u64, u64)>,
        recording: bool,
    }

    struct Inner {
        /// False while nothing is armed or recorded: passing costs one load then.
        active: AtomicBool,
        rules: Mutex<Rules>,
        changed: Condvar,
    }

    /// Parks threads at sync points. Shared by the engine and the test.
    #[derive(Clone)]
    pub struct SyncPoints(Arc<Inner>);

    /// A place somebody will be parked at. Dropping it lets everyone through.
    pub struct Parked {
        points: SyncPoints,
        number: u64,
    }

    impl Default for SyncPoints {
        fn default() -> Self {
            SyncPoints(Arc::new(Inner {
                active: AtomicBool::new(false),
                rules: Mutex::new(
                    Rank::LEAF,
                    Rules {
                        next: 0,
                        rules: Vec::new(),
                        passed: Vec::new(),
                        recording: false,
                    },
                ),
                changed: Condvar::new(),
            }))
        }
    }

    impl SyncPoints {
        /// The next thread that passes `point` with this io_end of this inode parks there.
        #[must_use = "dropping the handle disarms the point"]
        pub fn park(&self, point: Point, inode: u64, io_end: u64) -> Parked {
            let mut rules = self.0.rules.lock();
            let number = rules.next;
            rules.next += 1;
            self.0.active.store(true, Ordering::Release);
            rules.rules.push(Rule {
                at: (point, inode, io_end),
                number,
                phase: Phase::Armed,
            });
            Parked {
                points: self.clone(),
                number,
            }
        }

        /// Starts remembering every point passed.
        pub fn record(&self) {
            self.0.rules.lock().recording = true;
            self.0.active.store(true, Ordering::Release);
        }

        /// The points passed since [`SyncPoints::record`], in order.
        pub fn passed(&self) -> Vec<(Point, u64, u64)> {
            self.0.rules.lock().passed.clone()
        }

        pub(crate) fn pass(&self, point: Point, inode: u64, io_end: u64) {
            if !self.0.active.load(Ordering::Acquire) {
                return;
            }
            let at = (point, inode, io_end);
            let mut rules = self.0.rules.lock();
            if rules.recording {
                rules.passed.push(at);
            }
            let armed = |r: &&mut Rule| r.at == at && r.phase == Phase::Armed;
            let Some(rule) = rules.rules.iter_mut().find(armed) else {
                return;
            };
            rule.phase = Phase::Parked;
            let number = rule.number;
            self.0.changed.notify_all();
            let parked = |r: &Rule| r.number == number && r.phase == Phase::Parked;
            while rules.rules.iter().any(parked) {
                self.0.changed.wait(&mut rules);
            }
        }
    }

    impl Parked {
        /// Waits until a thread is parked here.
        pub fn wait(&self) {
            let mut rules = self.points.0.rules.lock();
            let armed = |r: &Rule| r.number == self.number && r.phase == Phase::Armed;
            while rules.rules.iter().any(armed) {
                self.points.0.changed.wait(&mut rules);
            }
        }

        /// True if a thread is parked here now.
        pub fn is_parked(&self) -> bool {
            let rules = self.points.0.rules.lock();
            let parked = |r: &Rule| r.number == self.number && r.phase == Phase::Parked;
            rules.rules.iter().any(parked)
        }

        /// Lets the parked thread go on.
        pub fn release(self) {}
    }

    impl Drop for Parked {
        fn drop(&mut self) {
            let mut rules = self.points.0.rules.lock();
            for rule in rules.rules.iter_mut().filter(|r| r.number == self.number) {
                rule.phase = Phase::Released;
            }
            rules.rules.retain(|r| r.phase != Phase::Released);
            self.points.0.changed.notify_all();
        }
    }
}
