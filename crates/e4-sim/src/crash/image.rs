//! A disk as a power cut left it: a [`Device`] over a shared medium and a private difference.
//!
//! Decisions: making one costs the pages its pending writes touch and nothing else, since thousands
//! are made per second. It can be written (recovery does), privately; everything written counts as durable:
//! to cut the power during recovery, use [`crate::SimDisk::from_crash`].

use crate::fill::Fill;
use crate::image::{Image, PAGE, Page, edges, page_hash, pieces};
use crate::log::{Log, Payload};
use core::ops::Range;
use e4_device::{
    Backend, Completion, CompletionQueue, Device, DeviceError, DeviceInfo, Op, QueueId, Request,
    Wait,
};
use e4_sync::{Arc, Mutex, Rank};
use hashbrown::HashMap;
use std::io::{Seek, SeekFrom, Write};

/// One possible state of the disk after a power cut.
pub struct CrashImage {
    info: DeviceInfo,
    medium: Arc<Image>,
    own: Mutex<HashMap<u64, Box<Page>>>,
    queue: CompletionQueue,
    point: u64,
    fingerprint: u64,
    choice: Choice,
    torn: Vec<Range<u64>>,
}

/// Which pending writes reached the medium, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Choice {
    pub(crate) parts: Vec<Part>,
}

/// A pending write that reached the medium, all of it or some sectors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Part {
    pub(crate) write: usize,
    pub(crate) len: u64,
    /// Sectors, relative to the write, that did not make it: torn off or settled by later writes.
    pub(crate) missing: Vec<u64>,
}

impl CrashImage {
    /// `medium` comes with its fingerprint.
    pub(crate) fn new(
        log: &Log,
        (medium, fingerprint): (&Arc<Image>, u64),
        point: u64,
        choice: Choice,
    ) -> CrashImage {
        let info = DeviceInfo {
            size: medium.size(),
            alignment: 1,
            direct: false,
            read_only: false,
            queues: 1,
            backend: Backend::Simulated,
            reason: "a crash state".into(),
            name: String::new(),
        };
        let mut own = HashMap::new();
        for part in &choice.parts {
            apply(&mut own, medium, log, part);
        }
        let changed = own
            .iter()
            .map(|(&page, bytes)| medium.hash_of(page) ^ page_hash(page, bytes));
        let fingerprint = changed.fold(fingerprint, |all, page| all ^ page);
        let parts = choice.parts.iter().filter(|part| !part.missing.is_empty());
        let torn = parts.map(|part| {
            let at = log.writes[part.write].at;
            at..at + part.len
        });
        let torn = torn.collect();
        let mut image = CrashImage {
            info,
            torn,
            medium: Arc::clone(medium),
            own: Mutex::new(Rank::DEVICE_RING, own),
            queue: CompletionQueue::new(),
            point,
            fingerprint,
            choice,
        };
        image.info.name = image.describe();
        image
    }

    /// The position of the power cut.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.point
    }

    /// Names the contents as the power cut left them, among the states of one log: equal contents have equal
    /// fingerprints, different ones different fingerprints but for one chance in 2^64.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What makes this state, for messages.
    #[must_use]
    pub fn describe(&self) -> String {
        use core::fmt::Write as _;
        let mut text = format!("crash at {}", self.point);
        for part in &self.choice.parts {
            let torn = if part.missing.is_empty() { "" } else { " torn" };
            // Writing to a string does not fail.
            let _ = write!(text, ", write {}{torn}", part.write);
        }
        text
    }

    /// Whether a write that touches this byte range of the device is on the medium in part.
    #[must_use]
    pub fn is_torn(&self, bytes: &Range<u64>) -> bool {
        self.torn
            .iter()
            .any(|t| t.start < bytes.end && bytes.start < t.end)
    }

    /// Writes the image to a file, sparsely: pages never written become holes (zeros) whatever the
    /// fill. For tools like e2fsck; they must not depend on never-written blocks.
    ///
    /// # Errors
    /// The host's.
    pub fn save(&self, path: &std::path::Path) -> std::io::Result<()> {
        let mut file = std::fs::File::create(path)?;
        file.set_len(self.info.size)?;
        let own = self.own.lock();
        let mut pages = self.medium.written();
        pages.extend(own.keys());
        pages.sort_unstable();
        pages.dedup();
        let mut bytes = [0; PAGE];
        for page in pages {
            read_page(&own, &self.medium, page, &mut bytes);
            let at = page * PAGE as u64;
            let len = (self.info.size - at).min(PAGE as u64) as usize;
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes[..len])?;
        }
        Ok(())
    }

    /// The contents as one image.
    pub(crate) fn flatten(&self) -> Image {
        let mut image = (*self.medium).clone();
        for (page, bytes) in &*self.own.lock() {
            image.set_page(*page, bytes);
        }
        image
    }

    /// What never-written bytes hold.
    #[must_use]
    pub fn fill(&self) -> Fill {
        self.medium.fill()
    }
}

fn read_page(own: &HashMap<u64, Box<Page>>, medium: &Image, page: u64, out: &mut Page) {
    match own.get(&page) {
        Some(bytes) => out.copy_from_slice(&bytes[..]),
        None => medium.copy_page(page, out),
    }
}

fn page_mut<'a>(own: &'a mut HashMap<u64, Box<Page>>, medium: &Image, page: u64) -> &'a mut Page {
    own.entry(page).or_insert_with(|| {
        let mut bytes = Box::new([0; PAGE]);
        medium.copy_page(page, &mut bytes);
        bytes
    })
}

fn write(own: &mut HashMap<u64, Box<Page>>, medium: &Image, at: u64, mut data: &[u8]) {
    for (page, start, len) in pieces(at, data.len()) {
        let (part, rest) = data.split_at(len);
        data = rest;
        if len == PAGE {
            let mut bytes = Box::new([0; PAGE]);
            bytes.copy_from_slice(part);
            own.insert(page, bytes);
        } else {
            page_mut(own, medium, page)[start..start + len].copy_from_slice(part);
        }
    }
}

fn refill(own: &mut HashMap<u64, Box<Page>>, medium: &Image, at: u64, len: u64) {
    let (end, fill) = (at + len, medium.fill());
    // Only pages that hold something need to be emptied; the rest is fill already.
    let inner = at.div_ceil(PAGE as u64)..end / PAGE as u64;
    let mut pages: Vec<u64> = own.keys().copied().collect();
    pages.extend(medium.written());
    for page in pages.into_iter().filter(|p| inner.contains(p)) {
        fill.read(page * PAGE as u64, &mut page_mut(own, medium, page)[..]);
    }
    for (from, to) in edges(at, end) {
        let mut bytes = vec![0; (to - from) as usize];
        fill.read(from, &mut bytes);
        write(own, medium, from, &bytes);
    }
}

fn apply(own: &mut HashMap<u64, Box<Page>>, medium: &Image, log: &Log, part: &Part) {
    const SECTOR: u64 = crate::tag::SECTOR as u64;
    let record = &log.writes[part.write];
    // The stretches between the missing sectors.
    let mut from = 0;
    let ends = part.missing.iter().map(|s| s * SECTOR);
    for end in ends.chain([part.len]) {
        let end = end.min(part.len);
        if from < end {
            match &record.payload {
                Payload::Bytes(data) => {
                    let bytes = &data[from as usize..end as usize];
                    write(own, medium, record.at + from, bytes);
                }
                Payload::Refill(_) => refill(own, medium, record.at + from, end - from),
            }
        }
        from = end + SECTOR;
    }
}

impl Device for CrashImage {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read_at(&self, at: u64, mut buf: &mut [u8]) -> Result<(), DeviceError> {
        self.info.check_range("read", at, buf.len() as u64)?;
        let own = self.own.lock();
        for (page, start, len) in pieces(at, buf.len()) {
            let (part, rest) = buf.split_at_mut(len);
            buf = rest;
            match own.get(&page) {
                Some(bytes) => part.copy_from_slice(&bytes[start..start + len]),
                None => self.medium.read(page * PAGE as u64 + start as u64, part),
            }
        }
        Ok(())
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.info.check_range("write", at, data.len() as u64)?;
        write(&mut self.own.lock(), &self.medium, at, data);
        Ok(())
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.info.check_range("discard", at, len)?;
        refill(&mut self.own.lock(), &self.medium, at, len);
        Ok(())
    }

    fn submit(&self, _queue: QueueId, requests: &mut Vec<Request>) {
        self.queue.begin(requests.len());
        for mut request in requests.drain(..) {
            let checked = self.info.check(&request.op);
            let result = checked.and_then(|()| match &mut request.op {
                Op::Read { at, buf } => self.read_at(*at, buf),
                Op::Write { at, data } => self.write_at(*at, data),
                Op::Flush => Ok(()),
            });
            self.queue.finish(request.finish(result));
        }
    }

    fn poll(&self, _queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.queue.poll(out, wait)
    }
}
