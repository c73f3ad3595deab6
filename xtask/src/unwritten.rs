//! `cargo xtask unwritten`: has any reader read the unwritten-extent corpus, and prints what it made of it.

use anyhow::{Context, Result};
use e4_hostile::unwritten::{self, Verdict};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Options of `cargo xtask unwritten`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A shell command that prints a file: `debugfs -R "cat {path}" {image}`. {image}: the image; {path}: the file, from
    /// the root on; {name}: the same without the leading slash; {dir}: an empty directory
    #[arg(long)]
    reader: Option<String>,
    /// Write the images and the right contents below this directory
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let images = unwritten::all()?;
    if let Some(out) = &args.out {
        for image in &images {
            let dir = out.join(image.name);
            std::fs::create_dir_all(&dir)?;
            std::fs::write(dir.join("image"), &image.bytes)?;
            for case in &image.cases {
                std::fs::write(dir.join(case.path.trim_start_matches('/')), &case.contents)?;
            }
        }
    }
    let Some(reader) = &args.reader else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let empty = dir.path().join("dir");
    std::fs::create_dir(&empty)?;
    println!("{:14} {:14} {:9} about", "image", "file", "verdict");
    let mut counts: BTreeMap<Verdict, u32> = BTreeMap::new();
    for image in &images {
        let path = dir.path().join(format!("{}.img", image.name));
        std::fs::write(&path, &image.bytes)?;
        for case in &image.cases {
            let command = reader
                .replace("{image}", &path.to_string_lossy())
                .replace("{path}", &case.path)
                .replace("{name}", case.path.trim_start_matches('/'))
                .replace("{dir}", &empty.to_string_lossy());
            let out = Command::new("timeout")
                .args(["20", "sh", "-c", &command])
                .stdin(Stdio::null())
                .output()
                .context("sh")?;
            let verdict = unwritten::judge(case, &out.stdout, out.status.success());
            *counts.entry(verdict).or_default() += 1;
            let shown = format!("{verdict:?}").to_lowercase();
            println!(
                "{:14} {:14} {shown:9} {}",
                image.name, case.path, case.about
            );
        }
    }
    let sums: Vec<String> = counts
        .iter()
        .map(|(v, n)| format!("{n} {v:?}").to_lowercase())
        .collect();
    println!("{}", sums.join(", "));
    Ok(())
}
