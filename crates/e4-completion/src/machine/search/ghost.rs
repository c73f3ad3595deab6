//! What the checker knows and the machine does not: the history of each write, as the outside
//! world sees it.

/// One write of the scenario.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Write {
    /// Admitted and its slot not yet given back by the shell.
    pub in_flight: bool,
    /// The submitter has let go.
    pub submitted: bool,
    /// Requests added and not yet answered.
    pub at_device: u8,
    /// The last put has happened.
    pub completed: bool,
    /// It took this ticket.
    pub ticket: Option<u64>,
    /// Times made readable.
    pub published: u8,
    /// Times delivered, and with which outcome last.
    pub delivered: u8,
    pub delivered_error: bool,
    /// The slot was given back.
    pub settled: bool,
}

/// Per inode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Inode {
    /// Errors that must be in the log.
    pub errors: u64,
    /// Aborted.
    pub aborted: bool,
}
