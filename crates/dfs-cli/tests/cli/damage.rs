//! What cannot be done because the cluster is not as it should be.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::machine::{Machine, exists, pattern};

/// Flips a bit in every file below `dir` that holds `needle`, at its first byte; how many.
fn damage(dir: &Path, needle: &[u8]) -> usize {
    let mut damaged = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damaged += damage(&path, needle);
            continue;
        }
        let Ok(mut bytes) = fs::read(&path) else {
            continue;
        };
        let found = bytes
            .windows(needle.len())
            .position(|window| window == needle);
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    damaged
}

#[test]
fn a_file_with_no_good_replica_is_refused_with_status_4_and_the_target_is_untouched() {
    let machine = Machine::new();
    let bytes = pattern(300_000);
    machine.write("a", &bytes);
    {
        let _up = machine.up(&[]);
        machine.ok(&["put", "a", "/a"]);
        // Two copies are enough for the answer; the third may come a moment later.
        let begin = Instant::now();
        while machine.dfs(&["explain", "/a"]).code != Some(0) {
            assert!(begin.elapsed() < Duration::from_secs(60), "a copy lacks");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    // Nobody has the files open while they are damaged.
    let damaged = damage(&machine.home().join("cluster"), &bytes[100_000..100_032]);
    assert!(damaged >= 3, "only {damaged} replicas were found");
    let _up = machine.up(&[]);
    machine.write("out", "as before\n");

    let run = machine.dfs(&["get", "/a", "out"]);

    assert_eq!(run.code, Some(4), "{}", machine.show(&run));
    assert!(
        run.stderr.starts_with("error: cannot read `/a`: "),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("hint: nothing damaged was written"),
        "{}",
        run.stderr
    );
    assert_eq!(machine.read("out"), b"as before\n");
    let run = machine.dfs(&["get", "/a", "new"]);
    assert_eq!(run.code, Some(4), "{}", machine.show(&run));
    assert!(!exists(machine.work().join("new")));
    assert_eq!(fs::read_dir(machine.work()).unwrap().count(), 2);
}

#[test]
fn too_few_data_nodes_for_the_policy_is_unavailable_and_stores_nothing() {
    let machine = Machine::new();
    let _up = machine.up(&["--masters", "1", "--data-nodes", "1"]);
    machine.write("a", pattern(100_000));
    machine.ok(&["policy", "/", "--replicas", "3"]);

    let run = machine.dfs(&["put", "a", "/a", "--timeout", "2s"]);

    assert_eq!(run.code, Some(3), "{}", machine.show(&run));
    assert!(
        run.stderr
            .contains("too few data nodes: 2 copies need as many, 1 of 1 take new ones"),
        "{}",
        run.stderr
    );
    assert_eq!(machine.ok(&["ls", "/"]), "");
    machine.ok(&["policy", "/", "--replicas", "1"]);
    machine.ok(&["put", "a", "/a"]);
    assert!(machine.dfs(&["cat", "/a"]).stdout == pattern(100_000));
}
