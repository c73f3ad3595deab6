//! What a failed request answers: `e4`'s errors through their one table, or an error number of our own.

use e4_fuse_transport::Errno;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Fail(pub(crate) Errno);

pub(crate) type Answer<T> = Result<T, Fail>;

impl From<e4::Error> for Fail {
    fn from(error: e4::Error) -> Self {
        let errno = Errno::from_raw_os_error(error.errno());
        // What no caller can have caused is worth a line; the rest is everyday life.
        if matches!(errno, Errno::IO | Errno::UCLEAN) {
            tracing::error!(%error, "request failed");
        } else {
            tracing::debug!(%error, "request failed");
        }
        Self(errno)
    }
}

impl From<Errno> for Fail {
    fn from(errno: Errno) -> Self {
        Self(errno)
    }
}
