//! The backing file without a filesystem: random writes through the same device layer, with the same
//! buffers and stamps. What e4 is compared with.

use anyhow::Result;
use e4_device::{
    AlignedBuf, Completion, Device, IoSlice, Op, QueueId, Request, Returned, Token, Wait,
};
use e4_sync::{Duration, Instant};

use super::{seed, stamp};

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct RawJob<'a> {
    /// Bytes per write.
    pub block: usize,
    /// Writes in flight.
    pub depth: usize,
    /// The blocks to write, in this order; the final flush is inside the time.
    pub order: &'a [u32],
    /// No new write is begun after this time.
    pub limit: Duration,
    /// Stamp every block with this seed's run, as the verified workloads do.
    pub stamped: Option<u64>,
    /// Which queue of the device.
    pub queue: QueueId,
}

/// What it took.
#[derive(Clone, Copy, Debug)]
pub struct RawResult {
    /// Writes done.
    pub writes: u64,
    /// Time including the flush.
    pub time: Duration,
}

impl RawResult {
    /// Writes per second.
    #[must_use]
    pub fn iops(&self) -> f64 {
        self.writes as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Runs the job on one queue. The blocks named are overwritten.
///
/// # Errors
/// The device's.
pub fn run(device: &dyn Device, job: &RawJob<'_>) -> Result<RawResult> {
    let mut order = job.order.iter();
    let mut spare: Vec<AlignedBuf> = (0..job.depth)
        .map(|_| AlignedBuf::zeroed(job.block))
        .collect();
    let mut requests: Vec<Request> = Vec::with_capacity(job.depth);
    let mut done: Vec<Completion> = Vec::with_capacity(job.depth);
    let (mut begun, mut finished) = (0u64, 0u64);
    let start: Instant = e4_sync::now();
    loop {
        if start.elapsed() < job.limit {
            while let Some(mut buf) = spare.pop() {
                let Some(&block) = order.next() else { break };
                let at = u64::from(block) * job.block as u64;
                if let Some(seed) = job.stamped {
                    stamp::fill(&mut buf, seed::run_id(seed), 0, at, begun + 1);
                }
                let op = Op::Write {
                    at,
                    data: IoSlice::Owned(buf),
                };
                requests.push(Request {
                    token: Token(begun),
                    op,
                });
                begun += 1;
            }
        }
        device.submit(job.queue, &mut requests);
        if finished == begun {
            break;
        }
        device.poll(job.queue, &mut done, Wait::One);
        for completion in done.drain(..) {
            completion.result?;
            finished += 1;
            if let Returned::Write(IoSlice::Owned(buf)) = completion.returned {
                spare.push(buf);
            }
        }
    }
    device.flush()?;
    Ok(RawResult {
        writes: finished,
        time: start.elapsed(),
    })
}
