//! `cargo xtask dist`: what a release consists of, in `dist/`: a static binary, manual pages, completions, checksums.
//!
//! Decisions: the C library is linked statically through the toolchain's own target, so that no other toolchain is needed;
//! pages and completions come out of the very binary that is shipped. What is left is verified: no interpreter in the
//! binary, and it makes and checks an image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to; replaced if it is there
    #[arg(long, default_value = "dist")]
    to: PathBuf,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let target = host()?;
    println!("building for {target}, static");
    let mut flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    flags.push_str(" -C target-feature=+crt-static");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", "e4-cli"])
        .args(["--target", &target, "--target-dir", "target/dist"])
        .env("RUSTFLAGS", flags.trim())
        .status()
        .context("cargo")?;
    ensure!(status.success(), "the build failed");
    let built = Path::new("target/dist").join(&target).join("release/e4");

    let to = &args.to;
    if to.exists() {
        ensure!(
            to.join("SHA256SUMS").exists(),
            "{} is not what this task made; not replacing it",
            to.display()
        );
        fs::remove_dir_all(to)?;
    }
    let man = to.join("man/man1");
    let completions = to.join("completions");
    fs::create_dir_all(to.join("bin"))?;
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    let e4 = to.join("bin/e4");
    fs::copy(&built, &e4).with_context(|| built.display().to_string())?;
    verify_static(&e4)?;
    let e4 = fs::canonicalize(e4)?;
    output(Command::new(&e4).arg("manual").arg(&man))?;
    for (shell, name) in [("bash", "e4.bash"), ("zsh", "_e4"), ("fish", "e4.fish")] {
        let text = output(Command::new(&e4).args(["completions", shell]))?;
        fs::write(completions.join(name), text)?;
    }
    for name in ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md"] {
        fs::copy(name, to.join(name))?;
    }
    smoke(&e4)?;
    let count = checksums(to)?;
    let size = fs::metadata(&e4)?.len();
    println!(
        "{}: {count} files, the binary has {size} bytes",
        to.display()
    );
    Ok(())
}

/// The toolchain's own target.
fn host() -> Result<String> {
    let text = String::from_utf8(output(Command::new("rustc").arg("-vV"))?)?;
    let line = text.lines().find_map(|l| l.strip_prefix("host: "));
    Ok(line.context("rustc -vV names no host")?.to_owned())
}

fn output(command: &mut Command) -> Result<Vec<u8>> {
    let out = command.output().with_context(|| format!("{command:?}"))?;
    if !out.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    Ok(out.stdout)
}

/// True if an ELF file asks for a dynamic loader.
fn has_interpreter(elf: &[u8]) -> Result<bool> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, len: usize| -> Result<u64> {
        let bytes = elf.get(at..at + len).context("a torn ELF file")?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    ensure!(
        elf.starts_with(b"\x7fELF\x02\x01"),
        "no 64-bit little-endian ELF file"
    );
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for n in 0..count {
        if number(usize::try_from(table + n * size)?, 4)? == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

fn verify_static(e4: &Path) -> Result<()> {
    ensure!(
        !has_interpreter(&fs::read(e4)?)?,
        "{} is not static",
        e4.display()
    );
    Ok(())
}

/// It runs, makes an image, and finds it clean.
fn smoke(e4: &Path) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let image = dir.path().join("image");
    output(Command::new(e4).arg("--version"))?;
    output(Command::new(e4).args(["mkfs", "-q"]).arg(&image).arg("32M"))?;
    output(Command::new(e4).arg("check").arg(&image))?;
    Ok(())
}

/// Writes the sums of everything below `to`; returns of how many files.
fn checksums(to: &Path) -> Result<usize> {
    let mut files = Vec::new();
    let mut left = vec![to.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                left.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    files.sort();
    let mut text = String::new();
    for file in &files {
        let hash: [u8; 32] = Sha256::digest(fs::read(file)?).into();
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        text += &format!("{hex}  {}\n", file.strip_prefix(to)?.display());
    }
    fs::write(to.join("SHA256SUMS"), text)?;
    Ok(files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_a_static_one() {
        // This test itself is linked dynamically, unless the toolchain says otherwise.
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(
            has_interpreter(&own).unwrap(),
            !cfg!(target_feature = "crt-static")
        );
        assert!(has_interpreter(b"#!/bin/sh\n").is_err());
        let mut header = own.get(..64).unwrap().to_vec();
        // No program headers at all.
        header[56..58].fill(0);
        assert!(!has_interpreter(&header).unwrap());
    }
}
