//! What can be said without a cluster.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::machine::{Machine, exists};

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_status_2() {
    let machine = Machine::new();
    let long = format!("/{}", "x".repeat(256));
    let shown = machine.script(&[
        &["frobnicate"],
        &["ls", "a/b"],
        &["ls", ""],
        &["ls", "/a/../b"],
        &["ls", &long],
        &["mkdir"],
        &["chmod", "9", "/a"],
        &["policy", "/", "--chunk-size", "many"],
        &["ls", "--masters", "nowhere", "/"],
        &["ls", "--url", "http://a:1", "/"],
        &["trash", "drop"],
        &["trash", "drop", "x7"],
        &["put", "-", "other", "/a"],
        &["ln", "relative", "/a"],
    ]);
    insta::assert_snapshot!(shown);
    assert!(!exists(machine.home().join("cluster")));
}

#[test]
fn a_name_that_is_not_utf_8_is_refused() {
    let machine = Machine::new();
    let name = OsStr::from_bytes(b"/\xff");
    let run = machine.dfs(&[OsStr::new("ls"), name]);
    insta::assert_snapshot!(machine.show(&run));
}

#[test]
fn a_local_file_that_is_missing_is_named_before_a_cluster_is_started() {
    let machine = Machine::new();
    let shown = machine.script(&[&["put", "missing", "also missing", "/"]]);
    insta::assert_snapshot!(shown);
    assert!(!exists(machine.home()));
}

#[test]
fn a_cluster_that_does_not_answer_is_given_up_in_time() {
    let mut machine = Machine::new();
    // A port that was free a moment ago, and one that nobody uses.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    machine.hide(address.clone(), "[ADDRESS]");
    let url = format!("dfs://{address},localhost:1");
    let shown = machine.script(&[
        &["ls", "--insecure", "--url", &url, "--timeout", "300ms"],
        &[
            "status",
            "--insecure",
            "--masters",
            &address,
            "--timeout",
            "300ms",
        ],
        &["status", "--masters", &address],
    ]);
    insta::assert_snapshot!(shown);
}

#[test]
fn addresses_come_from_flags_before_the_environment_before_the_profile() {
    let machine = Machine::new();
    std::fs::create_dir(machine.home()).unwrap();
    let profile = machine.home().join("profile.toml");
    std::fs::write(profile, "masters = [\"profile.invalid:1\"]\n").unwrap();
    let tried = |args: &[&str], variable: Option<&str>| {
        let args = [&["ls", "--insecure", "--timeout", "200ms"], args].concat();
        let mut command = machine.command(&args);
        if let Some(variable) = variable {
            command.env("DFS_MASTERS", variable);
        }
        let run = machine.finish(&args, command.spawn().unwrap());
        // They are not of this machine, which is said without asking them.
        assert_eq!(run.code, Some(2), "{}", run.stderr);
        run.stderr
    };
    let variable = Some("variable.invalid:1");
    assert!(tried(&["--masters", "flag.invalid:1"], variable).contains("flag.invalid:1"));
    assert!(tried(&[], variable).contains("variable.invalid:1"));
    assert!(tried(&[], None).contains("profile.invalid:1"));
}

#[test]
fn completions_are_printed_for_shells() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            machine.ok(&["completions", shell]).contains("dfs"),
            "{shell}"
        );
    }
    assert!(machine.ok(&["--version"]).starts_with("dfs "));
}
