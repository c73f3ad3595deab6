//! Maps of sparse members: GNU's own header, and three generations in extended headers.

use super::pax;
use crate::error::BuildError;
use crate::tree::Ranges;
use std::io::Read;

/// Pieces a file may consist of: what bounds memory.
const MAX_PIECES: usize = 1 << 20;

/// What extended headers say of the next member's holes.
#[derive(Clone, Debug, Default)]
pub(super) struct SparseMap {
    pub(super) name: Option<Vec<u8>>,
    pub(super) real_size: Option<u64>,
    major: u64,
    minor: u64,
    pieces: Vec<(u64, u64)>,
    offset: Option<u64>,
    any: bool,
}

fn bad(why: &'static str) -> BuildError {
    BuildError::Archive { why, at: 0 }
}

impl SparseMap {
    pub(super) fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), BuildError> {
        self.any = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.real_size = Some(pax::needed(value)?),
            b"major" => self.major = pax::needed(value)?,
            b"minor" => self.minor = pax::needed(value)?,
            b"offset" => self.offset = Some(pax::needed(value)?),
            b"numbytes" => {
                let at = self.offset.take().ok_or(bad("a sparse map out of order"))?;
                self.push(at, pax::needed(value)?)?;
            }
            b"map" => {
                let mut numbers = value.split(|b| *b == b',').map(pax::needed);
                while let Some(at) = numbers.next() {
                    let len = numbers.next().ok_or(bad("a sparse map with an odd end"))?;
                    self.push(at?, len?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, at: u64, len: u64) -> Result<(), BuildError> {
        if self.pieces.len() >= MAX_PIECES {
            return Err(bad("a sparse map of more than a million pieces"));
        }
        self.pieces.push((at, len));
        Ok(())
    }

    /// True if the next member is sparse.
    pub(super) fn is_some(&self) -> bool {
        self.any && self.real_size.is_some()
    }

    /// True if the map stands in front of the data.
    pub(super) fn in_data(&self) -> bool {
        self.is_some() && (self.major, self.minor) == (1, 0)
    }

    /// Reads the map in front of the data; returns how many bytes it took.
    pub(super) fn read(&mut self, source: &mut dyn Read, stored: u64) -> Result<u64, BuildError> {
        let mut used = 0;
        let mut block = [0; 512];
        let mut at = 512;
        let mut number = || -> Result<u64, BuildError> {
            let mut n: u64 = 0;
            for _ in 0..21 {
                if at == 512 {
                    if used + 512 > stored {
                        return Err(bad("a sparse map longer than its member"));
                    }
                    source
                        .read_exact(&mut block)
                        .map_err(|_| bad("it ends in a sparse map"))?;
                    used += 512;
                    at = 0;
                }
                let byte = block.get(at).copied().unwrap_or(0);
                at += 1;
                match byte {
                    b'\n' => return Ok(n),
                    b'0'..=b'9' => {
                        let digit = u64::from(byte - b'0');
                        n = n
                            .checked_mul(10)
                            .and_then(|n| n.checked_add(digit))
                            .ok_or(bad("a sparse map with a number too large"))?;
                    }
                    _ => break,
                }
            }
            Err(bad("a sparse map that is none"))
        };
        let count = number()?;
        let mut pieces = Vec::new();
        for _ in 0..count {
            if pieces.len() >= MAX_PIECES {
                return Err(bad("a sparse map of more than a million pieces"));
            }
            pieces.push((number()?, number()?));
        }
        self.pieces = pieces;
        Ok(used)
    }

    /// Adds the pieces of GNU's own headers.
    pub(super) fn gnu(
        &mut self,
        list: &[tar::GnuSparseHeader],
        real_size: u64,
    ) -> Result<(), BuildError> {
        self.any = true;
        self.real_size = Some(real_size);
        for piece in list.iter().filter(|p| !p.is_empty()) {
            let wrong = |_| bad("a sparse map that is none");
            let (at, len) = (
                piece.offset().map_err(wrong)?,
                piece.length().map_err(wrong)?,
            );
            self.push(at, len)?;
        }
        Ok(())
    }

    /// The ranges of data, checked against the file's size and the bytes stored.
    pub(super) fn finish(self, stored: u64) -> Result<(u64, Ranges), BuildError> {
        let size = self.real_size.unwrap_or(0);
        let (mut end, mut sum) = (0u64, 0u64);
        for (at, len) in &self.pieces {
            if *at < end {
                return Err(bad("a sparse map out of order"));
            }
            end = at
                .checked_add(*len)
                .ok_or(bad("a sparse map beyond all bounds"))?;
            sum += len;
        }
        if end > size || sum > stored {
            return Err(bad("a sparse map that does not fit its member"));
        }
        let pieces = self.pieces.into_iter().filter(|(_, len)| *len > 0);
        Ok((size, pieces.collect()))
    }
}
