//! One scenario for shuttle and for real threads: submitters against truncates, fsyncs, readers,
//! failing device requests and failing conversions, with two reapers (one delivers, one may only
//! collect) and a worker.
//!
//! Every block has an owner number. A truncate publishes the new size, drains, and only then gives
//! the blocks to another owner. What must never happen:
//! - a device request, a publish or a read runs while its blocks have a new owner (S02, S07, S12,
//!   S14: the truncate went on too early);
//! - a barrier returns before everything that completed earlier was acknowledged (S02, S03);
//! - an acknowledgement comes twice, or says success for data nobody can read (S11, S19, S20);
//! - an error reaches no observer, or one observer twice (S21);
//! - anything is left over, or nobody makes progress (shuttle reports the deadlock).

use e4_completion::{
    Batch, Converter, Drain, Engine, InodeIo, InodeKey, Intent, Limits, RequestRef, Whole,
};
use e4_sync::atomic::{AtomicU32, Ordering};
use e4_sync::{Arc, Condvar, Mutex, Rank, thread};
use std::ops::Range;

const BLOCKS: u32 = 8;

/// A write in flight.
#[derive(Clone, Copy, Debug)]
struct Io {
    number: u32,
    first: u32,
    owners: [u32; 2],
    fails: bool,
    publish_fails: bool,
}

impl Io {
    fn blocks(&self) -> Range<u32> {
        self.first..self.first + 2
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Fate {
    completed: bool,
    acknowledged: Option<bool>,
}

struct Books {
    owners: [u32; BLOCKS as usize],
    readable: [Option<u32>; BLOCKS as usize],
    fates: Vec<Fate>,
    failures: u32,
}

struct File(Mutex<Books>);

impl File {
    fn check_owners(&self, io: &Io, doing: &str) {
        let books = self.0.lock();
        for (i, b) in io.blocks().enumerate() {
            let now = books.owners[b as usize];
            assert_eq!(
                now, io.owners[i],
                "{doing} of write {} on a freed block",
                io.number
            );
        }
    }
}

struct Port;

impl Converter for Port {
    type Io = Io;
    type Inode = File;
    type Error = i32;

    fn publish(&self, inode: &InodeIo<Self>, batch: &mut Batch<'_, Self>) {
        batch.for_each(|conversion| {
            let io = *conversion.io;
            assert!(!io.fails, "I-32");
            inode.data().check_owners(&io, "publish");
            if io.publish_fails {
                return Err(-28);
            }
            let mut books = inode.data().0.lock();
            for b in io.blocks() {
                books.readable[b as usize] = Some(io.number);
            }
            Ok(())
        });
    }

    fn acknowledge(&self, inode: &InodeIo<Self>, io: Io, outcome: Result<(), i32>) {
        inode.data().check_owners(&io, "acknowledgement");
        let mut books = inode.data().0.lock();
        assert_eq!(outcome.is_err(), io.fails || io.publish_fails);
        assert!(
            outcome.is_err() || books.readable[io.first as usize].is_some(),
            "I-27"
        );
        books.failures += u32::from(outcome.is_err());
        let fate = &mut books.fates[io.number as usize];
        assert_eq!(fate.acknowledged, None, "acknowledged twice");
        fate.acknowledged = Some(outcome.is_ok());
    }

    fn abandoned(&self) -> i32 {
        -125
    }
}

/// The device: requests in, completions out in any order a thread happens to take them.
struct Device {
    queue: Mutex<Queue>,
    changed: Condvar,
}

struct Queue {
    requests: Vec<(RequestRef<Port>, Io)>,
    closed: bool,
}

struct Storm {
    engine: Engine<Port>,
    inode: Arc<InodeIo<Port>>,
    device: Device,
    next: AtomicU32,
    writes: u32,
}

impl Storm {
    fn submit(&self, intent_choice: u32) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let first = number * 3 % (BLOCKS - 1);
        let bytes = u64::from(first) * 4096..u64::from(first + 2) * 4096;
        let drive = || self.reap_one(true);
        let admission = self
            .engine
            .admit_with(&self.inode, bytes, Intent::Write, &drive)
            .expect("not aborted");
        let owners = {
            let books = self.inode.data().0.lock();
            [
                books.owners[first as usize],
                books.owners[first as usize + 1],
            ]
        };
        let io = Io {
            number,
            first,
            owners,
            fails: (number + intent_choice) % 4 == 1,
            publish_fails: (number + intent_choice) % 4 == 3,
        };
        let request = admission.submit_whole(Whole {
            io,
            blocks: io.blocks(),
            size: None,
        });
        self.device.queue.lock().requests.push((request, io));
        self.device.changed.notify_one();
    }

    /// Performs one request, if there is one.
    fn reap_one(&self, inline: bool) -> bool {
        let taken = {
            let mut queue = self.device.queue.lock();
            let middle = queue.requests.len() / 2;
            (!queue.requests.is_empty()).then(|| queue.requests.remove(middle))
        };
        let some = taken.is_some();
        if let Some((request, io)) = taken {
            self.complete(request, io, inline);
        }
        some
    }

    fn complete(&self, request: RequestRef<Port>, io: Io, inline: bool) {
        self.inode.data().check_owners(&io, "device write");
        let result = if io.fails { Err(-5) } else { Ok(()) };
        if inline {
            self.engine.request_done(request, result);
        } else {
            self.engine.collect_batch([(request, result)]);
        }
        self.inode.data().0.lock().fates[io.number as usize].completed = true;
    }

    fn reaper(&self, inline: bool) {
        loop {
            if self.reap_one(inline) {
                continue;
            }
            let mut queue = self.device.queue.lock();
            if !queue.requests.is_empty() {
                continue;
            }
            if queue.closed {
                return;
            }
            self.device.changed.wait(&mut queue);
        }
    }

    fn truncate(&self, blocks: Range<u32>) {
        let observer = self.inode.observer();
        let bytes = u64::from(blocks.start) * 4096..u64::from(blocks.end) * 4096;
        let drive = || self.reap_one(true);
        let mode = Drain::Exclusive;
        let mut tries = 0;
        let guard = loop {
            match self
                .engine
                .drain(&self.inode, bytes.clone(), mode, &observer, &drive)
            {
                Ok(guard) => break guard,
                Err(_) => tries += 1,
            }
            assert!(tries <= self.writes, "one error told again and again");
        };
        {
            let mut books = self.inode.data().0.lock();
            for b in blocks {
                books.owners[b as usize] += 1;
                books.readable[b as usize] = None;
            }
        }
        // Zeros for a partial block, by the holder itself.
        let own = guard
            .admit(bytes, Intent::Overwrite, &drive)
            .expect("not aborted");
        drop(guard);
        drop(own);
    }

    fn fsync(&self, observer: &e4_completion::Observer<Port>) -> u32 {
        let completed: Vec<usize> = {
            let books = self.inode.data().0.lock();
            let fates = books.fates.iter().enumerate();
            fates.filter(|(_, f)| f.completed).map(|(n, _)| n).collect()
        };
        let outcome = self.engine.barrier(&self.inode, observer);
        let books = self.inode.data().0.lock();
        for n in completed {
            assert!(
                books.fates[n].acknowledged.is_some(),
                "barrier before write {n}"
            );
        }
        u32::from(outcome.is_err())
    }

    fn read(&self, first: u32) {
        let bytes = u64::from(first) * 4096..u64::from(first + 1) * 4096;
        let admission = self
            .engine
            .admit(&self.inode, bytes, Intent::Read)
            .expect("not aborted");
        let before = self.inode.data().0.lock().owners[first as usize];
        thread::yield_now();
        let after = self.inode.data().0.lock().owners[first as usize];
        assert_eq!(before, after, "a block was freed under a read");
        drop(admission);
    }
}

fn start(writes: u32) -> Arc<Storm> {
    let limits = Limits {
        per_inode: 4,
        writes: 3,
        drain_batch: 2,
    };
    let engine = Engine::new(Port, limits);
    let books = Books {
        owners: [0; BLOCKS as usize],
        readable: [None; BLOCKS as usize],
        fates: vec![Fate::default(); writes as usize],
        failures: 0,
    };
    let inode = engine.register(InodeKey(1), File(Mutex::new(Rank::LEAF, books)));
    Arc::new(Storm {
        engine,
        inode,
        device: Device {
            queue: Mutex::new(
                Rank::LEAF,
                Queue {
                    requests: Vec::new(),
                    closed: false,
                },
            ),
            changed: Condvar::new(),
        },
        next: AtomicU32::new(0),
        writes,
    })
}

/// Runs the storm once: `writes` writes in all, `rounds` truncates, fsyncs and reads.
pub(crate) fn storm(writes: u32, rounds: u32) {
    let storm = start(writes);
    let spawn = |f: Box<dyn FnOnce(&Storm) + Send>| {
        let storm = Arc::clone(&storm);
        thread::spawn(move || f(&storm))
    };
    let reapers = [
        spawn(Box::new(|s| s.reaper(true))),
        spawn(Box::new(|s| s.reaper(false))),
    ];
    let worker = spawn(Box::new(|s| s.engine.work()));
    let observer = storm.inode.observer();
    let each = writes / 2;
    let working = [
        spawn(Box::new(move |s| (0..each).for_each(|_| s.submit(0)))),
        spawn(Box::new(move |s| {
            (each..s.writes).for_each(|_| s.submit(1))
        })),
        spawn(Box::new(move |s| {
            for round in 0..rounds {
                let first = round * 5 % BLOCKS;
                s.truncate(first..(first + 3).min(BLOCKS));
            }
        })),
        spawn(Box::new(move |s| {
            for round in 0..rounds {
                s.read(round * 3 % BLOCKS);
            }
        })),
    ];
    let mut learned = 0;
    for _ in 0..rounds {
        learned += storm.fsync(&observer);
    }
    for t in working {
        t.join().expect("worker");
    }
    drop(storm.engine.quiesce(&storm.inode, &|| storm.reap_one(true)));
    learned += storm.fsync(&observer);
    storm.device.queue.lock().closed = true;
    storm.device.changed.notify_all();
    // I-44: the workers last, for a reaper may still be handing them an inode.
    for t in reapers {
        t.join().expect("reaper");
    }
    storm.engine.stop_workers();
    worker.join().expect("worker");
    let failures = {
        let books = storm.inode.data().0.lock();
        assert!(
            books.fates.iter().all(|f| f.acknowledged.is_some()),
            "somebody was not told"
        );
        books.failures
    };
    assert_eq!(
        learned > 0,
        failures > 0,
        "{failures} failures, {learned} learned"
    );
    assert!(learned <= failures, "an error was told twice");
    assert_eq!(storm.fsync(&observer), 0);
    assert!(storm.inode.is_idle(), "{}", storm.engine.dump());
    assert_eq!(storm.engine.writes_in_flight(), 0);
}
