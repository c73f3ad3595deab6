//! `e4 info`: the superblock, for people and (`--json`) for scripts.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use e4_device::Device;
use e4_format::Superblock;
use e4_format::superblock::{ErrorRecord, ErrorsBehaviour};
use serde::Serialize;
use uuid::Uuid;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{self, Common, HEADING, Ui};
use crate::session::{self, Access};
use crate::size;
use crate::verbs::time;

/// Show what an image's superblock says.
///
/// Reads the superblock only; works on an image that is in use by readers or was not unmounted.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 info disk.img
  e4 info --json disk.img | jq -r '.features[]'")]
pub struct InfoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Info {
    image: String,
    device_bytes: u64,
    label: String,
    uuid: String,
    last_mounted: String,
    features: Vec<String>,
    state: State,
    block_size: u32,
    blocks: u64,
    free_blocks: u64,
    reserved_blocks: u64,
    inode_size: usize,
    inodes: u32,
    free_inodes: u32,
    groups: u32,
    blocks_per_group: u32,
    inodes_per_group: u32,
    journal_inode: Option<u32>,
    orphan_file_inode: Option<u32>,
    first_orphan: Option<u32>,
    errors_behaviour: &'static str,
    error_count: u32,
    first_error: Option<ErrorInfo>,
    last_error: Option<ErrorInfo>,
    created: String,
    last_written: String,
    last_mounted_at: String,
    last_checked: String,
}

#[derive(Serialize)]
struct State {
    clean: bool,
    needs_recovery: bool,
    errors: bool,
}

#[derive(Serialize)]
struct ErrorInfo {
    time: String,
    inode: Option<u32>,
    block: u64,
    function: String,
    line: u32,
}

impl From<ErrorRecord> for ErrorInfo {
    fn from(e: ErrorRecord) -> Self {
        let end = e.func.iter().position(|&b| b == 0).unwrap_or(e.func.len());
        Self {
            time: time::rfc3339(e.time.cast_signed(), 0),
            inode: e.ino.map(e4_format::InodeNo::get),
            block: e.block.get(),
            function: String::from_utf8_lossy(&e.func[..end]).into_owned(),
            line: e.line,
        }
    }
}

/// Runs the verb.
///
/// # Errors
/// Not there, or not ext4.
pub fn run(args: &InfoArgs, ui: &Ui) -> Outcome {
    let device = session::device(&args.image, Access::Read, ui)?;
    let sb = session::superblock(&*device)?;
    let info = gather(&*device, &sb);
    if args.json {
        output::json(&info)?;
    } else {
        print(&info)?;
    }
    Ok(Status::SUCCESS)
}

fn gather(device: &dyn Device, sb: &Superblock) -> Info {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let date = |secs: u64| time::rfc3339(secs.cast_signed(), 0);
    let features = sb
        .compat()
        .names()
        .chain(sb.incompat().names())
        .chain(sb.ro_compat().names())
        .map(|name| name.to_string())
        .collect();
    Info {
        image: device.info().name.clone(),
        device_bytes: device.info().size,
        label: text(sb.label()),
        uuid: Uuid::from_bytes(sb.uuid()).to_string(),
        last_mounted: text(sb.last_mounted()),
        features,
        state: State {
            clean: sb.state().is_clean(),
            needs_recovery: sb.needs_recovery(),
            errors: sb.state().has_errors(),
        },
        block_size: sb.block_size().bytes(),
        blocks: sb.blocks_count(),
        free_blocks: sb.free_blocks_count(),
        reserved_blocks: sb.reserved_blocks_count(),
        inode_size: sb.inode_size(),
        inodes: sb.inodes_count(),
        free_inodes: sb.free_inodes_count(),
        groups: sb.groups(),
        blocks_per_group: sb.blocks_per_group(),
        inodes_per_group: sb.inodes_per_group(),
        journal_inode: sb.journal_inum().map(e4_format::InodeNo::get),
        orphan_file_inode: sb.orphan_file_inum().map(e4_format::InodeNo::get),
        first_orphan: sb.last_orphan().map(e4_format::InodeNo::get),
        errors_behaviour: match sb.errors_behaviour() {
            ErrorsBehaviour::Continue => "continue",
            ErrorsBehaviour::RemountReadOnly => "remount-ro",
            ErrorsBehaviour::Panic => "panic",
        },
        error_count: sb.error_count(),
        first_error: sb.first_error().map(Into::into),
        last_error: sb.last_error().map(Into::into),
        created: date(sb.mkfs_time()),
        last_written: date(sb.write_time()),
        last_mounted_at: date(sb.mount_time()),
        last_checked: date(sb.lastcheck()),
    }
}

fn print(info: &Info) -> std::io::Result<()> {
    let bytes = |blocks: u64| size::human(blocks.saturating_mul(u64::from(info.block_size)));
    let count = |n: u64, unit: &str| format!("{} {unit}", size::grouped(n));
    let or_none = |text: &str| {
        if text.is_empty() {
            "none".to_owned()
        } else {
            text.to_owned()
        }
    };
    let ino = |n: Option<u32>| n.map_or("none".to_owned(), |n| format!("inode {n}"));
    let state = match (&info.state, info.state.errors) {
        (_, true) => "errors were found; run a repairing fsck",
        (s, _) if s.needs_recovery => "in use or not unmounted; the journal will be replayed",
        (s, _) if s.clean => "clean",
        _ => "not clean",
    };
    let mut lines = vec![
        ("label", or_none(&info.label)),
        ("UUID", info.uuid.clone()),
        ("state", state.to_owned()),
        ("features", info.features.join(" ")),
        (
            "blocks",
            format!(
                "{} of {} bytes ({}), {} free ({}), {} reserved",
                size::grouped(info.blocks),
                info.block_size,
                bytes(info.blocks),
                size::grouped(info.free_blocks),
                bytes(info.free_blocks),
                size::grouped(info.reserved_blocks),
            ),
        ),
        (
            "inodes",
            format!(
                "{} of {} bytes, {} free",
                size::grouped(u64::from(info.inodes)),
                info.inode_size,
                size::grouped(u64::from(info.free_inodes)),
            ),
        ),
        (
            "groups",
            format!(
                "{}; {} blocks and {} inodes each",
                info.groups, info.blocks_per_group, info.inodes_per_group
            ),
        ),
        ("journal", ino(info.journal_inode)),
        ("orphan file", ino(info.orphan_file_inode)),
        ("created", info.created.clone()),
        ("last written", info.last_written.clone()),
        ("last checked", info.last_checked.clone()),
        ("image", count(info.device_bytes, "bytes")),
    ];
    if let Some(e) = &info.last_error {
        let what = format!(
            "{} in all; last {} in {} (line {}), block {}",
            info.error_count, e.time, e.function, e.line, e.block
        );
        lines.push(("errors", what));
    }
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "{HEADING}{}{HEADING:#}",
        output::name(info.image.as_bytes())
    )?;
    for (name, value) in lines {
        writeln!(out, "  {name:<13} {}", output::name(value.as_bytes()))?;
    }
    out.flush()
}
