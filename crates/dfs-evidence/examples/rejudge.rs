//! Judges a history that was written down, again:
//! `cargo run --release -p dfs-evidence --example rejudge FILE`. With `--features porcupine` a
//! judge that others made has its say, too.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use dfs_evidence::checkers::of_all;
use dfs_evidence::history::read;
use dfs_evidence::workloads::{self, is_of};
use tokio::time::Instant;

fn main() -> Result<(), String> {
    let file = std::env::args().nth(1).ok_or("which file?")?;
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let history = read(&text)?;
    let mut found = of_all(&history.events);
    for workload in workloads::all() {
        let mut ops = history.events.iter().map(|event| &event.op);
        if !ops.any(|op| is_of(workload.name(), op)) {
            continue;
        }
        let begun = Instant::now();
        let complaints = workload.check(&history.events);
        println!("{}: judged in {:.2?}", workload.name(), begun.elapsed());
        found.extend(complaints);
    }
    for complaint in &found {
        println!("{complaint}");
    }
    println!(
        "{} events, {} complaints",
        history.events.len(),
        found.len()
    );
    Ok(())
}
