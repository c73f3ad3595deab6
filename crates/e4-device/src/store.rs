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
        in_range(self.info(), "read", at, buf.len() as u64)?;
        self.read(at, buf)
    }

    fn checked_write(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        writable(self.info())?;
        in_range(self.info(), "write", at, data.len() as u64)?;
        self.write(at, data)
    }

    fn checked_flush(&self) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.flush()
    }

    fn checked_discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        writable(self.info())?;
        in_range(self.info(), "discard", at, len)?;
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
    finished(request, result)
}

/// The completion of a request, with its buffer handed back.
pub(crate) fn finished(request: Request, result: Result<(), DeviceError>) -> Completion {
    let returned = match request.op {
        Op::Read { buf, .. } => Returned::Read(buf),
        Op::Write { data, .. } => Returned::Write(data),
        Op::Flush => Returned::None,
    };
    Completion {
        token: request.token,
        result,
        returned,
    }
}

/// Whether a queued request may be started.
pub(crate) fn admit(info: &DeviceInfo, op: &Op) -> Result<(), DeviceError> {
    let (name, at, bytes): (_, u64, &[u8]) = match op {
        Op::Read { at, buf } => ("read", *at, buf),
        Op::Write { at, data } => {
            writable(info)?;
            ("write", *at, data)
        }
        Op::Flush => return Ok(()),
    };
    let len = bytes.len() as u64;
    in_range(info, name, at, len)?;
    let offset_in_buffer = match op {
        Op::Write {
            data: IoSlice::Shared { start, .. },
            ..
        } => *start as u64,
        _ => 0,
    };
    let mask = u64::from(info.alignment.max(1)) - 1;
    if (at | len | offset_in_buffer) & mask != 0 {
        return Err(DeviceError::Misaligned {
            op: name,
            device: info.name.clone(),
            at,
            len,
            alignment: info.alignment,
        });
    }
    Ok(())
}

fn writable(info: &DeviceInfo) -> Result<(), DeviceError> {
    if info.read_only {
        let device = info.name.clone();
        return Err(DeviceError::ReadOnly { device });
    }
    Ok(())
}

fn in_range(info: &DeviceInfo, op: &'static str, at: u64, len: u64) -> Result<(), DeviceError> {
    match at.checked_add(len) {
        Some(end) if end <= info.size => Ok(()),
        _ => Err(DeviceError::OutOfRange {
            op,
            device: info.name.clone(),
            at,
            len,
            size: info.size,
        }),
    }
}

/// How many queues a device offers: one per core, at most eight.
pub(crate) fn queue_count() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(8))
}
