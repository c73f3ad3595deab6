//! What was done to the files and what users were told, by position in the simulated disk's log.

use e4_sim::Log;

/// Something that happened.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// For people: "at line 3 (fsync log)".
    pub(super) what: String,
    /// What a user was told by it.
    pub(super) said: Option<String>,
    /// The disk's position when it began.
    pub(super) begin: u64,
    /// The disk's position when it was over. What was said may have been said earlier, never later.
    pub(super) end: u64,
}

/// A run on the simulated disk.
pub(super) struct History {
    pub(super) log: Log,
    /// In order.
    pub(super) events: Vec<Event>,
}

impl History {
    /// What had been said by a position.
    pub(super) fn said(&self, position: u64) -> Vec<&str> {
        let over = self.events.iter().filter(|event| event.end <= position);
        over.filter_map(|event| event.said.as_deref()).collect()
    }

    /// The event that was under way, or the last one before.
    pub(super) fn during(&self, position: u64) -> Option<&str> {
        let mut begun = self.events.iter().rev();
        let last = begun.find(|event| event.begin < position);
        last.map(|event| event.what.as_str())
    }
}
