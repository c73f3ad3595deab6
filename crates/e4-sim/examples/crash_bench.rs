//! How many crash states per second: `crash_bench [IMAGE_MIB] [WRITES]`
//!
//! A settled image of random blocks, then random 4 KiB writes with a flush after every twentieth. For every
//! state ten blocks are read, as a recovery would at least.

use e4_device::Device;
use e4_sim::{Bound, Rng, SimDisk, SimOptions};

fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>());
    let mut arg = |default| args.next().and_then(Result::ok).unwrap_or(default);
    let (mib, writes) = (arg(64), arg(1000));
    let disk = SimDisk::new(&SimOptions::new(mib << 20, 1));
    let mut rng = Rng::new(1);
    let mut block = [0; 4096];
    let blocks = (mib << 20) / 4096;
    for n in 0..blocks / 2 {
        rng.fill(&mut block);
        disk.write_at(n * 8192, &block).expect("write_at");
    }
    disk.settle();
    let begin = e4_sync::now();
    for n in 0..writes {
        disk.write_at(rng.below(blocks) * 4096, &block)
            .expect("write_at");
        if n % 20 == 19 {
            disk.flush().expect("flush");
        }
    }
    let recording = begin.elapsed();
    let log = disk.log();
    let bound = Bound::new(16, 1);
    let (mut states, mut points, mut sum) = (0u64, 0u64, 0u64);
    let begin = e4_sync::now();
    for point in log.crash_points() {
        points += 1;
        for state in log.states_at(point, bound) {
            states += 1;
            for _ in 0..10 {
                state
                    .read_at(rng.below(blocks) * 4096, &mut block)
                    .expect("read_at");
                sum += u64::from(block[0]);
            }
        }
    }
    let took = begin.elapsed();
    println!(
        "{mib} MiB image, {writes} writes ({:.2} us each to record), {points} points, {states} states: {:.0} states/s (checksum {sum})",
        recording.as_secs_f64() * 1e6 / writes as f64,
        states as f64 / took.as_secs_f64(),
    );
}
