//! The writers: the same loop over a device, over a file of some filesystem, and over e4.
//!
//! Decisions:
//! - Threads are started and buffers made before the clock runs; the final fsync is inside it.
//! - A written buffer comes back with its completion and is written again; its first 8 bytes carry the offset, which
//!   is checked afterwards.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use e4::device::{Device, IoSlice, Op, QueueId, Request, Returned, Token, Wait};
use e4::{AlignedBuf, File, Filesystem};
use e4_sync::atomic::{AtomicUsize, Ordering};
use e4_sync::{Arc, Instant, now, thread};

use super::job::Plan;

/// One thread's part of a device: several threads may share one.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) device: Arc<dyn Device>,
    /// Added to every offset.
    pub(crate) base: u64,
}

fn stamped(mut buf: AlignedBuf, offset: u64) -> AlignedBuf {
    buf[..8].copy_from_slice(&offset.to_le_bytes());
    buf
}

/// Runs `work` on one thread per share of the plan, then `finish`; seconds from start to the end of both.
fn timed(
    plan: &Plan,
    work: impl Fn(usize, &[u64]) -> Result<()> + Sync,
    finish: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    if let [only] = &plan.threads[..] {
        let start = now();
        work(0, only)?;
        finish()?;
        return Ok(start.elapsed().as_secs_f64());
    }
    let waiting = AtomicUsize::new(plan.threads.len());
    let begin = || {
        waiting.fetch_sub(1, Ordering::AcqRel);
        while waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        now()
    };
    thread::scope(|scope| {
        let (begin, work) = (&begin, &work);
        let mut running = Vec::new();
        for (n, offsets) in plan.threads.iter().enumerate() {
            running.push(scope.spawn(move || (begin(), work(n, offsets))));
        }
        let mut first: Option<Instant> = None;
        let mut failed = None;
        for handle in running {
            let (start, result) = handle.join().map_err(|_| anyhow!("a writer panicked"))?;
            first = Some(first.map_or(start, |f| f.min(start)));
            failed = failed.or(result.err());
        }
        match (failed, first) {
            (None, Some(first)) => finish().map(|()| first.elapsed().as_secs_f64()),
            (failed, _) => Err(failed.unwrap_or_else(|| anyhow!("nothing to do"))),
        }
    })
}

/// Writes the plan to devices (`targets[thread % len]`) and flushes each. Seconds.
pub(crate) fn devices(targets: &[Target], plan: &Plan, bs: usize, depth: usize) -> Result<f64> {
    // Threads that share a queue poll each other's completions, so they are counted here, by token.
    let done: Vec<AtomicUsize> = plan.threads.iter().map(|_| AtomicUsize::new(0)).collect();
    timed(
        plan,
        |n, offsets| {
            let target = &targets[n % targets.len()];
            let queue = QueueId(n % target.device.info().queues);
            device_loop(target, queue, (n, &done), offsets, bs, depth)
        },
        || targets.iter().try_for_each(|t| Ok(t.device.flush()?)),
    )
}

fn device_loop(
    target: &Target,
    queue: QueueId,
    (me, done): (usize, &[AtomicUsize]),
    offsets: &[u64],
    bs: usize,
    depth: usize,
) -> Result<()> {
    let mut free: Vec<AlignedBuf> = (0..depth).map(|_| AlignedBuf::zeroed(bs)).collect();
    let (mut requests, mut finished) = (Vec::new(), Vec::new());
    let mut begun = 0;
    loop {
        while begun < offsets.len() && begun - done[me].load(Ordering::Acquire) < depth {
            let buf = free.pop().unwrap_or_else(|| AlignedBuf::recycled(bs));
            let data = IoSlice::Owned(stamped(buf, offsets[begun]));
            let at = target.base + offsets[begun];
            requests.push(Request {
                token: Token(me as u64),
                op: Op::Write { at, data },
            });
            begun += 1;
        }
        target.device.submit(queue, &mut requests);
        if done[me].load(Ordering::Acquire) == offsets.len() {
            return Ok(());
        }
        target.device.poll(queue, &mut finished, Wait::One);
        for c in finished.drain(..) {
            c.result?;
            done[c.token.0 as usize].fetch_add(1, Ordering::AcqRel);
            if let Returned::Write(IoSlice::Owned(buf)) = c.returned {
                free.push(buf);
            }
        }
    }
}

/// Writes the plan to files of an e4 filesystem (`files[thread % len]`), then fsyncs each. Seconds.
pub(crate) fn e4_files(
    fs: &Filesystem,
    files: &[File],
    plan: &Plan,
    bs: usize,
    depth: usize,
) -> Result<f64> {
    timed(
        plan,
        |n, offsets| e4_loop(fs, &files[n % files.len()], offsets, bs, depth),
        || files.iter().try_for_each(|f| Ok(f.fsync()?)),
    )
}

/// One thread's writes, without an fsync.
pub(crate) fn e4_loop(
    fs: &Filesystem,
    file: &File,
    offsets: &[u64],
    bs: usize,
    depth: usize,
) -> Result<()> {
    let mut free: Vec<AlignedBuf> = (0..depth).map(|_| AlignedBuf::zeroed(bs)).collect();
    let mut ctx = fs.io_context();
    let mut events = Vec::new();
    let mut begun = 0;
    while begun < offsets.len() || ctx.outstanding() > 0 {
        while begun < offsets.len() && ctx.outstanding() < depth {
            let buf = free.pop().unwrap_or_else(|| AlignedBuf::recycled(bs));
            ctx.write(file, offsets[begun], stamped(buf, offsets[begun]), 0)?;
            begun += 1;
        }
        ctx.wait(1, &mut events);
        for event in events.drain(..) {
            event.result?;
            free.extend(event.buf);
        }
    }
    Ok(())
}

/// Reads some of what a plan wrote back and compares the stamps.
pub(crate) fn verify(files: &[File], plan: &Plan) -> Result<()> {
    for (n, offsets) in plan.threads.iter().enumerate() {
        let file = &files[n % files.len()];
        for &offset in offsets.iter().step_by((offsets.len() / 256).max(1)) {
            let mut found = [0; 8];
            file.read_at(offset, &mut found)?;
            if u64::from_le_bytes(found) != offset {
                bail!("the block at {offset} does not read back as it was written");
            }
        }
    }
    Ok(())
}

/// Opens an image or a file for [`devices`].
pub(crate) fn open(
    path: &Path,
    backend: e4::device::BackendChoice,
    direct: e4::device::DirectChoice,
) -> Result<Arc<dyn Device>> {
    let options = e4::device::OpenOptions {
        backend,
        direct,
        ..Default::default()
    };
    Ok(e4::device::open(path, &options)?)
}
