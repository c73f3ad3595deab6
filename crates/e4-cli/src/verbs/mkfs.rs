//! `e4 mkfs`: makes a filesystem, with mke2fs's letters and defaults.
//!
//! Decisions:
//! - An image that holds anything is refused without `-F`; mke2fs asks, a script cannot answer.
//! - The parameters are tried on a device that stores nothing before an existing image is emptied, so that a
//!   mistake in them costs nothing. `-n` stops there.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use e4_device::{Device, OpenOptions};
use e4_format::{GroupNo, Superblock};
use e4_mkfs::{Features, Medium, Params, Progress, Report, Stage, Usage};
use e4_sync::Arc;
use uuid::Uuid;

use crate::Outcome;
use crate::advice::Advise;
use crate::exit::Status;
use crate::output::{Common, Ui};
use crate::size;
use crate::verbs::mkfs_blank::Blank;

/// Make an ext4 filesystem in an image.
///
/// Writes what `mke2fs -t ext4` writes by default: the same features, clean for e2fsck, mountable by
/// the kernel. No e2fsprogs needed. Set SOURCE_DATE_EPOCH, -U and -E hash_seed= for an image that is
/// the same byte for byte every time.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 mkfs disk.img 2G                        2 GiB, all defaults
  e4 mkfs -L data -m 0 disk.img 500M         a label, nothing reserved for root
  e4 mkfs -b 1024 -O ^64bit,^metadata_csum old.img 64M
  e4 mkfs -F disk.img                        again, in the space it has, whatever it holds
  e4 mkfs -n disk.img 2G                     only say what would be done")]
pub struct MkfsArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image file, or a block device
    image: PathBuf,
    /// Its size, with suffix K, M, G, T; a bare number counts KiB, or blocks with -b. May be left out if
    /// the image exists
    size: Option<String>,
    /// Block size in bytes: 1024, 2048, 4096 ... 65536
    #[arg(short = 'b', long, value_name = "BYTES", value_parser = size::bytes)]
    block_size: Option<u64>,
    /// Inode size in bytes
    #[arg(short = 'I', long, value_name = "BYTES")]
    inode_size: Option<u32>,
    /// One inode for this many bytes of space
    #[arg(short = 'i', long, value_name = "BYTES", value_parser = size::bytes)]
    bytes_per_inode: Option<u64>,
    /// Number of inodes
    #[arg(short = 'N', long, value_name = "COUNT")]
    inodes: Option<u64>,
    /// Blocks per group
    #[arg(short = 'g', long, value_name = "BLOCKS")]
    blocks_per_group: Option<u32>,
    /// Groups per flex group
    #[arg(short = 'G', long, value_name = "GROUPS")]
    flex_groups: Option<u32>,
    /// Percent of the blocks kept for root
    #[arg(short = 'm', long, value_name = "PERCENT", default_value_t = 5.0)]
    reserved: f64,
    /// Label, at most 16 bytes
    #[arg(short = 'L', long, default_value = "")]
    label: String,
    /// Directory it was last mounted on, at most 64 bytes
    #[arg(short = 'M', long, value_name = "DIR", default_value = "")]
    last_mounted: String,
    /// UUID, or `random`, `clear`
    #[arg(short = 'U', long, value_name = "UUID")]
    uuid: Option<String>,
    /// Features to add, or with ^ to leave out; `none` starts from nothing
    #[arg(short = 'O', long, value_name = "FEATURE,...")]
    features: Vec<String>,
    /// Extended options: root_owner=UID:GID, hash_seed=UUID, resize=SIZE
    #[arg(short = 'E', long, value_name = "OPTION,...")]
    extended: Vec<String>,
    /// Journal: size=MIB
    #[arg(short = 'J', long, value_name = "size=MIB")]
    journal: Option<String>,
    /// What it will hold: floppy, small, default, big, huge, news, largefile, largefile4
    #[arg(short = 'T', long, value_name = "USAGE")]
    usage: Option<String>,
    /// Feature set to start from
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "ext4",
          value_parser = ["ext4", "ext3", "ext2"])]
    fs_type: String,
    /// Overwrite whatever the image holds
    #[arg(short = 'F', long)]
    force: bool,
    /// Only say what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
}

/// Runs the verb.
///
/// # Errors
/// A parameter that makes no sense, an image in use, or the host's.
pub fn run(args: &MkfsArgs, ui: &Ui) -> Outcome {
    let target = Target::look(&args.image)?;
    let bytes = wanted_bytes(args, &target)?;
    let mut params = params(args)?;
    params.size = Some(bytes);
    if !args.force && !args.dry_run {
        target.refuse_if_used(&args.image)?;
    }
    if args.dry_run || target.exists {
        let size = bytes.max(if target.block_device { target.len } else { 0 });
        let blank = Blank::new(&args.image, size);
        params.medium = Medium::Zeroed;
        let report = e4_mkfs::format(&blank, &params, &mut |_| ())?;
        if args.dry_run {
            ui.note("Nothing is written (-n); this would be made:");
            print(&report, ui);
            return Ok(Status::SUCCESS);
        }
    }
    let device = open(args, &target, bytes, &mut params)?;
    crate::session::describe(&*device, ui);
    let report = format(&*device, &params, ui)?;
    print(&report, ui);
    ui.note(&format!(
        "Copy a file into it: e4 put FILE {}:/",
        args.image.display()
    ));
    Ok(Status::SUCCESS)
}

/// What is there before we begin.
struct Target {
    exists: bool,
    block_device: bool,
    len: u64,
}

impl Target {
    fn look(image: &Path) -> Result<Self> {
        let meta = match fs::metadata(image) {
            Ok(meta) => meta,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Ok(Self {
                    exists: false,
                    block_device: false,
                    len: 0,
                });
            }
            Err(e) => return Err(e).with_context(|| image.display().to_string()),
        };
        let block_device = meta.file_type().is_block_device();
        let mut len = meta.len();
        if block_device {
            let mut file = File::open(image).with_context(|| image.display().to_string())?;
            len = file.seek(SeekFrom::End(0))?;
        }
        Ok(Self {
            exists: true,
            block_device,
            len,
        })
    }

    /// Anything but zeros in the first 64 KiB counts as used.
    fn refuse_if_used(&self, image: &Path) -> Result<()> {
        if !self.exists || self.len == 0 {
            return Ok(());
        }
        let mut head = Vec::new();
        File::open(image)
            .and_then(|file| file.take(64 << 10).read_to_end(&mut head))
            .with_context(|| image.display().to_string())?;
        if head.iter().all(|&b| b == 0) {
            return Ok(());
        }
        let superblock = head
            .get(1024..2048)
            .and_then(|b| <&[u8; 1024]>::try_from(b).ok());
        let holds = match superblock.map(Superblock::parse) {
            Some(Ok(sb)) => format!("an ext4 filesystem{}", labelled(&sb)),
            _ => "data".to_owned(),
        };
        Err::<(), _>(anyhow::anyhow!("{} holds {holds}", image.display()))
            .or_try(|| "Overwrite it with: e4 mkfs -F ...".into())
    }
}

fn labelled(sb: &Superblock) -> String {
    let label = String::from_utf8_lossy(sb.label()).into_owned();
    if label.is_empty() {
        String::new()
    } else {
        format!(" labelled {label:?}")
    }
}

/// The filesystem's size in bytes.
fn wanted_bytes(args: &MkfsArgs, target: &Target) -> Result<u64> {
    let Some(text) = &args.size else {
        if target.len == 0 {
            return Err(anyhow::anyhow!(
                "{} does not exist yet: say how large it shall be",
                args.image.display()
            ))
            .or_try(|| format!("For example: e4 mkfs {} 2G", args.image.display()));
        }
        return Ok(target.len);
    };
    let bytes = size::parse(text, args.block_size.unwrap_or(1 << 10)).context("size")?;
    if target.block_device && bytes > target.len {
        bail!("{} has only {} bytes", args.image.display(), target.len);
    }
    Ok(bytes)
}

fn params(args: &MkfsArgs) -> Result<Params> {
    let mut features = match args.fs_type.as_str() {
        "ext2" => Features::ext2(),
        "ext3" => Features::ext3(),
        _ => Features::ext4(),
    };
    for list in &args.features {
        features.apply(list)?;
    }
    let block_size = match args.block_size {
        None => None,
        Some(n) => Some(u32::try_from(n).context("block size (-b)")?),
    };
    let usage = match &args.usage {
        None => None,
        Some(name) => Some(
            Usage::from_name(name)
                .with_context(|| format!("usage (-T): {name:?} is not known"))
                .or_try(|| {
                    "Known are floppy, small, default, big, huge, news, largefile, largefile4."
                        .into()
                })?,
        ),
    };
    let mut params = Params {
        usage,
        block_size,
        inode_size: args.inode_size,
        bytes_per_inode: args.bytes_per_inode,
        inodes: args.inodes,
        blocks_per_group: args.blocks_per_group,
        flex_bg_size: args.flex_groups,
        reserved_percent: args.reserved,
        features,
        label: args.label.clone(),
        last_mounted: args.last_mounted.clone(),
        uuid: args.uuid.as_deref().map(parse_uuid).transpose()?.flatten(),
        time: source_date()?,
        ..Params::default()
    };
    if let Some(journal) = &args.journal {
        let Some(mib) = journal.strip_prefix("size=") else {
            bail!("journal (-J): {journal:?} is not size=MIB; external journals are not supported");
        };
        params.journal_mib = Some(mib.parse().context("journal (-J size=)")?);
    }
    for list in &args.extended {
        for option in list.split(',').filter(|o| !o.is_empty()) {
            extended(&mut params, option)?;
        }
    }
    Ok(params)
}

/// `None` means random.
pub(super) fn parse_uuid(text: &str) -> Result<Option<[u8; 16]>> {
    Ok(match text {
        "random" | "time" => None,
        "clear" => Some([0; 16]),
        text => Some(*Uuid::parse_str(text).context("UUID (-U)")?.as_bytes()),
    })
}

pub(super) fn source_date() -> Result<Option<i64>> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => Ok(Some(text.parse().context("SOURCE_DATE_EPOCH")?)),
        Err(_) => Ok(None),
    }
}

fn extended(params: &mut Params, option: &str) -> Result<()> {
    let (name, value) = match option.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (option, None),
    };
    match (name, value) {
        ("root_owner", None) => params.root_owner = (0, 0),
        ("root_owner", Some(owner)) => {
            let ids = owner
                .split_once(':')
                .and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
            params.root_owner = ids.context("root_owner (-E): expected UID:GID")?;
        }
        ("hash_seed", Some(seed)) => {
            params.hash_seed = Some(*Uuid::parse_str(seed).context("hash_seed (-E)")?.as_bytes());
        }
        ("resize", Some(blocks)) => {
            params.resize_limit = Some(size::bytes(blocks).context("resize (-E)")?);
        }
        // Nothing is put off and nothing is discarded here, so these hold already.
        ("lazy_itable_init" | "lazy_journal_init" | "assume_storage_prezeroed", _)
        | ("discard" | "nodiscard" | "test_fs", None) => {}
        _ => {
            return Err(anyhow::anyhow!(
                "extended option (-E): {option:?} is not supported"
            ))
            .or_try(|| "Supported are root_owner=UID:GID, hash_seed=UUID, resize=BLOCKS.".into());
        }
    }
    Ok(())
}

/// Opens the image for formatting; what is known of its contents goes into the parameters.
fn open(
    args: &MkfsArgs,
    target: &Target,
    bytes: u64,
    params: &mut Params,
) -> Result<Arc<dyn Device>> {
    let mut options = OpenOptions::default();
    if target.block_device || target.len > bytes {
        params.medium = Medium::Unknown;
    } else {
        options.create = Some(bytes);
        params.medium = Medium::Zeroed;
    }
    Ok(e4_device::open(&args.image, &options)?)
}

fn format(device: &dyn Device, params: &Params, ui: &Ui) -> Result<Report> {
    let bar = ui.steps_bar("", 0);
    let mut show = |p: Progress| {
        bar.set_length(p.total);
        bar.set_position(p.done);
        bar.set_message(match p.stage {
            Stage::Zeroing => "zeroing inode tables and journal",
            Stage::Groups => "bitmaps",
            Stage::SystemFiles => "system files",
            Stage::Descriptors => "descriptors",
        });
    };
    let report = e4_mkfs::format(device, params, &mut show);
    bar.finish_and_clear();
    Ok(report?)
}

fn print(report: &Report, ui: &Ui) {
    let sb = &report.superblock;
    ui.note(&format!(
        "{} blocks of {} bytes, {} inodes, journal {}",
        size::grouped(sb.blocks_count()),
        sb.block_size().bytes(),
        size::grouped(u64::from(sb.inodes_count())),
        match report.journal_blocks {
            0 => "none".to_owned(),
            n => format!("{} blocks", size::grouped(n)),
        },
    ));
    ui.note(&format!("UUID {}", Uuid::from_bytes(sb.uuid())));
    let backups: Vec<String> = (1..sb.groups())
        .map(GroupNo::new)
        .filter(|&g| sb.has_super_backup(g))
        .filter_map(|g| Some(sb.group_first_block(g)?.to_string()))
        .collect();
    if !backups.is_empty() {
        ui.note(&format!(
            "Superblock backups at blocks {}",
            backups.join(", ")
        ));
    }
    for note in &report.notes {
        ui.note(&format!("Note: {note}"));
    }
    ui.detail(&format!("{} bytes written", size::grouped(report.written)));
}
