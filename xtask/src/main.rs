//! Project tasks: `cargo xtask <name>`.
//!
//! Decision: one small program instead of scripts, so that a task needs nothing but the toolchain and fails with
//! a sentence. Tools that only sharpen a task (fio, fuse2fs, losetup) are looked for and listed when absent.

mod bench;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the e4 project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure e4 beside the raw backing file, the kernel's ext4 and fuse2fs (see benches/README.md)
    Bench(bench::Args),
    /// Clean up after a bench that went away; started by it
    #[command(hide = true)]
    BenchJanitor {
        /// Its scratch directory
        scratch: std::path::PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::BenchJanitor { scratch } => bench::janitor(&scratch),
    }
}
