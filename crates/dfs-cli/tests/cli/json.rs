//! What scripts read.

use serde_json::Value;

use crate::machine::{Machine, pattern};

#[test]
fn every_verb_that_reads_prints_a_document_with_a_schema_number() {
    let machine = Machine::new();
    let _up = machine.up(&[]);
    machine.write("a", pattern(10_000));
    machine.ok(&["mkdir", "/d"]);
    machine.ok(&["quota", "set", "/d", "--inodes", "20k"]);
    machine.ok(&["snap", "create", "/d", "s"]);
    machine.ok(&["put", "a", "/d/a"]);
    machine.ok(&["put", "a", "/d/removed"]);
    machine.ok(&["ln", "-s", "a", "/d/link"]);
    machine.ok(&["rm", "/d/removed"]);
    let verbs: [&[&str]; 23] = [
        &["ls", "/d"],
        &["stat", "--layout", "/d/a"],
        &["du", "-s", "/"],
        &["df"],
        &["policy", "/d"],
        &["tree", "/"],
        &["tree", "--level", "1", "/"],
        &["trash", "ls"],
        &["status"],
        &["node", "ls"],
        &["node", "ls", "--all"],
        &["master", "ls"],
        &["whoami"],
        &["user", "ls"],
        &["group", "ls"],
        &["token", "ls"],
        &["getfacl", "/d"],
        &["explain", "/d/a"],
        &["node", "drain", "n1"],
        &["quota", "ls"],
        &["quota", "show", "/d/a"],
        &["snap", "ls", "/d"],
        &[
            "bench", "--only", "bulk", "--size", "64KiB", "--rounds", "1",
        ],
    ];
    let documents = verbs.map(|verb| {
        let text = machine.ok(&[verb, &["--json"]].concat());
        let document: Value = serde_json::from_str(&text).expect(&text);
        assert_eq!(document["schema"], 1, "{verb:?}: {text}");
        document
    });
    let paths = |document: &Value| -> Vec<String> {
        let entries = document["entries"].as_array().unwrap().iter();
        let path = |entry: &Value| entry["path"].as_str().unwrap().to_owned();
        entries.map(path).collect()
    };
    assert_eq!(paths(&documents[0]), ["/d/a", "/d/link"]);
    assert_eq!(paths(&documents[5]), ["/d", "/d/a", "/d/link"]);
    assert_eq!(documents[5]["entries"][2]["target"], "a");
    assert_eq!(paths(&documents[6]), ["/d"]);
    assert_eq!(paths(&documents[7]), ["/d/removed"]);
    let rows = documents[22]["rows"].as_array().unwrap();
    let areas = ["floor", "bulk"].map(|area| rows.iter().filter(|r| r["area"] == area).count());
    assert_eq!(areas, [5, 8]);
    for row in rows.iter().filter(|row| row["area"] == "bulk") {
        assert_eq!(row["ratios"].as_array().unwrap().len(), 3, "{row}");
        assert!(row["ratio"].as_f64().unwrap() > 0.0, "{row}");
    }
}
