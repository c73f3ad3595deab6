//! The simulated disk and its crash images are devices like any other.

#[path = "../../e4-device/tests/suite/mod.rs"]
mod suite;

use e4_device::Device;
use e4_sim::{Delivery, Fill, SimDisk, SimOptions};
use e4_sync::Arc;

#[test]
fn seeded_delivery() {
    for seed in 0..3 {
        let options = SimOptions::new(suite::SIZE, seed);
        let dev: Arc<dyn Device> = Arc::new(SimDisk::new(&options));
        suite::run_all(&dev);
    }
}

#[test]
fn fifo_delivery_blank_disk() {
    let options = SimOptions {
        delivery: Delivery::Fifo,
        fill: Fill::Zeros,
        ..SimOptions::new(suite::SIZE, 0)
    };
    let dev: Arc<dyn Device> = Arc::new(SimDisk::new(&options));
    suite::run_all(&dev);
}

#[test]
fn crash_image() {
    let disk = SimDisk::new(&SimOptions::new(suite::SIZE, 0));
    disk.write_at(512, &[9; 5000]).expect("write_at");
    let dev: Arc<dyn Device> = Arc::new(disk.log().state(disk.clock().position(), true));
    let mut before = [0; 5000];
    dev.read_at(512, &mut before).expect("read_at");
    assert_eq!(before, [9; 5000]);
    suite::run_all(&dev);
}
