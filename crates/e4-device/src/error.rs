//! What can go wrong between us and the host, one variant per place it is noticed.

/// An error of a block device. Cloneable, because one failure may have several observers (I-35).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The host refused or failed a transfer.
    #[error("{op} of {len} bytes at byte {at} of {device} failed: {}", errno_text(*errno))]
    Io {
        /// `read`, `write`, `flush`, `discard`.
        op: &'static str,
        /// The device's name.
        device: String,
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// The host's error number.
        errno: i32,
    },
    /// The range does not lie inside the device.
    #[error("{op} of {len} bytes at byte {at} lies outside {device} ({size} bytes)")]
    OutOfRange {
        /// `read`, `write`, `discard`.
        op: &'static str,
        /// The device's name.
        device: String,
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// Size of the device.
        size: u64,
    },
    /// A write to a device opened read-only.
    #[error("{device} is opened read-only")]
    ReadOnly {
        /// The device's name.
        device: String,
    },
    /// The image is in use by another writer.
    #[error("{device} is in use by another process (locked); close it there first")]
    Locked {
        /// The device's name.
        device: String,
    },
    /// The image could not be opened or created.
    #[error("cannot open {device}: {}", errno_text(*errno))]
    Open {
        /// The device's name.
        device: String,
        /// The host's error number.
        errno: i32,
    },
}

fn errno_text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
