//! What a failed request answers: `e4`'s errors through their one table, or an error number of our own.

use fuser::Errno;

/// Why a request failed.
#[derive(Debug)]
pub(crate) struct Fail(pub(crate) Errno);

pub(crate) type Answer<T> = Result<T, Fail>;

impl From<e4::Error> for Fail {
    fn from(error: e4::Error) -> Self {
        let errno = Errno::from_i32(error.errno());
        // What no caller can have caused is worth a line; the rest is everyday life.
        if matches!(errno.code(), 5 | 117) {
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
