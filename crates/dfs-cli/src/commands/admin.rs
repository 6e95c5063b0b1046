//! `dfs admin`: what is done now and then for the cluster as a whole.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::local::begin_private;
use crate::text::size::human;

/// Write the metadata down.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    command: AdminCommand,
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    Backup(BackupArgs),
}

const BACKUP_EXAMPLES: &str = "\
Examples:
  dfs admin backup metadata.dfs
  dfs-node restore --check --from metadata.dfs     whether it is whole

It has all names, attributes, users, rights and keys of the cluster as of one moment, and none of
the bytes in chunks: keep it as safe as a master's disk. `dfs-node restore` makes a master of it
where all masters were lost, to which data nodes come back with what they have. What was written
after the backup is lost then.";

/// Write all metadata down, while the cluster runs.
#[derive(Debug, Args)]
#[command(after_help = BACKUP_EXAMPLES)]
struct BackupArgs {
    /// A new local file, which only you can read.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: AdminArgs, context: &Context) -> Result<()> {
    match args.command {
        AdminCommand::Backup(args) => backup(args, context).await,
    }
}

async fn backup(args: BackupArgs, context: &Context) -> Result<()> {
    let shown = args.file.display();
    let part = begin_private(&args.file).doing("write", &shown)?;
    let client = context.client(&args.cluster).await?;
    let mut backup = client.backup();
    let mut written = 0;
    while let Some(piece) = backup.next().await.doing("back up", "the metadata")? {
        (&part.file).write_all(&piece).doing("write", &shown)?;
        written += piece.len() as u64;
    }
    part.publish_new().doing("write", &shown)?;
    context
        .output
        .note(format!("{} in {shown}", human(written)));
    Ok(())
}
