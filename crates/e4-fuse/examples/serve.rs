//! Serves an image in the foreground: `serve IMAGE DIR [OPTIONS]`, as `e4 mount -f` does, for tests that need
//! a process to kill and nothing else of the command.

use std::path::Path;

use e4_fuse::{Mount, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (image, dir) = match args.as_slice() {
        [image, dir, ..] => (Path::new(image), Path::new(dir)),
        _ => return Err("usage: serve IMAGE DIR [OPTIONS]".into()),
    };
    let mut options = Options::default();
    if let Some(list) = args.get(2) {
        options.apply(list)?;
    }
    Mount::block_signals()?;
    let mount = Mount::new(image, dir, &options)?;
    println!("mounted");
    mount.serve()?;
    Ok(())
}
