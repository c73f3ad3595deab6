//! What the engine costs per operation, in nanoseconds, without a device: the difference between a
//! write into unwritten blocks and an overwrite is what "conversion for free" has to fit into
//! (5 % of an overwrite at 300k IOPS is about 150 ns).
//!
//! `cargo bench -p e4-completion`. Each figure is the best of 15 runs:
//! whatever else the machine does only ever adds.

use e4_completion::{
    Batch, Converter, Engine, InodeIo, InodeKey, Intent, Limits, Overlay, Parity, Planes,
    PublishEpoch, Whole,
};
use e4_sync::{Arc, atomic::AtomicU64, atomic::Ordering, now, thread};
use std::hint::black_box;

/// Publishes into an overlay under an epoch, as the filesystem does.
struct Port {
    epoch: PublishEpoch,
    acknowledged: AtomicU64,
}

struct File {
    overlay: Overlay,
}

impl Converter for Port {
    type Io = u64;
    type Inode = File;
    type Error = i32;

    fn publish(&self, inode: &InodeIo<Self>, batch: &mut Batch<'_, Self>) {
        let publisher = self.epoch.enter();
        for conversion in batch.iter() {
            for blocks in conversion.segments.iter() {
                inode.data().overlay.publish(blocks, publisher.parity());
            }
        }
    }

    fn acknowledge(&self, _: &InodeIo<Self>, io: u64, outcome: Result<(), i32>) {
        assert!(outcome.is_ok());
        self.acknowledged
            .fetch_add(black_box(io), Ordering::Relaxed);
    }

    fn abandoned(&self) -> i32 {
        -5
    }
}

type Inode = Arc<InodeIo<Port>>;

const OPS: u32 = 102_400;

fn engine() -> Engine<Port> {
    let port = Port {
        epoch: PublishEpoch::new(),
        acknowledged: AtomicU64::new(0),
    };
    Engine::new(port, Limits::DEFAULT)
}

fn file(engine: &Engine<Port>, key: u64) -> Inode {
    let file = File {
        overlay: Overlay::new(),
    };
    engine.register(InodeKey(key), file)
}

/// A scattered block of a 1 GiB file.
fn block(i: u32) -> u32 {
    i.wrapping_mul(2_654_435_761) % 262_144
}

fn measure(name: &str, ops: u32, mut run: impl FnMut()) {
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = now();
            run();
            start.elapsed().as_nanos() as f64 / f64::from(ops)
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<58} {:>8.1} ns/op", times[0]);
}

fn whole(b: u32) -> Whole<Port> {
    Whole {
        io: 1,
        blocks: b..b + 1,
        size: None,
    }
}

fn bytes(b: u32) -> std::ops::Range<u64> {
    u64::from(b) * 4096..(u64::from(b) + 1) * 4096
}

fn write_one(engine: &Engine<Port>, inode: &Inode, b: u32) {
    let admission = engine
        .admit(inode, bytes(b), Intent::Write)
        .expect("admitted");
    let request = admission.submit_whole(whole(b));
    engine.request_done(request, Ok(()));
}

fn write_depth(engine: &Engine<Port>, inode: &Inode, depth: u32, from: u32) {
    let reaped: Vec<_> = (from..from + depth)
        .map(|i| {
            let b = block(i);
            let admission = engine
                .admit(inode, bytes(b), Intent::Write)
                .expect("admitted");
            (admission.submit_whole(whole(b)), Ok(()))
        })
        .collect();
    engine.complete_batch(reaped);
}

fn single_thread() {
    let e = engine();
    let f = file(&e, 1);
    for intent in [Intent::Overwrite, Intent::Read] {
        measure(&format!("{intent:?}: admit, release"), OPS, || {
            for i in 0..OPS {
                drop(e.admit(&f, bytes(block(i)), intent).expect("admitted"));
            }
        });
    }
    measure("converting write, depth 1, single request", OPS, || {
        for i in 0..OPS {
            write_one(&e, &f, block(i));
        }
        f.data().overlay.clear(0..262_144);
    });
    for depth in [8, 32, 128] {
        let name = format!("converting write, depth {depth}, reaped as one batch");
        measure(&name, OPS, || {
            for i in (0..OPS).step_by(depth as usize) {
                write_depth(&e, &f, depth, i);
            }
            f.data().overlay.clear(0..262_144);
        });
    }
    measure(
        "converting write, depth 1, begin/convert/add/submitted",
        OPS,
        || {
            for i in 0..OPS {
                let b = block(i);
                let admission = e.admit(&f, bytes(b), Intent::Write).expect("admitted");
                let mut io_end = admission.begin(1);
                io_end.convert(b..b + 1);
                let request = io_end.add_request();
                io_end.submitted();
                e.request_done(request, Ok(()));
            }
            f.data().overlay.clear(0..262_144);
        },
    );
    let observer = f.observer();
    measure("barrier, nothing pending", OPS, || {
        for _ in 0..OPS {
            e.barrier(&f, &observer).expect("no error");
        }
    });
}

fn parts() {
    let epoch = PublishEpoch::new();
    measure("epoch: enter, leave", OPS, || {
        for _ in 0..OPS {
            drop(black_box(epoch.enter()));
        }
    });
    let overlay = Overlay::new();
    measure("overlay: publish one scattered block", OPS, || {
        for i in 0..OPS {
            let b = block(i);
            overlay.publish(b..b + 1, Parity::Even);
        }
    });
    measure("overlay: lookup of one scattered block", OPS, || {
        for i in 0..OPS {
            black_box(overlay.lookup(block(i), u32::MAX));
        }
    });
    measure(
        "overlay: collect, per published range",
        overlay.runs() as u32,
        || {
            black_box(overlay.collect(Planes::Both, 0..u32::MAX));
        },
    );
    let empty = Overlay::new();
    measure("overlay: lookup in an empty one", OPS, || {
        for i in 0..OPS {
            black_box(empty.lookup(black_box(block(i)), u32::MAX));
        }
    });
}

fn two_threads() {
    for (name, keys) in [("one inode", [1, 1]), ("two inodes", [1, 2])] {
        let e = engine();
        let shared = file(&e, 1);
        let name = format!("converting write, depth 32, two threads, {name}, per thread");
        measure(&name, OPS, || {
            let threads = keys.map(|key| {
                let e = e.clone();
                let f = if key == 1 {
                    Arc::clone(&shared)
                } else {
                    file(&e, key)
                };
                thread::spawn(move || {
                    for i in (0..OPS).step_by(32) {
                        write_depth(&e, &f, 32, i);
                    }
                })
            });
            for t in threads {
                t.join().expect("thread");
            }
        });
    }
}

fn main() {
    single_thread();
    parts();
    two_threads();
}
