//! `dfs node`: the data nodes.

use clap::{Args, Subcommand};

use super::status::{NodeDocument, node_table};
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};

/// See the data nodes.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    Ls(LsArgs),
}

const EXAMPLES: &str = "\
Examples:
  dfs node ls
  dfs node ls --json | jq '.entries[] | select(.liveness != \"live\")'";

/// List the data nodes: who is alive, and how much room there is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct LsArgs {
    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: NodeArgs, context: &Context) -> Result<()> {
    let NodeCommand::Ls(args) = args.command;
    let client = context.client(&args.cluster).await?;
    let nodes = client.nodes().await.doing("list", "the data nodes")?;
    match args.json {
        true => {
            let entries: Vec<_> = nodes.iter().map(NodeDocument::new).collect();
            let document = serde_json::json!({ "entries": entries });
            context.output.json(&document)
        }
        false => context.output.lines(node_table(&nodes).lines()),
    }
}
