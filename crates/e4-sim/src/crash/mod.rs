//! Every state a power cut can leave a disk in, as far as a bound allows.
//!
//! A power cut has a position in the log (a [`CrashPoint`]) and an outcome for every write pending there:
//! on the medium, not, or torn. Up to [`Bound::exhaustive`] pending writes every subset is made; above, a
//! fixed set of telling ones (nothing, everything, everything but one, only the newest) and seeded
//! samples. Torn states come on top. The same arguments give the same states in the same order.

mod image;
pub(crate) mod replay;

pub use image::CrashImage;

use crate::log::{Event, Log};
use crate::rng::Rng;
use e4_sync::Arc;
use hashbrown::HashSet;
use image::{Choice, Part};
use replay::{Pending, Replay};
use std::collections::VecDeque;

/// A moment at which the power may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashPoint {
    /// The position in the log.
    pub position: u64,
    /// What has just happened.
    pub kind: PointKind,
}

/// Why a position is worth a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointKind {
    /// The log begins.
    Begin,
    /// A write has been submitted.
    Submitted,
    /// Some writes have completed (so somebody may have been told).
    Completed,
    /// A flush has ended.
    Flushed,
    /// A label of the test's.
    Mark,
    /// The log ends.
    End,
}

/// How many states to make per crash point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// With at most this many pending writes, all subsets (2^n).
    pub exhaustive: usize,
    /// With more, this many random subsets in random legal order, besides the telling ones.
    pub reorderings: usize,
    /// This many random states with torn writes.
    pub torn: usize,
    /// Decides all random choices.
    pub seed: u64,
}

impl Default for Bound {
    fn default() -> Self {
        Bound {
            exhaustive: 3,
            reorderings: 8,
            torn: 4,
            seed: 1,
        }
    }
}

impl Bound {
    /// This many reorderings per point, drawn from a seed; the rest as by default.
    #[must_use]
    pub fn new(reorderings: usize, seed: u64) -> Bound {
        Bound {
            reorderings,
            seed,
            ..Bound::default()
        }
    }
}

impl Log {
    /// The positions at which a power cut can make a difference, in order.
    pub fn crash_points(&self) -> impl Iterator<Item = CrashPoint> + '_ {
        let count = self.events.len();
        (0..=count).filter_map(move |n| {
            let kind = match n.checked_sub(1).map(|before| self.events[before]) {
                None => PointKind::Begin,
                Some(Event::Submitted(_)) => PointKind::Submitted,
                Some(Event::FlushEnded { .. }) => PointKind::Flushed,
                Some(Event::Mark(_)) => PointKind::Mark,
                _ if n == count => PointKind::End,
                // One point for a row of completions: the medium is the same throughout.
                Some(Event::Completed { .. })
                    if !matches!(self.events[n], Event::Completed { .. }) =>
                {
                    PointKind::Completed
                }
                _ => return None,
            };
            let position = self.origin + n as u64;
            Some(CrashPoint { position, kind })
        })
    }

    /// The states a power cut at `point` can leave, within the bound.
    #[must_use]
    pub fn states_at(&self, point: CrashPoint, bound: Bound) -> States {
        let replay = self.replay_to(point.position);
        let seed = Rng::new(bound.seed).fork(point.position).next_u64();
        let choices = Chooser::new(self, &replay, seed).all(bound);
        States {
            log: self.clone(),
            fingerprint: replay.fingerprint,
            medium: replay.medium,
            position: point.position,
            choices: choices.into(),
        }
    }

    /// What the medium holds if everything pending at `position` is lost (`all` false) or kept.
    #[must_use]
    pub fn state(&self, position: u64, all: bool) -> CrashImage {
        let replay = self.replay_to(position);
        let choice = if all {
            Chooser::new(self, &replay, 0).whole(|_| true)
        } else {
            Choice::default()
        };
        let medium = (&replay.medium, replay.fingerprint);
        CrashImage::new(self, medium, position, choice)
    }

    fn replay_to(&self, position: u64) -> Replay {
        let events = position.saturating_sub(self.origin) as usize;
        let mut cursor = self.cursor.lock();
        let mut replay = match cursor.take() {
            Some(replay) if replay.events <= events => replay,
            _ => Replay::new(self),
        };
        replay.advance(self, events);
        cursor.insert(replay).clone()
    }
}

/// The states of one crash point.
pub struct States {
    log: Log,
    medium: Arc<crate::image::Image>,
    fingerprint: u64,
    position: u64,
    choices: VecDeque<Choice>,
}

impl Iterator for States {
    type Item = CrashImage;

    fn next(&mut self) -> Option<CrashImage> {
        let choice = self.choices.pop_front()?;
        Some(CrashImage::new(
            &self.log,
            (&self.medium, self.fingerprint),
            self.position,
            choice,
        ))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.choices.len(), Some(self.choices.len()))
    }
}

impl ExactSizeIterator for States {}

/// Makes choices among the pending writes of a point.
struct Chooser<'a> {
    log: &'a Log,
    end: usize,
    /// In the canonical order: by completion, writes still in flight last.
    pending: Vec<&'a Pending>,
    rng: Rng,
}

impl<'a> Chooser<'a> {
    fn new(log: &'a Log, replay: &'a Replay, seed: u64) -> Chooser<'a> {
        let mut pending: Vec<&Pending> = replay.pending.iter().collect();
        pending.sort_by_key(|p| p.completed.unwrap_or(usize::MAX));
        Chooser {
            log,
            end: replay.events,
            pending,
            rng: Rng::new(seed),
        }
    }

    fn all(mut self, bound: Bound) -> Vec<Choice> {
        let count = self.pending.len();
        let mut choices = Vec::new();
        if count <= bound.exhaustive.min(16) {
            for subset in 0..1u32 << count {
                choices.push(self.whole(|n| subset >> n & 1 == 1));
            }
        } else {
            choices.push(self.whole(|_| false));
            choices.push(self.whole(|_| true));
            // What has just been written is what matters most: newest first.
            for newest in (0..count).rev().take(bound.reorderings.div_ceil(4)) {
                choices.push(self.whole(|n| n != newest));
                choices.push(self.whole(|n| n == newest));
            }
            for _ in 0..bound.reorderings {
                choices.push(self.random(false));
            }
        }
        if count > 0 {
            for _ in 0..bound.torn {
                choices.push(self.random(true));
            }
        }
        let mut seen = HashSet::new();
        choices.retain(|choice| seen.insert(choice.clone()));
        choices
    }

    /// The chosen writes, whole, in the canonical order.
    fn whole(&self, mut chosen: impl FnMut(usize) -> bool) -> Choice {
        let indexes = (0..self.pending.len()).filter(|&n| chosen(n));
        let parts = indexes.map(|n| part(self.pending[n], &[])).collect();
        Choice { parts }
    }

    /// A random subset in a random legal order, perhaps with torn writes.
    fn random(&mut self, torn: bool) -> Choice {
        // From "almost everything" to "almost nothing".
        let keep = self.rng.below(17);
        let mut parts = Vec::new();
        for n in 0..self.pending.len() {
            let pending = self.pending[n];
            if !self.rng.chance(keep, 16) {
                continue;
            }
            // A completed write took effect when it completed, one in flight at any moment so far.
            let moment = pending.completed.unwrap_or_else(|| {
                let span = (self.end - pending.submitted) as u64;
                pending.submitted + self.rng.below(span + 1) as usize
            });
            let missing = if torn && self.rng.chance(1, 2) {
                self.tear(pending)
            } else {
                Vec::new()
            };
            parts.push((moment, part(pending, &missing)));
        }
        parts.sort_by_key(|(moment, _)| *moment);
        let parts = parts.into_iter().map(|(_, part)| part);
        Choice {
            parts: parts
                .filter(|p| p.missing.len() as u64 * 512 < p.len)
                .collect(),
        }
    }

    /// Which sectors a torn write loses: the tail, the head, or any.
    fn tear(&mut self, pending: &Pending) -> Vec<u64> {
        let refill = matches!(
            self.log.writes[pending.write].payload,
            crate::log::Payload::Refill(_)
        );
        let sectors = pending.sectors() as u64;
        if refill || sectors < 2 {
            return Vec::new();
        }
        let cut = 1 + self.rng.below(sectors - 1);
        match self.rng.below(3) {
            0 => (cut..sectors).collect(),
            1 => (0..cut).collect(),
            _ => (0..sectors).filter(|_| self.rng.chance(1, 2)).collect(),
        }
    }
}

fn part(pending: &Pending, missing: &[u64]) -> Part {
    let mut missing = [missing, &pending.settled].concat();
    missing.sort_unstable();
    missing.dedup();
    Part {
        write: pending.write,
        len: pending.len,
        missing,
    }
}
