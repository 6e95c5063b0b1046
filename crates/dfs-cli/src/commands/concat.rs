//! `dfs concat`: files become one.

use clap::Args;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::remote::RemotePath;

const EXAMPLES: &str = "\
Examples:
  dfs concat /log /log.1 /log.2    /log has the bytes of all three, and is the only one left";

/// Append whole files to another, at once and without copying bytes; the others are gone.
///
/// All is done or nothing. The files that are appended do not go to the trash: nothing of them is
/// lost. Each must have no other name, and be kept in as many copies as the first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConcatArgs {
    /// The file that grows.
    #[arg(value_name = "TO")]
    target: RemotePath,

    /// The files that become part of it, in order; at most 64.
    #[arg(required = true, value_name = "FROM")]
    sources: Vec<RemotePath>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: ConcatArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let sources = args.sources.iter().map(|source| &source.path);
    let done = client.concat(&args.target.path, sources).await;
    done.map(drop).doing("concatenate", &args.target)
}
