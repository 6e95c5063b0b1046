//! `dfs cat`: files to standard output.

use clap::Args;

use crate::context::{ClusterArgs, Context};
use crate::error::Result;
use crate::output::Tally;
use crate::progress::Progress;
use crate::text::remote::RemotePath;
use crate::transfer::download::to_stdout;

const EXAMPLES: &str = "\
Examples:
  dfs cat /notes.txt
  dfs cat /log/1 /log/2 | grep error";

/// Write files to standard output.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CatArgs {
    /// Files of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: CatArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    let progress = Progress::hidden();
    for path in &args.paths {
        tally.take(to_stdout(client, &path.path, &progress).await)?;
    }
    tally.finish()
}
