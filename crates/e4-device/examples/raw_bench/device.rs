//! The same writes through this crate.

use crate::{Job, Line, Offsets};
use e4_device::{
    AlignedBuf, BackendChoice, Device, DirectChoice, IoSlice, MemoryDevice, Op, OpenOptions,
    QueueId, Request, Returned, Token, Wait, open,
};
use std::time::Instant;

pub(crate) fn lines() -> Vec<Line<'static>> {
    use BackendChoice::{Auto, Inline, IoUring, Threads};
    use DirectChoice::{Always, Never};
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (name, backend, direct) in [
        ("inline buffered", Inline, Never),
        ("inline direct", Inline, Always),
        ("io_uring buffered", IoUring, Never),
        ("io_uring direct", IoUring, Always),
        ("threads buffered", Threads, Never),
        ("threads direct", Threads, Always),
        ("auto", Auto, DirectChoice::Auto),
    ] {
        let options = OpenOptions {
            backend,
            direct,
            ..OpenOptions::default()
        };
        lines.push((
            format!("device {name}"),
            Box::new(move |job, end| {
                let dev = open(job.path, &options).map_err(|e| e.to_string())?;
                drive(&*dev, job, end, false)
            }),
        ));
    }
    lines.push((
        "device auto, new buffer each".into(),
        Box::new(|job, end| {
            let dev = open(job.path, &OpenOptions::default()).map_err(|e| e.to_string())?;
            drive(&*dev, job, end, true)
        }),
    ));
    let memory = MemoryDevice::new(64 << 30);
    lines.push((
        "device memory".into(),
        Box::new(move |job, end| drive(&memory, job, end, false)),
    ));
    lines
}

/// Keeps `depth` writes in flight from one thread.
fn drive(dev: &dyn Device, job: &Job<'_>, end: Instant, fresh: bool) -> Result<u64, String> {
    let mut offsets = Offsets::new(job);
    let queue = QueueId::for_this_thread(dev.info());
    let (mut requests, mut finished) = (Vec::new(), Vec::new());
    let mut free: Vec<AlignedBuf> = (0..job.depth).map(|_| AlignedBuf::zeroed(job.bs)).collect();
    let (mut done, mut failed) = (0, None);
    loop {
        if failed.is_none() && Instant::now() < end {
            requests.extend(free.drain(..).map(|buf| Request {
                token: Token(0),
                op: Op::Write {
                    at: offsets.next(),
                    data: IoSlice::Owned(buf),
                },
            }));
            dev.submit(queue, &mut requests);
        } else if free.len() == job.depth {
            return failed.map_or(Ok(done), Err);
        }
        done += dev.poll(queue, &mut finished, Wait::One) as u64;
        for c in finished.drain(..) {
            if let Err(error) = c.result {
                failed = Some(error.to_string());
            }
            if let Returned::Write(IoSlice::Owned(buf)) = c.returned {
                free.push(if fresh {
                    drop(buf);
                    AlignedBuf::recycled(job.bs)
                } else {
                    buf
                });
            }
        }
    }
}
