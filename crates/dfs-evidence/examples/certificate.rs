//! How long the judge of certificates takes for a million operations:
//! `cargo run --release -p dfs-evidence --example certificate [operations]`.
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use dfs_evidence::checkers::certificate;
use dfs_evidence::checkers::rehearsal::Rehearsal;
use dfs_evidence::history::operations;
use dfs_evidence::model::Namespace;
use tokio::time::Instant;

fn main() -> Result<(), String> {
    let given = std::env::args().nth(1).map(|text| text.parse());
    let number = given.transpose().map_err(|e| format!("{e}"))?;
    for (unanswered, names) in [(0, 5), (0, 1000), (1, 1000)] {
        let rehearsal = Rehearsal {
            operations: number.unwrap_or(1_000_000),
            clients: 10,
            names,
            unanswered,
            ..Rehearsal::default()
        };
        let history = rehearsal.history();
        let begun = Instant::now();
        let operations = operations(&history, certificate::is_of_names)?;
        let verdict = certificate::check(&Namespace::new(), &operations);
        println!(
            "{} operations, {names} names in each directory, {} without an answer: \
             {} complaints in {:.2?}",
            operations.len(),
            verdict.unanswered,
            verdict.complaints("M1").len(),
            begun.elapsed()
        );
    }
    Ok(())
}
