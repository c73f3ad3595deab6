//! With nothing in flight nothing stays charged (I-42, I-43), whatever became of the writes.

use crate::world::{BLOCK, World, fail_once, place, tagged, write};
use e4::{FallocateMode, Filesystem, IoEvent};
use e4_device::Device;
use e4_sim::OpKind;
use e4_sim::explore::{mount_options, unsettled};
use e4_sync::Arc;

/// Writes of one file end in every way: recorded, failed, punched, cut off, overtaken by the deletion of the file.
#[test]
fn every_charge_comes_back() {
    let world = World::new();
    let settled = |when: &str| {
        assert_eq!(unsettled(&world.fs).unwrap(), None, "{when}");
    };
    let file = world.preallocated("/f", 32);
    settled("before anything was written");
    fail_once(&world.disk, OpKind::Write, place(&file, 3));
    write(&file, 3, 1, 1).expect_err("the disk has failed");
    settled("after a write that failed, alone");
    fail_once(&world.disk, OpKind::Write, place(&file, 3));
    write(&file, 3, 1, 1).expect_err("the disk has failed");
    write(&file, 5, 1, 1).unwrap();
    settled("after a write that failed and one that did not");
    let mut context = world.fs.io_context();
    fail_once(&world.disk, OpKind::Write, place(&file, 10));
    for block in [8, 10, 12, 14] {
        let data = tagged(block, 1, 1);
        context.write(&file, block * BLOCK, data, block).unwrap();
    }
    context.submit();
    let mut events: Vec<IoEvent> = Vec::new();
    while events.len() < 4 {
        context.wait(1, &mut events);
    }
    assert_eq!(events.iter().filter(|e| e.result.is_err()).count(), 1);
    drop(context);
    settled("after a batch of which one failed");
    // It hears of the errors first; else the punch would refuse.
    file.fsync().expect_err("writes have failed");
    write(&file, 16, 4, 1).unwrap();
    file.fallocate(FallocateMode::PunchHole, 17 * BLOCK, 2 * BLOCK)
        .unwrap();
    settled("after a punch of what was published");
    write(&file, 24, 4, 1).unwrap();
    file.truncate(25 * BLOCK).unwrap();
    settled("after a truncation");
    write(&file, 20, 2, 1).unwrap();
    world.fs.unlink("/f").unwrap();
    drop(file);
    settled("after the file was deleted");
    world.must_be_sound();
}

/// The power fails while a file without a name is open, and while one waits to be cut: the next mount deletes the one,
/// keeps the other, and owes nobody anything.
#[test]
fn orphans_are_finished_by_the_next_mount() {
    let world = World::new();
    let gone = world.preallocated("/gone", 32);
    write(&gone, 0, 32, 1).unwrap();
    let kept = world.preallocated("/kept", 8);
    write(&kept, 0, 8, 1).unwrap();
    world.fs.sync().unwrap();
    let free = world.fs.statfs().free_blocks;
    world.fs.unlink("/gone").unwrap();
    world.fs.sync().unwrap();
    let log = world.disk.log();
    let image = Arc::new(log.state(world.disk.clock().position(), true));
    let fs = Filesystem::open(Arc::clone(&image) as Arc<dyn Device>, &mount_options()).unwrap();
    assert!(fs.stat("/gone").is_err() && fs.stat("/kept").is_ok());
    // What is freed is free when that is committed.
    fs.sync().unwrap();
    assert!(
        fs.statfs().free_blocks >= free + 32,
        "the blocks of a deleted file are lost"
    );
    fs.unmount().unwrap();
    let report = e4_check::check(&*image, &e4_check::Options::default(), &mut |_| {});
    assert!(report.is_clean(), "{:?}", report.problems);
    drop((gone, kept));
    world.must_be_sound();
}
