//! `dfs master`: the masters.

use clap::{Args, Subcommand};
use dfs_core::client::MasterInfo;

use super::status::{MasterDocument, master_table};
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};

/// See the masters, take one out of the group, and exchange their keys.
#[derive(Debug, Args)]
pub(crate) struct MasterArgs {
    #[command(subcommand)]
    command: MasterCommand,
}

#[derive(Debug, Subcommand)]
enum MasterCommand {
    Ls(LsArgs),
    Rm(RmArgs),
    RotateKeys(RotateKeysArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs master ls
  dfs master ls --json | jq '.entries[] | select(.leader)'";

/// List the masters: who leads, who votes, and how much of the log each has.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  dfs master rm m2              a machine that is gone for good, or is wanted for something else

A majority of the masters that are left must answer. If another has joined and has no vote yet, it
gets one. The one that is removed stops, and can join again with an empty directory only.";

/// Take a master out of the group, for good.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct RmArgs {
    /// Which, by its id or address as `dfs master ls` shows them.
    #[arg(value_name = "MASTER")]
    master: String,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const ROTATE_KEYS_EXAMPLES: &str = "\
Examples:
  dfs master rotate-keys                 now, and not when the week is over
  dfs master rotate-keys --void-former   somebody may have read a master's disk or memory";

/// Exchange the key that masters sign tickets and permits with.
///
/// They do so by themselves every week, and go on to verify what the former keys have signed.
#[derive(Debug, Args)]
#[command(after_help = ROTATE_KEYS_EXAMPLES)]
struct RotateKeysArgs {
    /// Make void at once what the former keys have signed.
    ///
    /// Everybody must log in again; programs with a key do so by themselves. Files that are open
    /// must be opened anew, and what is being written meanwhile may fail.
    #[arg(long)]
    void_former: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: MasterArgs, context: &Context) -> Result<()> {
    match args.command {
        MasterCommand::Ls(args) => ls(args, context).await,
        MasterCommand::Rm(args) => rm(args, context).await,
        MasterCommand::RotateKeys(args) => rotate_keys(args, context).await,
    }
}

async fn ls(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let status = client.status().await.doing("list", "the masters")?;
    match args.json {
        true => {
            let entries: Vec<_> = status.masters.iter().map(MasterDocument::new).collect();
            let document = serde_json::json!({ "entries": entries });
            context.output.json(&document)
        }
        false => context.output.lines(master_table(&status.masters).lines()),
    }
}

async fn rm(args: RmArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let status = client.status().await.doing("list", "the masters")?;
    let named = |master: &&MasterInfo| {
        args.master == format!("m{}", master.member) || args.master == master.address
    };
    let Some(master) = status.masters.iter().find(named) else {
        let message = format!("no master is called `{}`", args.master);
        let hint = "`dfs master ls` shows their ids and addresses";
        return Err(Failure::refused(message).hint(hint));
    };
    let removed = client.remove_master(master.member).await;
    removed.doing("remove master", &args.master)
}

async fn rotate_keys(args: RotateKeysArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let exchanged = client.exchange_signing_key(args.void_former).await;
    exchanged.doing("exchange", "the signing key")
}
