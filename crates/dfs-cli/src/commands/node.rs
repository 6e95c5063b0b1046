//! `dfs node`: the data nodes.

use clap::{Args, Subcommand};
use dfs_core::types::NodeKey;

use super::status::{NodeDocument, node_table};
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};

/// See the data nodes, and cut a node off.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    Ls(LsArgs),
    Revoke(RevokeArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs node ls
  dfs node ls --json | jq '.entries[] | select(.liveness != \"live\")'";

/// List the data nodes: who is alive, and how much room there is.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const REVOKE_EXAMPLES: &str = "\
Examples:
  dfs node revoke n3
  dfs node revoke 00c0ffee00c0ffee00c0ffee00c0ffee     a master, or one that never registered

It is cut off and its papers are refused, for good: its directory is of no use any more. What it
held is repaired from other replicas. Take a master out of the group first, with `dfs master rm`.";

/// Make a node one no more: a machine that was stolen, or is not trusted.
#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArgs {
    /// Which, by its id or the key that its directory is stamped with, 32 hexadecimal digits;
    /// `dfs node ls --json` shows both.
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: NodeArgs, context: &Context) -> Result<()> {
    match args.command {
        NodeCommand::Ls(args) => ls(args, context).await,
        NodeCommand::Revoke(args) => revoke(args, context).await,
    }
}

async fn ls(args: LsArgs, context: &Context) -> Result<()> {
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

async fn revoke(args: RevokeArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let nodes = client.nodes().await.doing("list", "the data nodes")?;
    let named = nodes.iter().find(|node| node.node.to_string() == args.node);
    let key = match named {
        Some(node) => node.key,
        None => parse_key(&args.node).map_err(|why| {
            Failure::usage(why).hint("`dfs node ls --json` shows the keys of data nodes")
        })?,
    };
    let revoked = client.revoke_node(key).await;
    revoked.doing("revoke node", &args.node)
}

/// The key of a node. Shorter ones are refused: they are mistyped.
///
/// # Errors
/// Says what a key looks like.
pub(crate) fn parse_key(text: &str) -> std::result::Result<NodeKey, String> {
    let bad = || format!("{text:?} is no key of a node: 32 of 0-9 a-f");
    let fits = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match (fits, text.parse()) {
        (true, Ok(key)) => Ok(key),
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_typed_in_full() {
        let key = NodeKey(0x00c0_ffee);
        assert_eq!(parse_key(&key.to_string()), Ok(key));
        for text in ["", "c0ffee", "+0000000000000000000000000c0ffee", "n3"] {
            assert!(parse_key(text).is_err(), "{text}");
        }
    }
}
