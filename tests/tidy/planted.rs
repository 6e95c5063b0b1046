//! Each planted bug is in the page about them, and has a test that finds it: the same in the page
//! and for the program that tries it.

use std::collections::BTreeMap;

use super::source;

/// The lines of a file below the root of the workspace.
fn lines(path: &str) -> Vec<String> {
    let text = std::fs::read_to_string(source::root().join(path)).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The names of all bugs, as the source lists them.
fn bugs() -> Vec<String> {
    let lines = lines("crates/dfs-raft/src/planted.rs");
    let name = |line: &String| {
        let name = line.strip_suffix("\";")?.split_once(" = \"")?.1;
        line.starts_with("    ").then(|| name.to_owned())
    };
    let is_listed = |line: &String| !line.contains("const");
    let bugs: Vec<_> = lines
        .iter()
        .filter(|l| is_listed(l))
        .filter_map(name)
        .collect();
    assert!(bugs.len() > 40, "{bugs:?}");
    bugs
}

/// The test of each bug, as the program that tries them has it: its target and path.
fn tests() -> BTreeMap<String, (String, String)> {
    let lines = lines("tests/caught/tests.txt");
    let lines = lines
        .iter()
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let test = |line: &String| {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [bug, _, target, path] = <[String; 4]>::try_from(words).unwrap();
        (bug, (target, path))
    };
    lines.map(test).collect()
}

/// What the page has in the column `test`, for each bug.
fn page() -> BTreeMap<String, String> {
    let lines = lines("docs/internals/planted.md");
    let row = |line: &String| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let bug = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((bug.to_owned(), (*cells.get(6)?).to_owned()))
    };
    lines.iter().filter_map(row).collect()
}

/// Whether a cell names a test: `example`, or as `module::the_beginning_of_its_name_…`.
fn names(cell: &str, target: &str, path: &str) -> bool {
    let own = path.rsplit("::").next().unwrap_or_default();
    let named = |word: &str| {
        let (module, name) = word.rsplit_once("::").unwrap_or(("", word));
        let is_within = target == module || path.contains(module);
        is_within && own.starts_with(name.trim_end_matches('…'))
    };
    match target {
        "example" => cell.contains("example"),
        _ => cell.split('`').skip(1).step_by(2).any(named),
    }
}

#[test]
fn each_planted_bug_has_a_test_and_the_page_about_them_names_it() {
    let (tests, page) = (tests(), page());
    let mut wrong = Vec::new();
    for bug in bugs() {
        match (tests.get(&bug), page.get(&bug)) {
            (Some((target, path)), Some(cell)) if names(cell, target, path) => {}
            (test, cell) => wrong.push(format!("{bug}: {test:?} is not {cell:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_and_no_row_is_of_a_bug_that_is_not_there() {
    let bugs = bugs();
    let (tests, page) = (tests(), page());
    let strangers = tests
        .keys()
        .chain(page.keys())
        .filter(|bug| !bugs.contains(bug));
    assert_eq!(strangers.collect::<Vec<_>>(), Vec::<&String>::new());
}
