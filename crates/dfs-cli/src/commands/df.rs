//! `dfs df`: how much room there is.

use clap::Args;
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::size::human;
use crate::text::table::{Align, Table};

const EXAMPLES: &str = "\
Examples:
  dfs df
  dfs df --json | jq .available";

/// Show how much room there is.
///
/// Room is counted on the data nodes: a file takes as many times its size as it has replicas.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DfArgs {
    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    total: u64,
    used: u64,
    available: u64,
    inodes: u64,
    chunks: u64,
    chunk_bytes: u64,
}

/// Runs it.
pub(crate) async fn run(args: DfArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let stat = client.statfs().await.doing("look at", "the cluster")?;
    if args.json {
        return context.output.json(&Document {
            total: stat.space.total,
            used: stat.space.used,
            available: stat.space.available,
            inodes: stat.inodes,
            chunks: stat.chunks,
            chunk_bytes: stat.chunk_bytes,
        });
    }
    let mut table = Table::new([Align::Left, Align::Right]);
    table.row(["room on the data nodes", &human(stat.space.total)]);
    table.row(["used by replicas", &human(stat.space.used)]);
    table.row(["available to replicas", &human(stat.space.available)]);
    table.row([
        "bytes of chunks, each counted once",
        &human(stat.chunk_bytes),
    ]);
    table.row(["chunks", &stat.chunks.to_string()]);
    table.row(["inodes", &stat.inodes.to_string()]);
    context.output.lines(table.lines())
}
