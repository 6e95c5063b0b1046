//! `dfs user ls` and `show`.

use clap::Args;
use dfs_core::types::account::{AccountName, UserInfo};
use dfs_core::types::{GroupId, Role};
use serde::Serialize;

use super::find;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::owner::Names;
use crate::text::table::{Align, Table};
use crate::text::when::{date, exact};

const LS_EXAMPLES: &str = "\
Examples:
  dfs user ls
  dfs user ls --json | jq -r '.entries[] | select(.role == \"administrator\") | .name'";

/// List the users.
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
pub(super) struct LsArgs {
    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  dfs user show alice
  dfs user show alice --json | jq .keys";

/// Show all there is to know about a user.
///
/// What confines it, its keys and whether it has a password are shown to itself and to
/// administrators; to others it looks as if there was nothing.
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(super) struct ShowArgs {
    /// Whom.
    #[arg(value_name = "NAME")]
    name: AccountName,

    /// A JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// A user, as `--json` shows it.
#[derive(Debug, Serialize)]
pub(crate) struct UserDocument {
    id: u32,
    name: String,
    role: &'static str,
    group: String,
    groups: Vec<String>,
    enabled: bool,
    /// The inode of the directory that is its `/`, if not all is.
    root: Option<u64>,
    read_only: bool,
    has_password: bool,
    keys: Vec<KeyDocument>,
    created: String,
}

#[derive(Debug, Serialize)]
struct KeyDocument {
    id: u32,
    label: String,
    created: String,
}

impl UserDocument {
    /// Of `user`.
    pub(crate) fn new(user: &UserInfo, names: &Names) -> UserDocument {
        let keys = user.keys.iter().map(|key| KeyDocument {
            id: key.id.0,
            label: key.label.clone(),
            created: exact(key.created),
        });
        UserDocument {
            id: user.id.0,
            name: user.name.to_string(),
            role: role(user.role),
            group: names.group(user.group),
            groups: user.groups.iter().map(|id| names.group(*id)).collect(),
            enabled: user.enabled,
            root: user.confinement.root.map(|root| root.0),
            read_only: user.confinement.read_only,
            has_password: user.has_password,
            keys: keys.collect(),
            created: exact(user.created),
        }
    }
}

/// The lines about a user: what, and its value.
pub(crate) fn described(user: &UserInfo, names: &Names) -> Vec<(&'static str, String)> {
    let group = |id: &GroupId| format!("{} ({})", names.group(*id), id.0);
    let groups: Vec<_> = user.groups.iter().map(group).collect();
    let mut lines = vec![
        ("user", format!("{} ({})", user.name, user.id.0)),
        ("role", role(user.role).to_owned()),
        ("group", group(&user.group)),
    ];
    if !groups.is_empty() {
        lines.push(("groups", groups.join(", ")));
    }
    if let Some(root) = user.confinement.root {
        lines.push(("root", format!("the directory {root}")));
    }
    if user.confinement.read_only {
        lines.push(("may", "read only".to_owned()));
    }
    let password = match user.has_password {
        true => "yes",
        false => "no",
    };
    lines.extend([
        ("state", state(user).to_owned()),
        ("password", password.to_owned()),
        ("created", exact(user.created)),
    ]);
    lines.extend(user.keys.iter().map(|key| {
        let made = date(key.created);
        ("key", format!("{} made {made} {}", key.id, key.label))
    }));
    lines
}

fn role(role: Role) -> &'static str {
    match role {
        Role::User => "user",
        Role::Administrator => "administrator",
    }
}

fn state(user: &UserInfo) -> &'static str {
    match user.enabled {
        true => "enabled",
        false => "disabled",
    }
}

/// Runs `ls`.
pub(super) async fn ls(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let users = client.users().await.doing("list", "the users")?;
    let names = Names::of_cluster(client).await?;
    if args.json {
        let entries = users.iter().map(|user| UserDocument::new(user, &names));
        let entries: Vec<_> = entries.collect();
        let document = serde_json::json!({ "entries": entries });
        return context.output.json(&document);
    }
    let mut table = Table::with_head([
        ("id", Align::Right),
        ("name", Align::Left),
        ("role", Align::Left),
        ("group", Align::Left),
        ("state", Align::Left),
        ("created", Align::Left),
    ]);
    for user in &users {
        table.row([
            user.id.0.to_string(),
            user.name.to_string(),
            role(user.role).to_owned(),
            names.group(user.group),
            state(user).to_owned(),
            date(user.created),
        ]);
    }
    context.output.lines(table.lines())
}

/// Runs `show`.
pub(super) async fn show(args: ShowArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let user = find(client, &args.name).await?;
    let names = Names::of_cluster(client).await?;
    if args.json {
        return context.output.json(&UserDocument::new(&user, &names));
    }
    let mut table = Table::new([Align::Left, Align::Left]);
    for (what, value) in described(&user, &names) {
        table.row([what, &context.output.name(&value)]);
    }
    context.output.lines(table.lines())
}
