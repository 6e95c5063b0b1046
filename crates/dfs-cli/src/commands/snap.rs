//! `dfs snap`: snapshots of directories.

use std::time::Duration;

use clap::{Args, Subcommand};
use dfs_core::env::Env;
use dfs_core::types::snapshot::SnapshotInfo;
use dfs_core::types::{Name, RefusalKind};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::text::remote::RemotePath;
use crate::text::size::human;
use crate::text::table::{Align, Table};
use crate::text::when::{date, exact};

/// Make, list, remove and restore snapshots of directories.
///
/// A snapshot is what a directory was with all below it, at one moment. It is made at once and
/// copies nothing; what is changed or removed later is kept for it. It is read at
/// `PATH/.snapshots/NAME`, like any directory, with the permissions of then.
#[derive(Debug, Args)]
pub(crate) struct SnapArgs {
    #[command(subcommand)]
    command: SnapCommand,
}

#[derive(Debug, Subcommand)]
enum SnapCommand {
    Create(CreateArgs),
    Ls(LsArgs),
    Rm(RmArgs),
    Restore(RestoreArgs),
}

const CREATE_EXAMPLES: &str = "\
Examples:
  dfs snap create /home/alice
  dfs snap create /home/alice before-the-upgrade
  dfs ls /home/alice/.snapshots/before-the-upgrade";

/// Make a snapshot of a directory. For administrators.
///
/// Before the first one of a directory all below it is gone through once, which may take minutes
/// where millions are; later ones take a moment.
#[derive(Debug, Args)]
#[command(after_help = CREATE_EXAMPLES)]
struct CreateArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    /// What to call it [default: the date and time, in UTC].
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: Option<Name>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs snap ls /home/alice
  dfs snap ls --json /home/alice | jq -r '.entries[].name'";

/// List the snapshots of a directory.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    /// A JSON document: `entries`, by name.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  dfs snap rm /home/alice before-the-upgrade";

/// Remove snapshots. The room of what only they had comes back in the background. For
/// administrators.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct RmArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    /// Which, as `dfs snap ls` shows them.
    #[arg(required = true, value_name = "NAME", value_parser = parse_name)]
    names: Vec<Name>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RESTORE_EXAMPLES: &str = "\
Examples:
  dfs snap restore /home/alice before-the-upgrade
  dfs snap restore /home/alice before-the-upgrade --to /home/alice-then
  dfs cp /home/alice/.snapshots/before-the-upgrade/notes.txt /home/alice/notes.txt";

/// Make a directory again what it was, or another one of that.
///
/// All is built beside it and put in its place at the end: it is restored whole or not at all.
/// No bytes are copied. What was there goes to the trash; the snapshots of the directory stay.
/// For administrators, but with `--to` for whoever may make what is restored.
#[derive(Debug, Args)]
#[command(after_help = RESTORE_EXAMPLES)]
struct RestoreArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH")]
    path: RemotePath,

    /// Which of its snapshots.
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: Name,

    /// Make this directory of it, where nothing is yet, and leave PATH as it is.
    #[arg(long, value_name = "DST")]
    to: Option<RemotePath>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A snapshot, as `--json` shows it.
#[derive(Serialize)]
struct SnapshotDocument {
    name: String,
    number: u64,
    created: String,
    created_by: u32,
}

#[derive(Serialize)]
struct SnapshotsDocument {
    entries: Vec<SnapshotDocument>,
}

/// How long it takes until it is looked again whether a directory was gone through.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs it.
pub(crate) async fn run(args: SnapArgs, context: &Context) -> Result<()> {
    match args.command {
        SnapCommand::Create(args) => create(args, context).await,
        SnapCommand::Ls(args) => {
            let client = context.client(&args.cluster).await?;
            let found = client.snapshots(&args.path.path).await;
            let found = found.doing("list the snapshots of", &args.path)?;
            print(context, found, args.json)
        }
        SnapCommand::Rm(args) => {
            let client = context.client(&args.cluster).await?;
            for name in &args.names {
                let removed = client.remove_snapshot(&args.path.path, name).await;
                removed.doing("remove the snapshot of", &args.path)?;
            }
            Ok(())
        }
        SnapCommand::Restore(args) => restore(args, context).await,
    }
}

async fn create(args: CreateArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let name = match args.name {
        Some(name) => name,
        None => parse_name(&exact(Env::real().clock.now()).replace(':', "-"))
            .map_err(Failure::refused)?,
    };
    let path = &args.path.path;
    let doing = "make a snapshot of";
    let prepared = client.prepare_snapshots(path).await;
    prepared.doing(doing, &args.path)?;
    let mut is_told = false;
    loop {
        match client.make_snapshot(path, &name).await {
            Err(error)
                if error.refusal().map(|refusal| refusal.kind) == Some(RefusalKind::Busy) =>
            {
                if !std::mem::replace(&mut is_told, true) {
                    let what = format!("going through all that is in `{path}`, once");
                    context.output.note(what);
                }
                tokio::time::sleep(PAUSE).await;
            }
            made => {
                made.doing(doing, &args.path)?;
                break;
            }
        }
    }
    context.output.lines([name.as_str()])
}

async fn restore(args: RestoreArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let to = args.to.as_ref().map(|to| &to.path);
    let restored = client.restore_snapshot(&args.path.path, &args.name, to);
    let restored = restored.await.doing("restore a snapshot of", &args.path)?;
    let (files, bytes) = (restored.files, human(restored.bytes));
    let (directories, links) = (restored.directories, restored.links);
    let mut text =
        format!("files: {files} ({bytes}), directories: {directories}, symbolic links: {links}");
    if let Some(trash) = restored.replaced {
        text += &format!("; what was there is in the trash as {trash}");
    }
    context.output.note(text);
    Ok(())
}

fn print(context: &Context, found: Vec<SnapshotInfo>, json: bool) -> Result<()> {
    if json {
        let entries = found.into_iter().map(document).collect();
        return context.output.json(&SnapshotsDocument { entries });
    }
    let mut table = Table::new([Align::Left; 2]);
    for snapshot in found {
        table.row([
            date(snapshot.created),
            context.output.name(snapshot.name.as_str()).into_owned(),
        ]);
    }
    context.output.lines(table.lines())
}

fn document(snapshot: SnapshotInfo) -> SnapshotDocument {
    SnapshotDocument {
        name: snapshot.name.to_string(),
        number: snapshot.number.0,
        created: exact(snapshot.created),
        created_by: snapshot.by.0,
    }
}

fn parse_name(text: &str) -> std::result::Result<Name, String> {
    Name::new(text).map_err(|error| error.to_string())
}
