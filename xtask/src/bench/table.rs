//! The report for people.

use super::engine::{Cost, Memory, Merge};
use super::report::{Aim, Counts, Report, Row, Spread};

/// Above this load average before the start, somebody else was working on the machine.
const QUIET: f64 = 0.5;

/// Prints everything.
pub(crate) fn print(report: &Report) {
    let m = &report.machine;
    println!(
        "{} x {}, {:.0} GiB, Linux {}",
        m.cpus, m.cpu, m.memory_gib, m.kernel
    );
    let (start, end) = (m.load, report.load_at_end);
    println!(
        "load average {:.2} {:.2} {:.2} at the start, {:.2} at the end (of which this run about 1 to 2)",
        start[0], start[1], start[2], end[0]
    );
    if start[0] > QUIET {
        println!(
            "NOISY: the machine was not idle at the start; trust the ratios more than the rates"
        );
    }
    for line in &report.settings {
        println!("{line}");
    }
    for job in &report.jobs {
        println!("\n{}: {} ({} MiB)", job.name, job.about, job.size >> 20);
        println!(
            "  {:24} {:>9} {:>21} {:>9} {:>7} {:>10}",
            "", "median", "min..max", "MB/s", "x raw", "x written"
        );
        for row in report.rows.iter().filter(|r| r.job == job.name) {
            print_row(row);
        }
    }
    if report.rows.iter().any(|r| r.counts.is_some()) {
        println!("\nwhat e4 did in the last repetition");
        print_counts_head("job", "");
        for row in &report.rows {
            if let Some(counts) = &row.counts {
                print_counts(&row.job, row.system, counts);
            }
        }
    }
    if let Some(create) = &report.create {
        create.print();
    }
    super::through::print(&report.through);
    print_merging(&report.merging);
    if let Some(cost) = &report.conversion_cost {
        print_cost(cost);
    }
    print_memory(&report.memory);
    println!("\naims");
    report.aims.iter().for_each(print_aim);
}

fn rate(value: f64) -> String {
    if value >= 1e4 {
        format!("{:.1}k", value / 1e3)
    } else {
        format!("{value:.0}")
    }
}

fn ratio(spread: Option<&Spread>) -> String {
    spread.map_or_else(|| "-".to_owned(), |s| format!("{:.2}", s.median))
}

fn print_row(row: &Row) {
    if let Some(why) = &row.absent {
        println!("  {:24} absent: {why}", row.system);
        return;
    }
    let s = &row.per_second;
    println!(
        "  {:24} {:>9} {:>21} {:>9.0} {:>7} {:>10}",
        row.system,
        rate(s.median),
        format!("{}..{}", rate(s.min), rate(s.max)),
        s.median * row.block_size as f64 / 1e6,
        ratio(row.to_raw.as_ref()),
        ratio(row.to_e4_written.as_ref()),
    );
}

fn print_counts_head(first: &str, second: &str) {
    println!(
        "  {first:16} {second:23} {:>9} {:>11} {:>8} {:>7} {:>10} {:>16}",
        "writes", "conversions", "ranges", "commits", "conv/commit", "extents"
    );
}

fn print_counts(first: &str, second: &str, c: &Counts) {
    println!(
        "  {first:16} {second:23} {:>9} {:>11} {:>8} {:>7} {:>11.0} {:>16}",
        c.writes,
        c.conversions,
        c.recorded_ranges,
        c.commits,
        c.conversions as f64 / c.commits.max(1) as f64,
        format!("{} -> {}", c.extents_before, c.extents_after),
    );
}

fn print_merging(lines: &[Merge]) {
    if lines.is_empty() {
        return;
    }
    println!("\nmerging: k writes in flight, into unwritten blocks");
    print_counts_head("order, k", "fsync            per s");
    for line in lines {
        let order = format!("{:?}, {}", line.order, line.k);
        let when = match line.fsync_every {
            0 => "at the end".to_owned(),
            n => format!("after each {n}"),
        };
        print_counts(
            &order,
            &format!("{when:13} {:>9}", rate(line.per_second)),
            &line.counts,
        );
    }
}

fn print_cost(cost: &Cost) {
    println!("\nconversion, processor time per 4 KiB write on one core, device in memory");
    let line = |name: &str, s: &Spread| {
        println!(
            "  {name:42} {:>7.0} ns  ({:.0}..{:.0})",
            s.median, s.min, s.max
        );
    };
    line("into unwritten blocks", &cost.unwritten_ns);
    line("over written blocks", &cost.written_ns);
    line("conversion adds, record and fsync included", &cost.added_ns);
    line("the same by the clock on the wall", &cost.added_wall_ns);
    line("noise: overwrite less the next overwrite", &cost.noise_ns);
}

fn print_memory(lines: &[Memory]) {
    if !lines.is_empty() {
        println!("\nmemory of unrecorded ranges");
    }
    for m in lines {
        println!(
            "  {:32} at most {:>7} ranges in {:>8} bytes: {:>7.1} MB per million ({} commits forced)",
            m.pattern,
            m.peak_ranges,
            m.overlay_bytes,
            m.bytes_per_million / 1e6,
            m.commits_forced
        );
    }
}

fn print_aim(aim: &Aim) {
    let verdict = match aim.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "unknown",
    };
    let measured = match (aim.measured, aim.min, aim.max) {
        (Some(m), Some(min), Some(max)) if m.abs() < 100.0 => {
            format!("{m:.2} ({min:.2}..{max:.2})")
        }
        (Some(m), Some(min), Some(max)) => format!("{m:.0} ({min:.0}..{max:.0})"),
        _ => "a peer is absent".to_owned(),
    };
    println!("  {verdict:8} {:8} {:38} {measured}", aim.job, aim.aim);
}
