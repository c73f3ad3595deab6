//! The requests a ring is working on: a slab whose entries own their buffers.
//!
//! Invariants:
//! - An entry lives from before its submission entry is pushed until its last completion entry was
//!   reaped, so the memory the kernel works on cannot be freed in between: only [`Flights::land`]
//!   takes an entry out.
//! - A key is index plus generation; a completion with a stale key is ignored, never misattributed.

use crate::{Completion, DeviceError, IoSlice, Op, Request, Returned, Token};

/// Requests in the kernel per queue, at most. The completion ring is twice as large, so it never overflows.
pub(super) const CAPACITY: usize = 512;

/// A request under way. `done` bytes of it have been transferred.
pub(super) struct Flight {
    token: Token,
    pub(super) at: u64,
    pub(super) done: usize,
    pub(super) retries: u32,
    pub(super) cargo: Cargo,
}

pub(super) enum Cargo {
    Read(crate::AlignedBuf),
    Write(IoSlice),
    /// The size has to become durable too.
    Flush {
        sync_size: bool,
    },
}

impl Flight {
    pub(super) fn new(request: Request, sync_size: bool) -> Flight {
        let (at, cargo) = match request.op {
            Op::Read { at, buf } => (at, Cargo::Read(buf)),
            Op::Write { at, data } => (at, Cargo::Write(data)),
            Op::Flush => (0, Cargo::Flush { sync_size }),
        };
        Flight {
            token: request.token,
            at,
            done: 0,
            retries: 0,
            cargo,
        }
    }

    pub(super) fn name(&self) -> &'static str {
        match self.cargo {
            Cargo::Read(_) => "read",
            Cargo::Write(_) => "write",
            Cargo::Flush { .. } => "flush",
        }
    }

    /// Bytes to transfer; 0 for a flush.
    pub(super) fn len(&self) -> usize {
        match &self.cargo {
            Cargo::Read(buf) => buf.len(),
            Cargo::Write(data) => data.len(),
            Cargo::Flush { .. } => 0,
        }
    }

    pub(super) fn into_completion(self, result: Result<(), DeviceError>) -> Completion {
        let returned = match self.cargo {
            Cargo::Read(buf) => Returned::Read(buf),
            Cargo::Write(data) => Returned::Write(data),
            Cargo::Flush { .. } => Returned::None,
        };
        Completion {
            token: self.token,
            result: result.map_err(Box::new),
            returned,
        }
    }
}

/// Names a flight in the kernel (`user_data`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key(pub(super) u64);

impl Key {
    /// Never a flight: indexes stay below [`CAPACITY`].
    pub(super) const WAKE: Key = Key(u64::MAX);

    fn new(index: usize, generation: u32) -> Key {
        Key(u64::from(generation) << 32 | index as u64)
    }

    fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The slab.
#[derive(Default)]
pub(super) struct Flights {
    slots: Vec<Slot>,
    free: Vec<usize>,
    count: usize,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    flight: Option<Flight>,
}

impl Flights {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= CAPACITY
    }

    /// Stores a flight; the caller has checked that there is room.
    pub(super) fn board(&mut self, flight: Flight) -> (Key, &mut Flight) {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        self.count += 1;
        let slot = &mut self.slots[index];
        let key = Key::new(index, slot.generation);
        (key, slot.flight.insert(flight))
    }

    pub(super) fn get(&mut self, key: Key) -> Option<&mut Flight> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation() {
            return None;
        }
        slot.flight.as_mut()
    }

    /// Takes a flight out; its key is dead from now on.
    pub(super) fn land(&mut self, key: Key) -> Option<Flight> {
        self.get(key)?;
        let slot = self.slots.get_mut(key.index())?;
        let flight = slot.flight.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index());
        self.count -= 1;
        Some(flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flush(token: u64) -> Flight {
        let request = Request {
            token: Token(token),
            op: Op::Flush,
        };
        Flight::new(request, false)
    }

    #[test]
    fn stale_keys_name_nothing() {
        let mut flights = Flights::default();
        let (first, _) = flights.board(flush(1));
        assert_eq!(flights.land(first).map(|f| f.token), Some(Token(1)));
        let (second, _) = flights.board(flush(2));
        assert_eq!(second.index(), first.index());
        assert!(flights.get(first).is_none());
        assert!(flights.land(first).is_none());
        assert_eq!(flights.len(), 1);
        assert!(flights.land(Key::WAKE).is_none());
        assert_eq!(flights.land(second).map(|f| f.token), Some(Token(2)));
        assert!(flights.land(second).is_none());
        assert_eq!(flights.len(), 0);
    }
}
