//! The engine with a toy file under it, gates in its callbacks, and actors on threads.

use super::Outcome;
use super::stuck::Actors;
use e4_completion::{
    Batch, Conversion, Converter, Drain, DrainGuard, Engine, InodeIo, InodeKey, Intent, Limits,
    NO_DRIVE, Observer, RequestRef, SizeUpdate, Whole,
};
use e4_sync::{Arc, Condvar, Duration, Mutex, Rank, now, thread};
use std::ops::Range;

/// Blocks of the toy file that have an owner; writes beyond are only counted.
const BLOCKS: usize = 16;
/// How long a schedule may take before it counts as stuck, where nobody can tell that it is. Far beyond anything a
/// loaded machine needs: it only turns a hang into a report.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a drainer can be parked. P1 is "the test has not completed the request", P2 is
/// "collected, nobody drains".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::race) enum Place {
    /// P3: drained, not published.
    Drained,
    /// P4: published, the engine does not know yet.
    Published,
    /// P6: about to deliver.
    Deliver,
    /// P7: delivered, the slot still in use.
    Delivered,
}

/// A write of the lab.
#[derive(Clone, Debug)]
pub(in crate::race) struct Io {
    pub number: u32,
    pub blocks: Range<u32>,
    owners: Vec<u32>,
    /// Publishing fails with this.
    pub refuse: Option<i32>,
}

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::race) enum Note {
    Arrived(u32),
    Published(u32, Vec<Range<u32>>),
    /// Number, outcome, and whether a reader saw the data at that moment.
    Delivered(u32, Result<(), i32>, bool),
    /// An actor says something.
    Said(&'static str),
}

impl Note {
    /// One range was published.
    pub(in crate::race) fn published(number: u32, blocks: Range<u32>) -> Note {
        Note::Published(number, std::iter::once(blocks).collect())
    }
}

/// The toy file: who owns each block, and which write a reader sees.
pub(in crate::race) struct Books {
    pub owners: [u32; BLOCKS],
    pub readable: [Option<u32>; BLOCKS],
    pub size: u64,
    pub notes: Vec<Note>,
    broken: Vec<String>,
}

struct Stops {
    /// (place, inode, write number, somebody is there)
    armed: Vec<(Place, u64, u32, bool)>,
}

/// The converter: a gate before and after each half.
pub(in crate::race) struct Port {
    stops: Mutex<Stops>,
    changed: Condvar,
}

pub(in crate::race) type Inode = Arc<InodeIo<Port>>;

impl Port {
    fn pass(&self, place: Place, inode: u64, number: u32) {
        let mut stops = self.stops.lock();
        let same = |a: &(Place, u64, u32, bool)| (a.0, a.1, a.2) == (place, inode, number);
        if let Some(stop) = stops.armed.iter_mut().find(|a| same(a)) {
            stop.3 = true;
            self.changed.notify_all();
        }
        while stops.armed.iter().any(same) {
            self.changed.wait(&mut stops);
        }
    }

    fn publish_one(&self, inode: &InodeIo<Self>, c: &Conversion<'_, Self>) -> Result<(), i32> {
        let io = c.io;
        self.pass(Place::Drained, inode.key().0, io.number);
        if let Some(error) = io.refuse {
            return Err(error);
        }
        {
            let mut books = inode.data().lock();
            books.check_owners(io, "a conversion");
            let segments: Vec<_> = c.segments.iter().collect();
            for block in segments.iter().cloned().flatten() {
                if let Some(slot) = books.readable.get_mut(block as usize) {
                    *slot = Some(io.number);
                }
            }
            if let Some(size) = c.size {
                books.size = books.size.max(size.end);
            }
            books.notes.push(Note::Published(io.number, segments));
        }
        self.pass(Place::Published, inode.key().0, io.number);
        Ok(())
    }
}

impl Books {
    fn check_owners(&mut self, io: &Io, doing: &str) {
        for (i, block) in io.blocks.clone().enumerate() {
            let now = self.owners.get(block as usize);
            if now.is_some_and(|n| io.owners.get(i) != Some(n)) {
                let what = format!(
                    "{doing} of write {} on block {block} after it was freed",
                    io.number
                );
                self.broken.push(what);
            }
        }
    }
}

impl Converter for Port {
    type Io = Io;
    type Inode = Mutex<Books>;
    type Error = i32;

    fn publish(&self, inode: &InodeIo<Self>, batch: &mut Batch<'_, Self>) {
        batch.for_each(|conversion| self.publish_one(inode, &conversion));
    }

    fn acknowledge(&self, inode: &InodeIo<Self>, io: Io, outcome: Result<(), i32>) {
        self.pass(Place::Deliver, inode.key().0, io.number);
        {
            let mut books = inode.data().lock();
            books.check_owners(&io, "the delivery");
            let seen = |b: u32| books.readable.get(b as usize).is_none_or(Option::is_some);
            let visible = io.blocks.clone().all(seen);
            books
                .notes
                .push(Note::Delivered(io.number, outcome, visible));
        }
        self.pass(Place::Delivered, inode.key().0, io.number);
    }

    fn abandoned(&self) -> i32 {
        -125
    }
}

/// A place somebody will be parked at; dropping it lets everybody through.
pub(in crate::race) struct Gate<'a> {
    port: &'a Port,
    actors: &'a Actors,
    at: (Place, u64, u32),
}

impl Gate<'_> {
    /// Waits until somebody is parked here.
    pub(in crate::race) fn reached(&self) -> Outcome {
        let here = |a: &(Place, u64, u32, bool)| (a.0, a.1, a.2) == self.at && a.3;
        patiently(
            self.actors,
            || self.port.stops.lock().armed.iter().any(here),
            || format!("nobody arrives at {:?}", self.at),
        )
    }

    /// Lets whoever is parked go on.
    pub(in crate::race) fn open(self) {}
}

impl Drop for Gate<'_> {
    fn drop(&mut self) {
        let mut stops = self.port.stops.lock();
        stops.armed.retain(|a| (a.0, a.1, a.2) != self.at);
        self.port.changed.notify_all();
    }
}

/// An actor on a thread of its own.
pub(in crate::race) struct Actor<T> {
    name: &'static str,
    actors: Actors,
    thread: thread::JoinHandle<T>,
}

impl<T> Actor<T> {
    /// True if it has returned.
    pub(in crate::race) fn is_done(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for it.
    pub(in crate::race) fn done(self) -> Result<T, String> {
        patiently(
            &self.actors,
            || self.thread.is_finished(),
            || format!("{} never returns", self.name),
        )?;
        self.thread
            .join()
            .map_err(|_| format!("{} panicked", self.name))
    }
}

/// Waits for a condition, yielding. What no actor can bring about any more is not waited for.
fn patiently(actors: &Actors, holds: impl Fn() -> bool, what: impl Fn() -> String) -> Outcome {
    let (start, mut looks) = (now(), 0_u32);
    while !holds() {
        thread::yield_now();
        looks += 1;
        // Asking the kernel costs more than looking.
        if !looks.is_multiple_of(64) {
            continue;
        }
        if actors.are_stuck() {
            // What the last one did before it fell asleep counts.
            return if holds() { Ok(()) } else { Err(what()) };
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{} (after {PATIENCE:?})", what()));
        }
    }
    Ok(())
}

/// An engine, one file (number 1), and room for more.
#[derive(Clone)]
pub(in crate::race) struct Lab {
    pub engine: Engine<Port>,
    pub file: Inode,
    actors: Actors,
}

impl Lab {
    pub(in crate::race) fn new() -> Lab {
        let port = Port {
            stops: Mutex::new(Rank::LEAF, Stops { armed: Vec::new() }),
            changed: Condvar::new(),
        };
        let limits = Limits {
            drain_batch: 4,
            ..Limits::DEFAULT
        };
        let engine = Engine::new(port, limits);
        let file = Lab::file(&engine, 1);
        let actors = Actors::new();
        Lab {
            engine,
            file,
            actors,
        }
    }

    fn file(engine: &Engine<Port>, key: u64) -> Inode {
        let books = Books {
            owners: [0; BLOCKS],
            readable: [None; BLOCKS],
            size: 0,
            notes: Vec::new(),
            broken: Vec::new(),
        };
        engine.register(InodeKey(key), Mutex::new(Rank::LEAF, books))
    }

    /// Another file of the same engine.
    pub(in crate::race) fn another(&self, key: u64) -> Inode {
        Lab::file(&self.engine, key)
    }

    /// The byte range of some blocks.
    pub(in crate::race) fn bytes(blocks: &Range<u32>) -> Range<u64> {
        u64::from(blocks.start) * 4096..u64::from(blocks.end) * 4096
    }

    /// What a write of these blocks leaves for the drainer.
    pub(in crate::race) fn io(inode: &Inode, number: u32, blocks: Range<u32>) -> Io {
        let books = inode.data().lock();
        let owner = |b: u32| books.owners.get(b as usize).copied().unwrap_or(0);
        Io {
            number,
            owners: blocks.clone().map(owner).collect(),
            blocks,
            refuse: None,
        }
    }

    /// Admits and submits a write into unwritten blocks of the lab's file.
    pub(in crate::race) fn write(&self, number: u32, blocks: Range<u32>) -> RequestRef<Port> {
        self.write_to(&self.file, Lab::io(&self.file, number, blocks))
    }

    /// As `write`, to any file and with any io.
    pub(in crate::race) fn write_to(&self, inode: &Inode, io: Io) -> RequestRef<Port> {
        let bytes = Lab::bytes(&io.blocks);
        let end = bytes.end;
        let admitted = self.engine.admit(inode, bytes, Intent::Write);
        let Ok(admission) = admitted else {
            unreachable!("no schedule aborts the engine before it writes");
        };
        admission.submit_whole(Whole {
            blocks: io.blocks.clone(),
            io,
            size: Some(SizeUpdate { end, generation: 0 }),
        })
    }

    /// The data of a write reaches the disk: its blocks must still be the file's.
    pub(in crate::race) fn arrive(inode: &Inode, io: &Io) {
        let mut books = inode.data().lock();
        books.check_owners(io, "the data");
        books.notes.push(Note::Arrived(io.number));
    }

    /// Completes a request on a thread of its own: that thread drains and delivers.
    pub(in crate::race) fn complete(
        &self,
        request: RequestRef<Port>,
        result: Result<(), i32>,
    ) -> Actor<()> {
        let engine = self.engine.clone();
        self.actor("completer", move |_| engine.request_done(request, result))
    }

    /// Starts an actor.
    pub(in crate::race) fn actor<T: Send + 'static>(
        &self,
        name: &'static str,
        run: impl FnOnce(&Lab) -> T + Send + 'static,
    ) -> Actor<T> {
        let lab = self.clone();
        let mut membership = self.actors.enlist();
        Actor {
            name,
            actors: self.actors.clone(),
            thread: thread::spawn(move || {
                membership.begin();
                run(&lab)
            }),
        }
    }

    /// Parks the next thread that comes to `place` with this write of the lab's file.
    pub(in crate::race) fn park(&self, place: Place, number: u32) -> Gate<'_> {
        self.park_on(&self.file, place, number)
    }

    /// As `park`, for any file.
    pub(in crate::race) fn park_on(&self, inode: &Inode, place: Place, number: u32) -> Gate<'_> {
        let port = self.engine.converter();
        let at = (place, inode.key().0, number);
        port.stops.lock().armed.push((at.0, at.1, at.2, false));
        let actors = &self.actors;
        Gate { port, actors, at }
    }

    /// Waits until `count` threads are asleep in the engine on the lab's file.
    pub(in crate::race) fn asleep(&self, count: u32) -> Outcome {
        let file = &self.file;
        patiently(
            &self.actors,
            || file.dump().asleep >= count,
            || format!("nobody waits where somebody must: {}", file.dump()),
        )
    }

    /// A truncate of the lab's file from `blocks.start`: size first, then wait, then free.
    pub(in crate::race) fn truncate(
        &self,
        blocks: Range<u32>,
        observer: &Observer<Port>,
    ) -> Result<(), i32> {
        let bytes = Lab::bytes(&blocks);
        let guard = self
            .engine
            .drain(&self.file, bytes, Drain::Exclusive, observer, NO_DRIVE)?;
        self.free(&guard, blocks);
        Ok(())
    }

    /// Gives blocks to another file. The guard proves that nothing is in flight.
    pub(in crate::race) fn free(&self, _: &DrainGuard<Port>, blocks: Range<u32>) {
        let mut books = self.file.data().lock();
        for block in blocks {
            books.owners[block as usize] += 1;
            books.readable[block as usize] = None;
        }
        books.notes.push(Note::Said("freed"));
    }

    /// Notes something in order with everything else.
    pub(in crate::race) fn say(&self, what: &'static str) {
        self.file.data().lock().notes.push(Note::Said(what));
    }

    /// What happened on the lab's file so far.
    pub(in crate::race) fn notes(&self) -> Vec<Note> {
        self.file.data().lock().notes.clone()
    }

    /// True if both happened and `first` came first.
    pub(in crate::race) fn ordered(&self, first: &Note, second: &Note) -> bool {
        let notes = self.notes();
        let at = |n: &Note| notes.iter().position(|m| m == n);
        matches!((at(first), at(second)), (Some(a), Some(b)) if a < b)
    }

    /// What a reader sees of a block of the lab's file now.
    pub(in crate::race) fn reads(&self, block: u32) -> Option<u32> {
        self.file.data().lock().readable[block as usize]
    }

    /// The end of a schedule: nothing left over, nothing broken on the way.
    pub(in crate::race) fn at_rest(&self) -> Outcome {
        patiently(
            &self.actors,
            || self.file.pending() == 0 && self.engine.writes_in_flight() == 0,
            || format!("I-42: something is left over: {}", self.engine.dump()),
        )?;
        let broken = &self.file.data().lock().broken;
        match broken.first() {
            None => Ok(()),
            Some(what) => Err(what.clone()),
        }
    }
}
