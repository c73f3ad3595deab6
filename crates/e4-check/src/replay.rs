//! Replaying the log into memory, independently of the filesystem's own recovery.
//!
//! Three rounds over the committed transactions, as the format demands: find the end of the log, collect
//! revokes, collect blocks. A transaction counts if its commit block is there and everything in it has
//! the right checksum; the log ends at the first one that does not.
//!
//! Invariants: at most one round trip through the log per round, whatever its blocks say; the overlay
//! holds at most as many blocks as the log.

use crate::context::Check;
use crate::journal::Journal;
use crate::problem::Problem;
use crate::reader::Overlay;
use e4_format::jbd2::{self, BlockHeader, BlockKind, CommitBlock, Tag};
use e4_format::{FsBlock, Tid};
use std::collections::HashMap;

/// One block of a transaction in the log.
enum Item {
    Data { tag: Tag, log_block: u32 },
    Revokes { log_block: u32 },
}

/// One committed transaction.
struct Transaction {
    tid: Tid,
    items: Vec<Item>,
}

/// The state after replay, as blocks that differ from the device.
pub(crate) fn replay(c: &mut Check<'_>, journal: &Journal) -> Overlay {
    let transactions = scan(c, journal);
    let revoked = revokes(c, journal, &transactions);
    let mut overlay = Overlay::new();
    let (mut blocks, mut skipped) = (0u64, 0u64);
    for transaction in &transactions {
        for item in &transaction.items {
            let Item::Data { tag, log_block } = item else {
                continue;
            };
            let last = revoked.get(&tag.block.get());
            if last.is_some_and(|tid| tid.at_or_after(transaction.tid)) {
                skipped += 1;
                continue;
            }
            let Some(mut data) = log_bytes(c, journal, *log_block) else {
                continue;
            };
            if tag.escaped {
                jbd2::unescape(&mut data);
            }
            // Not the superblock's count: a larger one may be in the log as well.
            if tag.block.get() < c.disk.device_blocks() {
                overlay.insert(tag.block.get(), data.into_boxed_slice());
                blocks += 1;
            }
        }
    }
    let transactions = u32::try_from(transactions.len()).unwrap_or(u32::MAX);
    c.report(Problem::JournalReplayed {
        transactions,
        blocks,
        revoked: skipped,
    });
    overlay
}

fn log_bytes(c: &mut Check<'_>, journal: &Journal, log_block: u32) -> Option<Vec<u8>> {
    match c.disk.block(journal.place(log_block)?) {
        Ok(bytes) => Some(bytes),
        Err(problem) => {
            c.report(problem);
            None
        }
    }
}

/// A position that walks around the log once.
struct Cursor {
    at: u32,
    left: u32,
    first: u32,
    end: u32,
}

impl Cursor {
    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let here = self.at;
        self.at = if here + 1 >= self.end {
            self.first
        } else {
            here + 1
        };
        Some(here)
    }
}

/// The committed transactions, oldest first.
fn scan(c: &mut Check<'_>, journal: &Journal) -> Vec<Transaction> {
    let (first, end) = (journal.sb.first(), journal.sb.log_end());
    let Some(start) = journal.sb.start() else {
        return Vec::new();
    };
    let mut cursor = Cursor {
        at: start,
        left: end - first,
        first,
        end,
    };
    let mut done = Vec::new();
    let mut tid = journal.sb.sequence();
    let mut items = Vec::new();
    let mut damaged = None;
    while let Some(at) = cursor.next() {
        let Some(bytes) = log_bytes(c, journal, at) else {
            break;
        };
        let Some(header) = BlockHeader::decode(&bytes).filter(|h| h.tid == tid) else {
            break;
        };
        match header.kind {
            BlockKind::Descriptor => {
                let Ok(tags) = jbd2::tags(&bytes, journal.sb.format()) else {
                    break;
                };
                for tag in tags {
                    let Some(log_block) = cursor.next() else {
                        return done;
                    };
                    let Some(data) = log_bytes(c, journal, log_block) else {
                        return done;
                    };
                    if tag.verify(journal.sb.format(), tid, &data).is_err() {
                        damaged = damaged.or(journal.place(log_block));
                    }
                    items.push(Item::Data { tag, log_block });
                }
            }
            BlockKind::Revoke => items.push(Item::Revokes { log_block: at }),
            BlockKind::Commit => {
                if CommitBlock::decode(&bytes, journal.sb.format()).is_err() {
                    break;
                }
                if let Some(block) = damaged {
                    c.report(Problem::JournalLogDamaged { tid, block });
                    break;
                }
                done.push(Transaction {
                    tid,
                    items: std::mem::take(&mut items),
                });
                tid = tid.next();
            }
            BlockKind::SuperblockV1 | BlockKind::SuperblockV2 => break,
        }
    }
    done
}

/// For each revoked block the newest transaction that revoked it.
fn revokes(
    c: &mut Check<'_>,
    journal: &Journal,
    transactions: &[Transaction],
) -> HashMap<u64, Tid> {
    let mut newest = HashMap::new();
    for transaction in transactions {
        for item in &transaction.items {
            let Item::Revokes { log_block } = item else {
                continue;
            };
            let Some(bytes) = log_bytes(c, journal, *log_block) else {
                continue;
            };
            match jbd2::revoked(&bytes, journal.sb.format()) {
                Ok(list) => newest.extend(list.map(|b: FsBlock| (b.get(), transaction.tid))),
                Err(_) => {
                    let block = journal.place(*log_block).unwrap_or(FsBlock::new(0));
                    c.report(Problem::JournalLogDamaged {
                        tid: transaction.tid,
                        block,
                    });
                }
            }
        }
    }
    newest
}
