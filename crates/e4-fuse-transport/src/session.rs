//! A connection: reads requests, hands them to a server, ends with the mount.
//!
//! Decisions:
//! - A message is read into two pieces with one `readv`: the first 80 bytes, which are both headers of a write, and
//!   the rest, into a page-aligned buffer. So the payload of a write lies at the beginning of a page and can be
//!   handed on without a copy; requests of other kinds mostly fit the first piece.
//! - Each thread reads from a descriptor of its own (cloned), so their lists in the kernel are apart; the
//!   thread that reads a request serves it, and the reply leaves from wherever the answer is known.
//! - Interrupts are refused once, so the kernel sends no more: no request waits for what an interrupt could end.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};

use e4_device::AlignedBuf;
use e4_sync::{Arc, thread};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zerocopy::{FromBytes, IntoBytes};

use crate::abi;
use crate::flags::Capabilities;
use crate::init::{self, Agreed, Answer, Wishes};
use crate::reply::{self, Reply};
use crate::request::{self, NodeId, Request};

/// The part of a message that holds all of a write but its payload.
const HEAD: usize = size_of::<abi::InHeader>() + size_of::<abi::WriteIn>();

/// What answers requests.
pub trait Serve: Send + Sync + 'static {
    /// What it wants of the connection. Called once, before any request.
    fn wishes(&self) -> Wishes;

    /// The connection is up.
    fn connected(&self, agreed: &Agreed);

    /// Answers a request, at once or later, from any thread. [`Reply::nothing`] for what expects no answer.
    fn serve(self: &Arc<Self>, request: Request<'_>, reply: Reply);
}

/// Why serving ended otherwise than by an unmount.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The device cannot be read.
    #[error("reading requests: {0}")]
    Read(Errno),
    /// The kernel speaks a version we do not.
    #[error("the kernel's FUSE is older than 7.{}", abi::OLDEST_MINOR)]
    TooOld,
    /// The first message made no sense.
    #[error(transparent)]
    Malformed(#[from] request::Malformed),
    /// A thread that served ended by a panic.
    #[error("a thread that served requests has panicked")]
    Panicked,
}

/// A connection that is mounted and not yet served.
pub struct Session {
    device: Arc<OwnedFd>,
}

impl Session {
    /// Takes over the device of a mount, see [`crate::mount`].
    #[must_use]
    pub fn new(device: OwnedFd) -> Self {
        Self {
            device: Arc::new(device),
        }
    }

    /// Tells the kernel things, from any thread.
    #[must_use]
    pub fn notifier(&self) -> Notifier {
        Notifier {
            device: Arc::clone(&self.device),
        }
    }

    /// Serves until the mount is gone, by `threads` threads, each with a descriptor of its own if `clone` says so.
    /// Replies that are sent later fail silently: nobody waits for them any more.
    ///
    /// # Errors
    /// What ended it otherwise.
    pub fn run<S: Serve>(
        self,
        server: &Arc<S>,
        threads: usize,
        clone: bool,
    ) -> Result<(), ServeError> {
        let mut first = Reader::new(Arc::clone(&self.device));
        let Some(agreed) = first.begin(server)? else {
            return Ok(());
        };
        server.connected(&agreed);
        let helpers: Vec<_> = (1..threads.max(1))
            .map(|_| {
                let device = if clone {
                    clone_device(&self.device)
                } else {
                    None
                };
                let mut reader = Reader::new(device.unwrap_or_else(|| Arc::clone(&self.device)));
                let server = Arc::clone(server);
                thread::spawn(move || reader.run(&server, &agreed))
            })
            .collect();
        let mut ended = first.run(server, &agreed);
        for helper in helpers {
            let other = helper.join().unwrap_or(Err(ServeError::Panicked));
            ended = ended.and(other);
        }
        ended
    }
}

/// A descriptor of its own on the same connection; `None` where the kernel has none to give.
fn clone_device(of: &OwnedFd) -> Option<Arc<OwnedFd>> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let new = rustix::fs::open("/dev/fuse", flags, Mode::empty());
    let new = new.and_then(|new| {
        e4_device::join_fuse_connection(new.as_fd(), of.as_fd())?;
        Ok(Arc::new(new))
    });
    new.inspect_err(|error| tracing::debug!(%error, "no descriptor for each thread"))
        .ok()
}

/// Tells the kernel what it has not asked.
#[derive(Clone)]
pub struct Notifier {
    device: Arc<OwnedFd>,
}

impl Notifier {
    /// Drops a range of an inode's cached pages, those that are dirty being written first; its attributes as well. `len` 0:
    /// to the end. Waits for pages that are being read or written, so never to be called by a thread that serves.
    pub fn drop_pages(&self, node: NodeId, at: u64, len: u64) {
        let clip = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let out = abi::InvalInodeOut {
            ino: node.0,
            off: clip(at),
            len: clip(len),
        };
        // Unknown to the kernel (any more): nothing cached either.
        reply::send(
            &self.device,
            0,
            abi::NOTIFY_INVAL_INODE,
            [out.as_bytes(), &[]],
        );
    }
}

struct Reader {
    device: Arc<OwnedFd>,
    head: [u8; HEAD],
    body: AlignedBuf,
    /// Bytes of a message that has to be in one piece and is not.
    whole: Vec<u8>,
}

/// Room for the payload before anything is agreed: as much as a kernel demands.
const FIRST_BODY: usize = 64 << 10;
/// Room for whatever else a message may carry: names, values of attributes.
const LEAST_BODY: usize = 128 << 10;

impl Reader {
    fn new(device: Arc<OwnedFd>) -> Self {
        Self {
            device,
            head: [0; HEAD],
            body: AlignedBuf::zeroed(0),
            whole: Vec::new(),
        }
    }

    /// One message; its length, or `None` at the end of the connection.
    fn read(&mut self, room: usize) -> Result<Option<usize>, ServeError> {
        // The last one was handed on with the payload of a write.
        if self.body.len() < room {
            self.body = AlignedBuf::recycled(room);
        }
        loop {
            let mut pieces = [
                IoSliceMut::new(&mut self.head),
                IoSliceMut::new(&mut self.body),
            ];
            match rustix::io::readv(&*self.device, &mut pieces) {
                Ok(n) => return Ok(Some(n)),
                // A signal, or the request was withdrawn while it was handed over.
                Err(Errno::INTR | Errno::NOENT | Errno::AGAIN) => {}
                // Unmounted, or the connection was ended by somebody.
                Err(Errno::NODEV | Errno::CONNABORTED) => return Ok(None),
                Err(error) => return Err(ServeError::Read(error)),
            }
        }
    }

    fn header(&self, len: usize) -> Option<abi::InHeader> {
        let head = self.head.get(..len.min(HEAD))?;
        let (header, _) = abi::InHeader::read_from_prefix(head).ok()?;
        (usize::try_from(header.len) == Ok(len)).then_some(header)
    }

    /// The first exchange. `None`: unmounted before it came.
    fn begin(&mut self, server: &Arc<impl Serve>) -> Result<Option<Agreed>, ServeError> {
        let wishes = server.wishes();
        let room = FIRST_BODY.max(wishes.max_write as usize);
        loop {
            let Some(len) = self.read(room)? else {
                return Ok(None);
            };
            let Some(header) = self.header(len).filter(|h| h.opcode == abi::op::INIT) else {
                tracing::error!(len, "something before the first exchange");
                continue;
            };
            let message = self.message(len);
            let reply = |errno: i32, bytes: &[u8]| {
                reply::send(&self.device, header.unique, errno, [bytes, &[]]);
            };
            match init::answer(message, &wishes)? {
                Answer::Again(out) => reply(0, Answer::bytes(&out)),
                Answer::Refused => {
                    reply(-Errno::PROTO.raw_os_error(), &[]);
                    return Err(ServeError::TooOld);
                }
                Answer::Up(out, agreed) => {
                    reply(0, Answer::bytes(&out));
                    return Ok(Some(agreed));
                }
            }
        }
    }

    /// A message in one piece, for the first exchange, which is short.
    fn message(&self, len: usize) -> &[u8] {
        &self.head[..len.min(HEAD)]
    }

    fn run(&mut self, server: &Arc<impl Serve>, agreed: &Agreed) -> Result<(), ServeError> {
        let xattr_ext = agreed.capabilities.contains(Capabilities::SETXATTR_EXT);
        let room = LEAST_BODY.max(agreed.max_write as usize);
        while let Some(len) = self.read(room)? {
            self.one(server, len, xattr_ext);
        }
        Ok(())
    }

    fn one(&mut self, server: &Arc<impl Serve>, len: usize, xattr_ext: bool) {
        let Some(header) = self.header(len) else {
            tracing::error!(len, "a message that is none");
            return;
        };
        let mut reply = Reply::new(&self.device, header.unique);
        if header.opcode == abi::op::INTERRUPT {
            return reply.error(Errno::NOSYS);
        }
        if matches!(header.opcode, abi::op::FORGET | abi::op::BATCH_FORGET) {
            reply.nothing();
            reply = Reply::new(&self.device, 0);
        }
        let in_body = len.saturating_sub(HEAD);
        let message = if in_body == 0 || header.opcode == abi::op::WRITE {
            &self.head[..len.min(HEAD)]
        } else {
            self.whole.clear();
            self.whole.extend_from_slice(&self.head);
            // The kernel has filled that much.
            self.whole.extend_from_slice(&self.body[..in_body]);
            &self.whole
        };
        match request::parse(&header, message, &mut self.body, in_body, xattr_ext) {
            Ok(request) => server.serve(request, reply),
            Err(error) => {
                tracing::error!(%error, "refused");
                reply.error(Errno::IO);
            }
        }
    }
}
