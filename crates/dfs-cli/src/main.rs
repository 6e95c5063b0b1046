//! The command `dfs`: files in a cluster, and a cluster on this machine.
//!
//! One file a verb in [`commands`]; [`context`] finds the cluster, [`output`] is the only place
//! that prints, [`error`] decides messages and exit statuses, and this file is the only one that
//! ends the process.

mod args;
mod commands;
mod context;
mod error;
mod local;
mod output;
mod progress;
mod text;
mod transfer;
mod walk;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::error::{Doing, Exit, Failure, Result};

/// How long threads that still read or write may hold up the end.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    if let Some(task) = client_task() {
        return be_a_client(&task);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when the output is closed.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    let context = Context::new(cli.quiet);
    let result = run(cli.command, &context);
    if let Err(failure) = &result {
        context.output.failure(failure);
    }
    ExitCode::from(result.map_or_else(|failure| failure.exit(), |()| Exit::Done) as u8)
}

/// What `dfs chaos` gives its clients to do, which are this program too.
fn client_task() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    let is_client = arguments.next()? == commands::chaos::CLIENT;
    is_client.then(|| arguments.next().unwrap_or_default())
}

fn be_a_client(task: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let done = runtime.and_then(|runtime| runtime.block_on(commands::chaos::be_a_client(task)));
    match done.doing("be", "a client") {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            Context::new(false).output.failure(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command, context: &Context) -> Result<()> {
    let level = match command {
        // openraft warns of what happens whenever a cluster is founded.
        Command::Up(_) => "warn,openraft=error",
        _ => "off",
    };
    let filter = std::env::var("DFS_LOG").unwrap_or_else(|_| level.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .doing("start", "the runtime")?;
    let result = runtime.block_on(run_until_stopped(command, context));
    runtime.shutdown_timeout(STOP_TIMEOUT);
    result
}

/// Runs a command, or as much of it as fits before a signal; what it began is cleaned up.
async fn run_until_stopped(command: Command, context: &Context) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).doing("watch", "signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).doing("watch", "signals")?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let result = match command {
        Command::Up(up) => commands::up::run(up, context, stop).await,
        command => tokio::select! {
            result = command.run(context) => result,
            () = stop => Err(Failure::interrupted()),
        },
    };
    context.close().await;
    let flushed = context.output.flush();
    result.and(flushed)
}
