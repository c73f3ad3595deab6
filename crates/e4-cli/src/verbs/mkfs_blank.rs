//! A device that reads as zeros and keeps nothing: where `e4 mkfs` tries its parameters.

use std::path::Path;

use e4_device::{
    Backend, Completion, Device, DeviceError, DeviceInfo, Op, QueueId, Request, Returned, Wait,
};
use e4_sync::{Mutex, Rank};

/// See the module documentation.
pub(crate) struct Blank {
    info: DeviceInfo,
    done: Mutex<Vec<Completion>>,
}

impl Blank {
    /// As large as the image shall be, and named like it.
    pub(crate) fn new(image: &Path, size: u64) -> Self {
        let info = DeviceInfo {
            size,
            alignment: 1,
            direct: false,
            read_only: false,
            queues: 1,
            backend: Backend::Memory,
            reason: "keeps nothing".to_owned(),
            name: image.display().to_string(),
        };
        Self {
            info,
            done: Mutex::new(Rank::LEAF, Vec::new()),
        }
    }

    fn check(&self, op: &'static str, at: u64, len: u64) -> Result<(), DeviceError> {
        if at.checked_add(len).is_some_and(|end| end <= self.info.size) {
            return Ok(());
        }
        let (device, size) = (self.info.name.clone(), self.info.size);
        Err(DeviceError::OutOfRange {
            op,
            device,
            at,
            len,
            size,
        })
    }
}

impl Device for Blank {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.check("read", at, buf.len() as u64)?;
        buf.fill(0);
        Ok(())
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.check("write", at, data.len() as u64)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.check("discard", at, len)
    }

    fn submit(&self, _queue: QueueId, requests: &mut Vec<Request>) {
        let finished = requests.drain(..).map(|Request { token, op }| match op {
            Op::Read { at, mut buf } => {
                let result = self.read_at(at, &mut buf);
                Completion {
                    token,
                    result: result.map_err(Box::new),
                    returned: Returned::Read(buf),
                }
            }
            Op::Write { at, data } => {
                let result = self.check("write", at, data.len() as u64);
                Completion {
                    token,
                    result: result.map_err(Box::new),
                    returned: Returned::Write(data),
                }
            }
            Op::Flush => Completion {
                token,
                result: Ok(()),
                returned: Returned::None,
            },
        });
        self.done.lock().extend(finished);
    }

    fn poll(&self, _queue: QueueId, out: &mut Vec<Completion>, _wait: Wait) -> usize {
        let mut done = self.done.lock();
        let n = done.len();
        out.append(&mut done);
        n
    }
}
