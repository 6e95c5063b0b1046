//! The simulation keeps its own promises: a seed is a run, and a short one finds nothing.
//!
//! More seeds run by `just sim seeds`; see `docs/internals/simulation.md`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::process::{Command, Output};

fn sim(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim"));
    command.args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

#[test]
fn a_cluster_that_loses_its_leader_keeps_its_promises() {
    let faults = "--kinds=kill-leader,pause-leader";
    let output = sim(&["run", "1", "--length=10", faults, "--json"]);
    assert!(output.status.success(), "{}", said(&output));
    let outcome: serde_json::Value = serde_json::from_str(&said(&output)).unwrap();
    assert!(outcome["leaders_killed"].as_u64() > Some(0), "{outcome}");
}

// Without it tokio draws from the machine.
#[cfg(tokio_unstable)]
#[test]
fn one_seed_is_one_run() {
    let output = sim(&["run", "2", "--length=15", "--twice"]);
    assert!(output.status.success(), "{}", said(&output));
}

#[cfg(tokio_unstable)]
#[test]
fn another_seed_is_another_run() {
    let trace = |seed: &str| {
        let said = said(&sim(&["run", seed, "--length=3", "--json"]));
        let outcome: serde_json::Value = serde_json::from_str(&said).unwrap();
        outcome["trace"].clone()
    };
    assert_ne!(trace("3"), trace("4"));
}
