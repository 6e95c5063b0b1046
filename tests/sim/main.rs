//! The simulation, one seed a process; see `docs/internals/simulation.md`.
#![allow(clippy::print_stdout, reason = "the result of a program")]
#![recursion_limit = "256"]

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use dfs_tests::sim;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run {
        seed: u64,
        #[arg(long, default_value_t = 40)]
        length: u64,
        #[arg(long)]
        log: Option<String>,
    },
}

fn main() -> ExitCode {
    let Command::Run { seed, length, log } = Args::parse().command;
    sim::listen(log.as_deref());
    let settings = sim::run::Settings {
        seed,
        length: Duration::from_secs(length),
        without: vec![],
        kinds: vec![],
    };
    let (outcome, _) = sim::run::run(&settings);
    println!("{}", serde_json::to_string(&outcome).unwrap_or_default());
    ExitCode::SUCCESS
}
