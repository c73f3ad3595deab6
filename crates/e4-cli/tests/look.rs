//! `find`, `du`, `tree` and `map`, beside the tools they are named after, on the same tree mounted by the kernel.

use e4_judges::{LoopMount, have, must_run, scratch};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

fn e4(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e4"))
        .args(args)
        .current_dir(dir)
        .env("NO_COLOR", "1")
        .env("TZ", "UTC")
        .output()
        .expect("e4 runs")
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let out = e4(dir, args);
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{args:?}: {err}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn populate(root: &Path) {
    std::fs::create_dir_all(root.join("usr/share/empty")).unwrap();
    std::fs::create_dir_all(root.join(".hidden")).unwrap();
    for n in 0..60usize {
        let name = format!("usr/share/file{n}.{}", ["c", "H", "conf"][n % 3]);
        std::fs::write(root.join(&name), vec![1; n * n * 40]).unwrap();
        let mode = [0o644, 0o600, 0o4755, 0o2711, 0][n % 5];
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(root.join(&name), mode).unwrap();
    }
    std::fs::write(root.join("usr/{a,b}"), "").unwrap();
    std::fs::write(root.join("usr/new\nline"), "x").unwrap();
    std::fs::hard_link(
        root.join("usr/share/file50.conf"),
        root.join("usr/share/linked"),
    )
    .unwrap();
    symlink("share", root.join("usr/link")).unwrap();
    let sparse = std::fs::File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(&[7; 9000], 1 << 20).unwrap();
    sparse.set_len(10 << 20).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600 * (24 * 100 + 5));
    let file = std::fs::File::open(root.join("usr/share/file8.conf")).unwrap();
    file.set_modified(old).unwrap();
}

fn image(dir: &Path) {
    populate(&dir.join("tree"));
    ok(dir, &["build", "-q", "-o", "a.img", "tree"]);
}

#[test]
fn find_and_du_say_what_their_namesakes_say() {
    let scratch = scratch();
    let dir = scratch.path();
    image(dir);
    if !have("find") || !have("du") {
        return;
    }
    let Some(mounted) = LoopMount::new(&dir.join("a.img"), &dir.join("mnt"), "ro") else {
        return;
    };
    let mount = mounted.path().to_str().unwrap();
    let sorted = |text: &str, end: char| {
        let mut lines: Vec<String> = text.split_terminator(end).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut found = 0;
    for expression in [
        "-name *.c",
        "-iname *.h",
        "-name {a,b}",
        "-path */share/f*5.conf",
        "-type f -size +4k",
        "-size -2",
        "-type d,l",
        "-size 9c -o",
        "-type f -empty",
        "-type d -empty",
        "! -type f",
        "-perm 644",
        "-perm -4111",
        "-perm /6000",
        "-links +1 -type f",
        "-mtime +50",
        "-mtime -1 -type f",
        "-newer /usr/share/file8.conf -type f",
        "-maxdepth 1",
        "-mindepth 2 -maxdepth 2",
        "-uid 0 -not -name file*",
        "-inum 12",
    ] {
        let ours: Vec<&str> = expression.split(' ').collect();
        let newer = format!("{mount}/usr/share/file8.conf");
        let mut theirs = vec!["."];
        let real = |w: &&str| {
            if w.starts_with("/usr") {
                newer.as_str().to_owned()
            } else {
                (*w).to_owned()
            }
        };
        let words: Vec<String> = ours.iter().map(real).collect();
        theirs.extend(words.iter().map(String::as_str));
        theirs.push("-print0");
        let mut args = vec!["find", "a.img"];
        args.extend(&ours);
        args.push("-print0");
        if ours.contains(&"-o") {
            assert_eq!(e4(dir, &args).status.code(), Some(1), "{expression}");
            continue;
        }
        let out = Command::new("find")
            .args(&theirs)
            .current_dir(mount)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let theirs = String::from_utf8_lossy(&out.stdout).into_owned();
        let root = |p: &String| {
            if p == "." {
                "/".to_owned()
            } else {
                p[1..].to_owned()
            }
        };
        let theirs: Vec<String> = sorted(&theirs, '\0').iter().map(root).collect();
        let ours = sorted(&ok(dir, &args), '\0');
        assert_eq!(ours, theirs, "{expression}");
        found += ours.len();
    }
    assert!(found > 200, "{found}");

    for flags in [
        &["-k"][..],
        &["-k", "-a"],
        &["-b", "-a"],
        &["-k", "-s"],
        &["-k", "-d", "1"],
        &["-k", "-l"],
    ] {
        let mut theirs = flags.to_vec();
        theirs.push(mount);
        // Which of a file's two names du meets first is the host's affair.
        let same = |text: &str| text.replace("share/linked", "share/file50.conf");
        let root = |line: &String| {
            let line = line.replace(mount, "").replace("\t/", "\t");
            line.replace('\t', "\t/")
        };
        let theirs = sorted(&same(&must_run("du", &theirs)), '\n');
        let mut theirs: Vec<String> = theirs.iter().map(root).collect();
        theirs.sort();
        let mut args = vec!["du", "a.img"];
        args.extend(flags.iter().filter(|f| **f != "-k"));
        assert_eq!(sorted(&same(&ok(dir, &args)), '\n'), theirs, "{flags:?}");
    }
}

#[test]
fn trees_and_maps_show_everything() {
    let scratch = scratch();
    let dir = scratch.path();
    image(dir);
    let tree = ok(dir, &["tree", "-L", "1", "a.img"]);
    assert_eq!(
        tree,
        "a.img:/\n├── lost+found\n├── sparse\n└── usr\n\n2 directories, 1 file\n"
    );
    let tree = ok(dir, &["tree", "-d", "a.img:/usr"]);
    assert_eq!(
        tree,
        "a.img:/usr\n└── share\n    └── empty\n\n2 directories\n"
    );

    let json: serde_json::Value =
        serde_json::from_str(&ok(dir, &["map", "--json", "a.img"])).unwrap();
    let uses = json["by_use"].as_array().unwrap();
    let sum: u64 = uses.iter().map(|u| u["blocks"].as_u64().unwrap()).sum();
    assert_eq!(sum, json["blocks"].as_u64().unwrap());
    let of = |name: &str| {
        uses.iter().find(|u| u["use"] == name).unwrap()["blocks"]
            .as_u64()
            .unwrap()
    };
    // As dumpe2fs counts, and as du counts the files.
    if have("dumpe2fs") {
        let text = must_run("dumpe2fs", &["-h".as_ref(), dir.join("a.img").as_os_str()]);
        let free = text
            .lines()
            .find_map(|l| l.strip_prefix("Free blocks:"))
            .unwrap();
        assert_eq!(of("free").to_string(), free.trim());
    }
    let files = ok(dir, &["find", "a.img", "-type", "f", "--json"]);
    assert!(of("data") > 200 && of("unwritten") == 0 && of("tables") > 3);
    assert!(files.matches("\"path\"").count() > 60);

    let text = ok(dir, &["map", "a.img"]);
    assert!(
        text.contains("File data") && !text.contains('\u{1b}'),
        "{text}"
    );
    let text = ok(dir, &["map", "a.img:/sparse"]);
    assert!(text.contains("hole"), "{text}");
    for (what, file) in [("a.img", "image.svg"), ("a.img:/sparse", "file.svg")] {
        ok(dir, &["map", what, "--svg", file]);
        let svg = std::fs::read_to_string(dir.join(file)).unwrap();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("prefers-color-scheme: dark"));
        // Somebody else's parser takes it.
        if have("python3") {
            let script = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])";
            must_run(
                "python3",
                &["-c".as_ref(), script.as_ref(), dir.join(file).as_os_str()],
            );
        }
    }
}

#[test]
fn completions_and_manual_pages_name_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for shell in ["bash", "zsh", "fish"] {
        let text = ok(dir, &["completions", shell]);
        assert!(
            text.contains("export") && text.contains("oci-layer"),
            "{shell}"
        );
    }
    if have("bash") {
        std::fs::write(dir.join("e4.bash"), ok(dir, &["completions", "bash"])).unwrap();
        must_run("bash", &["-n".as_ref(), dir.join("e4.bash").as_os_str()]);
    }
    ok(dir, &["manual", "man"]);
    for page in ["e4.1", "e4-export.1", "e4-check.1", "e4-map.1"] {
        let text = std::fs::read_to_string(dir.join("man").join(page)).unwrap();
        assert!(text.contains(".SH"), "{page}");
    }
}
