//! One ioctl of `/dev/fuse`, here because this is the crate that may contain `unsafe`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Result;
use rustix::ioctl::{self, Setter, opcode};

/// Makes `new`, a freshly opened `/dev/fuse`, one more descriptor of the connection that `of` belongs to
/// (`FUSE_DEV_IOC_CLONE`): requests can be read from either, and are answered where they were read.
///
/// # Errors
/// The kernel's: `of` is not connected, `new` already is, or either is something else.
pub fn join_fuse_connection(new: BorrowedFd<'_>, of: BorrowedFd<'_>) -> Result<()> {
    const CLONE: ioctl::Opcode = opcode::read::<u32>(229, 0);
    // SAFETY: this operation of `/dev/fuse` reads a `u32` through its argument, which is what `Setter` passes,
    // and writes nothing; a descriptor of another kind refuses the number.
    let clone = unsafe { Setter::<CLONE, u32>::new(of.as_raw_fd().cast_unsigned()) };
    // SAFETY: the operation changes only what `new` refers to in the kernel.
    unsafe { ioctl::ioctl(new, clone) }
}
