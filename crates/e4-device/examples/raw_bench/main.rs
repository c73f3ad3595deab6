//! Random writes to one file, every way we know: `raw_bench PATH SIZE_MIB SECONDS QUEUE_DEPTH BLOCK_SIZE [FILTER]`
//!
//! Raw lines (`pwrite`, `ring ...`) use the system calls alone and are the yardstick; `device ...` lines
//! go through this crate. Every line is measured in several rounds, interleaved with the others, because
//! the machine is rarely quiet: the median is the figure to quote, the best one shows what noise hid.
//! The file is filled first, so that every write is an overwrite of allocated blocks.

mod device;
mod raw;

use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;

/// What to do, for all lines.
pub(crate) struct Job<'a> {
    pub(crate) path: &'a Path,
    pub(crate) blocks: u64,
    pub(crate) depth: usize,
    pub(crate) bs: usize,
}

/// Deterministic offsets (splitmix64).
pub(crate) struct Offsets {
    state: u64,
    blocks: u64,
    bs: u64,
}

impl Offsets {
    pub(crate) fn new(job: &Job<'_>) -> Offsets {
        Offsets {
            state: 1,
            blocks: job.blocks,
            bs: job.bs as u64,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % self.blocks * self.bs
    }
}

/// One line of the table: runs until the deadline, returns how many writes completed.
pub(crate) type Line<'a> = (
    String,
    Box<dyn Fn(&Job<'_>, Instant) -> Result<u64, String> + 'a>,
);

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize| args.get(n).and_then(|a| a.parse::<f64>().ok());
    let (Some(path), Some(mib), Some(secs), Some(depth), Some(bs)) =
        (args.first(), number(1), number(2), number(3), number(4))
    else {
        eprintln!("usage: raw_bench PATH SIZE_MIB SECONDS QUEUE_DEPTH BLOCK_SIZE [FILTER]");
        std::process::exit(2);
    };
    let job = Job {
        path: Path::new(path),
        blocks: ((mib as u64) << 20) / bs as u64,
        depth: depth as usize,
        bs: bs as usize,
    };
    let existed = job.path.exists();
    fill(&job).expect("fill the file");
    let mut lines = raw::lines();
    lines.extend(device::lines());
    lines.retain(|(name, _)| args.get(5).is_none_or(|f| name.contains(f.as_str())));
    let mut rates: Vec<Vec<f64>> = lines.iter().map(|_| Vec::new()).collect();
    let mut cpu: Vec<f64> = lines.iter().map(|_| f64::MAX).collect();
    for _ in 0..ROUNDS {
        for (n, (name, line)) in lines.iter().enumerate() {
            let (begin, before) = (Instant::now(), raw::cpu_seconds());
            match line(&job, begin + Duration::from_secs_f64(secs / ROUNDS as f64)) {
                Ok(done) => {
                    rates[n].push(done as f64 / begin.elapsed().as_secs_f64());
                    cpu[n] = cpu[n].min((raw::cpu_seconds() - before) / done as f64);
                }
                Err(why) if rates[n].is_empty() => eprintln!("{name}: {why}"),
                Err(_) => {}
            }
        }
    }
    println!(
        "{:44} {:>9} {:>9} {:>8} {:>8}",
        "", "median/s", "best/s", "ns each", "cpu ns"
    );
    for (n, (name, _)) in lines.iter().enumerate() {
        rates[n].sort_by(f64::total_cmp);
        if let (Some(median), Some(best)) = (rates[n].get(rates[n].len() / 2), rates[n].last()) {
            let (each, cpu) = (1e9 / median, cpu[n] * 1e9);
            println!("{name:44} {median:>9.0} {best:>9.0} {each:>8.0} {cpu:>8.0}");
        }
    }
    if !existed {
        std::fs::remove_file(job.path).expect("remove the file");
    }
}

fn fill(job: &Job<'_>) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(job.path)?;
    let chunk = vec![0x5a; 1 << 20];
    for _ in 0..(job.blocks * job.bs as u64) >> 20 {
        file.write_all(&chunk)?;
    }
    file.sync_all()
}
