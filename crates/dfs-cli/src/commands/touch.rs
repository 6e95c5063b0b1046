//! `dfs touch`: empty files, and times.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::error::ErrorKind;
use dfs_core::types::Timestamp;
use dfs_core::types::attr::SetTime;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::Tally;
use crate::text::remote::RemotePath;
use crate::text::when::parse_time;

const EXAMPLES: &str = "\
Examples:
  dfs touch /done
  dfs touch --time 2026-07-01T12:00:00Z /a.txt
  dfs touch -c /a.txt              only if it exists";

/// Set times to now, and make files that are missing.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TouchArgs {
    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// Make nothing.
    #[arg(long, short = 'c')]
    no_create: bool,

    /// This time instead of now: `2026-07-01T12:00:00Z`, `2026-07-01`, `@SECONDS`; UTC.
    #[arg(long, short, value_name = "TIME", value_parser = parse_time)]
    time: Option<Timestamp>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: TouchArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    for path in &args.paths {
        tally.take(one(&args, client, path).await)?;
    }
    tally.finish()
}

async fn one(args: &TouchArgs, client: &Client, path: &RemotePath) -> Result<()> {
    let time = args.time.map_or(SetTime::Now, SetTime::At);
    let set = client.set_times(&path.path, Some(time), Some(time));
    match set.await {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        set => return set.map(drop).doing("touch", path),
    }
    if args.no_create {
        return Ok(());
    }
    let made = client.create_file(&path.path, false).await;
    made.doing("touch", path)?;
    if args.time.is_some() {
        let set = client.set_times(&path.path, Some(time), Some(time));
        set.await.doing("touch", path)?;
    }
    Ok(())
}
