//! Who takes blocks away waits for what is in flight to them (H1, S07, I-14).

use crate::world::{BLOCK, World, generation, place, tagged, write};
use e4::{FallocateMode, File, IoEvent};
use e4_sim::OpKind;

const BLOCKS: u64 = 16;

/// A write of generation 1 to block 3 is at the device when `act` begins: it must not be when `act` is over. Then
/// another file gets the blocks, and must keep what it is given.
fn waits_for_a_write(overwrite: bool, act: fn(&File) -> e4::Result<()>) {
    let world = World::new();
    let file = world.preallocated("/f", BLOCKS);
    if overwrite {
        write(&file, 0, BLOCKS, 7).unwrap();
        file.fsync().unwrap();
    }
    let at = place(&file, 3);
    world.disk.hold_until_awaited(move |h| {
        h.kind == OpKind::Write && h.at < at.end && at.start < h.at + h.len
    });
    let mut context = world.fs.io_context();
    context.write(&file, 3 * BLOCK, tagged(3, 1, 1), 0).unwrap();
    context.submit();
    assert_eq!(world.disk.held().len(), 1, "the write is not at the device");
    act(&file).unwrap();
    let held = world.disk.held();
    assert!(
        held.is_empty(),
        "I-14: blocks were taken away with a write in flight to them"
    );
    world.disk.hold_nothing();
    let mut events: Vec<IoEvent> = Vec::new();
    context.wait(1, &mut events);
    assert!(events.iter().all(|e| e.result.is_ok()));
    drop(context);
    assert_eq!(generation(&file, 3), 0, "what was taken away is read");
    world.fs.sync().unwrap();
    let world = world.cut();
    let file = world.fs.open_file("/f", e4::OpenFlags::read()).unwrap();
    assert_eq!(generation(&file, 3), 0, "what was taken away comes back");
    drop(file);
    world.must_be_sound();
}

#[test]
fn a_punch_waits_for_a_write_into_unwritten_blocks() {
    waits_for_a_write(false, |f| {
        f.fallocate(FallocateMode::PunchHole, 2 * BLOCK, 3 * BLOCK)
    });
}

#[test]
fn a_punch_waits_for_an_overwrite() {
    waits_for_a_write(true, |f| {
        f.fallocate(FallocateMode::PunchHole, 3 * BLOCK, BLOCK)
    });
}

#[test]
fn a_truncate_waits_for_a_write_into_unwritten_blocks() {
    waits_for_a_write(false, |f| f.truncate(2 * BLOCK));
}

#[test]
fn a_truncate_waits_for_an_overwrite() {
    waits_for_a_write(true, |f| f.truncate(3 * BLOCK));
}

/// The other side: who takes nothing away need not wait, and does not.
#[test]
fn a_punch_elsewhere_does_not_wait() {
    let world = World::new();
    let file = world.preallocated("/f", BLOCKS);
    let at = place(&file, 3);
    world
        .disk
        .hold_until_awaited(move |h| h.kind == OpKind::Write && h.at == at.start);
    let mut context = world.fs.io_context();
    context.write(&file, 3 * BLOCK, tagged(3, 1, 1), 0).unwrap();
    context.submit();
    file.fallocate(FallocateMode::PunchHole, 8 * BLOCK, 4 * BLOCK)
        .unwrap();
    assert_eq!(world.disk.held().len(), 1, "it waited for another range");
    let mut events: Vec<IoEvent> = Vec::new();
    context.wait(1, &mut events);
    drop(context);
    assert_eq!(generation(&file, 3), 1);
    drop(file);
    world.must_be_sound();
}
