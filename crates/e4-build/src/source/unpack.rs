//! Decompression, chosen by what the stream begins with.
//!
//! Decisions: several members, frames or streams one after the other are one stream, as all the tools that write them
//! in parallel rely on; the memory a header may demand is bounded (zstd 128 MiB, xz 128 MiB).

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::{self, BufRead, Read};

/// The most an xz block may need, KiB.
const XZ_MEMORY: u32 = 128 << 10;
/// Bytes of a zstd frame decoded at a time.
const ZSTD_STEP: usize = 256 << 10;

/// What a stream is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
    Xz,
    /// Known, but not supported.
    Other(&'static str),
}

impl Packing {
    /// By the first bytes.
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [0x1F, 0x8B, ..] => Self::Gzip,
            [0x28, 0xB5, 0x2F, 0xFD, ..] | [0x50..=0x5F, 0x2A, 0x4D, 0x18, ..] => Self::Zstd,
            [0xFD, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', ..] => Self::Other("bzip2"),
            [0x04, 0x22, 0x4D, 0x18, ..] => Self::Other("lz4"),
            _ => Self::None,
        }
    }
}

/// The unpacked stream.
pub(crate) fn unpack<'a>(
    packing: Packing,
    source: impl BufRead + 'a,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::None => Box::new(source),
        Packing::Gzip => Box::new(MultiGzDecoder::new(source)),
        Packing::Zstd => Box::new(Zstd {
            source,
            decoder: FrameDecoder::new(),
            in_frame: false,
        }),
        Packing::Xz => Box::new(XzReader::new_mem_limit(source, true, XZ_MEMORY)),
        Packing::Other(name) => {
            let text = format!("compressed with {name}, which is not supported");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
    })
}

/// Frames one after the other, skippable ones left out.
struct Zstd<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

fn broken(e: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, e)
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        loop {
            if self.decoder.can_collect() > 0 {
                return self.decoder.read(to);
            }
            if self.in_frame && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBytes(ZSTD_STEP);
                let blocks = self.decoder.decode_blocks(&mut self.source, step);
                blocks.map_err(broken)?;
                continue;
            }
            if self.in_frame {
                let sums = (
                    self.decoder.get_checksum_from_data(),
                    self.decoder.get_calculated_checksum(),
                );
                if let (Some(stored), Some(computed)) = sums
                    && stored != computed
                {
                    let text = "zstd frame with a wrong checksum";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, text));
                }
                self.in_frame = false;
            }
            if self.source.fill_buf()?.is_empty() {
                return Ok(0);
            }
            match self.decoder.reset(&mut self.source) {
                Ok(()) => self.in_frame = true,
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let skipped = &mut (&mut self.source).take(length.into());
                    io::copy(skipped, &mut io::sink())?;
                }
                Err(e) => return Err(broken(e)),
            }
        }
    }
}
