//! `docs/reference/cli.md` says what `--help` says.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::machine::Machine;

const HEAD: &str = "\
# Command reference

What `dfs VERB --help` prints, for every verb. Generated: \
`UPDATE_REFERENCE=1 cargo test -p dfs-cli --test cli reference`.
";

/// The verbs in the list of commands of a help text.
fn verbs(help: &str) -> Vec<String> {
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    commands
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

fn describe(machine: &Machine, verb: &[&str], text: &mut String) {
    let help = machine.ok(&[verb, &["--help"]].concat());
    let title = [&["dfs"], verb].concat().join(" ");
    let help_lines = help
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n");
    let _ = write!(text, "\n## `{title}`\n\n```text\n{help_lines}\n```\n");
    for below in verbs(&help) {
        describe(machine, &[verb, &[&below]].concat(), text);
    }
}

#[test]
fn the_reference_says_what_help_says() {
    let machine = Machine::new();
    let mut text = HEAD.to_owned();
    describe(&machine, &[], &mut text);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/cli.md");
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "{} is not what --help says: run UPDATE_REFERENCE=1 cargo test -p dfs-cli --test cli",
        path.display()
    );
}

#[test]
fn every_verb_is_described() {
    let machine = Machine::new();
    let verbs = verbs(&machine.ok(&["--help"]));
    for verb in ["up", "put", "get", "trash", "bench", "completions"] {
        assert!(verbs.iter().any(|known| known == verb), "{verb}: {verbs:?}");
    }
}
