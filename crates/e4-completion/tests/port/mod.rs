//! The converter of the tests: a file is a map of blocks, and every call is logged.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use e4_completion::{
    Batch, Converter, Engine, InodeIo, InodeKey, Intent, Limits, RequestRef, Whole,
};
use e4_sync::{Arc, Mutex, Rank};
use std::collections::BTreeSet;

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happened {
    Published(u64, u32),
    Acknowledged(u64, u32, Result<(), i32>),
}

/// Test double of the filesystem. An io is a number of the test's choice.
#[derive(Default)]
pub struct Port {
    pub log: Log,
    /// Publishing these blocks fails with the error.
    pub refuse: Refuse,
}

pub struct Log(pub Mutex<Vec<Happened>>);

impl Default for Log {
    fn default() -> Self {
        Log(Mutex::new(Rank::LEAF, Vec::new()))
    }
}

pub struct Refuse(pub Mutex<Option<(u32, i32)>>);

impl Default for Refuse {
    fn default() -> Self {
        Refuse(Mutex::new(Rank::LEAF, None))
    }
}

/// The blocks a reader would see as written.
pub struct File(pub Mutex<BTreeSet<u32>>);

pub type Inode = Arc<InodeIo<Port>>;

impl Converter for Port {
    type Io = u32;
    type Inode = File;
    type Error = i32;

    fn publish(&self, inode: &InodeIo<Self>, batch: &mut Batch<'_, Self>) {
        let refuse = *self.refuse.0.lock();
        batch.for_each(|conversion| {
            for blocks in conversion.segments.iter() {
                if let Some((block, error)) = refuse
                    && blocks.contains(&block)
                {
                    return Err(error);
                }
                inode.data().0.lock().extend(blocks);
            }
            let happened = Happened::Published(inode.key().0, *conversion.io);
            self.log.0.lock().push(happened);
            Ok(())
        });
    }

    fn acknowledge(&self, inode: &InodeIo<Self>, io: u32, outcome: Result<(), i32>) {
        let happened = Happened::Acknowledged(inode.key().0, io, outcome);
        self.log.0.lock().push(happened);
    }

    fn abandoned(&self) -> i32 {
        -125
    }
}

pub fn engine() -> Engine<Port> {
    Engine::new(Port::default(), Limits::DEFAULT)
}

pub fn file(engine: &Engine<Port>, key: u64) -> Inode {
    let blocks = File(Mutex::new(Rank::LEAF, BTreeSet::new()));
    engine.register(InodeKey(key), blocks)
}

/// Admits and submits a single-request write of some blocks.
pub fn write(
    engine: &Engine<Port>,
    inode: &Inode,
    io: u32,
    blocks: std::ops::Range<u32>,
) -> RequestRef<Port> {
    let bytes = u64::from(blocks.start) * 4096..u64::from(blocks.end) * 4096;
    let admission = engine.admit(inode, bytes, Intent::Write).expect("admitted");
    admission.submit_whole(Whole {
        io,
        blocks,
        size: None,
    })
}

/// What the log says about deliveries, in order.
pub fn delivered(engine: &Engine<Port>) -> Vec<(u32, Result<(), i32>)> {
    let log = engine.converter().log.0.lock();
    let acks = log.iter().filter_map(|h| match h {
        Happened::Acknowledged(_, io, outcome) => Some((*io, *outcome)),
        Happened::Published(..) => None,
    });
    acks.collect()
}

/// The blocks a reader sees.
pub fn readable(inode: &Inode) -> Vec<u32> {
    inode.data().0.lock().iter().copied().collect()
}
