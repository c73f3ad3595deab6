//! Disks that break the protocol on purpose. The explorer must find each of them; a green run is a failure.
//!
//! Decision: the bugs are built into a device between filesystem and disk, not into the filesystem: the
//! product needs no switch for them, and what the journal would do wrong by leaving out a flush is the
//! same as a disk that ignores it.

use crate::SimDisk;
use e4_device::{
    Completion, CompletionQueue, Device, DeviceError, DeviceInfo, Op, QueueId, Request, Wait,
};
use e4_sync::{Arc, Mutex, Rank};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Planted {
    /// Nothing: the disk as it is.
    #[default]
    Nothing,
    /// Queued writes (file data) reach the disk only after the next two flushes: the metadata that says
    /// "written" is durable before the data (S44, flip before write).
    LateData,
    /// Only flushes right after a commit record do anything: the record may be on the medium before what it
    /// commits, and before the data that it refers to.
    NoFlushBeforeRecord,
    /// Flushes right after a commit record do nothing: a commit is acknowledged before it is durable.
    NoFlushAfterRecord,
    /// Flushes do nothing at all.
    NoFlush,
}

impl Planted {
    /// Every bug.
    pub const ALL: [Planted; 4] = [
        Planted::LateData,
        Planted::NoFlushBeforeRecord,
        Planted::NoFlushAfterRecord,
        Planted::NoFlush,
    ];
}

/// A [`SimDisk`] behind a layer that is wrong.
pub struct PlantedDisk {
    disk: Arc<SimDisk>,
    planted: Planted,
    queues: Vec<CompletionQueue>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    late: Vec<Late>,
    /// The last synchronous write ended with a commit record.
    record_written: bool,
}

struct Late {
    at: u64,
    data: Vec<u8>,
    flushes: u32,
}

impl PlantedDisk {
    /// Puts the bug before the disk.
    #[must_use]
    pub fn new(disk: Arc<SimDisk>, planted: Planted) -> PlantedDisk {
        PlantedDisk {
            queues: (0..disk.info().queues)
                .map(|_| CompletionQueue::new())
                .collect(),
            disk,
            planted,
            state: Mutex::new(Rank::LEAF, State::default()),
        }
    }

    /// Takes out the late writes that `which` names, oldest first.
    fn take(&self, which: impl Fn(&Late) -> bool) -> Vec<Late> {
        let mut state = self.state.lock();
        let (taken, rest) = std::mem::take(&mut state.late).into_iter().partition(which);
        state.late = rest;
        taken
    }

    fn put(&self, late: Vec<Late>) -> Result<(), DeviceError> {
        late.iter()
            .try_for_each(|l| self.disk.write_at(l.at, &l.data))
    }

    fn execute(&self, mut request: Request) -> Completion {
        let result = self
            .disk
            .info()
            .check(&request.op)
            .and_then(|()| match &mut request.op {
                Op::Read { at, buf } => self.read_at(*at, buf),
                Op::Write { at, data } => {
                    let late = Late {
                        at: *at,
                        data: data.to_vec(),
                        flushes: 0,
                    };
                    self.state.lock().late.push(late);
                    Ok(())
                }
                Op::Flush => self.flush(),
            });
        request.finish(result)
    }
}

/// Whether the bytes begin with a jbd2 commit record.
fn is_commit_record(data: &[u8]) -> bool {
    data.starts_with(&[0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2])
}

impl Device for PlantedDisk {
    fn info(&self) -> &DeviceInfo {
        self.disk.info()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.disk.read_at(at, buf)?;
        let state = self.state.lock();
        for late in &state.late {
            let end = (late.at + late.data.len() as u64).min(at + buf.len() as u64);
            let start = late.at.max(at);
            if start < end {
                let from = &late.data[(start - late.at) as usize..(end - late.at) as usize];
                buf[(start - at) as usize..(end - at) as usize].copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        // What lies below goes first.
        let end = at + data.len() as u64;
        let below = self.take(|l| l.at < end && at < l.at + l.data.len() as u64);
        self.put(below)?;
        self.state.lock().record_written = is_commit_record(data);
        self.disk.write_at(at, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        let after_record = std::mem::take(&mut self.state.lock().record_written);
        match self.planted {
            Planted::NoFlush => return Ok(()),
            Planted::NoFlushBeforeRecord if !after_record => return Ok(()),
            Planted::NoFlushAfterRecord if after_record => return Ok(()),
            _ => self.disk.flush()?,
        }
        self.state
            .lock()
            .late
            .iter_mut()
            .for_each(|l| l.flushes += 1);
        let due = self.take(|l| l.flushes >= 2);
        self.put(due)
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.disk.discard(at, len)
    }

    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        if self.planted != Planted::LateData {
            return self.disk.submit(queue, requests);
        }
        let done = &self.queues[queue.0];
        done.begin(requests.len());
        for request in requests.drain(..) {
            done.finish(self.execute(request));
        }
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        if self.planted == Planted::LateData {
            self.queues[queue.0].poll(out, wait)
        } else {
            self.disk.poll(queue, out, wait)
        }
    }
}
