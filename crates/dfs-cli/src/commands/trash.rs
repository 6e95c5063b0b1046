//! `dfs trash`: what was removed and can be brought back.

use clap::{Args, Subcommand};
use dfs_core::types::TrashId;
use dfs_core::types::query::TrashItem;
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::output::Tally;
use crate::text::mode::kind_name;
use crate::text::remote::RemotePath;
use crate::text::table::{Align, Table};
use crate::text::when::{date, exact};

/// See what was removed, bring it back, or remove it for good.
#[derive(Debug, Args)]
pub(crate) struct TrashArgs {
    #[command(subcommand)]
    command: TrashCommand,
}

#[derive(Debug, Subcommand)]
enum TrashCommand {
    Ls(LsArgs),
    Restore(RestoreArgs),
    Drop(DropArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs trash ls
  dfs trash ls --json | jq .entries[].path";

/// List what the trash holds, oldest first.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RESTORE_EXAMPLES: &str = "\
Examples:
  dfs trash restore t7
  dfs trash restore t7 --to /elsewhere";

/// Bring something back.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
struct RestoreArgs {
    /// What, as `dfs trash ls` shows it.
    #[arg(required = true, value_name = "ID", value_parser = parse_id)]
    ids: Vec<TrashId>,

    /// Where to [default: where it was].
    #[arg(long, value_name = "PATH")]
    to: Option<RemotePath>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const DROP_EXAMPLES: &str = "\
Examples:
  dfs trash drop t7
  dfs trash drop --all";

/// Remove something for good, and free its room.
#[derive(Debug, Args)]
#[command(after_help = DROP_EXAMPLES)]
struct DropArgs {
    /// What, as `dfs trash ls` shows it.
    #[arg(required_unless_present = "all", value_name = "ID", value_parser = parse_id)]
    ids: Vec<TrashId>,

    /// Everything.
    #[arg(long, conflicts_with = "ids")]
    all: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct ItemDocument {
    id: u64,
    path: String,
    kind: &'static str,
    removed: String,
    expires: String,
}

#[derive(Serialize)]
struct Head {}

/// Lines that are held to align their columns.
const BATCH: usize = 1000;

/// Runs it.
pub(crate) async fn run(args: TrashArgs, context: &Context) -> Result<()> {
    match args.command {
        TrashCommand::Ls(args) => ls(args, context).await,
        TrashCommand::Restore(args) => restore(args, context).await,
        TrashCommand::Drop(args) => drop_for_good(args, context).await,
    }
}

async fn ls(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let mut items = client.list_trash().await.doing("list", "the trash")?;
    if args.json {
        let mut list = context.output.json_list(&Head {}, "entries")?;
        while let Some(item) = items.next_entry().await.doing("list", "the trash")? {
            list.item(&document(item))?;
        }
        return list.end();
    }
    let mut batch = Vec::new();
    while let Some(item) = items.next_entry().await.doing("list", "the trash")? {
        batch.push(item);
        if batch.len() >= BATCH {
            print(context, std::mem::take(&mut batch))?;
        }
    }
    print(context, batch)
}

fn print(context: &Context, batch: Vec<TrashItem>) -> Result<()> {
    let mut table = Table::new([Align::Left; 5]);
    for item in batch {
        table.row([
            item.trash.to_string(),
            format!("removed {}", date(item.removed)),
            format!("expires {}", date(item.expires)),
            kind_name(item.kind).to_owned(),
            context.output.name(&item.path).into_owned(),
        ]);
    }
    context.output.lines(table.lines())
}

fn document(item: TrashItem) -> ItemDocument {
    ItemDocument {
        id: item.trash.0,
        path: item.path,
        kind: kind_name(item.kind),
        removed: exact(item.removed),
        expires: exact(item.expires),
    }
}

async fn restore(args: RestoreArgs, context: &Context) -> Result<()> {
    if args.to.is_some() && args.ids.len() > 1 {
        return Err(Failure::usage(
            "`--to` is one place: restore one thing at a time",
        ));
    }
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    for id in args.ids {
        let to = args.to.as_ref().map(|path| &path.path);
        let restored = client.restore(id, to).await;
        let restored = restored.map(drop).doing("restore", id);
        tally.take(restored.map_err(|failure| match to {
            None => failure.hint("`--to PATH` restores it to another place"),
            Some(_) => failure,
        }))?;
    }
    tally.finish()
}

async fn drop_for_good(args: DropArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let tally = Tally::new(&context.output);
    for id in args.ids {
        let dropped = client.drop_trash(id).await;
        tally.take(dropped.doing("drop", id))?;
    }
    if args.all {
        let mut items = client.list_trash().await.doing("list", "the trash")?;
        while let Some(item) = items.next_entry().await.doing("list", "the trash")? {
            let dropped = client.drop_trash(item.trash).await;
            tally.take(dropped.doing("drop", item.trash))?;
        }
    }
    tally.finish()
}

/// `t7`, or the number alone.
fn parse_id(text: &str) -> std::result::Result<TrashId, String> {
    let number = text.strip_prefix('t').unwrap_or(text);
    let id = number.parse().map(TrashId);
    id.map_err(|_| format!("{text:?} is no entry of the trash; `dfs trash ls` shows them, like t7"))
}
