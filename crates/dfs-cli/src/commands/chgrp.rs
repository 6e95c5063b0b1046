//! `dfs chgrp`: groups.

use clap::Args;

use super::chown::{self, ChownArgs};
use crate::context::{ClusterArgs, Context};
use crate::error::{Failure, Result};
use crate::text::remote::RemotePath;

const EXAMPLES: &str = "\
Examples:
  dfs chgrp staff /shared
  dfs chgrp -R 100 /home/ann";

/// Set groups.
///
/// The cluster keeps numbers; names are those of its groups.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ChgrpArgs {
    /// Its name or number.
    #[arg(value_name = "GROUP")]
    group: String,

    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// All below as well.
    #[arg(long, short = 'R')]
    recursive: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: ChgrpArgs, context: &Context) -> Result<()> {
    let ChgrpArgs {
        group,
        paths,
        recursive,
        cluster,
    } = args;
    if group.is_empty() || group.contains(':') {
        return Err(Failure::usage(format!("`{group}` is no group")));
    }
    let args = ChownArgs {
        owner: format!(":{group}"),
        paths,
        recursive,
        cluster,
    };
    chown::run(args, context).await
}
