//! Measures what a durable commit of a log costs, in a directory given as the first argument (or
//! a temporary one): in redb, in a file that was written before, and in a file that grows.
#![allow(clippy::print_stdout, reason = "it prints what it measured")]
#![allow(
    clippy::disallowed_methods,
    reason = "it measures the machine, not this crate"
)]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use redb::{Database, TableDefinition};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const ENTRY: [u8; 300] = [7; 300];
const COMMITS: u64 = 1000;

/// How long each of the commits took.
fn timed(mut commit: impl FnMut(u64) -> Result<()>) -> Result<Vec<Duration>> {
    let commits = (0..COMMITS).map(|number| {
        let begun = Instant::now();
        commit(number)?;
        Ok(begun.elapsed())
    });
    commits.collect()
}

fn in_redb(path: &Path) -> Result<Vec<Duration>> {
    let database = Database::create(path)?;
    timed(|number| {
        let txn = database.begin_write()?;
        txn.open_table(ENTRIES)?.insert(number, ENTRY.as_slice())?;
        Ok(txn.commit()?)
    })
}

fn in_a_file(path: &Path, prepared: usize) -> Result<Vec<Duration>> {
    let file = File::create(path)?;
    file.write_all_at(&vec![0; prepared], 0)?;
    file.sync_all()?;
    timed(|number| {
        file.write_all_at(&ENTRY, number * ENTRY.len() as u64)?;
        Ok(file.sync_data()?)
    })
}

fn in_a_prepared_file(path: &Path) -> Result<Vec<Duration>> {
    in_a_file(path, COMMITS as usize * ENTRY.len())
}

fn in_a_growing_file(path: &Path) -> Result<Vec<Duration>> {
    in_a_file(path, 0)
}

type Engine = fn(&Path) -> Result<Vec<Duration>>;

fn main() -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.unwrap_or_else(|| temporary.path().to_owned());
    let engines: [(&str, Engine); 3] = [
        ("redb", in_redb),
        ("prepared file", in_a_prepared_file),
        ("growing file", in_a_growing_file),
    ];
    for at_once in [1, 3] {
        for (name, engine) in engines {
            let paths = (0..at_once).map(|n| directory.join(format!("{name} {at_once}-{n}")));
            let threads = paths.map(|path| std::thread::spawn(move || engine(&path)));
            let mut all = Vec::new();
            for thread in threads.collect::<Vec<_>>() {
                all.extend(thread.join().map_err(|_| "a thread panicked")??);
            }
            all.sort_unstable();
            let p50 = all.get(all.len() / 2).copied().unwrap_or_default();
            println!("{name:13}  {at_once} at once  p50 {:5} us", p50.as_micros());
        }
    }
    Ok(())
}
