//! `dfs admin`: what is done now and then for the cluster as a whole.

mod backup;
mod restore;

use clap::{Args, Subcommand};

use crate::context::Context;
use crate::error::Result;

/// Write the metadata down, and make a master of what was written.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    Backup(backup::BackupArgs),
    Restore(restore::RestoreArgs),
}

/// Runs it.
pub(crate) async fn run(args: AdminArgs, context: &Context) -> Result<()> {
    match args.command {
        AdminCommand::Backup(args) => backup::run(args, context).await,
        AdminCommand::Restore(args) => restore::run(args, context).await,
    }
}
