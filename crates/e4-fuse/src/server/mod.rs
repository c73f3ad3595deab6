//! Requests of the kernel, as calls of `e4`.
//!
//! ```text
//!   init.rs    capabilities            files.rs  open, release, fsync, fallocate, lseek, copy
//!   names.rs   everything with names   io.rs     reads and writes: replies by whoever completes
//!   attrs.rs   stat, setattr, statfs   dirs.rs   listings      xattrs.rs  extended attributes
//! ```
//!
//! This file is the table from requests to functions; each function returns an [`Answer`], and only here it
//! becomes a reply. Requests that would wait for a commit are moved to a worker with their reply.

mod attrs;
mod dirs;
mod files;
mod init;
mod io;
mod names;
mod xattrs;

use std::time::Duration;

use e4::Filesystem;
use e4_fuse_transport::{
    Agreed, Errno, Notifier, Operation as Op, Reply, Request, Serve, StatFs, Wishes,
};
use e4_sync::{Arc, OnceLock};

use crate::handles::Handles;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::workers::Workers;
use files::OpenFile;

pub(crate) use init::MAX_TRANSFER;

/// How long the kernel may keep names: for ever, since every change passes through it.
const NAME_TTL: Duration = Duration::from_secs(24 * 3600);
/// How long it may keep attributes: everything it changes it forgets by itself, but the blocks of an extent
/// tree that grows at a commit show up without its doing.
const ATTR_TTL: Duration = Duration::from_secs(60);
/// Threads for requests that wait.
const WORKERS: usize = 8;

/// What serves a mount.
pub(crate) struct State {
    pub(crate) fs: Filesystem,
    pub(crate) options: Options,
    pub(crate) nodes: Nodes,
    pub(crate) files: Handles<OpenFile>,
    pub(crate) workers: Workers,
    /// Set once the connection exists.
    pub(crate) notifier: OnceLock<Notifier>,
    /// What was agreed with the kernel.
    agreed: OnceLock<Agreed>,
    /// Bytes; does not change while it is mounted.
    block_size: u32,
}

impl State {
    pub(crate) fn new(fs: Filesystem, options: Options) -> e4::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            nodes: Nodes::new(fs.clone())?,
            block_size: fs.statfs().block_size,
            fs,
            options,
            files: Handles::new(),
            workers: Workers::new(WORKERS),
            notifier: OnceLock::new(),
            agreed: OnceLock::new(),
        }))
    }

    /// Ends what is still being done and lets go of every inode.
    pub(crate) fn finish(&self) {
        self.workers.finish();
        self.files.clear();
        self.nodes.clear();
    }

    /// Answers by a worker: what is done there may wait.
    fn later(self: &Arc<Self>, job: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let state = Arc::clone(self);
        self.workers.run(move || job(&state));
    }

    fn statfs(&self) -> StatFs {
        let s = self.fs.statfs();
        StatFs {
            blocks: s.blocks,
            free: s.free_blocks,
            available: s.available_blocks,
            files: u64::from(s.inodes),
            free_files: u64::from(s.free_inodes),
            block_size: s.block_size,
            name_max: names::NAME_MAX,
        }
    }
}

/// Answers a request: what it does, and what its success replies.
macro_rules! answer {
    ($reply:ident, $what:expr, $ok:pat => $then:expr) => {
        match $what {
            Ok($ok) => $then,
            Err(crate::errno::Fail(errno)) => $reply.error(errno),
        }
    };
}

impl Serve for State {
    fn wishes(&self) -> Wishes {
        init::wishes(&self.options)
    }

    fn connected(&self, agreed: &Agreed) {
        let _ = self.agreed.set(*agreed);
    }

    #[allow(
        clippy::too_many_lines,
        reason = "the table of requests; one line or two for each"
    )]
    #[rustfmt::skip]
    fn serve(self: &Arc<Self>, request: Request<'_>, reply: Reply) {
        let (node, by) = (request.node, request.caller);
        match request.operation {
            Op::Lookup { name } => answer!(reply, self.lookup(node, name), e => reply.entry(&e)),
            Op::Forget { lookups } => { self.nodes.forget(node, lookups); reply.nothing(); }
            Op::ForgetMany(many) => {
                many.for_each(|(node, lookups)| self.nodes.forget(node, lookups));
                reply.nothing();
            }
            Op::GetAttr => answer!(reply, self.getattr(node), a => reply.attr(&a, ATTR_TTL)),
            Op::Statx { .. } => answer!(reply, self.statx(node), (a, born) => reply.statx(&a, born, ATTR_TTL)),
            Op::SetAttr(change) => answer!(reply, self.setattr(node, &change), a => reply.attr(&a, ATTR_TTL)),
            Op::ReadLink => answer!(reply, self.readlink(node), target => reply.bytes(&target)),
            Op::Symlink { name, target } => answer!(reply, self.symlink(by, node, name, target), e => reply.entry(&e)),
            Op::MkNod { name, mode, umask, rdev } =>
                answer!(reply, self.mknod(by, node, name, (mode, umask, rdev)), e => reply.entry(&e)),
            Op::MkDir { name, mode, umask } =>
                answer!(reply, self.mkdir(by, node, name, (mode, umask)), e => reply.entry(&e)),
            Op::Unlink { name } => answer!(reply, self.unlink(node, name), () => reply.ok()),
            Op::RmDir { name } => answer!(reply, self.rmdir(node, name), () => reply.ok()),
            Op::Rename { name, to, new_name, flags } =>
                answer!(reply, self.rename((node, name), (to, new_name), flags), () => reply.ok()),
            Op::Link { node: of, name } => answer!(reply, self.link(of, node, name), e => reply.entry(&e)),
            Op::Open { flags, kill_set_id } =>
                answer!(reply, self.open(node, flags, kill_set_id), (h, how) => reply.opened(h, how)),
            Op::Create { name, mode, umask, flags, kill_set_id } => {
                let made = self.create(by, node, name, (mode, umask), (flags, kill_set_id));
                answer!(reply, made, (e, h, how) => reply.created(&e, h, how));
            }
            Op::TmpFile { mode, umask, flags } => {
                let made = self.tmpfile(by, node, (mode, umask), flags);
                answer!(reply, made, (e, h, how) => reply.created(&e, h, how));
            }
            Op::Read { handle, offset, size } => self.read(handle, offset, size, reply),
            Op::Write(write) => self.write(write, reply),
            Op::StatFs => reply.statfs(&self.statfs()),
            // Once answered so, the kernel never asks again: errors of writes are its own to report, and there
            // are no locks here to give back.
            Op::Flush => reply.error(Errno::NOSYS),
            Op::Release { handle } => { self.release(handle); reply.ok(); }
            Op::Fsync { handle, data_only } => self.later(move |s| {
                answer!(reply, s.fsync(handle, data_only), () => reply.ok());
            }),
            Op::SyncFs | Op::Destroy => self.later(move |s| answer!(reply, s.sync(), () => reply.ok())),
            Op::SetXattr { name, value, flags, kill_set_group_id } => {
                let set = self.setxattr(node, name, value, flags, kill_set_group_id);
                answer!(reply, set, () => reply.ok());
            }
            Op::GetXattr { name, room } =>
                answer!(reply, self.getxattr(node, name), value => reply.sized(room, &value)),
            Op::ListXattr { room } => answer!(reply, self.listxattr(node), list => reply.sized(room, &list)),
            Op::RemoveXattr { name } => answer!(reply, self.removexattr(node, name), () => reply.ok()),
            Op::OpenDir => self.opendir(reply),
            Op::ReadDir { cookie, room, .. } =>
                answer!(reply, self.readdir(node, cookie, room), l => reply.listing(&l)),
            Op::ReadDirPlus { cookie, room, .. } =>
                answer!(reply, self.readdirplus(node, cookie, room), l => reply.listing_plus(&l)),
            Op::ReleaseDir { .. } => reply.ok(),
            Op::FsyncDir { .. } => self.later(move |s| answer!(reply, s.fsyncdir(node), () => reply.ok())),
            Op::Ioctl { cmd, input, .. } => answer!(reply, self.ioctl(by, node, cmd, input), out => reply.ioctl(&out)),
            Op::Fallocate { handle, offset, len, mode } => self.later(move |s| {
                answer!(reply, s.fallocate(by, handle, (offset, len), mode), () => reply.ok());
            }),
            Op::Seek { handle, offset, whence } => self.later(move |s| {
                answer!(reply, s.seek(node, handle, offset, whence), at => reply.offset(at));
            }),
            Op::Copy { from, to, len, wide } => self.later(move |s| {
                answer!(reply, s.copy(by, from, to, len), n => reply.copied(n, wide));
            }),
            // The kernel remembers that there is no such thing.
            Op::Unknown { .. } => reply.error(Errno::NOSYS),
        }
    }
}
