//! What logs tell: panics, which no process may have whatever happens to it, and what a run met.

use std::io::Result;
use std::path::{Path, PathBuf};

/// What a data node says when it has made a member of a stripe.
pub(in crate::processes) const REBUILT: &str = "a member of a stripe was made from others";
/// What it says when it has rewritten something.
pub(in crate::processes) const REWRITTEN: &str = "bytes were written anew";

/// Each panic in a log: where it was, and what it said.
pub(in crate::processes) fn panics(log: &str) -> Vec<String> {
    let lines: Vec<&str> = log.lines().collect();
    let pairs = lines.iter().zip(lines.iter().skip(1).chain([&""]));
    let tells = |line: &str| line.starts_with("thread '") && line.contains(" panicked at ");
    let panics = pairs.filter(|(line, _)| tells(line));
    panics
        .map(|(line, next)| format!("{line} {next}"))
        .collect()
}

/// A violation for each panic in any of the logs in a directory.
pub(in crate::processes) fn panics_in(directory: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for path in logs_in(directory)? {
        let log = std::fs::read(&path)?;
        let who = path.file_stem().unwrap_or_default().to_string_lossy();
        let panics = panics(&String::from_utf8_lossy(&log)).into_iter();
        violations.extend(panics.map(|panic| format!("P1: {who} panicked: {panic}")));
    }
    Ok(violations)
}

/// How often the logs in a directory say something.
pub(in crate::processes) fn count(directory: &Path, what: &str) -> Result<u64> {
    let mut count = 0;
    for path in logs_in(directory)? {
        let log = std::fs::read(&path)?;
        let log = String::from_utf8_lossy(&log);
        count += log.lines().filter(|line| line.contains(what)).count() as u64;
    }
    Ok(count)
}

fn logs_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "log"));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_what_it_said_and_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let log = "INFO: nothing panicked at all\n\
                   thread 'tokio-rt-worker' (12) panicked at src/a.rs:3:5:\n\
                   no such place\n\
                   note: run with `RUST_BACKTRACE=1`\n";
        std::fs::write(directory.path().join("n1.log"), log).unwrap();
        std::fs::write(directory.path().join("n2.log"), "INFO: all is well\n").unwrap();
        std::fs::write(directory.path().join("n3.trace"), log).unwrap();
        let said = "thread 'tokio-rt-worker' (12) panicked at src/a.rs:3:5: no such place";
        let found = panics_in(directory.path()).unwrap();
        assert_eq!(found, [format!("P1: n1 panicked: {said}")]);
        assert_eq!(count(directory.path(), "all is well").unwrap(), 1);
        assert_eq!(count(directory.path(), "no such place").unwrap(), 1);
        assert_eq!(count(directory.path(), REBUILT).unwrap(), 0);
    }

    #[test]
    fn what_is_counted_is_what_data_nodes_say() {
        let tasks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dfs-core/src/datanode/tasks");
        for (file, says) in [("rebuild.rs", REBUILT), ("rewrite.rs", REWRITTEN)] {
            let source = std::fs::read_to_string(tasks.join(file)).unwrap();
            assert!(source.contains(&format!("\"{says}\"")), "{file}");
        }
    }
}
