//! Listings in the form the kernel reads them.

use zerocopy::IntoBytes;

use crate::abi;
use crate::reply::Entry;

/// Names of a directory, up to a size.
#[derive(Debug)]
pub struct Listing {
    bytes: Vec<u8>,
    room: usize,
}

/// Names of a directory with what they stand for, up to a size.
#[derive(Debug)]
pub struct ListingPlus(Listing);

/// The listing is full; the name was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Listing {
    /// Room for `room` bytes, as the request says.
    #[must_use]
    pub fn new(room: u32) -> Self {
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        Self {
            bytes: Vec::with_capacity(room.min(64 << 10)),
            room,
        }
    }

    /// Adds a name. `next` is the cookie to continue behind it, `mode` is the inode's, of which the type is used.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(&mut self, ino: u64, next: u64, mode: u32, name: &[u8]) -> Result<(), Full> {
        self.add_behind(&[], ino, next, mode, name)
    }

    fn add_behind(
        &mut self,
        before: &[u8],
        ino: u64,
        next: u64,
        mode: u32,
        name: &[u8],
    ) -> Result<(), Full> {
        let dirent = abi::Dirent {
            ino,
            off: next,
            namelen: u32::try_from(name.len()).map_err(|_| Full)?,
            kind: (mode >> 12) & 0xf,
        };
        let len = (before.len() + dirent.as_bytes().len() + name.len()).next_multiple_of(8);
        let end = self.bytes.len() + len;
        if end > self.room {
            return Err(Full);
        }
        self.bytes.extend_from_slice(before);
        self.bytes.extend_from_slice(dirent.as_bytes());
        self.bytes.extend_from_slice(name);
        self.bytes.resize(end, 0);
        Ok(())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl ListingPlus {
    /// As [`Listing::new`].
    #[must_use]
    pub fn new(room: u32) -> Self {
        Self(Listing::new(room))
    }

    /// Adds a name with its entry. The kernel counts a lookup for each, but for `.` and `..`.
    ///
    /// # Errors
    /// There is no room.
    pub fn add(&mut self, entry: &Entry, next: u64, name: &[u8]) -> Result<(), Full> {
        let (ino, mode) = (entry.attr.ino, entry.attr.mode);
        self.0
            .add_behind(entry.out().as_bytes(), ino, next, mode, name)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_padded_and_end_with_the_room() {
        let mut listing = Listing::new(24 + 8 + 24 + 8 + 7);
        listing.add(12, 1, 0o100_644, b"a").expect("room");
        listing.add(13, 2, 0o040_755, b"eight888").expect("room");
        assert_eq!(listing.add(14, 3, 0, b"c"), Err(Full));
        assert_eq!(listing.bytes().len(), 64);
        assert_eq!(listing.bytes()[20], 8);
        assert_eq!(&listing.bytes()[24..32], b"a\0\0\0\0\0\0\0");
    }
}
