//! One word per thing (the words are in `docs/glossary.md`).

use super::source::{Source, all, pages, report};

/// Unmistakable synonyms, and what to say instead.
const WORDS: &[(&str, &str)] = &[
    ("chunkserver", "data node"),
    ("chunk_server", "data node"),
    ("ChunkServer", "data node"),
    ("namenode", "master"),
    ("NameNode", "master"),
    ("name_node", "master"),
    ("blk_", "chunk"),
    ("datanode_id", "node"),
    ("garbage_collect", "reclaim"),
    ("rebalanc", "balance"),
    ("decommission", "drain"),
    ("evacuat", "drain"),
    ("whitelist", "allow list"),
    ("blacklist", "deny list"),
    ("safe_mode", "confirmed"),
];

/// Names of files and folders that say nothing.
const EMPTY_NAMES: &[&str] = &["utils", "util", "common", "helpers", "helper", "misc"];

/// Marks of work that is not finished.
const MARKS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// All sources and pages but those that name words to say that they are not used.
fn texts() -> impl Iterator<Item = Source> {
    let names_them = |path: &str| path.starts_with("tests/tidy/") || path == "docs/glossary.md";
    let texts = all().into_iter().chain(pages());
    texts.filter(move |text| !names_them(&text.path))
}

#[test]
fn one_word_stands_for_one_thing() {
    let mut found = Vec::new();
    for source in texts() {
        for (n, line) in source.text.lines().enumerate() {
            for (word, say) in WORDS.iter().filter(|(word, _)| line.contains(word)) {
                found.push(format!("{}:{}: `{word}`, say: {say}", source.path, n + 1));
            }
        }
    }
    report("say it with our word", &found);
}

#[test]
fn files_and_folders_have_names_that_say_something() {
    let found: Vec<_> = all()
        .iter()
        .filter(|s| {
            s.path
                .trim_end_matches(".rs")
                .split('/')
                .any(|p| EMPTY_NAMES.contains(&p))
        })
        .map(|s| s.path.clone())
        .collect();
    report("name it after what it holds", &found);
}

#[test]
fn nothing_is_left_marked_as_unfinished() {
    let mut found = Vec::new();
    for source in texts() {
        for (n, line) in source.text.lines().enumerate() {
            if MARKS.iter().any(|mark| line.contains(mark)) || line.contains("#[ignore") {
                found.push(format!("{}:{}", source.path, n + 1));
            }
        }
    }
    report("finish it, or write down the limit", &found);
}
