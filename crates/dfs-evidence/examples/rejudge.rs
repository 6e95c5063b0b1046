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
    #[cfg(feature = "porcupine")]
    found.extend(black_boxes(&history.events)?);
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

/// Names that are judged as a black box, of many.
#[cfg(feature = "porcupine")]
const NAMES_MAX: usize = 2_000;

/// What porcupine-rs says of the registers and of the first operations on names.
#[cfg(feature = "porcupine")]
fn black_boxes(events: &[dfs_evidence::history::Event]) -> Result<Vec<String>, String> {
    use dfs_evidence::checkers::certificate::is_of_names;
    use dfs_evidence::checkers::judge::{Judge, Names, Porcupine, Register, names, registers};
    use dfs_evidence::history::operations;
    use dfs_evidence::workloads;

    let (judge, begun) = (Porcupine::default(), Instant::now());
    let operations_of = |workload: &'static str| operations(events, move |op| is_of(workload, op));
    let mut found = Vec::new();
    for (key, calls) in registers(&operations_of("registers")?) {
        found.extend(judge.complaint(&format!("D1: porcupine: {key}"), &Register, &calls));
    }
    let mut of_names = operations_of("names")?;
    of_names.retain(|operation| is_of_names(operation.op));
    let calls = names(&of_names, NAMES_MAX);
    let start = Names(workloads::Names::start());
    found.extend(judge.complaint("M1: porcupine: names", &start, &calls));
    println!("porcupine: judged in {:.2?}", begun.elapsed());
    Ok(found)
}
