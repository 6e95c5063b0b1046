//! Panics, as logs tell of them. No process may panic, whatever happens to it.

use std::io::Result;
use std::path::Path;

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
pub(in crate::processes) fn in_logs(directory: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "log"));
    paths.sort();
    let mut violations = Vec::new();
    for path in paths {
        let log = std::fs::read(&path)?;
        let who = path.file_stem().unwrap_or_default().to_string_lossy();
        let panics = panics(&String::from_utf8_lossy(&log)).into_iter();
        violations.extend(panics.map(|panic| format!("P1: {who} panicked: {panic}")));
    }
    Ok(violations)
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
        let found = in_logs(directory.path()).unwrap();
        assert_eq!(found, [format!("P1: n1 panicked: {said}")]);
    }
}
