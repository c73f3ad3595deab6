//! Planted bugs: each is a historical mistake, and the exhaustive search must find every one. A
//! search that stays green on a mutant is itself a failed test.

/// Which bug a state carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Mutant {
    /// The machine as shipped.
    #[default]
    None,
    /// S02: the barrier returns when the *list* is empty, though a drainer holds its contents.
    V4Flush,
    /// S05, S08: the in-flight count is dropped when the item is taken for conversion.
    EndEarly,
    /// S11: the watermark passes before delivery.
    SettleBeforeAck,
    /// S19: a failed write is converted.
    ConvertAfterFailure,
    /// S21: a conversion error reaches nobody but the caller.
    SwallowError,
    /// I-11: the drainer that leaves does not look again.
    LostWakeUp,
    /// S07: the I/O barrier covers only what has completed.
    CompletedOnly,
    /// S09: newcomers are not held off while a drain waits.
    NoHoldOff,
    /// I-38: the submitter holds no reference.
    NoSubmitterReference,
}

impl Mutant {
    /// Every planted bug.
    pub const ALL: [Mutant; 9] = [
        Mutant::V4Flush,
        Mutant::EndEarly,
        Mutant::SettleBeforeAck,
        Mutant::ConvertAfterFailure,
        Mutant::SwallowError,
        Mutant::LostWakeUp,
        Mutant::CompletedOnly,
        Mutant::NoHoldOff,
        Mutant::NoSubmitterReference,
    ];
}
