//! `dfs admin backup`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::local::begin_private;
use crate::text::size::human;

const EXAMPLES: &str = "\
Examples:
  dfs admin backup metadata.dfs
  dfs admin restore --check metadata.dfs     whether it is whole

It has all names, attributes, users, rights and keys of the cluster as of one moment, and none of
the bytes in chunks: keep it as safe as a master's disk. `dfs admin restore` makes a master of it
where all masters were lost, to which data nodes come back with what they have. What was written
after the backup is lost then.";

/// Write all metadata down, while the cluster runs.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct BackupArgs {
    /// A new local file, which only you can read.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(super) async fn run(args: BackupArgs, context: &Context) -> Result<()> {
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
