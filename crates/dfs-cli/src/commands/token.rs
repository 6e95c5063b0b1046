//! `dfs token`: join tokens, with which machines become nodes.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use dfs_core::client::TokenRequest;
use dfs_core::types::node::{TokenId, TokenInfo};
use dfs_core::types::{NodeKey, NodeRole};
use serde::Serialize;

use super::node::parse_key;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::local;
use crate::text::owner::Names;
use crate::text::size::count;
use crate::text::table::{Align, Table};
use crate::text::when::{date, duration, exact, parse_duration};

/// Make, see and revoke join tokens, with which machines become nodes of the cluster.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    Create(CreateArgs),
    Ls(LsArgs),
    Revoke(RevokeArgs),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  dfs token create --role data
  dfs token create --role data --uses 16 --ttl 1day --label 'rack 7'
  dfs token create --role master --out masters.token
  dfs token create --role data --node 00c0ffee00c0ffee00c0ffee00c0ffee

The token is printed on standard output, this once: whoever has it becomes a node. Pass it on in
private, in a file, to `dfs-node data --new --join-file FILE` or
`dfs-node master --join-file FILE`.";

/// Make a join token, and show it this once.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    /// What one becomes with it: `master`, `data`, `gateway`.
    #[arg(long, value_name = "ROLE")]
    role: NodeRole,

    /// How long it is good for, at most 30 days.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    ttl: Duration,

    /// How many nodes it is good for.
    #[arg(long, value_name = "N", default_value_t = 1)]
    uses: u32,

    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    /// A node that lost its papers and gets new ones with it, by its key.
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    node: Option<NodeKey>,

    /// A new file to write it to, for its owner alone, instead of showing it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs token ls
  dfs token ls --json | jq '.entries[] | select(.role == \"master\")'";

/// List the join tokens that are good. The tokens themselves are known to nobody but who has them.
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
  dfs token revoke j3

Who has joined with it stays a node, and `dfs node revoke` cuts it off. See first with
`dfs node ls --all` who that is: a token that is not good any more is not told there.";

/// Make join tokens void.
#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct RevokeArgs {
    /// Which, as `dfs token ls` shows it.
    #[arg(value_name = "ID", value_parser = parse_id)]
    id: TokenId,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct TokenDocument {
    id: u32,
    role: String,
    node: Option<String>,
    uses: u32,
    expires: String,
    label: String,
    by: String,
    created: String,
}

/// Runs it.
pub(crate) async fn run(args: TokenArgs, context: &Context) -> Result<()> {
    match args.command {
        TokenCommand::Create(args) => create(args, context).await,
        TokenCommand::Ls(args) => ls(args, context).await,
        TokenCommand::Revoke(args) => revoke(args, context).await,
    }
}

async fn create(args: CreateArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let request = TokenRequest {
        role: args.role,
        node: args.node,
        uses: args.uses,
        ttl: args.ttl,
        label: args.label.unwrap_or_default(),
    };
    // Before there is a token, which would be lost.
    let begin = |path: &PathBuf| local::begin_private(path).doing("make", path.display());
    let out = args.out.as_ref().map(begin).transpose()?;
    let made = client.create_token(request).await;
    let (id, token) = made.doing("make a token for role", args.role)?;
    let text = token.reveal();
    let text = text.map_err(|error| Failure::refused(format!("cannot show {id}: {error}")))?;
    context.output.note(format_args!(
        "{id}: role `{}`, for {}, good for {}; keep it in private, it is not shown again",
        args.role,
        count(args.uses.into(), "node", "nodes"),
        duration(args.ttl)
    ));
    match out {
        Some(part) => {
            let written = writeln!(&part.file, "{}", *text).and_then(|()| part.publish_new());
            let void = format!("`dfs token revoke {id}` makes it void");
            written
                .doing("write", "the token")
                .map_err(|failure| failure.hint(void))
        }
        None => context.output.line(&*text),
    }
}

async fn ls(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tokens = client.tokens().await.doing("list", "the join tokens")?;
    let names = Names::of_cluster(client).await?;
    if args.json {
        let entries: Vec<_> = tokens.iter().map(|token| document(token, &names)).collect();
        let document = serde_json::json!({ "entries": entries });
        return context.output.json(&document);
    }
    let mut table = Table::with_head([
        ("id", Align::Left),
        ("role", Align::Left),
        ("uses", Align::Right),
        ("expires", Align::Left),
        ("by", Align::Left),
        ("label", Align::Left),
    ]);
    for token in &tokens {
        let label = match token.node {
            Some(node) => format!("{} (node {node})", token.label),
            None => token.label.clone(),
        };
        table.row([
            token.id.to_string(),
            token.role.to_string(),
            token.uses.to_string(),
            date(token.expires),
            names.user(token.by),
            context.output.name(&label).into_owned(),
        ]);
    }
    context.output.lines(table.lines())
}

fn document(token: &TokenInfo, names: &Names) -> TokenDocument {
    TokenDocument {
        id: token.id.0,
        role: token.role.to_string(),
        node: token.node.map(|node| node.to_string()),
        uses: token.uses,
        expires: exact(token.expires),
        label: token.label.clone(),
        by: names.user(token.by),
        created: exact(token.created),
    }
}

async fn revoke(args: RevokeArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let revoked = client.revoke_token(args.id).await;
    revoked.doing("revoke token", args.id)
}

/// `j3`, or the number alone.
fn parse_id(text: &str) -> std::result::Result<TokenId, String> {
    let number = text.strip_prefix('j').unwrap_or(text);
    let id = number.parse().map(TokenId);
    id.map_err(|_| format!("{text:?} is no token's id; `dfs token ls` shows them, like j3"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_named_as_it_is_shown() {
        assert_eq!(parse_id("j3"), Ok(TokenId(3)));
        assert_eq!(parse_id(&TokenId(7).to_string()), Ok(TokenId(7)));
        for text in ["", "j", "t3", "dfsjoin1-00"] {
            assert!(parse_id(text).is_err(), "{text}");
        }
    }
}
