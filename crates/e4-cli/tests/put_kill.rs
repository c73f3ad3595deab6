//! `kill -9` in the middle of `e4 put`, at random moments: the file is the old one or the new one, whoever recovers the image,
//! and the image is clean.
//!
//! The moments are random by seed over the time a whole put takes, so some kills come before the first write and some after
//! the last. `E4_KILLS` sets the number.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn e4() -> Command {
    Command::new(env!("CARGO_BIN_EXE_e4"))
}

fn must(mut command: Command, what: &str) -> Vec<u8> {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{what}: {:?}\n{}\n{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out.stdout
}

/// `e2fsck` with options, which may answer `most`.
fn e2fsck(options: &str, image: &Path, most: i32) {
    if let Some(out) = e4_judges::run("e2fsck", &[options.as_ref(), image.as_os_str()]) {
        let text = String::from_utf8_lossy(&out.stdout);
        let code = out.status.code().unwrap_or(255);
        assert!(code <= most, "e2fsck {options}: {code}: {text}");
    }
}

/// Contents of their own for each round, of a size of its own.
fn contents(round: u64) -> Vec<u8> {
    let len = 1 + (round * 7919) % (3 << 20);
    let mut x = round + 1;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (x >> 56) as u8
        })
        .collect()
}

#[test]
fn old_or_new_wherever_it_is_killed() {
    let kills: u64 = std::env::var("E4_KILLS").map_or(40, |n| n.parse().unwrap());
    let dir = e4_judges::scratch();
    let image = dir.path().join("p.img");
    let source = dir.path().join("source");
    let name = format!("{}:/etc/conf", image.display());
    let mut mkfs = e4();
    mkfs.args(["-q", "mkfs"]).arg(&image).arg("64M");
    must(mkfs, "mkfs");
    let mut mkdir = e4();
    mkdir.arg("mkdir").arg(format!("{}:/etc", image.display()));
    must(mkdir, "mkdir");
    let put = || {
        let mut put = e4();
        put.arg("-q").arg("put").arg(&source).arg(&name);
        put.stdout(Stdio::null()).stderr(Stdio::null());
        put
    };
    let mut old = contents(0);
    std::fs::write(&source, &old).unwrap();
    let begun = Instant::now();
    must(put(), "the first put");
    let mut span = begun.elapsed().as_micros().max(2000) as u64;
    let mut x = 0x2545_F491_4F6C_DD1D_u64;
    let (mut kept, mut replaced, mut late) = (0, 0, 0);
    for round in 1..=kills {
        let new = contents(round);
        std::fs::write(&source, &new).unwrap();
        let mut child = put().spawn().unwrap();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // The moment to kill, not a wait for something to happen.
        std::thread::sleep(Duration::from_micros(x % span));
        let over = child.try_wait().unwrap().is_some_and(|s| s.success());
        let _ = child.kill();
        child.wait().unwrap();
        if round % 2 == 0 {
            // 1: the journal was replayed, orphans were finished.
            e2fsck("-fp", &image, 1);
        }
        let mut cat = e4();
        cat.arg("-q").arg("cat").arg(&name);
        let found = must(cat, &format!("round {round}: cat"));
        assert!(
            found == new || !over && found == old,
            "round {round}: {} bytes are neither the old {} nor the new {}",
            found.len(),
            old.len(),
            new.len()
        );
        *(if found == new {
            &mut replaced
        } else {
            &mut kept
        }) += 1;
        late += u64::from(over);
        // How long a put takes depends on what else the machine does; a third of the kills may come too late.
        span = match over {
            true => span - span / 8,
            false => span + span / 16,
        };
        old = found;
        // A reader replays the journal, and leaves orphans and the mark of a mount to the next writer.
        let mut touch = e4();
        touch.arg("touch").arg(format!("{}:/t", image.display()));
        must(touch, &format!("round {round}: touch"));
        let mut check = e4();
        check.arg("-q").arg("check").arg(&image);
        must(check, &format!("round {round}: e4 check"));
        e2fsck("-fn", &image, 0);
    }
    println!("{kills} kills: {kept} old, {replaced} new, {late} after it had ended");
    assert!(
        kept > 0 && replaced > 0 && late * 3 < kills * 2,
        "too few kills hit anything: {kept} old, {replaced} new, {late} late"
    );
}
