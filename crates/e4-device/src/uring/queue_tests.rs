//! What the conformance suite cannot provoke from outside: long transfers in steps, a ring that breaks.

use super::*;
use crate::{AlignedBuf, Backend, DeviceInfo, IoSlice, Op, Token};
use std::os::fd::AsFd;

fn setup() -> Option<(FileStore, Queue)> {
    let file = tempfile::tempfile().expect("temporary file");
    file.set_len(4 << 20).expect("size");
    let ring = match Ring::new(file.as_fd()) {
        Ok(ring) => ring,
        Err(error) => {
            e4_judges::skipped("io_uring", error);
            return None;
        }
    };
    let info = DeviceInfo {
        size: 4 << 20,
        alignment: 1,
        direct: false,
        read_only: false,
        queues: 1,
        backend: Backend::IoUring,
        reason: String::new(),
        name: "test".into(),
    };
    Some((FileStore::new(file, info, true), Queue::new(ring)))
}

fn write(token: u64, at: u64, data: AlignedBuf) -> Request {
    let data = IoSlice::Owned(data);
    Request {
        token: Token(token),
        op: Op::Write { at, data },
    }
}

fn collect(queue: &Queue, store: &FileStore, count: usize) -> Vec<Completion> {
    let mut out = Vec::new();
    while out.len() < count {
        assert!(queue.poll(store, &mut out, Wait::One) > 0);
    }
    out.sort_by_key(|c| c.token.0);
    out
}

/// In tests a step is 64 KiB, so each of these takes several.
#[test]
fn long_transfers_continue() {
    let Some((store, queue)) = setup() else {
        return;
    };
    let mut data = AlignedBuf::zeroed(1 << 20);
    for (n, byte) in data.iter_mut().enumerate() {
        *byte = (n / 1000) as u8;
    }
    let mut requests = vec![
        write(0, 0, data.clone()),
        write(1, 1 << 20, data.clone()),
        write(2, 2 << 20, AlignedBuf::from(&data[..100_000])),
    ];
    queue.submit(&store, &mut requests);
    for c in collect(&queue, &store, 3) {
        assert_eq!(c.result, Ok(()));
    }
    let buf = AlignedBuf::zeroed((2 << 20) + 100_000);
    queue.submit(
        &store,
        &mut vec![Request {
            token: Token(9),
            op: Op::Read { at: 0, buf },
        }],
    );
    let done = collect(&queue, &store, 1).pop().expect("one completion");
    assert_eq!(done.result, Ok(()));
    let crate::Returned::Read(back) = done.returned else {
        panic!("a read returns its buffer")
    };
    assert!(back[..1 << 20] == data[..]);
    assert!(back[1 << 20..2 << 20] == data[..]);
    assert!(back[2 << 20..] == data[..100_000]);
}

#[test]
fn a_ring_that_breaks_fails_what_it_did_not_take() {
    let Some((store, mut queue)) = setup() else {
        return;
    };
    {
        let mut requests = vec![
            write(0, 0, AlignedBuf::zeroed(4096)),
            write(1, 4096, AlignedBuf::zeroed(4096)),
        ];
        let mut submission = queue.submission.lock();
        let mut state = queue.state.lock_nested(1);
        let mut pending = requests.drain(..).peekable();
        queue.board(&store, &mut submission, &mut state, &mut pending);
        drop(state);
        queue.break_down(&store, &mut submission, 2, Errno::PERM);
    }
    let more = write(2, 8192, AlignedBuf::zeroed(4096));
    queue.submit(&store, &mut vec![more]);
    let eperm = Errno::PERM.raw_os_error();
    for c in collect(&queue, &store, 3) {
        let failed = matches!(c.result.as_ref().map_err(|e| &**e), Err(DeviceError::Io { errno, .. }) if *errno == eperm);
        assert!(failed, "{:?}", c.result);
    }
    assert_eq!(queue.poll(&store, &mut Vec::new(), Wait::One), 0);
    queue.quiesce(&store);
}

#[test]
fn transient_answers_restart_and_zero_progress_fails() {
    let Some((store, _queue)) = setup() else {
        return;
    };
    let mut flight = Flight::new(write(0, 4096, AlignedBuf::zeroed(8192)), false);
    for errno in [Errno::CANCELED, Errno::AGAIN, Errno::INTR] {
        let step = advance(&store, &mut flight, -errno.raw_os_error());
        assert!(matches!(step, Step::Again));
    }
    assert!(matches!(advance(&store, &mut flight, 4096), Step::Again));
    assert_eq!(flight.done, 4096);
    let stopped = matches!(
        advance(&store, &mut flight, 0),
        Step::Done(Err(DeviceError::Shortened { at: 8192, .. }))
    );
    assert!(stopped);
    let eio = Errno::IO.raw_os_error();
    let failed = advance(&store, &mut flight, -eio);
    let expected = store.errno("write", 8192, 4096, eio);
    assert!(matches!(failed, Step::Done(Err(e)) if e == expected));
}

/// The first failure stays: neither queued nor direct flushes succeed afterwards.
#[test]
fn a_failed_flush_is_latched() {
    let Some((store, queue)) = setup() else {
        return;
    };
    let flush = |token| Request {
        token: Token(token),
        op: Op::Flush,
    };
    queue.submit(&store, &mut vec![flush(0)]);
    assert_eq!(collect(&queue, &store, 1)[0].result, Ok(()));
    assert!(!store.size_unsynced(), "the first flush was a full one");
    let eio = Errno::IO.raw_os_error();
    let mut flight = Flight::new(flush(1), false);
    let Step::Done(Err(first)) = advance(&store, &mut flight, -eio) else {
        panic!("a failed flush is final")
    };
    queue.submit(&store, &mut vec![flush(2)]);
    assert_eq!(
        collect(&queue, &store, 1)[0]
            .result
            .as_ref()
            .map_err(|e| &**e),
        Err(&first)
    );
    assert_eq!(store.checked_flush(), Err(first));
}

/// Puts this thread in the place of a leader that has let go of the state and not yet gone to sleep, lets
/// `meanwhile` happen, and then sleeps: it must be woken.
fn leader_is_woken(wish: Wish, before: usize, meanwhile: impl Fn(&Queue, &FileStore)) {
    let Some((store, queue)) = setup() else {
        return;
    };
    let requests = (0..before).map(|n| write(n as u64, 0, AlignedBuf::zeroed(4096)));
    queue.submit(&store, &mut requests.collect());
    queue.state.lock().leader = Some(wish);
    meanwhile(&queue, &store);
    let begin = now();
    queue.sleep(LONGEST_NAP);
    assert!(begin.elapsed() < LONGEST_NAP / 2, "nobody woke the leader");
    queue.state.lock().leader = None;
    assert!(queue.state.lock().fulfils(wish));
}

#[test]
fn a_leader_is_woken_when_others_took_everything() {
    leader_is_woken(Wish::Completion, 2, |queue, store| {
        let mut out = Vec::new();
        while out.len() < 2 {
            queue.poll(store, &mut out, Wait::No);
        }
    });
}

#[test]
fn a_leader_is_woken_when_others_made_room() {
    leader_is_woken(Wish::Room, CAPACITY, |queue, store| {
        let mut out = Vec::new();
        while out.len() < CAPACITY {
            queue.poll(store, &mut out, Wait::No);
        }
    });
}

#[test]
fn a_leader_is_woken_by_a_request_that_fails_at_once() {
    leader_is_woken(Wish::Completion, 0, |queue, store| {
        let outside = write(0, 1 << 40, AlignedBuf::zeroed(4096));
        queue.submit(store, &mut vec![outside]);
    });
}

/// The no-op may be collected by somebody else before the leader sleeps: then another one is sent.
#[test]
fn a_leader_is_woken_even_if_the_wake_up_is_stolen() {
    leader_is_woken(Wish::Completion, 1, |queue, store| {
        let mut out = Vec::new();
        while out.is_empty() {
            queue.poll(store, &mut out, Wait::No);
        }
        for _ in 0..10 {
            assert_eq!(queue.poll(store, &mut out, Wait::No), 0);
        }
    });
}
