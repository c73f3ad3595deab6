//! Through a mount: e4 beside the kernel's ext4 on a loop device and fuse2fs.
//!
//! Decisions:
//! - The same image file, formatted afresh, mounted by one after the other; fio does the data, plain system calls of
//!   this process the names. One thread asks for names: what one program feels.
//! - Names are asked for with the kernel's caches of inodes dropped, or every system would answer from there.
//! - e4's server is this program started again: a process that serves its own mount could lock itself up.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow};
use e4_sync::now;
use serde::Serialize;
use serde_json::Value;

use super::kernel::{Mounted, Peer, run_tool};
use super::report::Spread;
use super::systems::Bench;

/// What is measured, in the order of the columns.
pub(crate) const COLUMNS: [&str; 8] = [
    "4k write", "4k read", "1M write", "1M read", "create", "stat", "readdir", "unlink",
];

/// One system's figures: operations per second, names per second for `readdir`; empty if absent.
#[derive(Serialize)]
pub(crate) struct Through {
    pub(crate) system: &'static str,
    pub(crate) figures: Vec<Spread>,
    /// Why there are none.
    pub(crate) absent: Option<String>,
}

const SYSTEMS: [(&str, Peer); 3] = [
    ("e4 mount", Peer::E4),
    ("kernel, loop", Peer::Kernel),
    ("fuse2fs", Peer::Fuse),
];

/// How much is done in each repetition.
struct Amount {
    file: u64,
    fio_seconds: u32,
    names: usize,
}

/// Measures all systems in turns.
pub(crate) fn measure(bench: &Bench, quick: bool, repeat: usize) -> Result<Vec<Through>> {
    let amount = Amount {
        file: if quick { 64 << 20 } else { 256 << 20 },
        fio_seconds: if quick { 2 } else { 5 },
        names: if quick { 1000 } else { 5000 },
    };
    let mut all: Vec<Through> = SYSTEMS.map(|(system, _)| Through::new(system)).into();
    for turn in 0..repeat {
        let mut order: Vec<usize> = (0..SYSTEMS.len()).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let ((system, peer), through) = (SYSTEMS[index], &mut all[index]);
            match once(bench, peer, &amount) {
                Ok(figures) => through.taken(figures),
                Err(error) if peer == Peer::E4 => return Err(error.context(system)),
                Err(error) => through.absent = Some(format!("{error:#}")),
            }
        }
    }
    Ok(all)
}

impl Through {
    fn new(system: &'static str) -> Self {
        Self {
            system,
            figures: vec![Spread::of(Vec::new()); COLUMNS.len()],
            absent: None,
        }
    }

    fn taken(&mut self, figures: [f64; COLUMNS.len()]) {
        for (spread, figure) in self.figures.iter_mut().zip(figures) {
            let mut samples = std::mem::take(&mut spread.samples);
            samples.push(figure);
            *spread = Spread::of(samples);
        }
    }
}

fn once(bench: &Bench, peer: Peer, amount: &Amount) -> Result<[f64; COLUMNS.len()]> {
    bench.format()?;
    let mounted = Mounted::new(peer, &bench.image, &bench.mount_point)?;
    let root = &bench.mount_point;
    let path = mounted.preallocate("data", amount.file)?;
    let data = |rw: &str, bs: &str| fio(&path, rw, bs, amount);
    let write = data("randwrite", "4k")?;
    let read = data("randread", "4k")?;
    let large_write = data("write", "1m")?;
    let large_read = data("read", "1m")?;
    let [create, stat, readdir, unlink] = names(root, amount.names)?;
    Ok([
        write,
        read,
        large_write,
        large_read,
        create,
        stat,
        readdir,
        unlink,
    ])
}

/// Operations per second.
fn fio(path: &Path, rw: &str, bs: &str, amount: &Amount) -> Result<f64> {
    let mut args = vec![
        "--name=through".to_owned(),
        format!("--filename={}", path.display()),
        format!("--rw={rw}"),
        format!("--bs={bs}"),
        format!("--size={}", amount.file),
        format!("--runtime={}", amount.fio_seconds),
    ];
    let fixed = "--time_based --direct=1 --ioengine=io_uring --iodepth=32 --fallocate=none \
         --allow_file_create=0 --output-format=json";
    args.extend(fixed.split_whitespace().map(str::to_owned));
    let text = run_tool("fio", args)?;
    let json = text.find('{').map_or("", |at| &text[at..]);
    let json: Value = serde_json::from_str(json).context("fio's report is no JSON")?;
    let side = if rw.ends_with("read") {
        "read"
    } else {
        "write"
    };
    json.get("jobs")
        .and_then(|jobs| jobs.get(0)?.get(side)?.get("iops")?.as_f64())
        .ok_or_else(|| anyhow!("fio's report lacks {side} iops"))
}

fn names(root: &Path, count: usize) -> Result<[f64; 4]> {
    let dir = root.join("names");
    fs::create_dir(&dir)?;
    let paths: Vec<_> = (0..count)
        .map(|i| dir.join(format!("file{i:06}")))
        .collect();
    let rate = |what: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let start = now();
        what()?;
        Ok(count as f64 / start.elapsed().as_secs_f64())
    };
    let create = rate(&mut || {
        paths
            .iter()
            .try_for_each(|p| Ok(fs::File::create(p).map(drop)?))
    })?;
    let forget = || fs::write("/proc/sys/vm/drop_caches", "2");
    forget()?;
    let stat = rate(&mut || {
        paths
            .iter()
            .try_for_each(|p| Ok(fs::metadata(p).map(drop)?))
    })?;
    forget()?;
    let readdir = rate(&mut || {
        let seen = fs::read_dir(&dir)?.count();
        anyhow::ensure!(seen == count, "{seen} names of {count}");
        Ok(())
    })?;
    let unlink = rate(&mut || paths.iter().try_for_each(|p| Ok(fs::remove_file(p)?)))?;
    Ok([create, stat, readdir, unlink])
}

/// A server of e4's in a process of its own.
pub(crate) fn start_server(image: &Path, point: &Path) -> Result<std::process::Child> {
    let me = std::env::current_exe().context("cannot find this program")?;
    Command::new(me)
        .arg("bench-serve")
        .args([image, point])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start e4's server")
}

/// That process's life.
pub(crate) fn serve(image: &Path, point: &Path) -> Result<()> {
    e4_fuse::Mount::block_signals()?;
    e4_fuse::Mount::new(image, point, &e4_fuse::Options::default())?.serve()?;
    Ok(())
}

/// For people: rates, and e4's to the others'.
pub(crate) fn print(all: &[Through]) {
    if all.is_empty() {
        return;
    }
    println!("\nthrough a mount: operations per second (medians)");
    let head: String = COLUMNS.iter().map(|c| format!("{c:>10}")).collect();
    println!("  {:14}{head}", "");
    for through in all {
        if let Some(why) = &through.absent {
            println!("  {:14} absent: {why}", through.system);
            continue;
        }
        let cell = |s: &Spread| format!("{:>10.0}", s.median);
        let cells: String = through.figures.iter().map(cell).collect();
        println!("  {:14}{cells}", through.system);
    }
    let Some((e4, others)) = all.split_first() else {
        return;
    };
    for other in others.iter().filter(|o| o.absent.is_none()) {
        let pairs = e4.figures.iter().zip(&other.figures);
        let cells: String = pairs
            .map(|(ours, theirs)| format!("{:>9.2}x", ours.median / theirs.median))
            .collect();
        println!(
            "  e4 / {:9}{cells}",
            other.system.split(',').next().unwrap_or("")
        );
    }
}
