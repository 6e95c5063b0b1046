//! Files, folders and lines are small. (Functions: `clippy::too_many_lines`.)

use std::collections::{BTreeMap, BTreeSet};

use super::source::{all, report};

const FILE_LINES_MAX: usize = 500;
const LINE_LEN_MAX: usize = 100;
const FOLDER_ENTRIES_MAX: usize = 12;

/// Files that read better longer, with the reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Folders that are plain lists, with the reason.
const LONG_FOLDERS: &[(&str, &str)] = &[
    ("crates/dfs-cli/src/commands", "one file a verb"),
    ("crates/dfs-core/src/types", "one file a noun"),
];

#[test]
fn files_have_at_most_500_lines() {
    let found: Vec<_> = all()
        .iter()
        .filter(|s| s.is_production() && !LONG_FILES.iter().any(|(path, _)| *path == s.path))
        .map(|s| (s.production_lines().count(), &s.path))
        .filter(|(lines, _)| *lines > FILE_LINES_MAX)
        .map(|(lines, path)| format!("{path}: {lines} lines"))
        .collect();
    report(
        "split the file by idea, or list it in LONG_FILES with the reason",
        &found,
    );
}

#[test]
fn lines_have_at_most_100_columns() {
    let mut found = Vec::new();
    for source in all() {
        for (n, line) in source.text.lines().enumerate() {
            if line.chars().count() > LINE_LEN_MAX {
                found.push(format!("{}:{}", source.path, n + 1));
            }
        }
    }
    report("break the line", &found);
}

#[test]
fn folders_have_at_most_12_entries() {
    let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in all().iter().filter(|s| s.is_production()) {
        let parts: Vec<_> = source.path.split('/').collect();
        for depth in 3..parts.len() {
            let entry = parts[depth].trim_end_matches(".rs").to_owned();
            folders
                .entry(parts[..depth].join("/"))
                .or_default()
                .insert(entry);
        }
    }
    let found: Vec<_> = folders
        .iter()
        .filter(|(folder, entries)| {
            entries.len() > FOLDER_ENTRIES_MAX
                && !LONG_FOLDERS.iter().any(|(path, _)| path == folder)
        })
        .map(|(folder, entries)| format!("{folder}: {} entries", entries.len()))
        .collect();
    report(
        "group the folder by idea, or list it in LONG_FOLDERS with the reason",
        &found,
    );
}
