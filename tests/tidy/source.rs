//! The source files of the workspace, and its pages.

use std::fs;
use std::path::{Path, PathBuf};

/// One file.
pub(super) struct Source {
    /// From the root of the workspace, with `/`.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
}

impl Source {
    /// Its lines without the test modules at its end.
    pub(super) fn production_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self
            .text
            .find("#[cfg(test)]\nmod ")
            .unwrap_or(self.text.len());
        self.text
            .get(..tests)
            .unwrap_or_default()
            .lines()
            .enumerate()
            .map(|(n, l)| (n + 1, l))
    }

    /// Whether it is of a crate, and not a test of it.
    pub(super) fn is_production(&self) -> bool {
        self.path.starts_with("crates/")
            && self.path.contains("/src/")
            && !self.path.ends_with("/tests.rs")
            && !self.path.contains("/tests/")
    }
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_owned)
        .unwrap_or_default()
}

/// Every Rust file of the workspace, sorted.
pub(super) fn all() -> Vec<Source> {
    let sources = read(&["crates", "tests"], "rs");
    assert!(sources.len() > 20, "the source tree was not found");
    sources
}

/// Every page of the documents, sorted.
pub(super) fn pages() -> Vec<Source> {
    let tops = [
        "docs",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "README.md",
    ];
    let pages = read(&tops, "md");
    assert!(pages.len() > 10, "the documents were not found");
    pages
}

fn read(tops: &[&str], extension: &str) -> Vec<Source> {
    let root = root();
    let mut paths = Vec::new();
    for top in tops {
        collect(root.join(top), extension, &mut paths);
    }
    paths.sort();
    let source = |path: &PathBuf| {
        let inside = path.strip_prefix(&root).unwrap();
        Source {
            path: inside.to_string_lossy().replace('\\', "/"),
            text: fs::read_to_string(path).unwrap(),
        }
    };
    paths.iter().map(source).collect()
}

fn collect(path: PathBuf, extension: &str, paths: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(entry.unwrap().path(), extension, paths);
        }
    } else if path.extension().is_some_and(|e| e == extension) {
        paths.push(path);
    }
}

/// Fails with all that was found, if anything was.
pub(super) fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}
