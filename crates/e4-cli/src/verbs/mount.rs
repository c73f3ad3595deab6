//! `e4 mount`: an image as a directory tree of the host, through FUSE.
//!
//! Decision: the background process is this program started again, not a fork: nothing that has threads,
//! locks or descriptors is ever copied. It says on a pipe that the mount works; until then its errors are ours.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use clap::Args;
use e4_fuse::{Mount, Options};

use crate::Outcome;
use crate::exit::Status;
use crate::output::{Common, Ui};

/// What the background process says once the mount works.
const READY: &[u8] = b"mounted\n";

/// Mount an image at a directory
#[derive(Args, Debug)]
#[command(after_long_help = "\
Options behind -o, as for mount(8): ro, noatime, relatime, strictatime, nodiratime, commit=SECONDS,
sync, allow_other, dev, suid, exec and their opposites with no, discard,
errors=continue, remount-ro or abort; besides:
  nowriteback      each write reaches the image before it returns; slower, errors at once
  direct_io        every open bypasses the kernel's page cache, as if it said O_DIRECT
  threads=N        threads that take requests (4)
  uid=N, gid=N     show everything as belonging to this user and group

As root everybody may use the mount; as a normal user (through fusermount3) only oneself.
SIGINT, SIGTERM and umount(8) end it orderly; e4 umount waits until the image is closed.
`sync` does not reach a FUSE mount; fsync does, and what was acknowledged is committed every 5 s.

Examples:
  e4 mount disk.img /mnt
  e4 mount -o ro,noatime disk.img /mnt
  e4 mount -f disk.img /mnt          in the foreground, until Ctrl-C
  e4 umount /mnt")]
pub struct MountArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    #[arg(value_name = "IMAGE")]
    image: PathBuf,
    /// Where to mount it
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Mount options, separated by commas
    #[arg(short = 'o', value_name = "OPTIONS", value_delimiter = None)]
    options: Vec<String>,
    /// Stay in the foreground
    #[arg(short, long)]
    foreground: bool,
    /// The background half; says on standard output when it is ready
    #[arg(long, hide = true)]
    background_half: bool,
}

/// Runs the verb.
///
/// # Errors
/// An option nobody knows, an image that cannot be used, a mount the kernel refuses.
pub fn run(args: &MountArgs, ui: &Ui) -> Outcome {
    let mut options = Options::default();
    for list in &args.options {
        options.apply(list)?;
    }
    if args.foreground || args.background_half {
        serve(args, &options, ui)
    } else {
        start_background(args)
    }
}

fn serve(args: &MountArgs, options: &Options, ui: &Ui) -> Outcome {
    if args.background_half {
        // A session of its own keeps the terminal's signals and its hang-up away.
        let _ = rustix::process::setsid();
    }
    Mount::block_signals()?;
    let mount = Mount::new(&args.image, &args.dir, options)?;
    if args.background_half {
        std::env::set_current_dir("/")?;
        let mut out = std::io::stdout().lock();
        out.write_all(READY)?;
        out.flush()?;
        drop(out);
        let null = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
    } else {
        ui.note(&format!(
            "{} is mounted at {}",
            args.image.display(),
            args.dir.display()
        ));
    }
    mount.serve()?;
    Ok(Status::SUCCESS)
}

fn start_background(args: &MountArgs) -> Outcome {
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new(program);
    command.arg("mount").arg("--background-half");
    for list in &args.options {
        command.arg("-o").arg(list);
    }
    for _ in 0..args.common.verbose {
        command.arg("-v");
    }
    command.arg("--").arg(&args.image).arg(&args.dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("starting the background half")?;
    let mut said = Vec::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(Status::SUCCESS);
    }
    let status = child.wait()?;
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        // It has said why.
        Some(code) if code != 0 => Ok(Status(code)),
        _ => bail!("the background half ended without mounting: {status}"),
    }
}
