//! What is decided about data nodes, and how it shows.

use serde_json::Value;

use crate::machine::{Machine, pattern};

fn json(machine: &Machine, args: &[&str]) -> Value {
    let run = machine.dfs(&[args, &["--json"]].concat());
    serde_json::from_slice(&run.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", run.stderr))
}

fn refused(machine: &Machine, args: &[&str], why: &str) {
    let run = machine.dfs(args);
    assert_eq!(run.code, Some(1), "{args:?}");
    assert!(run.stderr.contains(why), "{args:?}: {}", run.stderr);
}

fn states(machine: &Machine) -> Vec<String> {
    let nodes = json(machine, &["node", "ls"]);
    let nodes = nodes["entries"].as_array().unwrap().iter();
    nodes
        .map(|node| format!("n{} {}", node["node"], node["admin"].as_str().unwrap()))
        .collect()
}

#[test]
fn a_data_node_is_emptied_and_removed_and_all_files_stay() {
    let machine = Machine::new();
    let up = machine.up(&["--masters", "1", "--data-nodes", "4"]);
    machine.write("a", pattern(100_000));
    for name in ["/a", "/b", "/c", "/d"] {
        machine.ok(&["put", "a", name]);
    }

    // A plan changes nothing, and is good as long as nothing comes between.
    let plan = json(&machine, &["node", "drain", "n1"]);
    assert_eq!(
        (&plan["node"], &plan["widest"]),
        (&1.into(), &3.into()),
        "{plan}"
    );
    assert_eq!(states(&machine)[0], "n1 in service");
    machine.ok(&["node", "maintenance", "n2", "--yes"]);
    let number = plan["plan"].to_string();
    let stale = ["node", "drain", "n1", "--plan", &number];
    refused(&machine, &stale, "changed meanwhile: plan");
    refused(
        &machine,
        &["node", "drain", "n1", "--yes"],
        "still needed: n1: 3 data nodes are needed, for 4 of all chunks",
    );
    machine.ok(&["node", "undrain", "n2"]);
    refused(
        &machine,
        &["node", "remove", "n1", "--yes"],
        "it is in service",
    );
    refused(
        &machine,
        &["node", "drain", "n7", "--yes"],
        "no data node is called `n7`",
    );

    machine.ok(&["node", "drain", "n1", "--yes", "--wait"]);
    assert_eq!(states(&machine)[0], "n1 drained");
    refused(&machine, &["node", "drain", "n2", "--yes"], "still needed");
    machine.ok(&["node", "remove", "n1", "--yes"]);
    assert_eq!(states(&machine).len(), 3);
    refused(
        &machine,
        &["node", "undrain", "n1"],
        "no data node is called `n1`",
    );

    // A cluster that starts again does not wait for it.
    drop(up);
    let up = machine.up(&[]);
    assert_eq!(up.data_nodes, "3");
    assert_eq!(states(&machine).len(), 3);
    for name in ["/a", "/b", "/c", "/d"] {
        assert!(machine.dfs(&["cat", name]).stdout == pattern(100_000));
        let told = json(&machine, &["explain", name]);
        assert_eq!(told["health"], "healthy", "{told}");
    }
}

#[test]
fn a_file_is_explained_as_it_is_and_as_it_would_be_without_some_nodes() {
    let machine = Machine::new();
    let _up = machine.up(&["--masters", "1", "--data-nodes", "3"]);
    machine.write("a", pattern(100_000));
    machine.write("tiny", "tiny");
    machine.ok(&["put", "a", "tiny", "/"]);

    let told = json(&machine, &["explain", "/tiny"]);
    assert_eq!(
        (&told["inline_bytes"], &told["health"]),
        (&4.into(), &"healthy".into())
    );
    let told = json(
        &machine,
        &["explain", "/a", "--without", "n1", "--without", "n3"],
    );
    let lacks = (&told["lost"], &told["lacking"], &told["health"]);
    assert_eq!(lacks, (&0.into(), &1.into(), &"degraded".into()), "{told}");

    // All would be gone; nothing is.
    let all = [
        "explain",
        "/a",
        "--without",
        "n1",
        "--without",
        "n2",
        "--without",
        "n3",
    ];
    let run = machine.dfs(&all);
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(
        text.contains("without n1 and n2 and n3: 1 chunk cannot be read"),
        "{text}"
    );
    let text = machine.ok(&["explain", "/a"]);
    assert!(text.contains("all copies are there"), "{text}");

    // Of a stripe any two of three give the third.
    machine.ok(&["mkdir", "/ec"]);
    machine.ok(&["policy", "/ec", "--ec", "2+1"]);
    machine.write("big", pattern(400_000));
    machine.ok(&["put", "big", "/ec"]);
    let told = json(&machine, &["explain", "/ec/big", "--without", "n1"]);
    assert_eq!((&told["lost"], &told["lacking"]), (&0.into(), &1.into()));
    let two = ["explain", "/ec/big", "--without", "n1", "--without", "n2"];
    assert_eq!(machine.dfs(&two).code, Some(4));
    let plan = json(&machine, &["node", "maintenance", "n1"]);
    let spared = (&plan["only_here"], &plan["one_elsewhere"]);
    assert_eq!(spared, (&0.into(), &1.into()), "{plan}");

    refused(&machine, &["explain", "/nothing"], "not found");
    refused(&machine, &["explain", "/"], "cannot explain `/`");
    refused(
        &machine,
        &["explain", "/a", "--without", "n9"],
        "no data node is called",
    );
}

#[test]
fn the_metadata_is_written_down_for_its_owner_alone_and_never_over_another_file() {
    use std::os::unix::fs::PermissionsExt;

    let machine = Machine::new();
    let _up = machine.up(&["--masters", "1", "--data-nodes", "1"]);
    machine.ok(&["admin", "backup", "meta.dfs"]);
    let file = machine.work().join("meta.dfs");
    let kept = std::fs::metadata(&file).unwrap();
    assert_eq!(kept.permissions().mode() & 0o777, 0o600);
    assert!(kept.len() > 1000);
    refused(&machine, &["admin", "backup", "meta.dfs"], "exists already");
    refused(
        &machine,
        &["admin", "backup", "nowhere/meta.dfs"],
        "no such file or directory",
    );
    assert_eq!(std::fs::metadata(&file).unwrap().len(), kept.len());
}

#[test]
fn a_backup_is_read_through_and_no_master_is_made_of_it_while_one_lives() {
    let machine = Machine::new();
    let up = machine.up(&["--masters", "1", "--data-nodes", "1"]);
    machine.write("a", "kept");
    machine.ok(&["put", "a", "/a"]);
    machine.ok(&["admin", "backup", "meta.dfs"]);
    let told = machine.ok(&["admin", "restore", "--check", "meta.dfs"]);
    assert!(
        told.starts_with("it is whole: metadata of cluster"),
        "{told}"
    );
    let listen = "127.0.0.1:17400";
    let args = [
        "admin",
        "restore",
        "meta.dfs",
        "--directory",
        "m",
        "--listen",
        listen,
    ];
    refused(&machine, &args, "the cluster lives: its master at");
    drop(up);
    let told = machine.ok(&args);
    assert!(told.starts_with("restored: metadata of cluster"), "{told}");
    refused(&machine, &args, "is not empty");

    let whole = std::fs::read(machine.work().join("meta.dfs")).unwrap();
    machine.write("meta.dfs", &whole[..whole.len() - 9]);
    refused(
        &machine,
        &["admin", "restore", "--check", "meta.dfs"],
        "cut short",
    );
}
