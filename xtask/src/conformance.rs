//! `cargo xtask conformance`: public test suites, unmodified, against an image mounted by `e4 mount`.
//!
//! Decisions: what is installed is run, what is not is listed as absent; afterwards e2fsck judges the image. The
//! exit status is a failure if anything that ran failed. Nothing is installed by this program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What to run, and how long.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The e4 command; the release build by default
    #[arg(long, default_value = "target/release/e4")]
    e4: PathBuf,
    /// Operations of each fsx run
    #[arg(long, default_value_t = 20_000)]
    fsx_ops: u64,
    /// Seconds of each fio and stress-ng job
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// More mount options
    #[arg(short, default_value = "defaults")]
    options: String,
}

/// Users and groups every Linux has; times finer than the kernel's clock tick are not asked for.
const PJDFSTEST: &str = r#"
[features]
posix_fallocate = {}
rename_ctime = {}
utime_now = {}
utimensat = {}
[settings]
naptime = 0.02
allow_remount = false
[dummy_auth]
entries = [["nobody", "nogroup"], ["daemon", "daemon"]]
"#;

/// More of what moves blocks than fsx does by itself.
const FSX_HOLES: &str = "nomsyncafterwrite = true\n[weights]\npunch_hole = 5.0\n\
    posix_fallocate = 3.0\nfsync = 0.2\nfdatasync = 0.2\ncopy_file_range = 3.0\n";

/// An image mounted for the suites; taken away whatever happens.
struct Mounted<'a> {
    e4: &'a Path,
    scratch: PathBuf,
}

impl Mounted<'_> {
    fn root(&self) -> PathBuf {
        self.scratch.join("m")
    }

    fn image(&self) -> PathBuf {
        self.scratch.join("disk.img")
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let umount = Command::new(self.e4)
            .args(["umount", "-l"])
            .arg(self.root())
            .stderr(Stdio::null())
            .status();
        if umount.is_ok() {
            let _ = std::fs::remove_dir_all(&self.scratch);
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let scratch = std::env::temp_dir().join(format!("e4-conformance-{}", std::process::id()));
    std::fs::create_dir_all(scratch.join("m"))?;
    let mounted = Mounted {
        e4: &args.e4,
        scratch,
    };
    let e4 = |verb: &str| {
        let mut command = Command::new(&args.e4);
        command.arg(verb);
        command
    };
    must(e4("mkfs").arg("-q").arg(mounted.image()).arg("2G"))?;
    must(
        e4("mount")
            .args(["-o", &args.options])
            .arg(mounted.image())
            .arg(mounted.root()),
    )?;
    let mut failed = Vec::new();
    for (name, mut command) in suites(args, &mounted)? {
        println!("== {name}: {command:?}");
        match command.current_dir(&mounted.scratch).status() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => println!("== {name}: absent"),
            Err(e) => return Err(e).context(name),
            Ok(status) if status.success() => println!("== {name}: passed"),
            Ok(status) => {
                println!("== {name}: FAILED ({status})");
                failed.push(name);
            }
        }
    }
    must(e4("umount").arg(mounted.root()))?;
    must(Command::new("e2fsck").arg("-fn").arg(mounted.image()))?;
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn must(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}

fn suites(args: &Args, mounted: &Mounted<'_>) -> Result<Vec<(&'static str, Command)>> {
    let root = mounted.root();
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = mounted.scratch.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    };
    std::fs::create_dir_all(root.join("pjd"))?;
    let mut pjdfstest = Command::new("pjdfstest");
    pjdfstest.arg("-c").arg(write("pjd.toml", PJDFSTEST)?);
    pjdfstest.arg("-p").arg(root.join("pjd"));
    let ops = args.fsx_ops.to_string();
    let mut fsx = Command::new("fsx");
    fsx.args(["-N", &ops, "-S", "1"]).arg(root.join("fsx"));
    let mut holes = Command::new("fsx");
    holes.arg("-f").arg(write("fsx.toml", FSX_HOLES)?);
    holes
        .args(["-N", &ops, "-S", "2"])
        .arg(root.join("fsx-holes"));
    let fio = |name: &str, more: &[&str]| {
        let mut fio = Command::new("fio");
        fio.arg(format!("--name={name}"));
        fio.arg(format!("--filename={}", root.join(name).display()));
        fio.args([
            "--size=64m",
            "--rw=randwrite",
            "--verify=crc32c",
            "--minimal",
        ]);
        fio.arg("--verify_fatal=1").args(more).stdout(Stdio::null());
        fio
    };
    let direct = [
        "--direct=1",
        "--ioengine=io_uring",
        "--iodepth=32",
        "--bs=4k",
    ];
    let buffered = ["--bs=7k", "--fsync=64"];
    let mut stress = Command::new("stress-ng");
    stress.arg("--temp-path").arg(&root);
    stress.args([
        "--timeout",
        &args.seconds.to_string(),
        "--verify",
        "--metrics-brief",
    ]);
    for stressor in [
        "dentry",
        "dir",
        "fallocate",
        "link",
        "rename",
        "symlink",
        "utime",
        "xattr",
    ] {
        stress.args([&format!("--{stressor}"), "1"]);
    }
    Ok(vec![
        ("pjdfstest", pjdfstest),
        ("fsx", fsx),
        ("fsx with holes", holes),
        ("fio direct", fio("direct", &direct)),
        ("fio buffered", fio("buffered", &buffered)),
        ("stress-ng", stress),
    ])
}
