//! Files in, files out, and what is said about them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::Value;

use crate::machine::{Machine, exists, pattern};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn what_is_stored_comes_back_byte_for_byte() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    // Empty, in the metadata, just no more, several blocks, several frames.
    for len in [0, 1, 4096, 4097, 200_000, 3_500_000] {
        let bytes = pattern(len);
        machine.write("in", &bytes);
        machine.ok(&["put", "in", "/file"]);
        machine.ok(&["get", "/file", "out"]);
        assert!(machine.read("out") == bytes, "{len} bytes by get");
        let cat = machine.dfs(&["cat", "/file"]);
        assert!(cat.stdout == bytes, "{len} bytes by cat: {}", cat.stderr);
        let put = machine.dfs_with_input(&["put", "-", "/piped"], &bytes);
        assert_eq!(put.code, Some(0), "{}", put.stderr);
        let got = machine.dfs(&["get", "/piped", "-"]);
        assert!(got.stdout == bytes, "{len} bytes through pipes");
        machine.ok(&["cp", "/file", "/copied"]);
        assert!(
            machine.dfs(&["cat", "/copied"]).stdout == bytes,
            "{len} bytes copied"
        );
        let stat = json(&machine.ok(&["stat", "--json", "/file"]));
        assert_eq!((&stat["schema"], &stat["size"]), (&1.into(), &len.into()));
    }
}

#[test]
fn files_share_their_bytes_and_become_parts_of_others() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    let (one, two) = (pattern(200_000), vec![7; 100_000]);
    machine.write("one", &one);
    machine.write("two", &two);
    machine.ok(&["mkdir", "/d"]);
    machine.ok(&["put", "one", "two", "/d/"]);
    machine.ok(&["cp", "--reflink", "/d/one", "/shared"]);
    machine.ok(&["cp", "--reflink", "-r", "/d", "/e"]);
    machine.ok(&["concat", "/d/one", "/d/two", "/shared"]);

    assert!(machine.dfs(&["cat", "/e/one"]).stdout == one);
    let whole = [&one[..], &two[..], &one[..]].concat();
    assert!(machine.dfs(&["cat", "/d/one"]).stdout == whole);
    let shown = machine.script(&[
        &["ls", "-R", "/"],
        &["concat", "/d/one", "/d/one"],
        &["concat", "/d/one", "/nothing"],
        &["concat", "/d/one", "/d"],
        &["cp", "--reflink", "/e", "/f"],
        &["cp", "--reflink", "/e/one", "/e/one"],
    ]);
    insta::assert_snapshot!(shown);
}

#[test]
fn a_quota_limits_what_is_in_a_directory() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("half", pattern(512 << 10));
    let shown = machine.script(&[
        &["mkdir", "-p", "/q/empty", "/other"],
        &["quota", "ls"],
        &["quota", "set", "/q"],
        &["quota", "set", "/q", "--bytes", "1MiB", "--inodes", "4"],
        &["put", "half", "/q/a"],
        &["put", "half", "/q/b"],
        &["put", "half", "/q/c"],
        &["quota", "show", "/q/a"],
        &["rm", "/q/b"],
        &["quota", "show", "--json", "/q"],
        &["cp", "--reflink", "/q/a", "/q/c"],
        &["touch", "/q/d"],
        &["touch", "/q/e"],
        &["ln", "/q/a", "/other/a"],
        &["quota", "set", "/q", "--bytes", "1KiB"],
        &["quota", "set", "/q", "--bytes", "1KiB", "--force"],
        &["quota", "ls", "/"],
        &["mv", "/q/a", "/other/"],
        &["mv", "/other/a", "/q/"],
        &["quota", "set", "/other/a", "--bytes", "1KiB"],
        &["quota", "rm", "/q"],
        &["quota", "rm", "/q"],
        &["quota", "show", "/q"],
    ]);
    insta::assert_snapshot!(shown);
}

#[test]
fn a_snapshot_is_read_and_restored_and_never_changed() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    let (one, two) = (pattern(200_000), vec![7; 100_000]);
    machine.write("one", &one);
    machine.write("two", &two);
    machine.ok(&["mkdir", "-p", "/d/sub"]);
    machine.ok(&["put", "one", "/d/sub/f"]);
    // Its default name is the date: nothing that a test can expect.
    let name = machine.ok(&["snap", "create", "/d"]);
    machine.ok(&["snap", "rm", "/d", name.trim()]);
    let shown = machine.script(&[
        &["snap", "create", "/d", "then"],
        &["put", "two", "/d/sub/f"],
        &["put", "two", "/d/new"],
        &["ls", "-R", "/d/.snapshots/then"],
        &["ls", "/d/.snapshots"],
        &["snap", "create", "/d", "then"],
        &["snap", "create", "/d", "a/b"],
        &["snap", "create", "/d/new", "x"],
        &["snap", "create", "/d/.snapshots/then", "x"],
        &["put", "two", "/d/.snapshots/then/x"],
        &["rm", "/d/.snapshots/then/sub/f"],
        &["mkdir", "/d/.snapshots"],
        &["rm", "-r", "/d"],
        &["snap", "ls", "/nowhere"],
        &["snap", "rm", "/d", "never"],
        &["snap", "restore", "/d", "never"],
        &["snap", "restore", "/d", "then", "--to", "/d"],
        &["snap", "restore", "/d", "then", "--to", "/e"],
        &["ls", "-R", "/e"],
        &["snap", "restore", "/d", "then"],
        &["ls", "-R", "/d"],
        &["snap", "rm", "/d", "then"],
        &["snap", "rm", "/d", "then"],
        &["snap", "create", "/", "all"],
        &["snap", "restore", "/", "all"],
        &["snap", "rm", "/", "all"],
        &["rm", "-r", "/d"],
    ]);
    insta::assert_snapshot!(shown);
    assert!(machine.dfs(&["cat", "/e/sub/f"]).stdout == one);
}

#[test]
fn a_directory_comes_back_with_links_modes_and_times() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    for (name, len) in [("tree/a", 10), ("tree/sub/b", 70_000), ("tree/sub/.c", 0)] {
        machine.write(name, pattern(len));
    }
    let work = machine.work();
    std::os::unix::fs::symlink("../a", work.join("tree/sub/link")).unwrap();
    std::os::unix::fs::symlink("nowhere", work.join("tree/dangling")).unwrap();
    std::fs::set_permissions(work.join("tree/a"), PermissionsExt::from_mode(0o751)).unwrap();
    std::fs::set_permissions(work.join("tree/sub"), PermissionsExt::from_mode(0o700)).unwrap();
    let touched = std::process::Command::new("touch")
        .args(["-d", "2020-02-02T02:02:02Z", "tree/a", "tree/sub"])
        .current_dir(&work)
        .status();
    assert!(touched.unwrap().success());

    machine.ok(&["put", "-rp", "tree", "/kept"]);
    machine.ok(&["get", "-rp", "/kept", "back"]);

    for name in ["a", "sub/b", "sub/.c"] {
        let (before, after) = (format!("tree/{name}"), format!("back/{name}"));
        assert!(machine.read(&before) == machine.read(&after), "{name}");
    }
    for name in ["a", "sub"] {
        let before = std::fs::metadata(work.join("tree").join(name)).unwrap();
        let after = std::fs::metadata(work.join("back").join(name)).unwrap();
        assert_eq!(before.mode(), after.mode(), "{name}");
        assert_eq!(before.mtime(), after.mtime(), "{name}");
    }
    for name in ["sub/link", "dangling"] {
        let before = std::fs::read_link(work.join("tree").join(name)).unwrap();
        let after = std::fs::read_link(work.join("back").join(name)).unwrap();
        assert_eq!(before, after);
    }

    // Into a directory that is there things go under their own names.
    machine.ok(&["put", "-r", "tree", "/kept"]);
    machine.ok(&["cp", "-r", "/kept/tree", "/copy"]);
    let shown = machine.script(&[
        &["tree", "-a", "/kept"],
        &["tree", "/copy"],
        &["du", "/kept"],
        &["du", "-sh", "/kept"],
        &["ls", "-R", "/copy"],
        &["ls", "-a", "/copy/sub", "/copy/a"],
    ]);
    insta::assert_snapshot!(shown);
}

#[test]
fn what_is_made_has_no_permissions_that_the_umask_takes_away() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("a", "hello\n");
    let masked = |script: &str| {
        let script = format!("umask 077; dfs() {{ \"$0\" \"$@\"; }}; {script}");
        let dfs = machine.command::<&str>(&[]);
        let mut command = std::process::Command::new("sh");
        command.args(["-ec", &script]).arg(dfs.get_program());
        command
            .current_dir(machine.work())
            .env("DFS_HOME", machine.home());
        assert!(command.status().unwrap().success(), "{script}");
    };
    masked("dfs mkdir /d; dfs mkdir -m 755 /open; dfs put a /d/b; dfs touch /d/c");
    masked("dfs mkdir -p /d/e/f; dfs put -p a /d/kept; dfs ln -s b /d/soft");
    let shown = machine.ok(&["ls", "-lR", "/"]);
    let modes: Vec<(&str, &str)> = shown
        .lines()
        .filter_map(|line| Some((line.split_once(' ')?.0, line.rsplit_once(' ')?.1)))
        .filter(|(mode, _)| mode.len() >= 10)
        .collect();
    for (name, mode) in [
        ("d", "drwx------"),
        ("open", "drwxr-xr-x"),
        ("b", "-rw-------"),
        ("c", "-rw-------"),
        ("e", "drwx------"),
        ("f", "drwx------"),
        ("kept", "-rw-r--r--"),
    ] {
        let is_it = |(_, path): &&(&str, &str)| path.rsplit('/').next() == Some(name);
        let found = modes.iter().find(is_it).map(|(mode, _)| *mode);
        assert_eq!(found, Some(mode), "{name} in {shown}");
    }
}

#[test]
fn names_and_attributes_change_as_on_any_file_system() {
    let mut machine = Machine::new();
    let _up = machine.up(&[]);
    machine.hide("1970-01-01T00:00:00", "[NEVER]");
    machine.write("a", "hello\n");
    let time = "2026-07-01T12:00:00Z";
    let shown = machine.script(&[
        &["mkdir", "/d"],
        &["mkdir", "/d"],
        &["mkdir", "-p", "/d/e/f", "/d"],
        &["put", "a", "/d"],
        &["put", "a", "/d/b"],
        &["ln", "/d/a", "/d/hard"],
        &["ln", "-s", "a", "/d/soft"],
        &["cat", "/d/soft", "/d/hard"],
        &["mv", "/d/b", "/d/e"],
        &["mv", "/d/e/f", "/d/renamed/"],
        &["mv", "-n", "/d/a", "/d/hard"],
        &["touch", "/d/empty"],
        &["touch", "-c", "/d/none"],
        &["chmod", "-R", "u=rwX,go=", "/d"],
        &["chown", "-R", "4711:4712", "/d"],
        &["chgrp", "-R", "4713", "/d"],
        &["chgrp", "1:2", "/d"],
        &[
            "touch",
            "--time",
            time,
            "/d/a",
            "/d/e",
            "/d/e/b",
            "/d/renamed",
            "/d/empty",
        ],
        &["ls", "-l", "/d/a", "/d/empty", "/d/e/b"],
        &["ls", "/d", "/d/e"],
        &["policy", "/d"],
        &[
            "policy",
            "/d",
            "--replicas",
            "2",
            "--inline-max",
            "1KiB",
            "--trash",
            "0",
        ],
        &["policy", "/d", "--json"],
        &["policy", "/d", "--replicas", "0"],
        &["mkdir", "--replicas", "1", "/d/one"],
        &["policy", "/d/one"],
    ]);
    insta::assert_snapshot!(shown);
    let list = json(&machine.ok(&["ls", "--json", "/d"]));
    let names = list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["path"]);
    assert_eq!(names.count(), 7, "{list}");
}

#[test]
fn what_is_removed_can_be_brought_back_until_it_is_dropped() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("a", pattern(10_000));
    machine.ok(&["mkdir", "/d"]);
    machine.ok(&["put", "a", "/d"]);
    machine.ok(&["rm", "/d/a"]);
    machine.ok(&["rm", "-r", "/d"]);
    let items = json(&machine.ok(&["trash", "ls", "--json"]));
    let items = items["entries"].as_array().unwrap().clone();
    let paths: Vec<_> = items
        .iter()
        .map(|item| item["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["/d/a", "/d"]);
    assert_eq!(machine.ok(&["trash", "ls"]).lines().count(), 2);

    // Its directory is in the trash as well: somewhere else, then.
    let id = items[0]["id"].to_string();
    let refused = machine.dfs(&["trash", "restore", &id]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    machine.ok(&["trash", "restore", &format!("t{id}"), "--to", "/back"]);
    assert!(machine.dfs(&["cat", "/back"]).stdout == pattern(10_000));

    machine.ok(&["trash", "drop", "--all"]);
    assert_eq!(machine.ok(&["trash", "ls"]), "");
    machine.ok(&["rm", "--skip-trash", "/back"]);
    assert_eq!(machine.ok(&["trash", "ls"]), "");
    assert_eq!(machine.ok(&["ls", "/"]), "");
}

#[test]
fn what_cannot_be_done_is_said_with_its_reason_and_a_hint() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("a", "hello\n");
    machine.write("dir/x", "x\n");
    machine.ok(&["mkdir", "-p", "/d/sub", "/full/d/sub"]);
    machine.ok(&["put", "a", "/file"]);
    let shown = machine.script(&[
        &["cat", "/missing"],
        &["cat", "/d"],
        &["get", "/missing", "out"],
        &["get", "/d", "out"],
        &["get", "/file", "missing/out"],
        &["get", "/file", "out/"],
        &["get", "-n", "/file", "a"],
        &["put", "dir", "/"],
        &["put", "a", "/missing/a"],
        &["put", "a", "/missing/"],
        &["put", "a", "/file/"],
        &["put", "a", "/file/a"],
        &["put", "a", "a", "/file"],
        &["put", "-n", "a", "/file"],
        &["put", "-", "/d"],
        &["mkdir", "/missing/a"],
        &["mkdir", "-p", "/file/a"],
        &["ls", "/missing"],
        &["stat", "/missing"],
        &["du", "/missing"],
        &["rm", "/missing"],
        &["rm", "-f", "/missing"],
        &["rm", "/d"],
        &["rm", "-r", "/"],
        &["mv", "/d", "/d/sub/d"],
        &["mv", "/d", "/full"],
        &["mv", "/missing", "/x"],
        &["mv", "/file", "/file"],
        &["cp", "/d", "/e"],
        &["cp", "-r", "/d", "/d/e"],
        &["cp", "/file", "/file"],
        &["ln", "/d", "/e"],
        &["ln", "/missing", "/e"],
        &["chmod", "600", "/missing"],
        &["trash", "drop", "t4711"],
        &["tree", "/file"],
    ]);
    insta::assert_snapshot!(shown);
    assert!(
        !exists(machine.work().join("out")),
        "a refused get left a file"
    );
    assert_eq!(machine.read("a"), b"hello\n");
}

#[test]
fn what_cannot_be_stored_is_named_and_the_rest_is_stored() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("tree/a", "hello\n");
    machine.write("tree/z", "bye\n");
    let unnameable = machine
        .work()
        .join("tree")
        .join(OsStr::from_bytes(b"b\xff"));
    std::fs::write(unnameable, "lost\n").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(machine.work().join("tree/s")).unwrap();
    // Its first page is mapped nowhere.
    let unreadable = "/proc/self/mem";
    let shown = machine.script(&[
        &["put", unreadable, "/x"],
        &["put", "-r", "tree", unreadable, "/"],
        &["ls", "-R", "/"],
    ]);
    insta::assert_snapshot!(shown);
}
