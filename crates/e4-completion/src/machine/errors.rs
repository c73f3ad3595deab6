//! Sticky errors of one inode, delivered once to each observer (I-32, I-35).
//!
//! Every failed write or conversion appends to the log, whoever ran it. An observer (an open file,
//! a truncate path) carries a cursor: a check learns everything recorded since the cursor, returns
//! the first of it, and moves the cursor to the end. A new observer starts where *somebody* last
//! looked, so an error nobody has learned yet is learned by the next open.
//!
//! Bound: the log keeps the values of the last [`KEPT`] errors; an observer further behind still
//! learns that something failed, with the oldest value kept.

/// How many error values an inode keeps.
pub const KEPT: usize = 8;

/// The error log of one inode.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ErrorLog<E> {
    /// The newest values; the last one has number `next - 1`.
    kept: Vec<E>,
    /// Number of the next error: errors are numbered from 0.
    next: u64,
    /// Everything below has been learned by at least one observer.
    seen: u64,
}

impl<E> Default for ErrorLog<E> {
    fn default() -> Self {
        ErrorLog {
            kept: Vec::new(),
            next: 0,
            seen: 0,
        }
    }
}

impl<E: Clone> ErrorLog<E> {
    /// Appends an error.
    pub fn record(&mut self, error: E) {
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(error);
        self.next += 1;
    }

    /// Where a new observer starts.
    pub fn start(&self) -> u64 {
        self.seen
    }

    /// What an observer at `cursor` learns now, and its new cursor.
    pub fn learn(&mut self, cursor: u64) -> (u64, Option<E>) {
        if cursor >= self.next {
            return (cursor, None);
        }
        let oldest_kept = self.next - self.kept.len() as u64;
        let index = cursor.max(oldest_kept) - oldest_kept;
        let error = usize::try_from(index).ok().and_then(|i| self.kept.get(i));
        self.seen = self.next;
        (self.next, error.cloned())
    }

    /// How many errors were ever recorded.
    pub fn count(&self) -> u64 {
        self.next
    }

    /// True if some error has been learned by nobody yet.
    pub fn has_unlearned(&self) -> bool {
        self.seen < self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_observer_learns_once() {
        let mut log = ErrorLog::default();
        let (a, b) = (log.start(), log.start());
        log.record("eio");
        let (a, first) = log.learn(a);
        assert_eq!(first, Some("eio"));
        assert_eq!(log.learn(a).1, None);
        assert_eq!(log.learn(b).1, Some("eio"));
        assert_eq!(
            log.learn(log.start()).1,
            None,
            "opened after it was learned"
        );
    }

    #[test]
    fn an_error_nobody_learned_is_learned_by_the_next_open() {
        let mut log = ErrorLog::default();
        log.record(1);
        assert!(log.has_unlearned());
        let late = log.start();
        assert_eq!(log.learn(late).1, Some(1));
        assert!(!log.has_unlearned());
    }

    #[test]
    fn overflow_still_tells() {
        let mut log = ErrorLog::default();
        let cursor = log.start();
        for e in 0..100 {
            log.record(e);
        }
        let (cursor, got) = log.learn(cursor);
        assert_eq!(got, Some(100 - KEPT as i32));
        assert_eq!(log.learn(cursor).1, None);
        assert_eq!(log.count(), 100);
    }
}
