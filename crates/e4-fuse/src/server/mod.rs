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

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use e4::Filesystem;
use e4_sync::{Arc, OnceLock};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, Notifier, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use crate::handles::Handles;
use crate::nodes::Nodes;
use crate::options::Options;
use crate::workers::Workers;
use attrs::Change;
use dirs::OpenDir;
use files::OpenFile;

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
    pub(crate) dirs: Handles<OpenDir>,
    pub(crate) workers: Workers,
    /// Set once the connection exists.
    pub(crate) notifier: OnceLock<Notifier>,
}

impl State {
    pub(crate) fn new(fs: Filesystem, options: Options) -> e4::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            nodes: Nodes::new(fs.clone())?,
            fs,
            options,
            files: Handles::new(),
            dirs: Handles::new(),
            workers: Workers::new(WORKERS),
            notifier: OnceLock::new(),
        }))
    }

    /// Ends what is still being done and lets go of every inode.
    pub(crate) fn finish(&self) {
        self.workers.finish();
        self.files.clear();
        self.dirs.clear();
        self.nodes.clear();
    }
}

/// The adapter that fuser owns.
pub(crate) struct Server(pub(crate) Arc<State>);

/// Answers a request whose success carries nothing.
macro_rules! answer {
    ($reply:ident, $what:expr, $ok:pat => $then:expr) => {
        match $what {
            Ok($ok) => $then,
            Err(crate::errno::Fail(errno)) => $reply.error(errno),
        }
    };
}

impl fuser::Filesystem for Server {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        init::negotiate(config, &self.0.options);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer!(reply, self.0.lookup(parent, name.as_bytes()),
            e => reply.entry_with_ttls(&NAME_TTL, &ATTR_TTL, &e.attr, e.generation));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        self.0.nodes.forget(ino, nlookup);
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        answer!(reply, self.0.getattr(ino), attr => reply.attr(&ATTR_TTL, &attr));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let _ = (req, fh);
        let change = Change {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
            ctime,
        };
        answer!(reply, self.0.setattr(ino, &change), attr => reply.attr(&ATTR_TTL, &attr));
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        answer!(reply, self.0.readlink(ino), target => reply.data(&target));
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = self
            .0
            .mknod(req, parent, name.as_bytes(), (mode, umask, rdev));
        answer!(reply, made, e => reply.entry_with_ttls(&NAME_TTL, &ATTR_TTL, &e.attr, e.generation));
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.0.mkdir(req, parent, name.as_bytes(), (mode, umask));
        answer!(reply, made, e => reply.entry_with_ttls(&NAME_TTL, &ATTR_TTL, &e.attr, e.generation));
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        let made = self.0.symlink(req, parent, link_name.as_bytes(), target);
        answer!(reply, made, e => reply.entry_with_ttls(&NAME_TTL, &ATTR_TTL, &e.attr, e.generation));
    }

    fn link(
        &self,
        _req: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let made = self.0.link(ino, newparent, newname.as_bytes());
        answer!(reply, made, e => reply.entry_with_ttls(&NAME_TTL, &ATTR_TTL, &e.attr, e.generation));
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.unlink(parent, name.as_bytes()), () => reply.ok());
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.rmdir(parent, name.as_bytes()), () => reply.ok());
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let from = (parent, name.as_bytes());
        let to = (newparent, newname.as_bytes());
        answer!(reply, self.0.rename(from, to, flags), () => reply.ok());
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        answer!(reply, self.0.open(ino, flags.0), (fh, flags) => reply.opened(fh, flags));
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = self
            .0
            .create(req, parent, name.as_bytes(), (mode, umask), flags);
        answer!(reply, made, (e, fh, flags) => {
            // One time for name and attributes is all this reply can carry.
            reply.created(&ATTR_TTL, &e.attr, e.generation, fh, flags);
        });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        self.0.read(fh, offset, size, reply);
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        State::write(&self.0, fh, offset, data, (write_flags, flags), reply);
    }

    /// Once answered so, the kernel never asks again: errors of writes are its own to report, and there
    /// are no locks here to give back.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.0.release(fh);
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        let state = Arc::clone(&self.0);
        self.0.workers.run(move || {
            answer!(reply, state.fsync(fh, datasync), () => reply.ok());
        });
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        // What the kernel keeps of a listing it drops by itself when a name changes.
        let flags = FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE;
        answer!(reply, self.0.opendir(ino), fh => reply.opened(fh, flags));
    }

    fn readdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        answer!(reply, self.0.readdir(fh, offset, &mut reply), () => reply.ok());
    }

    fn readdirplus(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        answer!(reply, self.0.readdirplus(fh, offset, &mut reply), () => reply.ok());
    }

    fn releasedir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        drop(self.0.dirs.remove(fh));
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        let state = Arc::clone(&self.0);
        self.0.workers.run(move || {
            answer!(reply, state.fsyncdir(fh), () => reply.ok());
        });
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        let s = self.0.fs.statfs();
        reply.statfs(
            s.blocks,
            s.free_blocks,
            s.available_blocks,
            u64::from(s.inodes),
            u64::from(s.free_inodes),
            s.block_size,
            names::NAME_MAX,
            s.block_size,
        );
    }

    fn setxattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let set = self.0.setxattr(ino, name.as_bytes(), value, flags);
        answer!(reply, set, () => reply.ok());
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.0.getxattr(ino, name.as_bytes());
        answer!(reply, value, value => xattrs::reply_sized(reply, size, &value));
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        answer!(reply, self.0.listxattr(ino), list => xattrs::reply_sized(reply, size, &list));
    }

    fn removexattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, self.0.removexattr(ino, name.as_bytes()), () => reply.ok());
    }

    /// Never asked: the kernel checks permissions.
    fn access(&self, _req: &Request, _ino: INodeNo, _mask: AccessFlags, reply: ReplyEmpty) {
        reply.ok();
    }

    fn ioctl(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        let done = self.0.ioctl(req, ino, cmd, in_data);
        answer!(reply, done, out => reply.ioctl(0, &out));
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let state = Arc::clone(&self.0);
        self.0.workers.run(move || {
            answer!(reply, state.fallocate(fh, offset, length, mode), () => reply.ok());
        });
    }

    fn lseek(
        &self,
        _req: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let state = Arc::clone(&self.0);
        self.0.workers.run(move || {
            answer!(reply, state.lseek(ino, fh, offset, whence), at => reply.offset(at));
        });
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let state = Arc::clone(&self.0);
        self.0.workers.run(move || {
            let copied = state.copy((fh_in, offset_in), (fh_out, offset_out), len);
            answer!(reply, copied, n => reply.written(n));
        });
    }
}
