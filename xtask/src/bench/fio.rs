//! fio, as a second opinion on what the raw file and the kernel can do, and where `O_DSYNC` is wanted of them.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;

use super::job::{Job, Order};
use super::kernel::run_tool;

/// One fio run.
pub(crate) struct Run<'a> {
    /// The image, or the directory with files `f0`, `f1`, ...
    pub(crate) path: &'a Path,
    /// Where in the image; `None`: `path` is a directory.
    pub(crate) base: Option<u64>,
    pub(crate) direct: bool,
}

/// The version, or why there is none.
pub(crate) fn version() -> Result<String> {
    run_tool("fio", ["--version"])
}

/// Writes per second, the final fsync included.
pub(crate) fn run(job: &Job, run: &Run<'_>) -> Result<f64> {
    let threads = job.threads as u64;
    let share = job.size / threads / job.bs as u64 * job.bs as u64;
    let mut args: Vec<String> = [
        "--name=bench",
        "--ioengine=io_uring",
        "--fallocate=none",
        "--allow_file_create=0",
        "--random_generator=lfsr",
        "--randrepeat=1",
        "--end_fsync=1",
        "--group_reporting=1",
        "--output-format=json",
    ]
    .map(str::to_owned)
    .to_vec();
    let order = if job.order == Order::Random {
        "randwrite"
    } else {
        "write"
    };
    args.push(format!("--rw={order}"));
    args.push(format!("--bs={}", job.bs));
    args.push(format!("--iodepth={}", job.depth));
    args.push(format!("--direct={}", u8::from(run.direct)));
    args.push(format!("--size={share}"));
    args.push(format!("--numjobs={threads}"));
    match run.base {
        Some(base) => {
            args.push(format!("--filename={}", run.path.display()));
            args.push(format!("--offset={base}"));
        }
        None if job.many_files => {
            args.push(format!("--directory={}", run.path.display()));
            args.push("--filename_format=f$jobnum".to_owned());
        }
        None => args.push(format!("--filename={}", run.path.join("f0").display())),
    }
    if run.base.is_some() || !job.many_files {
        args.push(format!("--offset_increment={share}"));
    }
    if job.dsync {
        args.push("--sync=dsync".to_owned());
    }
    if job.max_writes > 0 {
        args.push(format!(
            "--io_size={}",
            job.max_writes / threads * job.bs as u64
        ));
    }
    let text = run_tool("fio", args)?;
    // Warnings may come first.
    let json = text.find('{').map_or("", |at| &text[at..]);
    let json: Value = serde_json::from_str(json).context("fio's report is no JSON")?;
    rate(&json).ok_or_else(|| anyhow!("fio's report lacks total_ios or runtime"))
}

fn rate(report: &Value) -> Option<f64> {
    let jobs = report.get("jobs")?.as_array()?;
    let of = |key| {
        jobs.iter()
            .filter_map(move |j| j.get("write")?.get(key)?.as_f64())
    };
    let (writes, ms): (f64, f64) = (of("total_ios").sum(), of("runtime").fold(0.0, f64::max));
    (ms > 0.0).then(|| writes * 1000.0 / ms)
}
