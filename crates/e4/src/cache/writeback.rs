//! Writeback: dirty pages become device writes, through the engine like any direct write.
//!
//! Per run of pages: allocate what is reserved; copy the pages; admit, map, charge, begin, submit; wait until the io_end is
//! acknowledged; only then are the pages clean. Several inodes go in one round, with one submission.
//!
//! A run that fails, before or after submission, leaves its pages dirty; the inode's log of errors has it (the engine puts
//! failed io_ends there, this module what fails before there is one).

use std::ops::Range;

use e4_device::{AlignedBuf, QueueId, Request};
use e4_format::FileBlock;
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use crate::data::context::Io;
use crate::data::write::{Pocket, Started, Target};
use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::mount::Shared;
use e4_completion::Intent;

/// Longest run written at once, bytes.
const RUN_BYTES: usize = 1 << 20;
/// Copies under way at most, bytes.
const ROUND_BYTES: usize = 8 << 20;

/// What to write back of one inode.
pub(super) struct Job<'a> {
    pub(super) inode: &'a Inode,
    pub(super) blocks: Range<u32>,
}

impl<'a> Job<'a> {
    /// All of it.
    pub(super) fn all(inode: &'a Inode) -> Self {
        Self {
            inode,
            blocks: 0..u32::MAX,
        }
    }
}

/// A run whose copy is on its way.
struct Flight<'a> {
    inode: &'a Inode,
    blocks: Range<u32>,
    io: Arc<Io>,
}

/// What is submitted together.
struct Round<'a> {
    queue: QueueId,
    requests: Vec<Request>,
    flights: Vec<Flight<'a>>,
    bytes: usize,
}

impl Shared {
    /// Writes back the pages that are dirty now, and waits until they are published or have failed. The jobs are in the
    /// order of inode numbers, one for each inode; the caller keeps the inodes from being freed.
    ///
    /// # Errors
    /// The first. Everything that can be written is written all the same.
    pub(super) fn write_back(&self, jobs: &[Job<'_>]) -> Result<()> {
        let turns: Vec<_> = jobs
            .iter()
            .map(|job| {
                let state = job.inode.data();
                state.cache.take_turn(u64::from(state.ino.get()))
            })
            .collect();
        let marks: Vec<u64> = jobs
            .iter()
            .map(|job| job.inode.data().cache.read().mark())
            .collect();
        let mut done = Ok(());
        loop {
            let mut round = Round {
                queue: self.pump.assign_queue(),
                requests: Vec::new(),
                flights: Vec::new(),
                bytes: 0,
            };
            let mut tried = false;
            for (job, mark) in jobs.iter().zip(&marks) {
                while round.bytes < ROUND_BYTES
                    && let Some(run) = self.next_run(job, *mark)
                {
                    tried = true;
                    done = done.and(self.send(job.inode, run, &mut round));
                }
            }
            if !tried {
                break;
            }
            done = done.and(self.finish_round(round));
        }
        drop(turns);
        done
    }

    fn next_run(&self, job: &Job<'_>, mark: u64) -> Option<Range<u32>> {
        let most = u32::try_from(RUN_BYTES / self.cache.block).unwrap_or(1);
        let cache = &job.inode.data().cache;
        cache.read().dirty_run(job.blocks.clone(), mark, most)
    }

    /// Sends one run on its way; its request is in the round.
    fn send<'a>(&self, inode: &'a Inode, run: Range<u32>, round: &mut Round<'a>) -> Result<()> {
        let state = inode.data();
        if let Err(error) = self.allocate_reserved(inode, run.clone()) {
            state.cache.write().postpone(run);
            return self.failed_early(inode, error);
        }
        let bs = self.sb.block_size();
        let byte = |b: u32| bs.byte_of_file(FileBlock::new(b)).get();
        let len = run.len() * bs.len();
        let mut buf = AlignedBuf::recycled(len);
        let end = {
            let mut map = state.cache.write();
            map.begin_writing(run.clone(), &mut buf);
            byte(run.end).min(state.size())
        };
        let target = Target {
            at: byte(run.start),
            end,
            blocks: run.clone(),
        };
        let io = Io::writeback(&state.shared, inode, round.queue, len);
        if let Err(error) = self.begin_run(inode, &target, buf, &io, round) {
            self.end_run(inode, run, false);
            return self.failed_early(inode, error);
        }
        round.bytes += len;
        if planted!(EndWritebackBeforeConversion) {
            self.end_run(inode, run, true);
            return Ok(());
        }
        round.flights.push(Flight {
            inode,
            blocks: run,
            io,
        });
        Ok(())
    }

    fn begin_run(
        &self,
        inode: &Inode,
        target: &Target,
        mut buf: AlignedBuf,
        io: &Arc<Io>,
        round: &mut Round<'_>,
    ) -> Result<()> {
        let shared = &inode.data().shared;
        loop {
            let mut pocket = Pocket {
                queue: round.queue,
                requests: &mut round.requests,
            };
            let whole = self.whole_blocks(target);
            let admission = self.admit(inode, whole, Intent::Write, &mut pocket)?;
            match shared.start_write(inode, admission, target, buf, io, &mut pocket)? {
                Started::Submitted => return Ok(()),
                Started::NeedsZeroOut(back) => buf = back,
                // Its blocks are allocated; and only files mapped by extents have pages.
                Started::NeedsFilling(_) => {
                    return Err(Error::Invalid {
                        what: "a page of a file that has no unwritten state",
                    });
                }
            }
            self.zero_out(inode, target.blocks.clone())?;
        }
    }

    fn finish_round(&self, mut round: Round<'_>) -> Result<()> {
        let mut done = Ok(());
        self.pump.submit(round.queue, &mut round.requests);
        for Flight { inode, blocks, io } in round.flights {
            self.pump.wait_until(round.queue, self, || io.is_done());
            let result = io.take_plain().map(drop);
            let good = result.is_ok() || planted!(LoseWritebackError);
            self.stats
                .pages_written
                .fetch_add(blocks.len() as u64, Ordering::Relaxed);
            self.end_run(inode, blocks, good);
            done = done.and(result);
        }
        done
    }

    /// The pages of a run are out of writeback.
    fn end_run(&self, inode: &Inode, run: Range<u32>, good: bool) {
        let (clean, dropped) = inode.data().cache.write().end_writing(run, good);
        self.cache.gone(dropped);
        self.cache.became_clean(clean);
    }

    /// Nothing in the engine knows of this error.
    fn failed_early(&self, inode: &Inode, error: Error) -> Result<()> {
        inode.record_error(error.clone().into());
        Err(error)
    }
}
