//! The shortest program that builds an image: `build DIRECTORY IMAGE`.

use std::ops::ControlFlow;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let [_, source, image] = &args[..] else {
        return Err("usage: build DIRECTORY IMAGE".into());
    };
    let mut builder = e4_build::Builder::new(e4_build::Options::default())?;
    builder.add_directory(Path::new(source))?;
    let plan = builder.plan()?;
    let device = e4_device::create(Path::new(image), plan.bytes())?;
    let report = plan.write(&*device, &mut |_| ControlFlow::Continue(()))?;
    println!(
        "{} files, {} bytes of content",
        report.files, report.content
    );
    Ok(())
}
