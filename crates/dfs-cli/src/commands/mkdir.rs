//! `dfs mkdir`: directories.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::{DfsPath, FileKind, Mode};

use super::policy::PolicyFlags;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::Tally;
use crate::text::mode::ModeChange;
use crate::text::remote::RemotePath;

const EXAMPLES: &str = "\
Examples:
  dfs mkdir /photos
  dfs mkdir -p /a/b/c             with those above it
  dfs mkdir --replicas 2 /cache   how new files in it are kept";

/// Make directories.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MkdirArgs {
    /// Directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// Make missing ones above as well; one that exists is fine.
    #[arg(long, short)]
    parents: bool,

    /// Permissions, as for chmod.
    #[arg(long, short, value_name = "MODE")]
    mode: Option<ModeChange>,

    #[command(flatten)]
    policy: PolicyFlags,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: MkdirArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    for path in &args.paths {
        tally.take(one(&args, client, &path.path).await)?;
    }
    tally.finish()
}

async fn one(args: &MkdirArgs, client: &Client, path: &DfsPath) -> Result<()> {
    let mut attr = client.config().identity.directory();
    if let Some(change) = &args.mode {
        attr.mode = change.apply_to(attr.mode, FileKind::Directory);
        attr.umask = Mode::new(0);
    }
    let made = client.create_dir_with(path, attr, args.parents).await;
    made.doing("make directory", path)?;
    if let Some(change) = args.policy.change() {
        let set = client.set_policy(path, change).await;
        set.doing("set the policy of", path)?;
    }
    Ok(())
}
