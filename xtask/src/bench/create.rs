//! Small files: create, write 4 KiB, close, over and over; one sync at the end, inside the timing. e4 in this process
//! (buffered, so that closing forces nothing) beside the kernel's ext4 on a loop device over the same image.

use std::io::Write;

use anyhow::{Context, Result};
use e4::device::{BackendChoice, DirectChoice};
use e4::{Filesystem, MountOptions, OpenFlags};
use e4_sync::now;
use serde::Serialize;

use super::drive;
use super::kernel::{Mounted, Peer};
use super::report::{Aim, Spread};
use super::systems::Bench;

/// Files per directory.
const PER_DIR: usize = 1000;
const CONTENT: [u8; 4096] = [0x5a; 4096];

/// Files per second.
#[derive(Serialize)]
pub(crate) struct Created {
    files: usize,
    e4: Spread,
    kernel: Spread,
    ratio: Option<Spread>,
    /// Why the kernel has no figure.
    absent: Option<String>,
}

/// Measures both in turn.
pub(crate) fn run(bench: &Bench, files: usize, repeat: usize) -> Result<Created> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut absent = None;
    for n in 0..repeat {
        for turn in 0..2 {
            if (n + turn) % 2 == 0 {
                ours.push(files as f64 / e4(bench, files)?);
            } else if absent.is_none() {
                match kernel(bench, files) {
                    Ok(seconds) => theirs.push(files as f64 / seconds),
                    Err(why) => absent = Some(format!("{why:#}")),
                }
            }
        }
    }
    let (e4, kernel) = (Spread::of(ours), Spread::of(theirs));
    let ratio = match absent {
        Some(_) => None,
        None => e4.ratio(&kernel),
    };
    Ok(Created {
        files,
        e4,
        kernel,
        ratio,
        absent,
    })
}

fn e4(bench: &Bench, files: usize) -> Result<f64> {
    bench.format()?;
    let device = drive::open(&bench.image, BackendChoice::Auto, DirectChoice::Auto)?;
    let fs = Filesystem::open(device, &MountOptions::default())?;
    let start = now();
    for n in 0..files {
        let dir = n / PER_DIR;
        if n % PER_DIR == 0 {
            fs.mkdir(&format!("/d{dir}"), 0o755)?;
        }
        let file = fs.open_file(&format!("/d{dir}/f{n}"), OpenFlags::create())?;
        file.write_buffered(0, &CONTENT)?;
    }
    fs.sync()?;
    let seconds = start.elapsed().as_secs_f64();
    fs.unmount()?;
    Ok(seconds)
}

fn kernel(bench: &Bench, files: usize) -> Result<f64> {
    bench.format()?;
    let mounted = Mounted::new(Peer::Kernel, &bench.image, &bench.mount_point)?;
    let root = std::fs::File::open(&bench.mount_point)?;
    let start = now();
    for n in 0..files {
        let dir = bench.mount_point.join(format!("d{}", n / PER_DIR));
        if n % PER_DIR == 0 {
            std::fs::create_dir(&dir)?;
        }
        let mut file = std::fs::File::create(dir.join(format!("f{n}")))?;
        file.write_all(&CONTENT)?;
    }
    rustix::fs::syncfs(&root).context("syncfs")?;
    let seconds = start.elapsed().as_secs_f64();
    drop(root);
    drop(mounted);
    Ok(seconds)
}

impl Created {
    pub(crate) fn print(&self) {
        println!(
            "\ncreate: create, write 4 KiB, close; {} files, one sync",
            self.files
        );
        let line = |name: &str, s: &Spread| {
            println!(
                "  {name:24} {:>9.1}k files/s ({:.1}..{:.1})",
                s.median / 1e3,
                s.min / 1e3,
                s.max / 1e3
            );
        };
        line("e4, in process", &self.e4);
        match &self.absent {
            Some(why) => println!("  {:24} absent: {why}", "kernel, loop device"),
            None => line("kernel, loop device", &self.kernel),
        }
    }

    pub(crate) fn aim(&self) -> Aim {
        let ratio = self.ratio.as_ref();
        Aim {
            job: "create".to_owned(),
            aim: "e4 in process >= 3 x kernel".to_owned(),
            measured: ratio.map(|r| r.median),
            min: ratio.map(|r| r.min),
            max: ratio.map(|r| r.max),
            met: ratio.map(|r| r.median >= 3.0),
        }
    }
}
