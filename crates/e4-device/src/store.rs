//! What a backend does synchronously, and the checks every request passes first.
//!
//! Decisions: range, read-only and alignment are judged in one place, so that all backends agree
//! (the conformance tests run one suite over all of them).

use crate::{Completion, DeviceError, DeviceInfo, IoSlice, Op, Request, Returned};

/// The synchronous half of a device. See [`crate::Device`] for the contracts.
pub(crate) trait Store: Send + Sync + 'static {
    fn info(&self) -> &DeviceInfo;
    /// Only called with a range inside the device.
    fn read(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError>;
    /// Only called with a range inside the device, and not on a read-only device.
    fn write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError>;
    fn flush(&self) -> Result<(), DeviceError>;
    /// Only called with a range inside the device, and not on a read-only device.
    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError>;

    fn checked_read(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.info().check_range("read", at, buf.len() as u64)?;
        self.read(at, buf)
    }

    fn checked_write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.info().check_writable()?;
        self.info().check_range("write", at, data.len() as u64)?;
        self.write(at, data)
    }

    fn checked_flush(&self) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.flush()
    }

    fn checked_discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.info().check_writable()?;
        self.info().check_range("discard", at, len)?;
        self.discard(at, len)
    }
}

/// Runs an admitted request to its end.
pub(crate) fn execute<S: Store>(store: &S, mut request: Request) -> Completion {
    let result = match &mut request.op {
        Op::Read { at, buf } => store.read(*at, buf),
        Op::Write { at, data } => store.write(*at, data),
        Op::Flush => store.flush(),
    };
    request.finish(result)
}

impl Request {
    /// The completion of this request: its buffer is handed back.
    #[must_use]
    pub fn finish(self, result: Result<(), DeviceError>) -> Completion {
        let returned = match self.op {
            Op::Read { buf, .. } => Returned::Read(buf),
            Op::Write { data, .. } => Returned::Write(data),
            Op::Flush => Returned::None,
        };
        Completion {
            token: self.token,
            result: result.map_err(Box::new),
            returned,
        }
    }
}

impl DeviceInfo {
    /// Whether a queued operation may be started: inside the device, aligned, not a write to a
    /// read-only device. For implementors of [`crate::Device`], so that all of them judge alike.
    ///
    /// # Errors
    /// What the request has to complete with.
    pub fn check(&self, op: &Op) -> Result<(), DeviceError> {
        let (name, at, bytes): (_, u64, &[u8]) = match op {
            Op::Read { at, buf } => ("read", *at, buf),
            Op::Write { at, data } => {
                self.check_writable()?;
                ("write", *at, data)
            }
            Op::Flush => return Ok(()),
        };
        let len = bytes.len() as u64;
        self.check_range(name, at, len)?;
        let offset_in_buffer = match op {
            Op::Write {
                data: IoSlice::Shared { start, .. },
                ..
            } => *start as u64,
            _ => 0,
        };
        let mask = u64::from(self.alignment.max(1)) - 1;
        if (at | len | offset_in_buffer) & mask != 0 {
            return Err(DeviceError::Misaligned {
                op: name,
                device: self.name.clone(),
                at,
                len,
                alignment: self.alignment,
            });
        }
        Ok(())
    }

    /// # Errors
    /// [`DeviceError::ReadOnly`].
    pub fn check_writable(&self) -> Result<(), DeviceError> {
        if self.read_only {
            let device = self.name.clone();
            return Err(DeviceError::ReadOnly { device });
        }
        Ok(())
    }

    /// # Errors
    /// [`DeviceError::OutOfRange`].
    pub fn check_range(&self, op: &'static str, at: u64, len: u64) -> Result<(), DeviceError> {
        match at.checked_add(len) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(DeviceError::OutOfRange {
                op,
                device: self.name.clone(),
                at,
                len,
                size: self.size,
            }),
        }
    }
}

/// How many queues a device offers: one per core, at most eight.
pub(crate) fn queue_count() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(8))
}
