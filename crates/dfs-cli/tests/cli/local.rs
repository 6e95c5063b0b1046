//! The cluster of this machine: made when needed, shared, taken over, stopped.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::{Machine, exists};

#[test]
fn the_first_file_can_be_stored_without_any_set_up() {
    let machine = Machine::new();
    machine.write("a", "hello\n");
    let shown = machine.script(&[&["put", "a", "/"], &["cat", "/a"], &["ls", "-q", "/"]]);
    insta::assert_snapshot!(shown);
}

#[test]
fn a_second_command_waits_for_the_first_and_says_so() {
    let mut machine = Machine::new();
    let mut first = machine
        .command(&["put", "-", "/a"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    machine.hide(first.id().to_string(), "[PID]");
    // It has the lock once the lock names it.
    let lock = machine.home().join("lock");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while std::fs::read_to_string(&lock)
        .unwrap_or_default()
        .is_empty()
    {
        assert!(std::time::Instant::now() < deadline, "no one took the lock");
        std::thread::yield_now();
    }
    let refused = machine.dfs(&["cat", "/a", "--timeout", "100ms"]);
    insta::assert_snapshot!(machine.show(&refused));

    let waiting = machine.command(&["cat", "/a"]).spawn().unwrap();
    first.stdin.take().unwrap().write_all(b"hello\n").unwrap();
    let first = machine.finish(&["put", "-", "/a"], first);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let second = machine.finish(&["cat", "/a"], waiting);
    assert_eq!(second.stdout, b"hello\n", "{}", second.stderr);
}

#[test]
fn up_serves_other_commands_until_it_is_told_to_stop() {
    let mut machine = Machine::new();
    let mut up = machine.up(&["--data-nodes", "4"]);
    machine.hide(up.pid().to_string(), "[PID]");
    let serving = machine.home().join("serving.toml");
    assert!(exists(&serving));

    let status: Value = serde_json::from_str(&machine.ok(&["status", "--json"])).unwrap();
    assert_eq!(status["masters"].as_array().unwrap().len(), 3, "{status}");
    assert_eq!(status["nodes"].as_array().unwrap().len(), 4, "{status}");
    let leaders = status["masters"].as_array().unwrap().iter();
    assert_eq!(leaders.filter(|master| master["leader"] == true).count(), 1);
    assert_eq!(machine.ok(&["node", "ls"]).lines().count(), 5);
    assert!(machine.ok(&["status"]).contains("leader"));
    assert!(machine.ok(&["df"]).contains("inodes"));
    // By its addresses it is reached from anywhere, by whoever can log in.
    let elsewhere = Machine::new();
    let mkdir = ["mkdir", "--masters", &up.masters, "/from-elsewhere"];
    let refused = elsewhere.dfs(&mkdir);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let insecure = elsewhere.dfs(&[&mkdir[..], &["--insecure", "--timeout", "1s"]].concat());
    assert_eq!(insecure.code, Some(3), "{}", insecure.stderr);
    let served: toml::Table = std::fs::read_to_string(&serving).unwrap().parse().unwrap();
    let profile = toml::to_string(&served["profile"]).unwrap();
    elsewhere.write("profile", profile);
    elsewhere.ok(&[&mkdir[..], &["--profile", "profile"]].concat());
    assert_eq!(machine.ok(&["ls", "/"]), "from-elsewhere\n");

    let second = machine.dfs(&["up"]);
    insta::assert_snapshot!(machine.show(&second));

    up.signal("TERM");
    assert_eq!(up.wait(), Some(0));
    assert!(!exists(&serving));
    // What is there keeps its shape.
    let refused = machine.dfs(&["up", "--masters", "1"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let _again = machine.up(&[]);
    assert_eq!(machine.ok(&["node", "ls"]).lines().count(), 5);
    assert_eq!(machine.ok(&["ls", "/"]), "from-elsewhere\n");
}

#[test]
fn what_a_killed_cluster_leaves_behind_does_not_stop_the_next_command() {
    let machine = Machine::new();
    machine.write("a", "hello\n");
    let mut up = machine.up(&[]);
    machine.ok(&["put", "a", "/a"]);
    up.signal("KILL");
    up.wait();
    let serving = machine.home().join("serving.toml");
    assert!(exists(&serving));
    assert_eq!(machine.ok(&["cat", "/a"]), "hello\n");
    assert!(!exists(&serving));
}

#[test]
fn an_interrupted_command_exits_with_130_and_leaves_nothing() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    let mut child = machine
        .command(&["put", "-", "/a"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than pipes and buffers hold: the upload is under way when this is written.
    stdin.write_all(&vec![7; 4 << 20]).unwrap();
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-s", "INT", &pid])
        .status();
    assert!(sent.unwrap().success());
    let run = machine.finish(&["put", "-", "/a"], child);
    assert_eq!(
        (run.code, run.stderr.as_str()),
        (Some(130), "error: interrupted\n")
    );
    drop(stdin);
    assert_eq!(machine.ok(&["ls", "/"]), "");
}

#[test]
fn a_pipe_that_nobody_writes_to_holds_up_neither_other_files_nor_the_end() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("a", "hello\n");
    let pipe = machine.work().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(pipe).status();
    assert!(made.unwrap().success());
    machine.ok(&["mkdir", "/d"]);
    let put = ["put", "a", "pipe", "/d"];
    let child = machine.command(&put).spawn().unwrap();

    let end = Instant::now() + Duration::from_secs(20);
    while machine.ok(&["ls", "/d"]) != "a\n" {
        assert!(Instant::now() < end, "the other file is not stored");
    }
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-s", "TERM", &pid])
        .status();
    assert!(sent.unwrap().success());
    let run = machine.finish(&put, child);

    assert_eq!(run.code, Some(130), "{}", machine.show(&run));
    assert_eq!(machine.ok(&["ls", "/d"]), "a\n");
}

#[test]
fn a_reader_that_stops_reading_is_no_error() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("a", vec![7; 1 << 20]);
    machine.ok(&["put", "a", "/a"]);
    let mut child = machine.command(&["cat", "/a"]).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

#[test]
fn a_port_that_another_program_took_is_named_at_once_if_it_cannot_be_done_without() {
    let mut machine = Machine::new();
    machine.ok(&["mkdir", "/d"]);
    let roster = std::fs::read_to_string(machine.home().join("cluster/cluster")).unwrap();
    let address = |what: &str| {
        let mut lines = roster.lines();
        lines.find_map(|line| Some(line.strip_prefix(what)?.trim().to_owned()))
    };
    let node = std::net::TcpListener::bind(address("node").unwrap()).unwrap();
    assert_eq!(machine.ok(&["ls", "/"]), "d\n");
    drop(node);

    let address = address("master").unwrap();
    let master = std::net::TcpListener::bind(&address).unwrap();
    machine.hide(address, "[ADDRESS]");
    let began = Instant::now();
    let refused = machine.dfs(&["ls", "/"]);
    insta::assert_snapshot!(machine.show(&refused));
    assert!(began.elapsed() < Duration::from_secs(15));
    drop(master);
    assert_eq!(machine.ok(&["ls", "/"]), "d\n");
}

#[test]
fn a_cluster_without_security_that_is_measured_is_said_to_be_one() {
    let machine = Machine::new();
    let args = [
        "bench",
        "--quiet",
        "--insecure",
        "--only",
        "bulk",
        "--size",
        "64KiB",
        "--rounds",
        "1",
    ];
    let run = machine.dfs(&args);
    let shown = machine.show(&run);
    assert_eq!(run.code, Some(0), "{shown}");
    assert!(shown.contains("warning: INSECURE"), "{shown}");
}
