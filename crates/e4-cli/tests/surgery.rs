//! The verbs that carry whole files and trees, end to end, judged by the host's own tools and by e2fsck.

use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct World {
    dir: tempfile::TempDir,
    image: PathBuf,
}

impl World {
    fn new(size: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("disk.img");
        let world = Self { dir, image };
        world.ok(&["mkfs", &world.image.display().to_string(), size]);
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs e4; an argument that begins with `:` is in the image, one with `@` in the directory.
    fn e4(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_e4"));
        for arg in args {
            match (arg.strip_prefix(':'), arg.strip_prefix('@')) {
                (Some(path), _) => command.arg(format!("{}:{path}", self.image.display())),
                (_, Some(name)) => command.arg(self.at(name)),
                _ => command.arg(arg),
            };
        }
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.e4(args).output().unwrap()
    }

    fn ok(&self, args: &[&str]) -> String {
        self.status(args, 0).0
    }

    /// Standard output and error.
    fn status(&self, args: &[&str], code: i32) -> (String, String) {
        let out = self.run(args);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&out.stdout), text(&out.stderr));
        assert_eq!(out.status.code(), Some(code), "{args:?}: {stdout}{stderr}");
        (stdout, stderr)
    }

    fn batch(&self, flags: &[&str], script: &str) -> Output {
        let mut command = self.e4(&["batch"]);
        command.args(flags).arg(&self.image);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(script.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        e4_judges::fsck(&self.image, "afterwards");
    }
}

#[test]
fn put_and_get_are_whole_and_honest() {
    let w = World::new("16M");
    std::fs::write(w.at("a"), b"one").unwrap();
    std::fs::write(w.at("b"), b"two").unwrap();
    w.ok(&["put", "-m", "600", "--owner", "5:6", "@a", ":/f"]);
    w.ok(&["setfattr", "-n", "user.k", "-v", "v", ":/f"]);
    w.ok(&["ln", ":/f", ":/other"]);
    w.ok(&["ln", "-s", "f", ":/link"]);
    // Through the link, over the file: attributes stay, the other name keeps the old contents.
    w.ok(&["put", "@b", ":/link"]);
    assert_eq!(w.ok(&["cat", ":/f"]), "two");
    assert_eq!(w.ok(&["cat", ":/other"]), "one");
    assert_eq!(
        w.ok(&["getfattr", "--only-values", "-n", "user.k", ":/f"]),
        "v"
    );
    let listing = w.ok(&["ls", "-l", ":/"]);
    let line = listing.lines().find(|l| l.ends_with(" f")).unwrap();
    assert!(
        line.starts_with("-rw-------") && line.contains(" 5 ") && line.contains(" 6 "),
        "{line}"
    );
    // -f: the link itself.
    w.ok(&["put", "-f", "@a", ":/link"]);
    assert_eq!(w.ok(&["cat", ":/link"]), "one");
    assert_eq!(w.ok(&["cat", ":/f"]), "two");
    w.status(&["put", "--if-absent", "@a", ":/f"], 5);
    assert_eq!(w.ok(&["cat", ":/f"]), "two");
    w.ok(&["put", "--if-absent", "@a", ":/new"]);
    let (_, why) = w.status(&["put", "@missing", ":/x"], 1);
    assert!(why.contains("missing"), "{why}");
    let (_, why) = w.status(&["put", "@a", ":/no/such/dir"], 1);
    assert!(why.contains("no such file"), "{why}");
    w.status(&["put", "@a"], 2);
    w.ok(&["get", ":/f", "@copy"]);
    assert_eq!(std::fs::read(w.at("copy")).unwrap(), b"two");
    assert_eq!(w.at("copy").metadata().unwrap().mode() & 0o7777, 0o600);
    w.status(&["get", "--if-absent", ":/f", "@copy"], 5);
    w.status(&["get", ":/", "@copy"], 1);
}

/// What a tree is, line by line.
fn described(top: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let mut todo = vec![top.to_owned()];
    let mut inodes = std::collections::HashMap::new();
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap();
        let name = path.strip_prefix(top).unwrap().display().to_string();
        let first = inodes
            .entry(meta.ino())
            .or_insert_with(|| name.clone())
            .clone();
        let mut line = format!(
            "{name} {:o} {}:{} {}.{} {} {}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev(),
            if meta.nlink() > 1 && !meta.is_dir() {
                first
            } else {
                String::new()
            }
        );
        if meta.is_symlink() {
            line += &path.read_link().unwrap().display().to_string();
        } else if meta.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let sum = bytes
                .iter()
                .fold(7_u64, |h, b| h.wrapping_mul(31).wrapping_add(u64::from(*b)));
            line += &format!(" {} bytes {sum:x}", bytes.len());
        } else if meta.is_dir() {
            let mut below: Vec<PathBuf> = std::fs::read_dir(&path)
                .unwrap()
                .map(|e| e.unwrap().path())
                .collect();
            below.sort();
            below.reverse();
            todo.extend(below);
        }
        out.push(line);
    }
    out
}

fn tree(top: &Path) {
    std::fs::create_dir_all(top.join("deep/er")).unwrap();
    std::fs::write(top.join("small"), b"small").unwrap();
    std::fs::hard_link(top.join("small"), top.join("deep/twin")).unwrap();
    symlink("../small", top.join("deep/link")).unwrap();
    symlink("x".repeat(100), top.join("long")).unwrap();
    let sparse = std::fs::File::create(top.join("deep/er/sparse")).unwrap();
    sparse.write_all_at(&[3; 9000], 5 << 20).unwrap();
    sparse.set_len(9 << 20).unwrap();
    std::fs::write(top.join("deep/er/empty"), b"").unwrap();
    std::fs::set_permissions(
        top.join("deep/er/empty"),
        std::fs::Permissions::from_mode(0o4755),
    )
    .unwrap();
    let odd = std::ffi::OsStr::new("deep/sp ace # 'q'\u{e4}");
    std::fs::write(top.join(odd), vec![1; 70_000]).unwrap();
    let name = std::os::unix::ffi::OsStrExt::from_bytes(b"not\xffutf8");
    let name: &std::ffi::OsStr = name;
    std::fs::write(top.join(name), b"bytes").unwrap();
    Command::new("mkfifo")
        .arg(top.join("fifo"))
        .status()
        .unwrap();
    if e4_judges::is_root() {
        Command::new("mknod")
            .arg(top.join("null"))
            .args(["c", "1", "3"])
            .status()
            .unwrap();
        std::os::unix::fs::chown(top.join("deep"), Some(1000), Some(70_000)).unwrap();
    }
    for (path, time) in [
        ("deep/er", "1234567890.5"),
        ("deep", "@99.25"),
        ("small", "@7"),
    ] {
        let time = time.trim_start_matches('@');
        Command::new("touch")
            .args(["-h", "-d", &format!("@{time}")])
            .arg(top.join(path))
            .status()
            .unwrap();
    }
}

#[test]
fn trees_go_in_across_and_out_as_they_were() {
    let w = World::new("64M");
    let top = w.at("tree");
    tree(&top);
    let expected = described(&top);
    w.ok(&["cp", "-a", "@tree", ":/in"]);
    let other = w.at("other.img");
    w.ok(&["mkfs", &other.display().to_string(), "48M"]);
    let across = format!("{}:/across", other.display());
    w.ok(&["cp", "-a", ":/in", &across]);
    w.ok(&["cp", "-a", &across, "@out"]);
    assert_eq!(described(&w.at("out")), expected);
    // Holes came along.
    let sparse = w.at("out/deep/er/sparse").metadata().unwrap();
    assert!(
        sparse.blocks() * 512 < 1 << 20,
        "{} sectors",
        sparse.blocks()
    );
    // Again, over what is there: the same.
    w.ok(&["cp", "-aT", "@tree", ":/in"]);
    w.ok(&["cp", "-aT", ":/in", "@out"]);
    assert_eq!(described(&w.at("out")), expected);
    // The contents of a directory; what exists is left alone.
    let (json, _) = w.status(&["cp", "-a", "-n", "--json", "@tree/.", ":/in"], 5);
    assert!(json.contains("\"files\": 0"), "{json}");
    w.status(&["cp", "-n", "@tree/small", ":/in/small"], 5);
    w.status(&["cp", "@tree", ":/again"], 1);
    w.status(&["cp", "@tree/small", "@elsewhere"], 1);
    w.status(&["cp", "-r", "@tree/small", "@tree/long", ":/in/small"], 1);
    e4_judges::fsck(&other, "the other image");
}

#[test]
fn a_batch_is_one_session() {
    let w = World::new("16M");
    std::fs::write(w.at("key file"), b"key").unwrap();
    let script = format!(
        "# a comment\n\nmkdir -p -m 700 :/root/.ssh\nput '{}' :/root/.ssh/authorized_keys\n\
         ln -s ../usr/share/zoneinfo/UTC \":/local time\"\nchown -R 3:4 :/root  # behind\n\
         mv :/root/.ssh/authorized_keys :/root/.ssh/keys\ntouch :/a\\ b\nrm -f :/none\n\
         truncate -s 5K :/a\\ b\nsetfattr -n user.a -v 'b c' :/root\nchmod 1777 :/root\n\
         get :/root/.ssh/keys '{}'\n",
        w.at("key file").display(),
        w.at("back").display()
    );
    let out = w.batch(&[], &script);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert_eq!(w.ok(&["cat", ":/root/.ssh/keys"]), "key");
    assert_eq!(std::fs::read(w.at("back")).unwrap(), b"key");
    assert!(w.ok(&["ls", ":/"]).contains("local time"));
    assert!(w.ok(&["stat", ":/a b"]).contains("5120"));
    // The first error ends it; what was before stays.
    let out = w.batch(&[], "mkdir :/one\nmkdir :/no/where\nmkdir :/two\n");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("line 2"), "{said}");
    let listing = w.ok(&["ls", ":/"]);
    assert!(
        listing.contains("one") && !listing.contains("two"),
        "{listing}"
    );
    let out = w.batch(&["-k"], "mkdir :/no/where\nmkdir :/two\nrmdir :/nothing\n");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("line 1") && said.contains("line 3"), "{said}");
    assert!(w.ok(&["ls", ":/"]).contains("two"));
    // What makes no sense is found before anything is done.
    for bad in [
        "mkdir :/three\nmkdir\n",
        "mkdir :/three\nmkfs :/x\n",
        "mkdir :/three\n'open\n",
    ] {
        let out = w.batch(&[], bad);
        assert!(!out.status.success());
        assert!(String::from_utf8_lossy(&out.stderr).contains("line 2"));
    }
    assert!(!w.ok(&["ls", ":/"]).contains("three"));
}

#[test]
fn edit_puts_back_what_the_editor_leaves() {
    let w = World::new("16M");
    std::fs::write(w.at("f"), b"old line\n").unwrap();
    w.ok(&["put", "-m", "640", "@f", ":/f"]);
    let edit = |editor: &str| {
        w.e4(&["edit", ":/f"])
            .env_remove("VISUAL")
            .env("EDITOR", editor)
            .env("TMPDIR", w.dir.path())
            .output()
            .unwrap()
    };
    let out = edit("sed -i s/old/new/");
    assert!(out.status.success(), "{out:?}");
    assert_eq!(w.ok(&["cat", ":/f"]), "new line\n");
    let listing = w.ok(&["ls", "-l", ":/"]);
    let line = listing.lines().find(|l| l.ends_with(" f")).unwrap();
    assert!(line.starts_with("-rw-r-----"), "{line}");
    let before = w.ok(&["stat", ":/f"]);
    assert!(edit("true").status.success());
    assert_eq!(w.ok(&["stat", ":/f"]), before, "not changed");
    assert_eq!(edit("false").status.code(), Some(1));
    assert_eq!(w.ok(&["cat", ":/f"]), "new line\n");
    // Somebody else is faster.
    let other = format!(
        "{} -q put {} {}:/f && sed -i s/new/mine/",
        env!("CARGO_BIN_EXE_e4"),
        w.at("f").display(),
        w.image.display()
    );
    let out = edit(&other);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    assert!(said.contains("meanwhile"), "{said}");
    assert_eq!(w.ok(&["cat", ":/f"]), "old line\n");
    let kept = said.split_whitespace().last().unwrap();
    assert_eq!(std::fs::read(kept).unwrap(), b"mine line\n");
}

#[test]
fn grow_label_and_uuid() {
    let w = World::new("16M");
    let image = w.image.display().to_string();
    w.ok(&["label", &image, "a label"]);
    assert_eq!(w.ok(&["label", &image]), "a label\n");
    let (_, why) = w.status(&["label", &image, "longer than sixteen"], 1);
    assert!(why.contains("16 bytes"), "{why}");
    let before = w.ok(&["uuid", &image]);
    let after = w.ok(&["uuid", &image, "random"]);
    assert!(before != after && after.len() == 37, "{before}{after}");
    assert_eq!(w.ok(&["uuid", &image]), after);
    w.status(&["uuid", &image, "nonsense"], 2);
    std::fs::write(w.at("f"), vec![5; 100_000]).unwrap();
    w.ok(&["put", "@f", ":/f"]);
    w.ok(&["grow", &image, "+100M"]);
    assert_eq!(w.image.metadata().unwrap().len(), 116 << 20);
    assert!(w.image.metadata().unwrap().blocks() * 512 < 40 << 20);
    let json = w.ok(&["grow", "--json", &image]);
    assert!(json.contains("\"blocks\""), "{json}");
    let (_, why) = w.status(&["grow", &image, "10M"], 1);
    assert!(why.contains("does not shrink"), "{why}");
    let (_, why) = w.status(&["grow", &image, "1P"], 1);
    assert!(why.contains("at most"), "{why}");
    assert_eq!(w.image.metadata().unwrap().len(), 116 << 20);
    w.ok(&["check", &image]);
    let trimmed = w.ok(&["trim", &image]);
    assert!(trimmed.contains("bytes trimmed"), "{trimmed}");
    w.ok(&["get", ":/f", "@back"]);
    assert_eq!(std::fs::read(w.at("back")).unwrap(), vec![5; 100_000]);
}

/// Checksums that are seeded by the UUID stay valid: the seed is noted.
#[test]
fn a_new_uuid_keeps_old_checksums() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("old.img");
    let features = ["-O", "metadata_csum,^metadata_csum_seed"];
    if !e4_judges::mke2fs(&image, 64 << 20, &features) {
        return;
    }
    let w = World { dir, image };
    let image = w.image.display().to_string();
    w.ok(&["mkdir", ":/d"]);
    let (_, note) = w.status(&["uuid", &image, "random"], 0);
    assert!(note.contains("metadata_csum_seed"), "{note}");
    w.ok(&["rmdir", ":/d"]);
    w.ok(&["check", &image]);
}
