//! Reading the log: which transactions are complete, which copies they hold, how the log ends.
//!
//! Pass 1 follows the transactions from the tail and keeps, per block, the newest copy, and where the revoke blocks lie. Pass 2
//! reads those again and strikes out what they revoke; so revoke records of blocks without a copy cost no memory. When
//! the chain ends, the rest of the ring is searched for a complete later transaction.
//!
//! Invariant: the positions of one transaction never exceed the log's capacity, and neither do all of them together: each
//! block of the ring is visited at most once per pass.

use e4_device::Device;
use e4_format::jbd2::{
    BlockHeader, BlockKind, CommitBlock, JournalCsum, JournalFormat, Tag, revoked, tags,
};
use e4_format::{FsBlock, Tid};
use e4_planted::planted;
use hashbrown::HashMap;

use super::reader::Reader;
use super::{Damage, Plan, RecoveryEnd, RecoveryReport, ReplayCopy, fast_commit};
use crate::error::JournalError;
use crate::layout::JournalLayout;

/// See [`super::examine`].
pub(super) fn examine(device: &dyn Device, layout: &JournalLayout) -> Result<Plan, JournalError> {
    let superblock = layout.superblock();
    let first = superblock.sequence();
    let mut report = RecoveryReport {
        end: RecoveryEnd::Clean,
        first,
        transactions: 0,
        blocks: 0,
        revoked: 0,
        errno: superblock.errno(),
    };
    let Some(start) = superblock.start() else {
        return Ok(Plan {
            report,
            copies: Vec::new(),
            next: first,
            empty: true,
        });
    };
    let mut scan = Scan {
        reader: Reader::new(device, layout),
        layout,
        format: *superblock.format(),
        first: superblock.first(),
        end: superblock.log_end(),
        newest: HashMap::new(),
        revoke_blocks: Vec::new(),
    };
    let chain = scan.follow(first, start)?;
    report.transactions = chain.transactions;
    if planted!(SkipLastTransaction) {
        let last = chain.tid.get().wrapping_sub(1);
        scan.newest.retain(|_, copy| copy.tid.get() != last);
    }
    let (end, next) = scan.classify(&chain)?;
    fast_commit::refuse_live(&mut scan.reader, layout, chain.tid)?;
    report.end = end;
    if !planted!(IgnoreRevokes) {
        report.revoked = scan.strike_revoked()?;
    }
    let mut copies: Vec<_> = scan.newest.into_values().collect();
    copies.sort_unstable_by_key(|c| c.block);
    report.blocks = copies.len() as u64;
    Ok(Plan {
        report,
        copies,
        next,
        empty: false,
    })
}

struct Scan<'a> {
    reader: Reader<'a>,
    layout: &'a JournalLayout,
    format: JournalFormat,
    /// The ring.
    first: u32,
    end: u32,
    newest: HashMap<FsBlock, ReplayCopy>,
    revoke_blocks: Vec<(Tid, u32)>,
}

/// Where the chain of complete transactions ends.
struct Chain {
    transactions: u32,
    /// The transaction that is not complete.
    tid: Tid,
    /// Where it should begin.
    at: u32,
    /// Blocks of the ring before it.
    used: u32,
    /// When the last complete one was committed.
    time: Option<u64>,
    broken: Broken,
}

/// What there is of a transaction that does not count.
enum Broken {
    /// Nothing.
    Absent,
    /// Something.
    Damaged { at: u32, damage: Damage },
}

/// A complete transaction.
struct Complete {
    copies: Vec<ReplayCopy>,
    revokes: Vec<(Tid, u32)>,
    len: u32,
    time: u64,
}

type Parsed = Result<Complete, Broken>;

impl Scan<'_> {
    fn capacity(&self) -> u32 {
        self.end - self.first
    }

    fn after(&self, at: u32) -> u32 {
        if at + 1 >= self.end {
            self.first
        } else {
            at + 1
        }
    }

    fn follow(&mut self, mut tid: Tid, mut at: u32) -> Result<Chain, JournalError> {
        let (mut used, mut transactions, mut time) = (0, 0, None);
        loop {
            let complete = match self.transaction(tid, at, self.capacity() - used)? {
                Ok(complete) => complete,
                Err(broken) => {
                    return Ok(Chain {
                        transactions,
                        tid,
                        at,
                        used,
                        time,
                        broken,
                    });
                }
            };
            for copy in complete.copies {
                self.check_target(&copy)?;
                self.newest.insert(copy.block, copy);
            }
            self.revoke_blocks.extend(complete.revokes);
            time = Some(complete.time);
            used += complete.len;
            transactions += 1;
            for _ in 0..complete.len {
                at = self.after(at);
            }
            tid = tid.next();
        }
    }

    fn check_target(&self, copy: &ReplayCopy) -> Result<(), JournalError> {
        let ReplayCopy { block, tid, .. } = *copy;
        let blocks = self.layout.filesystem_blocks();
        if block.get() >= blocks {
            return Err(JournalError::ReplayOutside { tid, block, blocks });
        }
        if self.layout.contains(block) {
            return Err(JournalError::ReplayOntoJournal { tid, block });
        }
        Ok(())
    }

    /// Reads one transaction of at most `limit` blocks.
    fn transaction(&mut self, tid: Tid, mut at: u32, limit: u32) -> Result<Parsed, JournalError> {
        let mut found = Complete {
            copies: Vec::new(),
            revokes: Vec::new(),
            len: 0,
            time: 0,
        };
        let mut crc = V1_INIT;
        if limit == 0 {
            // The log is full: what follows is the tail again.
            return Ok(Err(Broken::Absent));
        }
        while found.len < limit {
            let block = self.reader.block(at)?;
            let kind = match BlockHeader::decode(block) {
                Some(header) if header.tid == tid => header.kind,
                _ if found.len == 0 => return Ok(Err(Broken::Absent)),
                _ if planted!(ReplayUncommitted) => return Ok(Ok(found)),
                _ => return Ok(Err(damaged(at, Damage::Missing))),
            };
            found.len += 1;
            match kind {
                BlockKind::Commit => {
                    return Ok(match self.check_commit(at, crc)? {
                        Ok(time) => Ok(Complete { time, ..found }),
                        Err(damage) => Err(damaged(at, damage)),
                    });
                }
                BlockKind::Revoke => {
                    if let Err(e) = revoked(block, &self.format) {
                        return Ok(Err(damaged(at, Damage::Format(e))));
                    }
                    found.revokes.push((tid, at));
                }
                BlockKind::Descriptor => {
                    let list: Vec<Tag> = match tags(block, &self.format) {
                        Ok(list) => list.collect(),
                        Err(e) => return Ok(Err(damaged(at, Damage::Format(e)))),
                    };
                    if self.format.csum == JournalCsum::V1 {
                        crc = crc32_be(crc, block);
                    }
                    if let Err(broken) =
                        self.data_blocks(tid, &list, &mut at, limit, &mut found, &mut crc)?
                    {
                        return Ok(Err(broken));
                    }
                }
                BlockKind::SuperblockV1 | BlockKind::SuperblockV2 => {
                    return Ok(Err(damaged(at, Damage::Missing)));
                }
            }
            at = self.after(at);
        }
        Ok(Err(damaged(at, Damage::Endless)))
    }

    /// The blocks behind a descriptor at `at`, which moves to the last of them.
    fn data_blocks(
        &mut self,
        tid: Tid,
        list: &[Tag],
        at: &mut u32,
        limit: u32,
        found: &mut Complete,
        crc: &mut u32,
    ) -> Result<Result<(), Broken>, JournalError> {
        for tag in list {
            if found.len >= limit {
                return Ok(Err(damaged(*at, Damage::Endless)));
            }
            *at = self.after(*at);
            found.len += 1;
            let data = self.reader.block(*at)?;
            if let Err(e) = tag.verify(&self.format, tid, data) {
                return Ok(Err(damaged(*at, Damage::Format(e))));
            }
            if self.format.csum == JournalCsum::V1 {
                *crc = crc32_be(*crc, data);
            }
            found.copies.push(ReplayCopy {
                block: tag.block,
                log: *at,
                escaped: tag.escaped,
                tid,
            });
        }
        Ok(Ok(()))
    }

    fn check_commit(&mut self, at: u32, crc: u32) -> Result<Result<u64, Damage>, JournalError> {
        let block = self.reader.block(at)?;
        Ok(match CommitBlock::decode(block, &self.format) {
            Err(e) => Err(Damage::Format(e)),
            Ok(CommitBlock {
                v1_crc32: Some(found),
                ..
            }) if found != crc => Err(Damage::Checksum {
                expected: crc,
                found,
            }),
            Ok(commit) => Ok(commit.sec),
        })
    }

    /// Tells a torn tail from damage in the middle by what lies behind it. Also returns the next number to use.
    fn classify(&mut self, chain: &Chain) -> Result<(RecoveryEnd, Tid), JournalError> {
        let tid = chain.tid;
        let (own, later) = self.search(chain)?;
        let (at, damage) = match &chain.broken {
            Broken::Damaged { at, damage } => (*at, damage.clone()),
            Broken::Absent if own || later.is_some() => (chain.at, Damage::Missing),
            Broken::Absent => return Ok((RecoveryEnd::Clean, tid.next())),
        };
        Ok(match later {
            None => (RecoveryEnd::TornTail { tid, at, damage }, tid.next()),
            Some(later) => (
                RecoveryEnd::CorruptBeforeCommit {
                    tid,
                    at,
                    damage,
                    later,
                },
                later.next(),
            ),
        })
    }

    /// Looks through the rest of the ring for commit records of the transaction that is not complete, and of later ones.
    ///
    /// What an earlier life of the journal left behind is always older, with one exception: a journal that was made
    /// without being cleared, over another one. Checksums tell those apart; without them a record only counts
    /// if it is not older than the last one of the chain.
    fn search(&mut self, chain: &Chain) -> Result<(bool, Option<Tid>), JournalError> {
        let (mut own, mut newest) = (false, None::<Tid>);
        let mut at = chain.at;
        for _ in chain.used..self.capacity() {
            let block = self.reader.block(at)?;
            let header = BlockHeader::decode(block).filter(|h| h.kind == BlockKind::Commit);
            if let Some(header) = header {
                let ahead = header.tid.get().wrapping_sub(chain.tid.get());
                let commit = CommitBlock::decode(block, &self.format);
                let credible = commit.is_ok_and(|c| {
                    self.format.has_block_csum() || chain.time.is_some_and(|time| c.sec >= time)
                });
                if credible && ahead == 0 {
                    own = true;
                } else if credible && ahead < self.capacity() {
                    let newer = newest.is_none_or(|n| header.tid.at_or_after(n));
                    newest = if newer { Some(header.tid) } else { newest };
                }
            }
            at = self.after(at);
        }
        Ok((own, newest))
    }

    /// Removes the copies that a revoke record of the same or a later transaction names. Returns how many.
    fn strike_revoked(&mut self) -> Result<u64, JournalError> {
        let mut struck = 0;
        for (tid, at) in core::mem::take(&mut self.revoke_blocks) {
            let block = self.reader.block(at)?;
            // Verified before; a block that has changed since reads as without records.
            let Ok(records) = revoked(block, &self.format) else {
                continue;
            };
            for block in records {
                let copy = self.newest.get(&block);
                if copy.is_some_and(|c| tid.at_or_after(c.tid) || planted!(RevokeLaterCopies)) {
                    self.newest.remove(&block);
                    struck += 1;
                }
            }
        }
        Ok(struck)
    }
}

fn damaged(at: u32, damage: Damage) -> Broken {
    Broken::Damaged { at, damage }
}

/// Where the checksum of a transaction (version 1) starts.
const V1_INIT: u32 = !0;

const V1_TABLE: [u32; 256] = {
    let mut table = [0u32; 256];
    let mut i = 0;
    while i < 256 {
        #[allow(clippy::cast_possible_truncation)] // below 256
        let mut c = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            c = if c >> 31 == 1 {
                c << 1 ^ 0x04C1_1DB7
            } else {
                c << 1
            };
            bit += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
};

/// The crc32 of version 1: the polynomial of Ethernet, most significant bit first, not inverted.
fn crc32_be(seed: u32, data: &[u8]) -> u32 {
    data.iter().fold(seed, |c, b| {
        let [high, ..] = c.to_be_bytes();
        V1_TABLE[usize::from(high ^ b)] ^ c << 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_check_value() {
        // CRC-32/MPEG-2 of the catalogue: same polynomial, order and start, no inversion.
        assert_eq!(crc32_be(V1_INIT, b"123456789"), 0x0376_E6E7);
    }
}
