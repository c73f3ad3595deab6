//! Metadata that cannot be read: for every block of the image in turn, whoever needs it gets an error that names the
//! block, and nothing else happens.

use crate::world::{BLOCK, World, open, watched, write};
use e4::{FallocateMode, Filesystem, OpenFlags};
use e4_sim::{Fault, OpKind, SimDisk};
use std::sync::Arc;

/// Reads everything there is; the first error.
fn visit(fs: &Filesystem) -> e4::Result<()> {
    for entry in fs.read_dir("/")? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if name == "." || name == ".." || name == "lost+found" {
            continue;
        }
        let file = fs.open_file(&format!("/{name}"), OpenFlags::read())?;
        let mut content = vec![0; file.size() as usize];
        file.read_at(0, &mut content)?;
    }
    Ok(())
}

/// A file whose extent tree has blocks of its own.
fn fragmented() -> Arc<SimDisk> {
    let world = World::new();
    let file = world.preallocated("/f", 40);
    for block in (0..40).step_by(2) {
        write(&file, block, 1, 1).unwrap();
    }
    file.fsync().unwrap();
    assert!(file.extents().unwrap().len() > 4);
    file.fallocate(FallocateMode::PunchHole, 8 * BLOCK, BLOCK)
        .unwrap();
    drop(file);
    world.fs.unmount().unwrap();
    world.disk
}

#[test]
fn an_error_names_the_block() {
    watched(|| {
        let disk = fragmented();
        let blocks = 8192;
        let mut named = 0;
        for block in 0..blocks {
            let range = block * BLOCK..(block + 1) * BLOCK;
            disk.inject(Fault::range(OpKind::Read, range.clone()));
            let result = open(&disk).and_then(|fs| {
                let visited = visit(&fs);
                disk.clear_faults();
                fs.unmount()?;
                visited
            });
            disk.clear_faults();
            let Err(error) = result else { continue };
            named += 1;
            let text = error.to_string();
            let bytes = format!("{}", range.start);
            // A read of several blocks is named by where it begins.
            let names_it = text.contains(&format!("block {block}")) || text.contains(&bytes);
            assert!(names_it || text.contains(" at "), "block {block}: {text}");
            assert_eq!(error.errno(), 5, "block {block}: {text}");
        }
        eprintln!("{named} blocks matter");
        assert!(named > 30, "only {named} blocks were missed");
        let fs = open(&disk).unwrap();
        visit(&fs).unwrap();
        fs.unmount().unwrap();
        crate::world::check(&disk);
    });
}
