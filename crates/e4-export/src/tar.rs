//! A tree as an archive.
//!
//! Decision: the first name of a file in path order carries its contents, every other one is a link to it. Sockets have no
//! place in archives and are reported.

use std::collections::HashMap;
use std::io::Write;

use e4::{Filesystem, Node};
use e4_format::{FileType, InodeNo};

use crate::archive::{Archive, Member, MemberKind, worth};
use crate::contents;
use crate::error::{ExportError, at, show};
use crate::facts::{Facts, xattrs};
use crate::walk::{Descend, Step, walk};
use crate::{Meter, Report, Watch};

/// Writes the tree below `top` as a tar archive to `out`, which is flushed.
///
/// # Errors
/// The image's, the output's, or [`ExportError::Cancelled`].
pub fn to_tar(
    fs: &Filesystem,
    top: &Node,
    out: impl Write,
    watch: Watch<'_>,
) -> Result<Report, ExportError> {
    let mut meter = Meter::new(watch);
    let mut report = Report::default();
    let mut writer = Writer::new(out);
    walk(fs, top, &mut |step, item| {
        if step == Step::Leave {
            return Ok(Descend::Yes);
        }
        if is_lost_and_found(item.path, item.node, item.stat)? {
            return Ok(Descend::No);
        }
        meter.name()?;
        let facts = Facts::of(item.path, item.stat)?;
        writer.put(item.path, item.node, &facts, &mut meter, &mut report)?;
        Ok(Descend::Yes)
    })?;
    writer.archive.finish().map_err(ExportError::Output)?;
    Ok(report)
}

/// True for an empty directory of this name directly below the top, owned by root: what formatting makes.
pub(crate) fn is_lost_and_found(
    path: &[u8],
    node: &Node,
    stat: &e4::Stat,
) -> Result<bool, ExportError> {
    if path != b"lost+found" || stat.file_type != Some(FileType::Directory) {
        return Ok(false);
    }
    Ok((stat.uid, stat.gid, stat.mode & 0o7777) == (0, 0, 0o700)
        && crate::walk::names(node, path)?.is_empty()
        && xattrs(path, node)?.is_empty())
}

/// Writes inodes as members.
pub(crate) struct Writer<W: Write> {
    pub(crate) archive: Archive<W>,
    /// First names of files that have several.
    first: HashMap<InodeNo, Box<[u8]>>,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            archive: Archive::new(out),
            first: HashMap::new(),
        }
    }

    /// Writes one name.
    pub(crate) fn put(
        &mut self,
        path: &[u8],
        node: &Node,
        facts: &Facts,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), ExportError> {
        let mut member = Member {
            path,
            kind: MemberKind::Directory,
            mode: facts.mode,
            uid: facts.uid,
            gid: facts.gid,
            mtime: facts.mtime,
            xattrs: &[],
        };
        if facts.file_type == FileType::Socket {
            report.lose_because(format!("{}: archives cannot hold sockets", show(path)));
            return Ok(());
        }
        report.names += 1;
        if facts.is_linked() {
            if let Some(first) = self.first.get(&facts.ino) {
                let link = Member {
                    kind: MemberKind::HardLink(first),
                    ..member
                };
                return self.archive.member(&link).map_err(ExportError::Output);
            }
            self.first.insert(facts.ino, path.into());
        }
        let xattrs = xattrs(path, node)?;
        member.xattrs = &xattrs;
        let target;
        match facts.file_type {
            FileType::Regular => return self.file(member, node, facts, meter, report),
            FileType::Symlink => {
                target = node.read_link().map_err(at(path))?;
                member.kind = MemberKind::Symlink(&target);
            }
            FileType::CharDevice | FileType::BlockDevice => {
                let (major, minor) = facts.device.unwrap_or_default();
                member.kind = MemberKind::Device {
                    block: facts.file_type == FileType::BlockDevice,
                    major,
                    minor,
                };
            }
            FileType::Fifo => member.kind = MemberKind::Fifo,
            FileType::Directory | FileType::Socket => {}
        }
        self.member(path, &member)
    }

    fn member(&mut self, path: &[u8], member: &Member<'_>) -> Result<(), ExportError> {
        // An ACL is the only thing of an image that has no place in an archive.
        for (_, value) in member
            .xattrs
            .iter()
            .filter(|x| x.0.starts_with(b"system.posix_acl_"))
        {
            crate::acl::to_text(value).map_err(|why| ExportError::Acl {
                path: show(path),
                why,
            })?;
        }
        self.archive.member(member).map_err(ExportError::Output)
    }

    fn file(
        &mut self,
        member: Member<'_>,
        node: &Node,
        facts: &Facts,
        meter: &mut Meter<'_>,
        report: &mut Report,
    ) -> Result<(), ExportError> {
        let path = member.path;
        let file = contents::open(path, node)?;
        let data = worth(facts.size, contents::data_ranges(&file).map_err(at(path))?);
        let kind = MemberKind::File {
            size: facts.size,
            data: &data,
        };
        self.member(path, &Member { kind, ..member })?;
        let archive = &mut self.archive;
        contents::read(path, &file, &data, meter, &mut |_, bytes| {
            report.bytes += bytes.len() as u64;
            archive.data(bytes).map_err(ExportError::Output)
        })
    }
}
