//! A part of a device as a device: a partition.

use e4_device::{Completion, Device, DeviceError, DeviceInfo, Op, QueueId, Request, Wait};
use e4_sync::Arc;

/// Bytes `at..at + len` of a device.
pub struct Window {
    device: Arc<dyn Device>,
    at: u64,
    info: DeviceInfo,
}

impl Window {
    /// A window of `len` bytes from byte `at`; as much of it as the device has.
    #[must_use]
    pub fn new(device: Arc<dyn Device>, at: u64, len: u64) -> Self {
        let mut info = device.info().clone();
        info.size = len.min(info.size.saturating_sub(at));
        Self { device, at, info }
    }

    /// The place on the device; beyond the device for what is beyond the window, which the device then refuses.
    fn place(&self, at: u64, len: u64) -> u64 {
        match at.checked_add(len) {
            Some(end) if end <= self.info.size => self.at + at,
            _ => u64::MAX - len,
        }
    }
}

impl Device for Window {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        let place = self.place(at, buf.len() as u64);
        self.device.read_at(place, buf)
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        let place = self.place(at, data.len() as u64);
        self.device.write_at(place, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.device.flush()
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.device.discard(self.place(at, len), len)
    }

    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        for request in requests.iter_mut() {
            match &mut request.op {
                Op::Read { at, buf } => *at = self.place(*at, buf.len() as u64),
                Op::Write { at, data } => *at = self.place(*at, data.len() as u64),
                Op::Flush => {}
            }
        }
        self.device.submit(queue, requests);
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.device.poll(queue, out, wait)
    }
}
