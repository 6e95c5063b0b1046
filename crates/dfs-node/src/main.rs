//! The daemon: a master or a data node, run until it is told to stop.

mod args;
mod data;
mod discover;
mod failure;
mod limits;
mod master;
mod profile;
mod rescue;
mod run;
mod security;
mod settings;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match run::run(args::Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
