//! The first exchange: what the kernel offers, what the server wants, what is agreed.
//!
//! Decision: only what both sides have is agreed, and only capabilities that [`Capabilities`] names: each of them is
//! one whose requests this crate understands.

use zerocopy::{FromBytes, IntoBytes};

use crate::abi;
use crate::flags::Capabilities;
use crate::request::Malformed;

/// What a server wants of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Wishes {
    /// Where the kernel has them.
    pub capabilities: Capabilities,
    /// Largest write, bytes; a whole number of pages.
    pub max_write: u32,
    /// Read ahead at most so far, bytes.
    pub max_readahead: u32,
    /// Background requests in flight (read-ahead, asynchronous direct I/O, writeback).
    pub max_background: u16,
}

/// What was agreed.
#[derive(Clone, Copy, Debug)]
pub struct Agreed {
    /// The kernel's minor version, or ours if that is older.
    pub minor: u32,
    /// What both sides have.
    pub capabilities: Capabilities,
    /// Largest write, bytes.
    pub max_write: u32,
}

/// What is to become of the first message.
pub(crate) enum Answer {
    /// Send this; the connection is up.
    Up(Box<abi::InitOut>, Agreed),
    /// Send this; the kernel is newer than anything we know and will ask again in our version.
    Again(Box<abi::InitOut>),
    /// Too old.
    Refused,
}

const PAGE: u32 = 4096;

pub(crate) fn answer(message: &[u8], wishes: &Wishes) -> Result<Answer, Malformed> {
    let malformed = Malformed {
        opcode: abi::op::INIT,
        what: "too short",
    };
    let rest = message.get(size_of::<abi::InHeader>()..).ok_or(malformed)?;
    let (offer, rest) = abi::InitIn::read_from_prefix(rest).map_err(|_| malformed)?;
    if offer.major > abi::MAJOR {
        let out = abi::InitOut {
            major: abi::MAJOR,
            minor: abi::MINOR,
            ..abi::InitOut::default()
        };
        return Ok(Answer::Again(Box::new(out)));
    }
    if offer.major < abi::MAJOR || offer.minor < abi::OLDEST_MINOR {
        return Ok(Answer::Refused);
    }
    let mut offered = u64::from(offer.flags);
    if offered & Capabilities::INIT_EXT.bits() != 0 {
        let (flags2, _) = u32::read_from_prefix(rest).map_err(|_| malformed)?;
        offered |= u64::from(flags2) << 32;
    }
    let wanted = wishes.capabilities | Capabilities::MAX_PAGES | Capabilities::INIT_EXT;
    let capabilities = Capabilities::from_bits_truncate(offered) & wanted;
    let minor = offer.minor.min(abi::MINOR);
    // Without MAX_PAGES a request has at most 32 of them.
    let most = if capabilities.contains(Capabilities::MAX_PAGES) {
        wishes.max_write
    } else {
        wishes.max_write.min(32 * PAGE)
    };
    let max_pages = most.div_ceil(PAGE).clamp(1, u32::from(u16::MAX));
    let bits = capabilities.bits();
    #[allow(clippy::cast_possible_truncation, reason = "the two halves of it")]
    let out = abi::InitOut {
        major: abi::MAJOR,
        minor,
        max_readahead: wishes.max_readahead.min(offer.max_readahead),
        flags: bits as u32,
        max_background: wishes.max_background,
        congestion_threshold: wishes.max_background / 4 * 3,
        max_write: most,
        time_gran: 1,
        max_pages: max_pages as u16,
        flags2: (bits >> 32) as u32,
        ..abi::InitOut::default()
    };
    let agreed = Agreed {
        minor,
        capabilities,
        max_write: most,
    };
    tracing::debug!(?agreed, offered = format_args!("{offered:#x}"), "connected");
    Ok(Answer::Up(Box::new(out), agreed))
}

impl Answer {
    pub(crate) fn bytes(out: &abi::InitOut) -> &[u8] {
        out.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(major: u32, minor: u32, flags: u64) -> Vec<u8> {
        let mut m = vec![0; 40];
        for word in [major, minor, 1 << 17, flags as u32, (flags >> 32) as u32] {
            m.extend_from_slice(&word.to_ne_bytes());
        }
        m
    }

    fn wishes() -> Wishes {
        Wishes {
            capabilities: Capabilities::ASYNC_DIO | Capabilities::DIRECT_IO_ALLOW_MMAP,
            max_write: 1 << 20,
            max_readahead: 1 << 20,
            max_background: 64,
        }
    }

    #[test]
    fn both_sides_must_have_it() {
        let offered = Capabilities::ASYNC_DIO
            | Capabilities::WRITEBACK_CACHE
            | Capabilities::DIRECT_IO_ALLOW_MMAP;
        let with = |ext: Capabilities| {
            let m = message(7, 99, (offered | ext).bits());
            match answer(&m, &wishes()) {
                Ok(Answer::Up(out, agreed)) => (out, agreed),
                _ => panic!("not agreed"),
            }
        };
        let (out, agreed) = with(Capabilities::INIT_EXT | Capabilities::MAX_PAGES);
        assert_eq!(agreed.minor, abi::MINOR);
        assert!(agreed.capabilities.contains(wishes().capabilities));
        assert!(!agreed.capabilities.contains(Capabilities::WRITEBACK_CACHE));
        assert_eq!(
            (out.flags2, out.max_pages, out.max_write),
            (1 << 4, 256, 1 << 20)
        );
        // The upper half counts only where it is said to be there.
        let (out, agreed) = with(Capabilities::empty());
        assert!(
            !agreed
                .capabilities
                .contains(Capabilities::DIRECT_IO_ALLOW_MMAP)
        );
        assert_eq!((out.flags2, out.max_write), (0, 32 * 4096));
    }

    #[test]
    fn versions() {
        assert!(matches!(
            answer(&message(8, 0, 0), &wishes()),
            Ok(Answer::Again(_))
        ));
        assert!(matches!(
            answer(&message(7, 30, 0), &wishes()),
            Ok(Answer::Refused)
        ));
        assert!(answer(&message(7, 40, 0)[..45], &wishes()).is_err());
    }
}
