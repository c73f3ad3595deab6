//! What can go wrong between us and the host, one variant per place it is noticed.

use e4_sync::Arc;

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
    /// The host's file ended inside the device: somebody shortened it while it was open.
    #[error("{op} at byte {at} of {device}: the file ends there, it was shortened while in use")]
    Shortened {
        /// `read`, `write`.
        op: &'static str,
        /// The device's name.
        device: String,
        /// The byte where the transfer stopped.
        at: u64,
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
    /// A queued request breaks the alignment rule of [`crate::DeviceInfo::alignment`].
    #[error("{op} of {len} bytes at byte {at} of {device} is not aligned to {alignment} bytes")]
    Misaligned {
        /// `read`, `write`.
        op: &'static str,
        /// The device's name.
        device: String,
        /// First byte.
        at: u64,
        /// Bytes.
        len: u64,
        /// What offset, length and buffer must be multiples of.
        alignment: u32,
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
    /// The path names neither a regular file nor a block device.
    #[error("{device} is neither a regular file nor a block device")]
    NotADisk {
        /// The device's name.
        device: String,
    },
    /// A block device is smaller than the size asked for.
    #[error("{device} has {size} bytes, {wanted} are wanted")]
    TooSmall {
        /// The device's name.
        device: String,
        /// Size of the device.
        size: u64,
        /// Size asked for.
        wanted: u64,
    },
    /// `O_DIRECT` was demanded and the host or the image does not allow it.
    #[error("{device} cannot be used with O_DIRECT: {reason}")]
    NoDirect {
        /// The device's name.
        device: String,
        /// Why, for people.
        reason: Arc<str>,
    },
    /// io_uring was demanded and the host refuses it.
    #[error("io_uring is not available for {device}: {}", errno_text(*errno))]
    NoIoUring {
        /// The device's name.
        device: String,
        /// The host's error number.
        errno: i32,
    },
}

pub(crate) fn errno_text(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
