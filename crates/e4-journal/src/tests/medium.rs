//! A device in memory that records writes, flushes and marks, builds what a power cut may leave behind, and
//! fails on demand.

use e4_device::{
    Backend, Completion, Device, DeviceError, DeviceInfo, Op, QueueId, Request, Returned, Wait,
};
use e4_sync::{Mutex, Rank};

/// The unit that is never torn.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
pub(crate) enum Event {
    Write {
        at: usize,
        data: Vec<u8>,
    },
    Flush,
    /// Something was acknowledged here: a key and the value it has reached.
    Mark(u64, u64),
}

#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    completions: Vec<Completion>,
    base: Vec<u8>,
    recording: bool,
    events: Vec<Event>,
    writes: u64,
    largest: usize,
    flushes: u64,
    fail_writes_in: Option<u64>,
    fail_flushes_in: Option<u64>,
    fail_reads: bool,
}

pub(crate) struct Medium {
    info: DeviceInfo,
    inner: Mutex<Inner>,
}

/// What was recorded since [`Medium::record`].
pub(crate) struct Recording {
    base: Vec<u8>,
    pub(crate) events: Vec<Event>,
}

impl Medium {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self {
            info: DeviceInfo {
                size: bytes.len() as u64,
                alignment: 1,
                direct: false,
                read_only: false,
                queues: 1,
                backend: Backend::Simulated,
                reason: "test".into(),
                name: "medium".into(),
            },
            inner: Mutex::new(
                Rank::LEAF,
                Inner {
                    bytes,
                    ..Inner::default()
                },
            ),
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.inner.lock().bytes.clone()
    }

    /// Forgets what was recorded and records from here on.
    pub(crate) fn record(&self) {
        let mut inner = self.inner.lock();
        inner.base = inner.bytes.clone();
        inner.recording = true;
        inner.events.clear();
    }

    pub(crate) fn recording(&self) -> Recording {
        let inner = self.inner.lock();
        Recording {
            base: inner.base.clone(),
            events: inner.events.clone(),
        }
    }

    pub(crate) fn mark(&self, key: u64, value: u64) {
        let mut inner = self.inner.lock();
        if inner.recording {
            inner.events.push(Event::Mark(key, value));
        }
    }

    /// Writes and flushes so far, and the largest write.
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        let inner = self.inner.lock();
        (inner.writes, inner.flushes, inner.largest)
    }

    /// Every write from the n-th on (0: the next) fails.
    pub(crate) fn fail_writes_in(&self, n: u64) {
        self.inner.lock().fail_writes_in = Some(n);
    }

    /// The n-th flush fails, the ones after it would succeed.
    pub(crate) fn fail_flush_in(&self, n: u64) {
        self.inner.lock().fail_flushes_in = Some(n);
    }

    pub(crate) fn fail_reads(&self, fail: bool) {
        self.inner.lock().fail_reads = fail;
    }

    fn error(&self, op: &'static str, at: u64, len: usize) -> DeviceError {
        DeviceError::Io {
            op,
            device: self.info.name.clone(),
            at,
            len: len as u64,
            errno: 5,
        }
    }
}

impl Device for Medium {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let inner = self.inner.lock();
        let start = usize::try_from(at).unwrap();
        match inner.bytes.get(start..start + buf.len()) {
            Some(from) if !inner.fail_reads => {
                buf.copy_from_slice(from);
                Ok(())
            }
            _ => Err(self.error("read", at, buf.len())),
        }
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        assert!(at.is_multiple_of(512) && data.len().is_multiple_of(512));
        let mut inner = self.inner.lock();
        if let Some(n) = inner.fail_writes_in {
            if n == 0 {
                return Err(self.error("write", at, data.len()));
            }
            inner.fail_writes_in = Some(n - 1);
        }
        let start = usize::try_from(at).unwrap();
        let Some(to) = inner.bytes.get_mut(start..start + data.len()) else {
            return Err(self.error("write", at, data.len()));
        };
        to.copy_from_slice(data);
        inner.writes += 1;
        inner.largest = inner.largest.max(data.len());
        if inner.recording {
            inner.events.push(Event::Write {
                at: start,
                data: data.to_vec(),
            });
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        let mut inner = self.inner.lock();
        inner.flushes += 1;
        if let Some(n) = inner.fail_flushes_in {
            inner.fail_flushes_in = n.checked_sub(1);
            if n == 0 {
                return Err(self.error("flush", 0, 0));
            }
        }
        if inner.recording {
            inner.events.push(Event::Flush);
        }
        Ok(())
    }

    fn discard(&self, _at: u64, _len: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    fn submit(&self, _queue: QueueId, requests: &mut Vec<Request>) {
        for request in requests.drain(..) {
            let (result, returned) = match request.op {
                Op::Read { at, mut buf } => (self.read_at(at, &mut buf), Returned::Read(buf)),
                Op::Write { at, data } => (self.write_at(at, &data), Returned::Write(data)),
                Op::Flush => (self.flush(), Returned::None),
            };
            self.inner.lock().completions.push(Completion {
                token: request.token,
                result: result.map_err(Box::new),
                returned,
            });
        }
    }

    fn poll(&self, _queue: QueueId, out: &mut Vec<Completion>, _wait: Wait) -> usize {
        let mut inner = self.inner.lock();
        let n = inner.completions.len();
        out.append(&mut inner.completions);
        n
    }
}

/// Numbers that look random, the same every time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n.max(1)
    }
}

/// One image a power cut may leave behind.
pub(crate) struct CrashState {
    pub(crate) bytes: Vec<u8>,
    /// How many events had happened.
    pub(crate) events: usize,
    pub(crate) description: String,
}

impl Recording {
    /// Calls `judge` with images of a power cut after every event: the unflushed writes all lost, all kept, all but one, only one,
    /// and `random` random mixtures torn at sectors and in any order.
    pub(crate) fn crashes(&self, seed: u64, random: usize, mut judge: impl FnMut(CrashState)) {
        let mut durable = self.base.clone();
        let mut pending: Vec<(usize, &[u8])> = Vec::new();
        let mut rng = Random::new(seed);
        for (i, event) in self.events.iter().enumerate() {
            match event {
                Event::Flush => {
                    for (at, data) in pending.drain(..) {
                        put(&mut durable, at, data);
                    }
                }
                Event::Write { at, data } => pending.push((*at, data)),
                Event::Mark(..) => continue,
            }
            let mut emit = |kept: &[(usize, &[u8])], what: String| {
                let mut bytes = durable.clone();
                for (at, data) in kept {
                    put(&mut bytes, *at, data);
                }
                judge(CrashState {
                    bytes,
                    events: i + 1,
                    description: format!("after event {i}: {what}"),
                });
            };
            emit(&[], "unflushed writes lost".into());
            if pending.is_empty() {
                continue;
            }
            emit(&pending, "unflushed writes kept".into());
            if pending.len() > 1 {
                for n in 0..pending.len() {
                    let mut kept = pending.clone();
                    let one = kept.remove(n);
                    emit(&kept, format!("unflushed write {n} at {} lost", one.0));
                    emit(
                        &[one],
                        format!("only unflushed write {n} at {} kept", one.0),
                    );
                }
            }
            for n in 0..random {
                let mut sectors: Vec<(usize, &[u8])> = Vec::new();
                for (at, data) in &pending {
                    let mode = rng.below(3);
                    for (k, sector) in data.chunks(SECTOR).enumerate() {
                        if mode == 0 || (mode == 1 && rng.below(2) == 0) {
                            sectors.push((at + k * SECTOR, sector));
                        }
                    }
                }
                for k in (1..sectors.len()).rev() {
                    let with = usize::try_from(rng.below(k as u64 + 1)).unwrap();
                    sectors.swap(k, with);
                }
                emit(
                    &sectors,
                    format!("random mixture {n} of {} sectors", sectors.len()),
                );
            }
        }
    }

    /// The largest value marked under `key` before event `events`.
    pub(crate) fn marked(&self, key: u64, events: usize) -> u64 {
        let marks = self.events.iter().take(events).filter_map(|e| match e {
            Event::Mark(k, value) if *k == key => Some(*value),
            _ => None,
        });
        marks.max().unwrap_or(0)
    }
}

fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    bytes[at..at + data.len()].copy_from_slice(data);
}
