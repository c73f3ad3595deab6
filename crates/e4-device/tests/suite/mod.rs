//! The conformance suite: what every device must do, whatever it is made of.
//!
//! Used by every backend of this crate and by the simulated disk. Devices handed in are at least 16 MiB,
//! writable, and may contain anything.

#![allow(dead_code, reason = "each test binary uses its own part of the suite")]
#![allow(unreachable_pub, reason = "included by path into several test crates")]

use e4_device::{
    AlignedBuf, Completion, Device, DeviceError, IoSlice, Op, QueueId, Request, Returned, Token,
    Wait,
};
use e4_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use e4_sync::{Arc, Duration, now, thread};

pub const SIZE: u64 = 16 << 20;
const BLOCK: usize = 4096;
const BLOCKS: u64 = SIZE / BLOCK as u64;
/// Long enough that only a lost wake-up reaches it.
const FOR_EVER: Duration = Duration::from_secs(60);

type Dev = Arc<dyn Device>;

/// Deterministic contents.
pub fn pattern(seed: u64, len: usize) -> AlignedBuf {
    let mut buf = AlignedBuf::recycled(len);
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in buf.chunks_mut(8) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        chunk.copy_from_slice(&x.to_le_bytes()[..chunk.len()]);
    }
    buf
}

pub fn write(token: u64, at: u64, data: AlignedBuf) -> Request {
    let op = Op::Write {
        at,
        data: IoSlice::Owned(data),
    };
    Request {
        token: Token(token),
        op,
    }
}

pub fn read(token: u64, at: u64, len: usize) -> Request {
    let buf = AlignedBuf::recycled(len);
    Request {
        token: Token(token),
        op: Op::Read { at, buf },
    }
}

pub fn flush(token: u64) -> Request {
    Request {
        token: Token(token),
        op: Op::Flush,
    }
}

/// Submits and collects as many completions, sorted by token.
pub fn run(dev: &dyn Device, queue: QueueId, mut requests: Vec<Request>) -> Vec<Completion> {
    let count = requests.len();
    dev.submit(queue, &mut requests);
    assert!(requests.is_empty(), "submit empties the vector");
    collect(dev, queue, count)
}

pub fn collect(dev: &dyn Device, queue: QueueId, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        let got = dev.poll(queue, &mut out, Wait::One);
        assert!(
            got > 0,
            "nothing left after {} of {count} completions",
            out.len()
        );
    }
    assert_eq!(out.len(), count);
    out.sort_by_key(|c| c.token.0);
    out
}

/// Everything a writable device must do.
pub fn run_all(dev: &Dev) {
    round_trip(dev);
    synchronous_any_offset(dev);
    buffers_come_back(dev);
    bad_requests_fail_in_poll_alone(dev);
    waiting(dev);
    flood(dev);
    flushes(dev);
    discards(dev);
    submitter_exits(dev);
    lonely_waiters(dev);
    concurrent(dev);
}

pub fn round_trip(dev: &Dev) {
    let mut model = vec![0u8; SIZE as usize];
    dev.write_at(0, &model).expect("clear");
    for round in 0..20u64 {
        let queue = QueueId(round as usize % dev.info().queues);
        let mut requests = Vec::new();
        // Disjoint within a round: requests in flight together have no order.
        for n in 0..16u64 {
            let at = n * (SIZE / 16) + (round * 7919 + n * 31) % 100 * BLOCK as u64;
            let data = pattern(
                round * 100 + n,
                BLOCK * (1 + (n as usize + round as usize) % 9),
            );
            model[at as usize..at as usize + data.len()].copy_from_slice(&data);
            requests.push(write(n, at, data));
        }
        for done in run(&**dev, queue, requests) {
            done.result.expect("write");
        }
    }
    let requests = (0..16).map(|n| read(n, n * SIZE / 16, SIZE as usize / 16));
    for (n, done) in run(&**dev, QueueId(0), requests.collect())
        .into_iter()
        .enumerate()
    {
        done.result.expect("read");
        let Returned::Read(buf) = done.returned else {
            panic!("a read returns its buffer")
        };
        let from = n * SIZE as usize / 16;
        assert!(buf[..] == model[from..from + buf.len()], "part {n}");
    }
    let mut all = vec![1u8; SIZE as usize];
    dev.read_at(0, &mut all).expect("read_at");
    assert!(all == model);
}

pub fn synchronous_any_offset(dev: &Dev) {
    let mut model = pattern(5, SIZE as usize).to_vec();
    dev.write_at(0, &model).expect("fill");
    for (n, (at, len)) in [
        (1024, 1024),
        (512, 512),
        (4096 - 512, 1024),
        (0, 512),
        (8192, 4096),
    ]
    .into_iter()
    .chain([(512 * 3, 3 << 20), ((1 << 20) - 512, 2 << 20)])
    .enumerate()
    {
        let data = pattern(70 + n as u64, len);
        // Also from memory that is not aligned.
        let mut shifted = vec![0u8; len + 1];
        shifted[1..].copy_from_slice(&data);
        dev.write_at(at as u64, &shifted[1..]).expect("write_at");
        model[at..at + len].copy_from_slice(&data);
    }
    for (at, len) in [
        (0, 1),
        (1, 1),
        (1023, 4099),
        (511, 2),
        (SIZE as usize - 1, 1),
        (77, 4 << 20),
    ] {
        let mut buf = vec![0u8; len + 3];
        dev.read_at(at as u64, &mut buf[3..]).expect("read_at");
        assert!(buf[3..] == model[at..at + len], "{len} bytes at {at}");
    }
    let mut all = vec![0u8; SIZE as usize];
    dev.read_at(0, &mut all).expect("read_at");
    assert!(all == model);
}

pub fn buffers_come_back(dev: &Dev) {
    let shared = Arc::new(pattern(9, 4 * BLOCK));
    let part = |n: u64| Request {
        token: Token(n),
        op: Op::Write {
            at: n * BLOCK as u64,
            data: IoSlice::Shared {
                buf: Arc::clone(&shared),
                start: n as usize * BLOCK,
                len: BLOCK,
            },
        },
    };
    let mut requests: Vec<_> = (0..4).map(part).collect();
    requests.push(write(4, 4 * BLOCK as u64, pattern(10, BLOCK)));
    requests.push(write(5, 0, AlignedBuf::zeroed(0)));
    requests.push(flush(u64::MAX));
    let done = run(&**dev, QueueId(0), requests);
    assert_eq!(done.last().map(|c| c.token), Some(Token(u64::MAX)));
    for c in &done {
        assert_eq!(c.result, Ok(()));
        match (&c.returned, c.token.0) {
            (Returned::Write(data), 5) => assert!(data.is_empty()),
            (Returned::Write(data), 4) => assert!(data[..] == pattern(10, BLOCK)[..]),
            (Returned::Write(data), n) => {
                assert!(data[..] == shared[n as usize * BLOCK..][..BLOCK]);
            }
            (Returned::None, n) => assert_eq!(n, u64::MAX),
            (Returned::Read(_), n) => panic!("request {n} was not a read"),
        }
    }
    drop(done);
    assert_eq!(Arc::strong_count(&shared), 1, "nobody keeps a buffer");
    let mut back = vec![0; 4 * BLOCK];
    dev.read_at(0, &mut back).expect("read_at");
    assert!(back[..] == shared[..]);
}

pub fn bad_requests_fail_in_poll_alone(dev: &Dev) {
    let size = dev.info().size;
    let mut requests = vec![
        read(0, size, BLOCK),
        write(1, size - BLOCK as u64, AlignedBuf::zeroed(2 * BLOCK)),
        read(2, u64::MAX - BLOCK as u64 + 1, BLOCK),
        write(3, 0, pattern(1, BLOCK)),
    ];
    let alignment = u64::from(dev.info().alignment);
    if alignment > 1 {
        requests.push(read(4, alignment / 2, BLOCK));
        requests.push(write(5, 0, AlignedBuf::zeroed(alignment as usize / 2)));
        requests.push(Request {
            token: Token(6),
            op: Op::Write {
                at: 0,
                data: IoSlice::Shared {
                    buf: Arc::new(AlignedBuf::zeroed(2 * BLOCK)),
                    start: alignment as usize / 2,
                    len: BLOCK,
                },
            },
        });
    }
    for done in run(&**dev, QueueId(0), requests) {
        match (done.token.0, done.result.as_ref().map_err(|e| &**e)) {
            (0..=2, Err(DeviceError::OutOfRange { .. })) | (3, Ok(())) => {}
            (4..=6, Err(DeviceError::Misaligned { .. })) => {}
            (n, other) => panic!("request {n}: {other:?}"),
        }
    }
    let mut byte = [0];
    assert!(matches!(
        dev.read_at(size, &mut byte),
        Err(DeviceError::OutOfRange { .. })
    ));
    assert!(matches!(
        dev.write_at(u64::MAX, &byte),
        Err(DeviceError::OutOfRange { .. })
    ));
    assert!(matches!(
        dev.discard(size - 1, 2),
        Err(DeviceError::OutOfRange { .. })
    ));
    assert_eq!(dev.read_at(size, &mut []), Ok(()));
}

pub fn waiting(dev: &Dev) {
    let mut out = Vec::new();
    for queue in (0..dev.info().queues).map(QueueId) {
        for wait in [Wait::No, Wait::One, Wait::For(FOR_EVER)] {
            assert_eq!(dev.poll(queue, &mut out, wait), 0, "nothing is in flight");
        }
        dev.submit(queue, &mut vec![read(1, 0, BLOCK)]);
        assert_eq!(dev.poll(queue, &mut out, Wait::For(FOR_EVER)), 1);
        // An appended completion leaves what was there.
        dev.submit(queue, &mut vec![read(2, 0, BLOCK)]);
        assert_eq!(dev.poll(queue, &mut out, Wait::One), 1);
        assert_eq!(out.drain(..).map(|c| c.token.0).collect::<Vec<_>>(), [1, 2]);
    }
}

/// More requests in one call than any queue holds, nobody polling.
pub fn flood(dev: &Dev) {
    let requests = (0..3000).map(|n| write(n, n % BLOCKS * BLOCK as u64, pattern(n, BLOCK)));
    let done = run(&**dev, QueueId(0), requests.collect());
    for (n, c) in done.iter().enumerate() {
        assert_eq!((c.token.0, &c.result), (n as u64, &Ok(())));
    }
    let requests = (0..3000).map(|n| read(n, n * BLOCK as u64, BLOCK));
    for c in run(&**dev, QueueId(0), requests.collect()) {
        let Returned::Read(buf) = c.returned else {
            panic!("a read returns its buffer")
        };
        assert!(buf[..] == pattern(c.token.0, BLOCK)[..]);
    }
}

pub fn flushes(dev: &Dev) {
    dev.write_at(0, &pattern(3, BLOCK)).expect("write_at");
    dev.flush().expect("flush");
    let requests = (0..8).map(|n| {
        if n % 2 == 0 {
            write(n, n * BLOCK as u64, pattern(n, BLOCK))
        } else {
            flush(n)
        }
    });
    for c in run(&**dev, QueueId(0), requests.collect()) {
        c.result.expect("write or flush");
    }
}

pub fn discards(dev: &Dev) {
    let filled = pattern(8, 1 << 20);
    dev.write_at(0, &filled).expect("write_at");
    dev.discard(64 << 10, 128 << 10).expect("discard");
    dev.discard(0, 0).expect("empty discard");
    dev.discard(1 << 20, SIZE - (1 << 20)).expect("big discard");
    let mut back = vec![0; 1 << 20];
    dev.read_at(0, &mut back).expect("read_at");
    assert!(back[..64 << 10] == filled[..64 << 10], "before the range");
    assert!(back[192 << 10..] == filled[192 << 10..], "after the range");
}

/// Requests outlive the thread that submitted them.
pub fn submitter_exits(dev: &Dev) {
    for round in 0..20u64 {
        let theirs = Arc::clone(dev);
        thread::spawn(move || {
            let requests = (0..64).map(|n| write(n, n * 16384, pattern(round * 64 + n, 16384)));
            theirs.submit(QueueId(0), &mut requests.collect());
        })
        .join()
        .expect("submitter");
        for c in collect(&**dev, QueueId(0), 64) {
            assert_eq!(c.result, Ok(()), "round {round}");
        }
        let mut back = vec![0; 16384];
        dev.read_at(63 * 16384, &mut back).expect("read_at");
        assert!(back[..] == pattern(round * 64 + 63, 16384)[..]);
    }
}

/// Several threads wait for fewer completions than there are threads: all of them come back.
pub fn lonely_waiters(dev: &Dev) {
    for round in 0..200u64 {
        let taken = Arc::new(AtomicUsize::new(0));
        let first = read(0, 0, BLOCK);
        dev.submit(QueueId(0), &mut vec![first, read(1, 4096, BLOCK)]);
        let waiters: Vec<_> = (0..4u64)
            .map(|n| {
                let (dev, taken) = (Arc::clone(dev), Arc::clone(&taken));
                thread::spawn(move || {
                    let mut out = Vec::new();
                    let wait = match (round + n) % 3 {
                        0 => Wait::For(FOR_EVER),
                        _ => Wait::One,
                    };
                    loop {
                        let got = dev.poll(QueueId(0), &mut out, wait);
                        taken.fetch_add(got, Ordering::SeqCst);
                        if got == 0 {
                            return; // nothing in flight any more
                        }
                    }
                })
            })
            .collect();
        let begin = now();
        for waiter in waiters {
            waiter.join().expect("waiter");
        }
        assert_eq!(taken.load(Ordering::SeqCst), 2);
        assert!(
            begin.elapsed() < Duration::from_secs(4),
            "a wake-up was lost"
        );
    }
}

/// Submitters and pollers are different threads, several of each, on few queues.
pub fn concurrent(dev: &Dev) {
    const SUBMITTERS: u64 = 4;
    const EACH: u64 = 1500;
    let queues = dev.info().queues.min(2);
    let seen: Arc<Vec<AtomicU64>> =
        Arc::new((0..SUBMITTERS * EACH).map(|_| AtomicU64::new(0)).collect());
    let (left, stop) = (
        Arc::new(AtomicUsize::new((SUBMITTERS * EACH) as usize)),
        Arc::new(AtomicBool::new(false)),
    );
    let pollers: Vec<_> = (0..4usize)
        .map(|n| {
            let (dev, seen, left) = (Arc::clone(dev), Arc::clone(&seen), Arc::clone(&left));
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                let mut out = Vec::new();
                let wait = [Wait::No, Wait::One, Wait::For(Duration::from_millis(1))][n % 3];
                while left.load(Ordering::SeqCst) > 0 && !stop.load(Ordering::SeqCst) {
                    dev.poll(QueueId(n % queues), &mut out, wait);
                    left.fetch_sub(out.len(), Ordering::SeqCst);
                    for c in out.drain(..) {
                        if c.result.is_err() {
                            stop.store(true, Ordering::SeqCst);
                        }
                        c.result.expect("request");
                        seen[c.token.0 as usize].fetch_add(1, Ordering::SeqCst);
                        if let Returned::Read(buf) = c.returned {
                            assert_eq!(buf.len(), BLOCK);
                        }
                    }
                    thread::yield_now();
                }
            })
        })
        .collect();
    let submitters: Vec<_> = (0..SUBMITTERS)
        .map(|s| {
            let dev = Arc::clone(dev);
            thread::spawn(move || {
                let region = BLOCKS / SUBMITTERS;
                let mut batch = Vec::new();
                for n in 0..EACH {
                    let token = s * EACH + n;
                    let at = (s * region + n % region) * BLOCK as u64;
                    batch.push(match n % 5 {
                        4 => read(token, at, BLOCK),
                        _ => write(token, at, pattern(at, BLOCK)),
                    });
                    if batch.len() as u64 > n % 17 {
                        dev.submit(QueueId((s as usize + n as usize / 64) % queues), &mut batch);
                    }
                }
                dev.submit(QueueId(s as usize % queues), &mut batch);
            })
        })
        .collect();
    for t in submitters.into_iter().chain(pollers) {
        t.join().expect("thread");
    }
    assert!(seen.iter().all(|n| n.load(Ordering::SeqCst) == 1));
    for s in 0..SUBMITTERS {
        for n in (0..BLOCKS / SUBMITTERS).filter(|n| n % 5 != 4) {
            let at = (s * (BLOCKS / SUBMITTERS) + n) * BLOCK as u64;
            let mut back = vec![0; BLOCK];
            dev.read_at(at, &mut back).expect("read_at");
            assert!(back[..] == pattern(at, BLOCK)[..], "block at {at}");
        }
    }
}

/// Dropping the device with requests in flight carries them out; `reopen` looks at the result.
pub fn drop_in_flight(open: impl Fn() -> Dev) {
    for round in 0..5u64 {
        let dev = open();
        let requests = (0..500).map(|n| write(n, n * 8192, pattern(round * 1000 + n, 8192)));
        let queue = QueueId(round as usize % dev.info().queues);
        dev.submit(queue, &mut requests.collect());
        drop(dev);
        let dev = open();
        for n in 0..500 {
            let mut back = vec![0; 8192];
            dev.read_at(n * 8192, &mut back).expect("read_at");
            assert!(back[..] == pattern(round * 1000 + n, 8192)[..]);
        }
    }
}

/// What a read-only device must do.
pub fn read_only(dev: &Dev, contents: &[u8]) {
    assert!(dev.info().read_only);
    let refused = |r: &Result<(), DeviceError>| matches!(r, Err(DeviceError::ReadOnly { .. }));
    assert!(refused(&dev.write_at(0, &[0; 512])));
    assert!(refused(&dev.discard(0, 4096)));
    let requests = vec![
        write(0, 0, AlignedBuf::zeroed(BLOCK)),
        read(1, 0, BLOCK),
        flush(2),
    ];
    let done = run(&**dev, QueueId(0), requests);
    assert!(refused(&done[0].result.clone().map_err(|e| *e)));
    assert_eq!((&done[1].result, &done[2].result), (&Ok(()), &Ok(())));
    assert_eq!(dev.flush(), Ok(()));
    let mut back = vec![0; contents.len()];
    dev.read_at(0, &mut back).expect("read_at");
    assert!(back == contents);
}
