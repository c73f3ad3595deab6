//! Builds ext4 images from trees of files: no root, no mount, the same bytes every time.
//!
//! A [`Builder`] collects sources into a tree of names in path order; [`Builder::plan`] decides every number and place;
//! [`Plan::write`] copies the contents and writes the rest.
//!
//! Decisions:
//! - The image is a pure function of the tree and the options: not of the order in which a host lists names, nor of
//!   threads, umask, locale, clock or user. Hash seed and UUID are derived from the content ([`Options::mkfs`]).
//! - Of the times of a file only the last modification is kept; the others, which no copy of a tree has in common,
//!   become the same.
//! - Nothing is executed, mounted or unpacked: whatever a source says, only the image is written.
//! - Formatting is [`e4_mkfs`]'s, encodings are [`e4_format`]'s; what is decided here is only what goes where.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! std::fs::write(dir.path().join("hello"), "world")?;
//! let mut builder = e4_build::Builder::new(e4_build::Options::default())?;
//! builder.add_directory(dir.path())?;
//! let plan = builder.plan()?;
//! let device = e4_device::MemoryDevice::new(plan.bytes());
//! let report = plan.write(&device, &mut |_| std::ops::ControlFlow::Continue(()))?;
//! assert_eq!(report.files, 1);
//! # Ok(())
//! # }
//! ```

mod acl;
mod digest;
mod error;
mod exclude;
mod layout;
mod options;
pub mod package;
mod source;
mod tree;
mod write;
mod xattr;

pub use error::BuildError;
pub use options::{Holes, IdMap, Options, Size, Whiteouts};

use e4_device::Device;
use e4_format::{Superblock, Timestamp};
use e4_mkfs::Params;
use exclude::Exclude;
use layout::{Layout, order::Order};
use source::Sources;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::Path;
use tree::{Kind, Meta, Names, Node, NodeId, ROOT, Tree};

const LOST_AND_FOUND: &[u8] = b"lost+found";

/// How far the writing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of contents copied.
    pub done: u64,
    /// Bytes of contents in all.
    pub total: u64,
    /// Pieces of files in all.
    pub files: u64,
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Report {
    /// The superblock, as on the device.
    pub superblock: Superblock,
    /// Regular files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Inodes in use besides those of the system.
    pub inodes: u64,
    /// Bytes of contents, holes included.
    pub content: u64,
    /// What was left out or decided otherwise than asked, for people.
    pub notes: Vec<String>,
}

/// Collects what the image shall hold.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    exclude: Exclude,
    tree: Tree,
    sources: Sources,
    count: u32,
}

impl Builder {
    /// Begins with an empty tree.
    ///
    /// # Errors
    /// A pattern that is no glob.
    pub fn new(options: Options) -> Result<Self, BuildError> {
        let exclude = Exclude::new(&options.exclude)?;
        Ok(Self {
            tree: Tree::new(options.max_files),
            exclude,
            options,
            sources: Sources::default(),
            count: 0,
        })
    }

    /// Every source after the first lies over what is there; returns whether its whiteouts mean something.
    fn begin_source(&mut self) -> bool {
        self.count += 1;
        self.tree.next_source();
        match self.options.whiteouts {
            Whiteouts::Auto => self.count > 1,
            Whiteouts::Always => true,
            Whiteouts::Never => false,
        }
    }

    /// Adds the tree below a directory of the host. Its contents are read when the image is written, and must be the
    /// same then.
    ///
    /// # Errors
    /// The host's; too many files.
    pub fn add_directory(&mut self, path: &Path) -> Result<(), BuildError> {
        let whiteouts = self.begin_source();
        source::directory::scan(
            &mut self.tree,
            &mut self.sources.scanned,
            path,
            &self.options,
            &self.exclude,
            whiteouts,
        )
    }

    /// Adds a tar archive: plain or compressed with gzip, zstd or xz. A plain one is read again when the image is
    /// written; what is in a compressed one waits in [`Options::spool_dir`] until then.
    ///
    /// # Errors
    /// The host's; an archive that is damaged or leads out of the image; too many files.
    pub fn add_tar(&mut self, path: &Path) -> Result<(), BuildError> {
        let whiteouts = self.begin_source();
        source::archive::add_file(self.archive(whiteouts), path)
    }

    /// Adds a tar archive from a stream, plain or compressed; `name` names it in messages.
    ///
    /// # Errors
    /// As [`Builder::add_tar`].
    pub fn add_tar_stream(
        &mut self,
        name: &str,
        stream: Box<dyn BufRead + '_>,
    ) -> Result<(), BuildError> {
        let whiteouts = self.begin_source();
        source::archive::add_stream(self.archive(whiteouts), Path::new(name), stream)
    }

    /// Adds the layers of an image in an OCI image layout, with their whiteouts; `reference` chooses among several
    /// images by name.
    ///
    /// # Errors
    /// As [`Builder::add_tar`]; a blob that is not what it is named by.
    pub fn add_oci(&mut self, layout: &Path, reference: Option<&str>) -> Result<(), BuildError> {
        for layer in source::oci::layers(layout, reference)? {
            self.begin_source();
            let whiteouts = self.options.whiteouts != Whiteouts::Never;
            source::archive::add_file(self.archive(whiteouts), &layer)?;
        }
        Ok(())
    }

    fn archive(&mut self, whiteouts: bool) -> source::archive::Into<'_> {
        source::archive::Into {
            tree: &mut self.tree,
            sources: &mut self.sources,
            options: &self.options,
            exclude: &self.exclude,
            whiteouts,
        }
    }

    /// Decides the layout and with it the size of the image.
    ///
    /// # Errors
    /// Parameters that make no sense, content that does not fit or has no encoding.
    pub fn plan(mut self) -> Result<Plan, BuildError> {
        let lost_and_found = self.lost_and_found()?;
        self.settle_owners();
        let order = Order::of(&self.tree, lost_and_found)?;
        let time = self.time(&order);
        let digest = digest::of_tree(&self.tree, &order, self.options.epoch);
        let hash_seed = self
            .options
            .mkfs
            .hash_seed
            .unwrap_or_else(|| digest::derive(&digest, "e4-build hash seed", &[]));
        let params = Params {
            hash_seed: Some(hash_seed),
            // Any will do until the content is known.
            uuid: Some(self.options.mkfs.uuid.unwrap_or_default()),
            time: Some(time),
            ..self.options.mkfs.clone()
        };
        let layout = layout::layout(&self.tree, order, &self.options, &params)?;
        Ok(Plan {
            options: self.options,
            tree: self.tree,
            sources: self.sources,
            layout,
            digest,
            time,
        })
    }

    /// The directory for what a repair finds; made if no source has it.
    fn lost_and_found(&mut self) -> Result<NodeId, BuildError> {
        if let Some(node) = self.tree.child(ROOT, LOST_AND_FOUND)
            && self.tree.names(node).is_some()
        {
            return Ok(node);
        }
        let meta = Meta {
            mode: 0o700,
            ..Meta::implied()
        };
        let kind = Kind::Directory(Names::new());
        self.tree.put(ROOT, LOST_AND_FOUND, Node { meta, kind })
    }

    fn settle_owners(&mut self) {
        let options = &self.options;
        for node in &mut self.tree.nodes {
            let meta = &mut node.meta;
            (meta.uid, meta.gid) = options.owner.unwrap_or((
                IdMap::apply(&options.uid_map, meta.uid),
                IdMap::apply(&options.gid_map, meta.gid),
            ));
        }
    }

    /// The image's own time: given, or that of its youngest file.
    fn time(&self, order: &Order) -> i64 {
        let given = self.options.mkfs.time.or(self.options.epoch);
        let youngest = || {
            let times = order
                .nodes
                .iter()
                .filter_map(|n| self.tree.node(*n)?.meta.mtime);
            times.map(|t| t.sec).max().unwrap_or(0)
        };
        given.unwrap_or_else(youngest).clamp(0, Timestamp::MAX.sec)
    }
}

/// An image that is decided but not written.
#[derive(Debug)]
pub struct Plan {
    options: Options,
    tree: Tree,
    sources: Sources,
    layout: Layout,
    digest: [u8; 32],
    time: i64,
}

impl Plan {
    /// Size of the image in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.layout.draft.bytes()
    }

    /// Writes the image to `device`, which must read as zeros and be at least [`Plan::bytes`] long. Between chunks
    /// `progress` may stop it, which leaves something incomplete behind.
    ///
    /// # Errors
    /// The device's or the host's, a source that changed, or [`BuildError::Cancelled`].
    pub fn write(
        self,
        device: &dyn Device,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Report, BuildError> {
        let mut report = self.summary();
        let writer = write::Writer {
            tree: &self.tree,
            sources: &self.sources,
            options: &self.options,
            layout: self.layout,
            device,
            digest: self.digest,
            time: self.time,
        };
        let formatted = writer.run(progress)?;
        report.superblock = formatted.superblock;
        report.notes = formatted.notes;
        Ok(report)
    }

    fn summary(&self) -> Report {
        let mut report = Report {
            superblock: self.layout.draft.superblock().clone(),
            files: 0,
            directories: 2,
            inodes: self.layout.order.nodes.len() as u64,
            content: 0,
            notes: Vec::new(),
        };
        for node in self
            .layout
            .order
            .nodes
            .iter()
            .filter_map(|n| self.tree.node(*n))
        {
            match &node.kind {
                Kind::Directory(_) => report.directories += 1,
                Kind::File(content) => {
                    report.files += 1;
                    report.content += content.size;
                }
                _ => {}
            }
        }
        report
    }
}
