//! `e4 build`: an image from directories, tar archives and OCI images.
//!
//! Decision: the letters are mke2fs's where it has one, the words are tar's; what mke2fs would choose at random is
//! derived from the content.

use std::io::{self, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use e4_build::package::{Gpt, PARTITION_START, Verity, VerityInfo, Window, write_android_sparse};
use e4_build::{Builder, Holes, IdMap, Options, Plan, Report, Size, Whiteouts};
use e4_device::Device;
use e4_mkfs::{Features, Params};
use e4_sync::Arc;
use serde::Serialize;
use uuid::Uuid;

use super::build_output::Output;
use super::mkfs::{parse_uuid, source_date};
use crate::Outcome;
use crate::exit::Status;
use crate::output::{self, Common, Ui};
use crate::size;

/// What names beginning with `.wh.` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WhiteoutsArg {
    /// They delete, in every source but the first
    Auto,
    /// They delete, and never appear in the image
    Always,
    /// They are names like others
    Never,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// The image itself; the host's file has holes where it is zeros
    Raw,
    /// Android's sparse format, for fastboot and simg2img
    AndroidSparse,
}

/// Which holes files have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HolesArg {
    /// Those of the source
    Source,
    /// None
    None,
}

/// Build an ext4 image from directories, tar archives or OCI images, without root or mounting.
///
/// A SOURCE is a directory, a tar archive (plain, gzip, zstd or xz), - for one on standard input, or
/// oci:DIR[:NAME] for an image in an OCI image layout. Nothing of an archive is ever unpacked to the host. Several SOURCEs are laid over each other in order: a later one's files replace an earlier one's, and a name
/// `.wh.NAME` in it deletes NAME (as in container layers). Owners, modes, times, extended attributes, ACLs,
/// capabilities, device nodes, hard links and holes are kept.
///
/// The image is as large as its content plus --free, and the same byte for byte every time: UUID and hash seed are
/// derived from the content, files lie in path order, and with SOURCE_DATE_EPOCH no time is younger than that.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 build -o root.img rootfs/                   exactly as large as it must be
  e4 build -o root.img --free 200M rootfs/       with room to write
  e4 build -o root.img --size 2G -L root rootfs/
  e4 build -o root.img --owner 0:0 --exclude '*.pyc' --exclude /tmp rootfs/
  e4 build -o root.img --uid-map 100000:0:65536 --gid-map 100000:0:65536 rootfs/
  docker export box | e4 build -o root.img -       a tar stream, not unpacked anywhere
  e4 build -o root.img rootfs.tar.zst app.tar.gz overlay/
  e4 build -o root.img oci:./layout:latest       layers with their whiteouts
  e4 build -o root.img --verity rootfs/            prints what veritysetup and dm-verity need
  e4 build -o disk.img --partition rootfs/         a disk with a partition table
  e4 build -o root.simg --format android-sparse rootfs/
  e4 build -o root.img base/ overlay/            overlay/ over base/
  SOURCE_DATE_EPOCH=1700000000 e4 build -o root.img rootfs/")]
pub struct BuildArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image to write
    #[arg(short = 'o', long, value_name = "IMAGE")]
    output: PathBuf,
    /// What to build it from, lowest layer first
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Size of the image, with suffix K, M, G, T
    #[arg(long, value_name = "SIZE", value_parser = size::bytes, conflicts_with = "free")]
    size: Option<u64>,
    /// Room for more, beside the content
    #[arg(long, value_name = "SIZE", value_parser = size::bytes)]
    free: Option<u64>,
    /// Replace an existing image
    #[arg(short = 'f', long)]
    force: bool,
    /// Only say what would be built
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Everything belongs to this user and group
    #[arg(long, value_name = "UID:GID")]
    owner: Option<String>,
    /// Users FROM.. of the source become TO.. (COUNT of them)
    #[arg(long, value_name = "FROM:TO:COUNT")]
    uid_map: Vec<String>,
    /// The same for groups
    #[arg(long, value_name = "FROM:TO:COUNT")]
    gid_map: Vec<String>,
    /// Leave out what matches; with a slash from the root, else at any depth
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave extended attributes, ACLs and capabilities out
    #[arg(long)]
    no_xattrs: bool,
    /// Which holes files have
    #[arg(long, value_enum, default_value = "source")]
    holes: HolesArg,
    /// What names beginning with .wh. do
    #[arg(long, value_enum, default_value = "auto")]
    whiteouts: WhiteoutsArg,
    /// Threads; the image does not depend on it
    #[arg(short = 'j', long, value_name = "COUNT")]
    threads: Option<usize>,
    /// Add a dm-verity hash tree behind the filesystem, and print its root hash
    #[arg(long)]
    verity: bool,
    /// Put the filesystem into the one partition of a GPT disk
    #[arg(long)]
    partition: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value = "raw")]
    format: Form,
    /// Label, at most 16 bytes
    #[arg(short = 'L', long, default_value = "")]
    label: String,
    /// UUID, or `clear`, `random`; from the content if not given
    #[arg(short = 'U', long, value_name = "UUID")]
    uuid: Option<String>,
    /// Features to add to mke2fs's defaults, or with ^ to leave out
    #[arg(short = 'O', long, value_name = "FEATURE,...")]
    features: Vec<String>,
    /// Block size in bytes
    #[arg(short = 'b', long, value_name = "BYTES", value_parser = size::bytes, default_value = "4096")]
    block_size: u64,
    /// Inode size in bytes
    #[arg(short = 'I', long, value_name = "BYTES")]
    inode_size: Option<u32>,
    /// One inode for this many bytes of space; there are always enough for the content
    #[arg(short = 'i', long, value_name = "BYTES", value_parser = size::bytes)]
    bytes_per_inode: Option<u64>,
    /// Number of inodes, at least
    #[arg(short = 'N', long, value_name = "COUNT")]
    inodes: Option<u64>,
    /// Percent of the blocks kept for root (mke2fs: 5)
    #[arg(short = 'm', long, value_name = "PERCENT", default_value_t = 0.0)]
    reserved: f64,
    /// Journal: size=MIB
    #[arg(short = 'J', long, value_name = "size=MIB")]
    journal: Option<String>,
    /// Extended options: hash_seed=UUID
    #[arg(short = 'E', long, value_name = "OPTION,...")]
    extended: Vec<String>,
}

#[derive(Serialize)]
struct VerityJson {
    root_hash: String,
    salt: String,
    hash_offset: u64,
    data_blocks: u64,
}

#[derive(Serialize)]
struct Json {
    image: String,
    bytes: u64,
    block_size: u32,
    uuid: String,
    files: u64,
    directories: u64,
    inodes: u64,
    content_bytes: u64,
    free_bytes: u64,
    partition_offset: Option<u64>,
    verity: Option<VerityJson>,
    notes: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// A parameter that makes no sense, a source that cannot be read or does not fit, or the host's.
pub fn run(args: &BuildArgs, ui: &Ui) -> Outcome {
    let output = Output::new(&args.output, args.force || args.dry_run)?;
    let mut builder = Builder::new(options(args)?)?;
    for source in &args.sources {
        add(&mut builder, source).with_context(|| source.display().to_string())?;
    }
    let plan = builder.plan()?;
    if args.dry_run {
        ui.note(&format!(
            "Nothing is written (-n); the image would have {} bytes.",
            size::grouped(plan.bytes())
        ));
        return Ok(Status::SUCCESS);
    }
    let built = write(args, plan, &output, ui)?;
    output.publish()?;
    tell(args, &built, ui)?;
    Ok(Status::SUCCESS)
}

/// A directory, an archive, standard input, or an image of an OCI layout.
fn add(builder: &mut Builder, source: &Path) -> Result<()> {
    if source == Path::new("-") {
        let stdin = BufReader::with_capacity(256 << 10, io::stdin());
        builder.add_tar_stream("standard input", Box::new(stdin))?;
    } else if let Some(rest) = source.to_str().and_then(|s| s.strip_prefix("oci:")) {
        let (dir, name) = match rest.rsplit_once(':') {
            Some((dir, name)) if !Path::new(rest).is_dir() => (dir, Some(name)),
            _ => (rest, None),
        };
        builder.add_oci(Path::new(dir), name)?;
    } else if source.is_dir() {
        builder.add_directory(source)?;
    } else {
        builder.add_tar(source)?;
    }
    Ok(())
}

/// What `tell` tells.
struct Built {
    report: Report,
    /// Bytes of the whole output before its conversion.
    bytes: u64,
    verity: Option<VerityInfo>,
}

fn write(args: &BuildArgs, plan: Plan, output: &Output, ui: &Ui) -> Result<Built> {
    let verity = args.verity.then(|| Verity::new(plan.bytes()));
    let part = verity.as_ref().map_or(plan.bytes(), Verity::device_bytes);
    let gpt = args.partition.then(|| Gpt::new(part));
    let mut bytes = gpt.map_or(part, |g| g.disk_bytes());
    if args.format == Form::AndroidSparse {
        bytes = bytes.next_multiple_of(4096);
    }
    let disk = output.create(bytes)?;
    crate::session::describe(&*disk, ui);
    let device: Arc<dyn Device> = match gpt {
        Some(_) => Arc::new(Window::new(disk.clone(), PARTITION_START, part)),
        None => disk.clone(),
    };
    let report = copy(plan, &*device, output, ui)?;
    let uuid = report.superblock.uuid();
    let threads = args.threads.unwrap_or_else(|| Options::default().threads);
    let verity = match verity {
        Some(tree) => Some(tree.write(&*device, uuid, threads)?),
        None => None,
    };
    if let Some(gpt) = gpt {
        gpt.write(
            &*disk,
            uuid,
            if args.label.is_empty() {
                "ext4"
            } else {
                &args.label
            },
        )?;
    }
    if args.format == Form::AndroidSparse {
        output.convert(|file| {
            let mut out = io::BufWriter::with_capacity(1 << 20, file);
            write_android_sparse(&*disk, &mut out)?;
            Ok(())
        })?;
    }
    Ok(Built {
        report,
        bytes,
        verity,
    })
}

fn copy(plan: Plan, device: &dyn Device, output: &Output, ui: &Ui) -> Result<Report> {
    ui.detail(&format!("building in {}", output.path().display()));
    let mut bar = None;
    let report = plan.write(device, &mut |p| {
        let bar = bar.get_or_insert_with(|| ui.bytes_bar("copying", p.total));
        bar.set_position(p.done);
        ControlFlow::Continue(())
    })?;
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(report)
}

fn options(args: &BuildArgs) -> Result<Options> {
    let mut features = Features::ext4();
    for list in &args.features {
        features.apply(list)?;
    }
    let uuid = match args.uuid.as_deref() {
        None => None,
        Some(text) => Some(parse_uuid(text)?.unwrap_or_else(|| Uuid::new_v4().into_bytes())),
    };
    let mut mkfs = Params {
        block_size: Some(u32::try_from(args.block_size).context("block size (-b)")?),
        inode_size: args.inode_size,
        bytes_per_inode: args.bytes_per_inode,
        inodes: args.inodes,
        reserved_percent: args.reserved,
        features,
        label: args.label.clone(),
        uuid,
        ..Params::default()
    };
    if let Some(journal) = &args.journal {
        let Some(mib) = journal.strip_prefix("size=") else {
            bail!("journal (-J): {journal:?} is not size=MIB; external journals are not supported");
        };
        mkfs.journal_mib = Some(mib.parse().context("journal (-J size=)")?);
    }
    for option in args.extended.iter().flat_map(|list| list.split(',')) {
        let Some(seed) = option.strip_prefix("hash_seed=") else {
            bail!("extended option (-E): {option:?} is not supported; hash_seed=UUID is");
        };
        mkfs.hash_seed = Some(*Uuid::parse_str(seed).context("hash_seed (-E)")?.as_bytes());
    }
    let mut options = Options {
        mkfs,
        size: match args.size {
            Some(bytes) => Size::Fixed(bytes),
            None => Size::Auto {
                free: args.free.unwrap_or(0),
            },
        },
        epoch: source_date()?,
        owner: args.owner.as_deref().map(owner).transpose()?,
        uid_map: id_maps(&args.uid_map).context("--uid-map")?,
        gid_map: id_maps(&args.gid_map).context("--gid-map")?,
        exclude: args.exclude.clone(),
        xattrs: !args.no_xattrs,
        holes: match args.holes {
            HolesArg::Source => Holes::Source,
            HolesArg::None => Holes::None,
        },
        whiteouts: match args.whiteouts {
            WhiteoutsArg::Auto => Whiteouts::Auto,
            WhiteoutsArg::Always => Whiteouts::Always,
            WhiteoutsArg::Never => Whiteouts::Never,
        },
        ..Options::default()
    };
    // Beside the image there is room for what becomes part of it.
    let beside = args.output.parent().filter(|p| !p.as_os_str().is_empty());
    options.spool_dir = Some(beside.unwrap_or(Path::new(".")).to_owned());
    if let Some(threads) = args.threads {
        options.threads = threads;
    }
    Ok(options)
}

fn owner(text: &str) -> Result<(u32, u32)> {
    let ids = text
        .split_once(':')
        .and_then(|(u, g)| Some((u.parse().ok()?, g.parse().ok()?)));
    ids.with_context(|| format!("--owner: {text:?} is not UID:GID"))
}

fn id_maps(list: &[String]) -> Result<Vec<IdMap>> {
    let one = |text: &String| {
        let mut numbers = text.split(':').map(str::parse);
        let mut next = || numbers.next()?.ok();
        let map = IdMap {
            from: next()?,
            to: next()?,
            count: next()?,
        };
        numbers.next().is_none().then_some(map)
    };
    list.iter()
        .map(|text| one(text).with_context(|| format!("{text:?} is not FROM:TO:COUNT")))
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn tell(args: &BuildArgs, built: &Built, ui: &Ui) -> Result<()> {
    let Built {
        report,
        bytes,
        verity,
    } = built;
    let sb = &report.superblock;
    let uuid = Uuid::from_bytes(sb.uuid());
    let free = sb.free_blocks_count() << sb.block_size().log2();
    if args.json {
        output::json(&Json {
            image: args.output.display().to_string(),
            bytes: *bytes,
            block_size: sb.block_size().bytes(),
            uuid: uuid.to_string(),
            files: report.files,
            directories: report.directories,
            inodes: report.inodes,
            content_bytes: report.content,
            free_bytes: free,
            partition_offset: args.partition.then_some(PARTITION_START),
            verity: verity.as_ref().map(|v| VerityJson {
                root_hash: hex(&v.root),
                salt: hex(&v.salt),
                hash_offset: v.hash_offset,
                data_blocks: v.data_blocks,
            }),
            notes: report.notes.clone(),
        })?;
        return Ok(());
    }
    ui.note(&format!(
        "{}: {} bytes, {} files, {} directories, {} of content, {} free",
        args.output.display(),
        size::grouped(*bytes),
        size::grouped(report.files),
        size::grouped(report.directories),
        size::human(report.content),
        size::human(free),
    ));
    ui.note(&format!("UUID {uuid}"));
    if args.partition {
        ui.note(&format!("The partition begins at byte {PARTITION_START}"));
    }
    if let Some(v) = verity {
        ui.note(&format!(
            "Hash tree at byte {} (--hash-offset); root hash:",
            v.hash_offset
        ));
        ui.say(&hex(&v.root));
    }
    for note in &report.notes {
        ui.note(&format!("Note: {note}"));
    }
    Ok(())
}
