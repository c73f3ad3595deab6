//! The yardstick: system calls without this crate.

use crate::{Job, Line, Offsets};
use e4_device::AlignedBuf;
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

#[derive(Clone, Copy)]
struct Mode {
    direct: bool,
    setup: &'static str,
    fixed_file: bool,
    fixed_buffers: bool,
    asynchronous: bool,
}

pub(crate) fn lines() -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for direct in [false, true] {
        let cache = if direct { "direct" } else { "buffered" };
        lines.push((
            format!("pwrite {cache}"),
            Box::new(move |job, end| pwrite(job, end, direct)),
        ));
        for (setup, fixed_file, fixed_buffers, asynchronous) in [
            ("plain", false, false, false),
            ("plain", true, false, false),
            ("plain", true, true, false),
            ("plain", false, false, true),
            ("coop", true, false, false),
            ("defer", false, false, false),
            ("defer", true, false, false),
            ("defer", true, true, false),
            ("defer", true, true, true),
        ] {
            let mode = Mode {
                direct,
                setup,
                fixed_file,
                fixed_buffers,
                asynchronous,
            };
            let mut name = format!("ring {cache} {setup}");
            for (on, what) in [
                (fixed_file, " +file"),
                (fixed_buffers, " +buffers"),
                (asynchronous, " +async"),
            ] {
                name.push_str(if on { what } else { "" });
            }
            lines.push((name, Box::new(move |job, end| ring(job, end, mode))));
        }
    }
    lines
}

fn open(job: &Job<'_>, direct: bool) -> Result<File, String> {
    File::options()
        .read(true)
        .write(true)
        .custom_flags(if direct { libc::O_DIRECT } else { 0 })
        .open(job.path)
        .map_err(|e| e.to_string())
}

fn buffers(job: &Job<'_>) -> Vec<AlignedBuf> {
    (0..job.depth)
        .map(|n| {
            let mut buf = AlignedBuf::zeroed(job.bs);
            buf.fill(n as u8);
            buf
        })
        .collect()
}

fn pwrite(job: &Job<'_>, end: Instant, direct: bool) -> Result<u64, String> {
    let file = open(job, direct)?;
    let (buffers, mut offsets) = (buffers(job), Offsets::new(job));
    let mut done = 0;
    while Instant::now() < end {
        for buf in &buffers {
            file.write_all_at(buf, offsets.next())
                .map_err(|e| e.to_string())?;
            done += 1;
        }
    }
    Ok(done)
}

fn ring(job: &Job<'_>, end: Instant, mode: Mode) -> Result<u64, String> {
    let file = open(job, mode.direct)?;
    let mut builder = IoUring::builder();
    match mode.setup {
        "coop" => {
            builder.setup_coop_taskrun();
        }
        "defer" => {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        _ => {}
    }
    let mut ring: IoUring = builder
        .build(job.depth.next_power_of_two() as u32)
        .map_err(|e| e.to_string())?;
    let mut buffers = buffers(job);
    register(&ring, &file, &mut buffers, mode)?;
    let mut offsets = Offsets::new(job);
    let mut free: Vec<usize> = (0..job.depth).collect();
    let (mut done, mut failed) = (0, None);
    while free.len() < job.depth || Instant::now() < end {
        if failed.is_none() && Instant::now() < end {
            let mut queue = ring.submission();
            for n in free.drain(..) {
                let buf = buffers[n].as_mut_ptr();
                let entry = entry(&file, buf, n, job.bs as u32, offsets.next(), mode);
                // SAFETY: the buffer lives until the loop has seen every completion, and is not touched.
                unsafe { queue.push(&entry) }.map_err(|e| e.to_string())?;
            }
        }
        ring.submit_and_wait(1).map_err(|e| e.to_string())?;
        for cqe in ring.completion() {
            if cqe.result() != job.bs as i32 {
                failed = Some(format!("completed with {}", cqe.result()));
            }
            free.push(cqe.user_data() as usize);
            done += 1;
        }
        if failed.is_some() && free.len() == job.depth {
            break;
        }
    }
    failed.map_or(Ok(done), Err)
}

fn register(
    ring: &IoUring,
    file: &File,
    buffers: &mut [AlignedBuf],
    mode: Mode,
) -> Result<(), String> {
    if mode.fixed_file {
        ring.submitter()
            .register_files(&[file.as_raw_fd()])
            .map_err(|e| e.to_string())?;
    }
    if mode.fixed_buffers {
        let vectors: Vec<libc::iovec> = buffers
            .iter_mut()
            .map(|buf| libc::iovec {
                iov_base: buf.as_mut_ptr().cast(),
                iov_len: buf.len(),
            })
            .collect();
        // SAFETY: the kernel pins the pages; the buffers outlive every request on them.
        unsafe { ring.submitter().register_buffers(&vectors) }.map_err(|e| e.to_string())?;
    }
    Ok(())
}

fn entry(file: &File, buf: *mut u8, n: usize, len: u32, at: u64, mode: Mode) -> squeue::Entry {
    let (fixed, fd) = (types::Fixed(0), types::Fd(file.as_raw_fd()));
    let index = n as u16;
    let entry = match (mode.fixed_file, mode.fixed_buffers) {
        (false, false) => opcode::Write::new(fd, buf, len).offset(at).build(),
        (true, false) => opcode::Write::new(fixed, buf, len).offset(at).build(),
        (false, true) => opcode::WriteFixed::new(fd, buf, len, index)
            .offset(at)
            .build(),
        (true, true) => opcode::WriteFixed::new(fixed, buf, len, index)
            .offset(at)
            .build(),
    };
    let entry = entry.user_data(n as u64);
    if mode.asynchronous {
        return entry.flags(squeue::Flags::ASYNC);
    }
    entry
}

/// User and system time of this process so far, all threads, those of the kernel's workers included.
pub(crate) fn cpu_seconds() -> f64 {
    // SAFETY: all bytes zero is a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the result.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    [usage.ru_utime, usage.ru_stime]
        .iter()
        .map(|t| t.tv_sec as f64 + t.tv_usec as f64 / 1e6)
        .sum()
}
