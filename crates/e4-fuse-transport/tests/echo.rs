//! A mount served by the transport alone: one directory, one file in memory. What goes in through the kernel comes out.
//!
//! Needs root and `/dev/fuse`; skipped without, unless `E4_REQUIRE_ORACLES` is set.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use e4_fuse_transport::{
    Agreed, Attr, Capabilities, Entry, Errno, Handle, Listing, MountPlan, NodeId, OpenReply,
    Operation, Reply, Request, Serve, Session, Wishes, mount, unmount,
};
use e4_sync::{Arc, Duration, Mutex, Rank, thread};

const FILE: NodeId = NodeId(2);
const FOREVER: Duration = Duration::from_secs(3600);

/// One file called `echo`.
struct Echo {
    content: Mutex<Vec<u8>>,
    largest: Mutex<usize>,
    unanswered: Mutex<Vec<Reply>>,
}

impl Echo {
    fn attr(&self, node: NodeId) -> Attr {
        let dir = node == NodeId::ROOT;
        Attr {
            ino: node.0,
            size: if dir {
                0
            } else {
                self.content.lock().len() as u64
            },
            mode: if dir { 0o040_755 } else { 0o100_644 },
            nlink: 1,
            mtime: -1,
            mtimensec: 250,
            blksize: 4096,
            ..Attr::default()
        }
    }
}

impl Serve for Echo {
    fn wishes(&self) -> Wishes {
        Wishes {
            capabilities: Capabilities::ASYNC_DIO | Capabilities::PARALLEL_DIROPS,
            max_write: 1 << 20,
            max_readahead: 1 << 20,
            max_background: 64,
        }
    }

    fn connected(&self, agreed: &Agreed) {
        assert!(
            agreed.minor >= 31 && agreed.max_write == 1 << 20,
            "{agreed:?}"
        );
    }

    fn serve(self: &Arc<Self>, request: Request<'_>, reply: Reply) {
        match request.operation {
            Operation::Lookup { name: b"echo" } => reply.entry(&Entry {
                node: FILE.0,
                attr: self.attr(FILE),
                ..Entry::default()
            }),
            Operation::Lookup { name: b"dropped" } => drop(reply),
            Operation::Lookup { name: b"never" } => self.unanswered.lock().push(reply),
            Operation::Lookup { .. } => reply.error(Errno::NOENT),
            Operation::GetAttr => reply.attr(&self.attr(request.node), Duration::ZERO),
            Operation::Statx { .. } => {
                reply.statx(&self.attr(request.node), (-7, 5), FOREVER);
            }
            Operation::SetAttr(set) => {
                if let Some(size) = set.size {
                    self.content.lock().resize(size as usize, 0);
                }
                reply.attr(&self.attr(request.node), FOREVER);
            }
            Operation::Open { .. } => reply.opened(Handle(5), OpenReply::DIRECT_IO),
            Operation::OpenDir => reply.opened(Handle(6), OpenReply::empty()),
            Operation::Release { .. } | Operation::ReleaseDir { .. } => reply.ok(),
            Operation::Read {
                handle,
                offset,
                size,
            } => {
                assert_eq!(handle, Handle(5));
                let content = self.content.lock();
                let end = content.len().min(offset as usize + size as usize);
                reply.bytes(&content[end.min(offset as usize)..end]);
            }
            Operation::Write(write) => {
                let buf = write.payload.into_buf();
                assert_eq!(buf.as_ptr() as usize % 4096, 0, "not aligned");
                let (at, end) = (write.offset as usize, write.offset as usize + buf.len());
                let mut largest = self.largest.lock();
                *largest = largest.max(buf.len());
                let mut content = self.content.lock();
                let len = content.len().max(end);
                content.resize(len, 0);
                content[at..end].copy_from_slice(&buf);
                drop(content);
                // From another thread: a reply belongs to nobody.
                drop(thread::spawn(move || reply.written(buf.len() as u32)));
            }
            Operation::ReadDir { cookie, room, .. } => {
                let mut listing = Listing::new(room);
                if cookie == 0 {
                    listing.add(FILE.0, 1, 0o100_644, b"echo").expect("room");
                }
                reply.listing(&listing);
            }
            Operation::GetXattr { room, .. } => reply.sized(room, &[7; 1000]),
            Operation::Forget { .. } | Operation::ForgetMany(_) => reply.nothing(),
            _ => reply.error(Errno::NOSYS),
        }
    }
}

#[test]
fn what_goes_in_comes_out() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        let why = "mounting needs root and /dev/fuse";
        assert!(std::env::var_os("E4_REQUIRE_ORACLES").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let plan = MountPlan {
        source: "echo".to_owned(),
        subtype: "echo".to_owned(),
        read_only: false,
        dev: false,
        suid: false,
        exec: false,
        allow_other: true,
        max_read: 1 << 20,
    };
    let device = mount(dir.path(), &plan).expect("mount");
    let session = Session::new(device);
    let notifier = session.notifier();
    let echo = Arc::new(Echo {
        content: Mutex::new(Rank::LEAF, Vec::new()),
        largest: Mutex::new(Rank::new(150), 0),
        unanswered: Mutex::new(Rank::LEAF, Vec::new()),
    });
    let server = Arc::clone(&echo);
    let serving = thread::spawn(move || session.run(&server, 3, true));
    // Whatever the tests say, it is unmounted; so they run where a panic is caught.
    let path = dir.path().to_owned();
    let tested = thread::spawn(move || through_the_kernel(&path)).join();
    notifier.drop_pages(FILE, 0, 0);
    // What nobody has answered holds the mount: dropped, each is an error.
    echo.unanswered.lock().clear();
    unmount(dir.path(), true).expect("unmount");
    serving.join().expect("no panic").expect("an orderly end");
    tested.expect("the tests");
    assert_eq!(*echo.largest.lock(), 1 << 20, "one write of a whole MiB");
}

fn through_the_kernel(dir: &Path) {
    let path = dir.join("echo");
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
        .open(&path);
    let file: File = open.expect("open");
    let data: Vec<u8> = (0..3_000_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
    file.write_all_at(&data, 0).expect("a large write");
    for (at, len) in [(0, 1), (4095, 2), (100_000, 70_000), (5, 4096)] {
        file.write_all_at(&data[..len], at).expect("write");
        let mut back = vec![0; len];
        file.read_exact_at(&mut back, at).expect("read");
        assert!(back == data[..len], "{len} bytes at {at}");
    }
    assert_eq!(file.metadata().expect("stat").size(), 3_000_000);
    let stat = fs::metadata(&path).expect("stat");
    assert_eq!((stat.mtime(), stat.mtime_nsec()), (-1, 250));
    let names = fs::read_dir(dir).expect("list");
    let names: Vec<_> = names.map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(names, ["echo"]);
    let errno = |name: &str| match fs::metadata(dir.join(name)) {
        Err(error) => error.raw_os_error(),
        Ok(_) => None,
    };
    assert_eq!(errno("missing"), Some(Errno::NOENT.raw_os_error()));
    assert_eq!(
        errno("dropped"),
        Some(Errno::IO.raw_os_error()),
        "a forgotten reply"
    );
    // Names that do not fit the first piece of a message.
    assert_eq!(errno(&"n".repeat(200)), Some(Errno::NOENT.raw_os_error()));
    let born = fs::metadata(&path).expect("stat").created();
    let before = std::time::UNIX_EPOCH - Duration::from_secs(7) + Duration::from_nanos(5);
    assert!(
        born.is_err_and(|e: io::Error| e.kind() == io::ErrorKind::Unsupported)
            || fs::metadata(&path).expect("stat").created().expect("born") == before
    );
    // Answered when the test is over; until then others are served.
    let never = dir.join("never");
    thread::spawn(move || fs::metadata(never));
    let mut small = [0; 10];
    let sized = rustix::fs::getxattr(&path, "user.x", &mut small[..]);
    assert_eq!(sized, Err(Errno::RANGE));
    let mut large = [0; 2000];
    let fits = rustix::fs::getxattr(&path, "user.x", &mut large[..]);
    assert!(fits == Ok(1000) && large[999..1001] == [7, 0]);
}
