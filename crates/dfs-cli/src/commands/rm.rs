//! `dfs rm`: removing.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::error::ErrorKind;
use dfs_core::types::TrashId;
use dfs_core::types::change::Removal;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::output::Tally;
use crate::text::remote::RemotePath;

const EXAMPLES: &str = "\
Examples:
  dfs rm /a.txt                  into the trash: `dfs trash restore` brings it back
  dfs rm -r /old                 a directory with all below it
  dfs rm -r --skip-trash /huge   for good, to free its room soon";

/// Remove files and directories.
///
/// What is removed stays in the trash as long as the policy of its directory says, and takes up
/// room until then.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RmArgs {
    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// Remove directories with all below them.
    #[arg(long, short)]
    recursive: bool,

    /// What does not exist is fine.
    #[arg(long, short)]
    force: bool,

    /// Remove for good, at once.
    #[arg(long)]
    skip_trash: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: RmArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    let mut kept = Vec::new();
    for path in &args.paths {
        let removed = one(&args, client, path).await;
        kept.extend(tally.take(removed)?.flatten());
    }
    match kept.as_slice() {
        [] => {}
        [id] => context.output.note(format_args!(
            "in the trash; `dfs trash restore {id}` brings it back"
        )),
        ids => context.output.note(format_args!(
            "{} things are in the trash; `dfs trash ls` shows them",
            ids.len()
        )),
    }
    tally.finish()
}

async fn one(args: &RmArgs, client: &Client, path: &RemotePath) -> Result<Option<TrashId>> {
    if path.path.names().is_empty() {
        return Err(Failure::refused(
            "cannot remove `/`: it is the root directory",
        ));
    }
    let what = match args.recursive {
        true => Removal::Tree,
        false => Removal::File,
    };
    match client.remove(&path.path, what, args.skip_trash).await {
        Err(error) if args.force && error.kind() == ErrorKind::NotFound => Ok(None),
        removed => removed.doing("remove", path),
    }
}
