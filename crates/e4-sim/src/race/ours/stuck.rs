//! Deadlock seen at once: every actor of a schedule sleeps in the kernel, and the only thread that does not is the one
//! that asks.
//!
//! Decisions: what an actor does is asked of the kernel (`/proc/self/task`): a thread that has been woken and has not run
//! yet is runnable there, so a slow machine is not taken for a deadlock, as a time limit would. Nobody in a schedule
//! sleeps for a time. Where there is no such directory nothing is ever decided, and a time limit remains.

use e4_sync::{Arc, Mutex, Rank};
use std::path::PathBuf;

/// The threads of a schedule that have begun and not ended.
#[derive(Clone)]
pub(super) struct Actors {
    live: Arc<Mutex<Live>>,
}

#[derive(Default)]
struct Live {
    /// Started, perhaps not running yet.
    started: usize,
    /// Where the kernel tells about each that runs.
    running: Vec<PathBuf>,
}

/// An actor's membership; it ends with it.
pub(super) struct Membership {
    actors: Actors,
    place: Option<PathBuf>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut live = self.actors.live.lock();
        live.started -= 1;
        if let Some(place) = &self.place {
            live.running.retain(|p| p != place);
        }
    }
}

impl Actors {
    pub(super) fn new() -> Actors {
        Actors {
            live: Arc::new(Mutex::new(Rank::LEAF, Live::default())),
        }
    }

    /// Before a thread is started.
    pub(super) fn enlist(&self) -> Membership {
        self.live.lock().started += 1;
        Membership {
            actors: self.clone(),
            place: None,
        }
    }

    /// True if nobody can do anything any more without the thread that asks.
    pub(super) fn are_stuck(&self) -> bool {
        let Some(first) = self.asleep() else {
            return false;
        };
        // Twice the same: nobody has run in between, so they slept all at the same time.
        self.asleep().is_some_and(|second| second == first)
    }

    /// How often each actor has gone to sleep, if all of them sleep.
    fn asleep(&self) -> Option<Vec<String>> {
        let live = self.live.lock();
        if live.running.len() != live.started {
            return None;
        }
        let places = live.running.clone();
        drop(live);
        places.into_iter().map(naps).collect()
    }
}

impl Membership {
    /// First thing in the thread.
    pub(super) fn begin(&mut self) {
        let thread = std::fs::read_link("/proc/thread-self");
        let place = PathBuf::from("/proc").join(thread.unwrap_or_default());
        self.actors.live.lock().running.push(place.clone());
        self.place = Some(place);
    }
}

/// How often a thread has gone to sleep, if it sleeps now.
fn naps(place: PathBuf) -> Option<String> {
    let text = std::fs::read_to_string(place.join("status")).ok()?;
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let state = line("State:")?.trim_start();
    let naps = line("voluntary_ctxt_switches:")?;
    state.starts_with('S').then(|| naps.to_owned())
}
