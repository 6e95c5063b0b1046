//! Planted bugs: what the simulation would find if it were there.

use super::What;
use super::many;

/// Plants a bug in this process.
#[cfg(feature = "planted")]
pub(crate) fn plant(name: &str) -> Result<(), String> {
    let bug = name
        .parse()
        .map_err(|unknown: dfs_core::planted::UnknownBug| unknown.to_string());
    dfs_core::planted::plant(bug?);
    Ok(())
}

#[cfg(feature = "planted")]
fn all() -> Vec<String> {
    let all = dfs_core::planted::Bug::ALL.iter();
    all.map(|bug| bug.name().to_owned()).collect()
}

/// There is none in this program.
#[cfg(not(feature = "planted"))]
pub(crate) fn plant(name: &str) -> Result<(), String> {
    Err(format!(
        "`{name}` cannot be planted: built without the feature `planted`"
    ))
}

#[cfg(not(feature = "planted"))]
fn all() -> Vec<String> {
    Vec::new()
}

/// Runs seeds with each bug until one fails, and prints a row of a table for each bug.
pub(crate) fn find(bugs: &[String], seeds: u64, jobs: usize, what: &What) -> bool {
    let bugs: Vec<String> = match bugs.is_empty() {
        true => all(),
        false => bugs.to_vec(),
    };
    let mut found = 0;
    for bug in &bugs {
        let mut what = what.clone();
        what.plant = Some(bug.clone());
        match first_failure(seeds, jobs, &what) {
            Some((seed, violation)) => {
                what.plant = None;
                // It must be the bug that fails.
                let without = many::run(seed, &what);
                if !without.is_ok_and(|outcome| outcome.violations.is_empty()) {
                    println!("| `{bug}` | {seed} fails without it, too | |");
                    continue;
                }
                found += 1;
                println!("| `{bug}` | {seed} | {} |", short(&violation));
            }
            None => println!("| `{bug}` | not in {seeds} | |"),
        }
    }
    println!("{found} of {} found", bugs.len());
    found == bugs.len()
}

/// The first seed from 1 that fails, and how.
fn first_failure(seeds: u64, jobs: usize, what: &What) -> Option<(u64, String)> {
    let jobs = jobs.max(1) as u64;
    let mut next = 1;
    while next <= seeds {
        let together = next..(next + jobs).min(seeds + 1);
        let runs = std::thread::scope(|scope| {
            let runs = together.clone().map(|seed| {
                let running = scope.spawn(move || many::run(seed, what));
                (seed, running)
            });
            let runs: Vec<_> = runs.collect();
            let ended = runs
                .into_iter()
                .map(|(seed, running)| (seed, running.join()));
            ended.collect::<Vec<_>>()
        });
        for (seed, run) in runs {
            let wrong = match run {
                Ok(Ok(outcome)) => outcome.violations.into_iter().next(),
                Ok(Err(died)) => Some(format!("died: {died}")),
                Err(_) => Some("died".to_owned()),
            };
            if let Some(wrong) = wrong {
                return Some((seed, wrong));
            }
        }
        next = together.end;
    }
    None
}

/// The beginning of a sentence, fit for a table.
fn short(text: &str) -> String {
    let text = text.replace('|', "/").replace('\n', " ");
    text.chars().take(120).collect()
}
