//! `dfs node`: the data nodes.

mod decide;

use clap::{Args, Subcommand};
use dfs_core::client::{Client, NodeInfo};
use dfs_core::types::NodeKey;
use dfs_core::types::node::EnrolledNode;
use serde::Serialize;

use self::decide::{DrainArgs, MaintenanceArgs, RemoveArgs, UndrainArgs};
use super::status::{NodeDocument, node_table, volume_table};
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::text::table::{Align, Table};
use crate::text::when::{date, exact};

/// See the data nodes, empty one, let one rest, remove one, have one read its replicas through, and
/// cut one off.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[command(subcommand)]
    command: NodeCommand,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    Ls(LsArgs),
    Drain(DrainArgs),
    Undrain(UndrainArgs),
    Maintenance(MaintenanceArgs),
    Remove(RemoveArgs),
    Revoke(RevokeArgs),
    Scrub(ScrubArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs node ls
  dfs node ls --volumes
  dfs node ls --all
  dfs node ls --json | jq '.entries[] | select(.liveness != \"live\")'";

/// List the data nodes: who is alive, and how much room there is. With `--all`, everybody who has
/// papers of the cluster.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// All that ever got papers instead, for administrators: masters, nodes that never registered
    /// and those that were revoked, with the join token that each has shown while that is good.
    #[arg(long)]
    all: bool,

    /// The directories of each data node instead: which are in use, and how much room there is.
    #[arg(long, conflicts_with_all = ["all", "json"])]
    volumes: bool,

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
    /// `dfs node ls --all` shows both.
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const SCRUB_EXAMPLES: &str = "\
Examples:
  dfs node scrub n3
  dfs node ls --json | jq '.entries[] | {node, scrub}'     how far it is

Every data node reads all of its replicas through within two weeks, or as `dfs-node data
--scrub-period` says. This is for a disk that is not trusted: the pass begins anew, and takes as
little time as `--scrub-mib` allows. What is found corrupt is repaired from other replicas.";

/// Have a data node read all of its replicas through, from now on and at full pace.
#[derive(Debug, Args)]
#[command(after_help = SCRUB_EXAMPLES)]
struct ScrubArgs {
    /// Which, by its id.
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: NodeArgs, context: &Context) -> Result<()> {
    match args.command {
        NodeCommand::Ls(args) => ls(args, context).await,
        NodeCommand::Drain(args) => decide::drain(args, context).await,
        NodeCommand::Undrain(args) => decide::undrain(args, context).await,
        NodeCommand::Maintenance(args) => decide::maintenance(args, context).await,
        NodeCommand::Remove(args) => decide::remove(args, context).await,
        NodeCommand::Revoke(args) => revoke(args, context).await,
        NodeCommand::Scrub(args) => scrub(args, context).await,
    }
}

/// The data node of that id or address.
///
/// # Errors
/// There is none.
pub(super) async fn named(client: &Client, name: &str) -> Result<NodeInfo> {
    let nodes = client.nodes().await.doing("list", "the data nodes")?;
    let named = |node: &NodeInfo| node.node.to_string() == name || node.address == name;
    let found = nodes.into_iter().find(named);
    found.ok_or_else(|| {
        let message = format!("no data node is called `{name}`");
        Failure::refused(message).hint("`dfs node ls` shows their ids and addresses")
    })
}

async fn scrub(args: ScrubArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let node = named(client, &args.node).await?;
    client
        .scrub_node(node.node)
        .await
        .doing("scrub", &args.node)
}

async fn ls(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    if args.all {
        return ls_all(client, args.json, context).await;
    }
    let nodes = client.nodes().await.doing("list", "the data nodes")?;
    if args.volumes {
        return context.output.lines(volume_table(&nodes).lines());
    }
    match args.json {
        true => {
            let entries: Vec<_> = nodes.iter().map(NodeDocument::new).collect();
            let document = serde_json::json!({ "entries": entries });
            context.output.json(&document)
        }
        false => context.output.lines(node_table(&nodes).lines()),
    }
}

async fn ls_all(client: &Client, json: bool, context: &Context) -> Result<()> {
    let nodes = client.enrolled_nodes().await;
    let nodes = nodes.doing("list", "the nodes with papers")?;
    if json {
        let entries: Vec<_> = nodes.iter().map(EnrolledDocument::new).collect();
        let document = serde_json::json!({ "entries": entries });
        return context.output.json(&document);
    }
    let mut table = Table::with_head([
        ("key", Align::Left),
        ("role", Align::Left),
        ("node", Align::Left),
        ("since", Align::Left),
        ("token", Align::Left),
        ("state", Align::Left),
    ]);
    for node in &nodes {
        let registered = node.registered.map(|id| id.to_string());
        let token = node.token.map(|id| id.to_string());
        table.row([
            node.key.to_string(),
            node.role.to_string(),
            registered.unwrap_or_default(),
            date(node.since),
            token.unwrap_or_default(),
            if node.revoked { "revoked" } else { "let in" }.to_owned(),
        ]);
    }
    context.output.lines(table.lines())
}

#[derive(Serialize)]
struct EnrolledDocument {
    key: String,
    role: String,
    node: Option<u32>,
    since: String,
    token: Option<u32>,
    revoked: bool,
}

impl EnrolledDocument {
    fn new(node: &EnrolledNode) -> EnrolledDocument {
        EnrolledDocument {
            key: node.key.to_string(),
            role: node.role.to_string(),
            node: node.registered.map(|id| id.0),
            since: exact(node.since),
            token: node.token.map(|id| id.0),
            revoked: node.revoked,
        }
    }
}

async fn revoke(args: RevokeArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let nodes = client.nodes().await.doing("list", "the data nodes")?;
    let named = nodes.iter().find(|node| node.node.to_string() == args.node);
    let key = match named {
        Some(node) => node.key,
        None => parse_key(&args.node).map_err(|why| {
            Failure::usage(why).hint("`dfs node ls --all` shows the keys of all nodes")
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
