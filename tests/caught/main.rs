//! Proves of each planted bug that the test which is to find it fails with it, and passes without.
//!
//! ```console
//! $ just caught
//! $ just caught stale-read leader-restore
//! ```
//!
//! `tests.txt` says which test that is. The programs are built once, as for all tests of the
//! workspace; then each test runs in a process of its own, with the name of the bug in its
//! environment.

#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for one at a terminal, which runs others and waits for them"
)]

mod programs;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use programs::{Ended, Programs, Result};

/// The test of each bug.
const TESTS: &str = include_str!("tests.txt");

/// A bug and the test that finds it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    bug: &'static str,
    test: Test,
}

/// A test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    package: &'static str,
    /// `lib`, `example`, or the name of a test program.
    target: &'static str,
    /// Its path within the program.
    path: &'static str,
}

fn main() -> Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("catch") {
        println!("`just caught` runs the test of each planted bug with that bug");
        return Ok(ExitCode::SUCCESS);
    }
    let entries = chosen(&arguments.collect::<Vec<_>>())?;
    let programs = Programs::build(entries.iter().map(|entry| entry.test))?;
    let mut without: BTreeMap<Test, Ended> = BTreeMap::new();
    let mut missed = 0;
    for Entry { bug, test } in entries {
        if let std::collections::btree_map::Entry::Vacant(place) = without.entry(test) {
            place.insert(programs.run(test, None)?);
        }
        let began = Instant::now();
        let with = programs.run(test, Some(bug))?;
        let verdict = match (without.get(&test), with) {
            (Some(Ended::Passed), Ended::Failed) => "caught",
            (Some(Ended::Passed), Ended::Late) => "caught: never ends",
            (Some(Ended::Passed), _) => "MISSED",
            _ => "FAILS WITHOUT",
        };
        missed += usize::from(!verdict.starts_with("caught"));
        let took = tenths(began.elapsed());
        println!("{bug:32} {verdict:18} {took:>6.1} s  {}", test.path);
    }
    println!("{}", summary(missed));
    Ok(ExitCode::from(u8::from(missed > 0)))
}

fn tenths(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

fn summary(missed: usize) -> String {
    match missed {
        0 => "every bug is caught".to_owned(),
        n => format!("{n} not caught"),
    }
}

/// The bugs that are named, or all.
fn chosen(names: &[String]) -> Result<Vec<Entry>> {
    let entries = entries()?;
    let is_known = |name: &&String| entries.iter().any(|entry| entry.bug == name.as_str());
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        return Err(format!("there is no bug `{unknown}`").into());
    }
    let wanted = |entry: &Entry| names.is_empty() || names.iter().any(|name| name == entry.bug);
    Ok(entries.into_iter().filter(wanted).collect())
}

fn entries() -> Result<Vec<Entry>> {
    let lines = TESTS.lines();
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(entry).collect()
}

fn entry(line: &'static str) -> Result<Entry> {
    let words: Vec<_> = line.split_whitespace().collect();
    let [bug, package, target, path] = words.as_slice() else {
        return Err(format!("not a bug, a package, a target and a test: `{line}`").into());
    };
    let test = Test {
        package,
        target,
        path,
    };
    Ok(Entry { bug, test })
}
