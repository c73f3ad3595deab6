//! The one place that decides what becomes of a completed io_end (I-40).
//!
//! S24 happened because two predicates answered "does this need deferring?" and disagreed for a
//! failed write. Here the question is asked once, at the last put, and the answer is stored.

/// What is owed to a completed io_end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// Data arrived and nothing is owed: deliver success at once (I-37).
    Finish,
    /// Data arrived into unwritten blocks or beyond the size: publish, then deliver.
    Convert,
    /// Some request failed: never publish (I-2, I-32), remember the error, deliver it.
    Fail,
}

/// Decides from the two facts that matter: did any request fail (or the engine abort), and does
/// the io_end owe a conversion or a size update.
#[inline]
pub const fn classify(failed: bool, owed: bool) -> Class {
    match (failed, owed) {
        (true, _) => Class::Fail,
        (false, true) => Class::Convert,
        (false, false) => Class::Finish,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let rows = [
            (false, false, Class::Finish),
            (false, true, Class::Convert),
            (true, false, Class::Fail),
            (true, true, Class::Fail),
        ];
        for (failed, owed, want) in rows {
            assert_eq!(classify(failed, owed), want, "failed {failed} owed {owed}");
        }
    }
}
