//! `dfs group`: groups of users.

use clap::{Args, Subcommand};
use dfs_core::client::Client;
use dfs_core::error::Error;
use dfs_core::types::account::{AccountName, GroupInfo};
use dfs_core::types::{GroupId, RefusalKind};
use serde::Serialize;

use super::user;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::Tally;
use crate::text::owner::Names;
use crate::text::table::{Align, Table};

/// See and change groups of users.
#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    Ls(LsArgs),
    Show(ShowArgs),
    Add(AddArgs),
    Rename(RenameArgs),
    Rm(RmArgs),
    Join(JoinArgs),
    Leave(LeaveArgs),
}

const LS_EXAMPLES: &str = "\
Examples:
  dfs group ls
  dfs group ls --json | jq -r .entries[].name";

/// List the groups.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct LsArgs {
    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  dfs group show dev
  dfs group show dev --json | jq -r .members[]";

/// Show who is in a group.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct ShowArgs {
    /// Which.
    #[arg(value_name = "GROUP")]
    group: AccountName,

    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const ADD_EXAMPLES: &str = "\
Examples:
  dfs group add dev
  dfs group add dev --id 1001      as in /etc/group";

/// Add a group.
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct AddArgs {
    /// Its name: a-z 0-9 _ - . , a letter or _ first.
    #[arg(value_name = "GROUP")]
    group: AccountName,

    /// Its id [default: the next free one].
    #[arg(long, value_name = "N")]
    id: Option<u32>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RENAME_EXAMPLES: &str = "\
Examples:
  dfs group rename dev developers";

/// Give a group another name. Its files stay its own.
#[derive(Debug, Args)]
#[command(after_help = RENAME_EXAMPLES)]
struct RenameArgs {
    /// Which.
    #[arg(value_name = "GROUP")]
    group: AccountName,

    /// The new name.
    #[arg(value_name = "NEW")]
    new: AccountName,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  dfs group leave dev alice bob
  dfs group rm dev

Its id is not given to another; files keep it.";

/// Remove a group that nobody is in, for good.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct RmArgs {
    /// Which.
    #[arg(value_name = "GROUP")]
    group: AccountName,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const JOIN_EXAMPLES: &str = "\
Examples:
  dfs group join dev alice bob";

/// Put users into a group. It applies at once, wherever they are logged in.
#[derive(Debug, Args)]
#[command(after_help = JOIN_EXAMPLES)]
struct JoinArgs {
    #[command(flatten)]
    members: MemberArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const LEAVE_EXAMPLES: &str = "\
Examples:
  dfs group leave dev alice

The group of what a user makes is not left like that: `dfs user set alice --group` sets another.";

/// Take users out of a group. It applies at once, wherever they are logged in.
#[derive(Debug, Args)]
#[command(after_help = LEAVE_EXAMPLES)]
struct LeaveArgs {
    #[command(flatten)]
    members: MemberArgs,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Args)]
struct MemberArgs {
    /// Which group.
    #[arg(value_name = "GROUP")]
    group: AccountName,

    /// Whom.
    #[arg(required = true, value_name = "USER")]
    users: Vec<AccountName>,
}

#[derive(Serialize)]
struct GroupDocument {
    id: u32,
    name: String,
    /// Only where one group is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<String>>,
}

/// Runs it.
pub(crate) async fn run(args: GroupArgs, context: &Context) -> Result<()> {
    match args.command {
        GroupCommand::Ls(args) => ls(args, context).await,
        GroupCommand::Show(args) => show(args, context).await,
        GroupCommand::Add(args) => add(args, context).await,
        GroupCommand::Rename(args) => rename(args, context).await,
        GroupCommand::Rm(args) => rm(args, context).await,
        GroupCommand::Join(args) => {
            let client = context.client(&args.cluster).await?;
            set_members(client, &args.members, true, context).await
        }
        GroupCommand::Leave(args) => {
            let client = context.client(&args.cluster).await?;
            set_members(client, &args.members, false, context).await
        }
    }
}

/// The group of a name.
///
/// # Errors
/// There is none.
pub(crate) async fn find(client: &Client, name: &AccountName) -> Result<GroupInfo> {
    let found = client.group(name).await.doing("find group", name);
    found.map_err(|failure| failure.hint("`dfs group ls` shows which there are"))
}

async fn ls(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let groups = client.groups().await.doing("list", "the groups")?;
    if args.json {
        let entry = |group: &GroupInfo| GroupDocument {
            id: group.id.0,
            name: group.name.to_string(),
            members: None,
        };
        let entries: Vec<_> = groups.iter().map(entry).collect();
        let document = serde_json::json!({ "entries": entries });
        return context.output.json(&document);
    }
    let mut table = Table::with_head([("id", Align::Right), ("name", Align::Left)]);
    for group in &groups {
        table.row([group.id.0.to_string(), group.name.to_string()]);
    }
    context.output.lines(table.lines())
}

async fn show(args: ShowArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let group = find(client, &args.group).await?;
    let names = Names::of_cluster(client).await?;
    let members = group.members.iter().map(|id| names.user(*id));
    let members: Vec<_> = members.collect();
    if args.json {
        return context.output.json(&GroupDocument {
            id: group.id.0,
            name: group.name.to_string(),
            members: Some(members),
        });
    }
    let mut table = Table::new([Align::Left, Align::Left]);
    table.row(["group", &format!("{} ({})", group.name, group.id.0)]);
    table.row(["members", &members.join(", ")]);
    context.output.lines(table.lines())
}

async fn add(args: AddArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let name = args.group.clone();
    let added = client.add_group(name, args.id.map(GroupId)).await;
    let id = added.doing("add group", &args.group)?;
    context
        .output
        .note(format_args!("added {} ({id})", args.group));
    Ok(())
}

async fn rename(args: RenameArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let group = find(client, &args.group).await?;
    let renamed = client.rename_group(group.id, args.new).await;
    renamed.doing("rename group", &args.group)
}

async fn rm(args: RmArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let group = find(client, &args.group).await?;
    let removed = client.remove_group(group.id).await;
    let refusal = removed.as_ref().err().and_then(Error::refusal);
    let is_populated = refusal.is_some_and(|refusal| refusal.kind == RefusalKind::NotEmpty);
    let removed = removed.doing("remove group", &args.group);
    removed.map_err(|failure| match is_populated {
        true => failure.hint(format!(
            "`dfs group show {}` shows who is in it",
            args.group
        )),
        false => failure,
    })
}

async fn set_members(
    client: &Client,
    args: &MemberArgs,
    member: bool,
    context: &Context,
) -> Result<()> {
    let group = find(client, &args.group).await?;
    let tally = Tally::new(&context.output);
    for name in &args.users {
        tally.take(set_member(client, &group, name, member).await)?;
    }
    tally.finish()
}

async fn set_member(
    client: &Client,
    group: &GroupInfo,
    name: &AccountName,
    member: bool,
) -> Result<()> {
    let user = user::find(client, name).await?.id;
    match member {
        true => {
            let added = client.add_member(group.id, user).await;
            added.doing(&format!("put into {}", group.name), name)
        }
        false => {
            let removed = client.remove_member(group.id, user).await;
            removed.doing(&format!("take out of {}", group.name), name)
        }
    }
}
