//! `dfs user`: who may use the cluster.

mod credentials;
mod show;

use clap::{Args, Subcommand};
use dfs_core::client::{Client, NewUser};
use dfs_core::types::account::{AccountName, UserChange, UserInfo};
use dfs_core::types::{Location, Role, UserId};

pub(crate) use self::show::{UserDocument, described};
use super::group;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::local::secret;
use crate::text::remote::RemotePath;

/// See and change who may use the cluster.
#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    command: UserCommand,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    Ls(show::LsArgs),
    Show(show::ShowArgs),
    Add(AddArgs),
    Set(SetArgs),
    Rename(RenameArgs),
    Rm(RmArgs),
    Passwd(credentials::PasswdArgs),
    Key(credentials::KeyArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
}

const ADD_EXAMPLES: &str = "\
Examples:
  dfs user add alice --with-password
  dfs user add ops --admin --with-password
  dfs user add backup --root /home --read-only --with-key > backup.key
  dfs user add bob --id 1001 --group dev      as in /etc/passwd; he cannot log in yet

A key is printed on standard output, this once.";

/// Add a user.
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct AddArgs {
    /// Its name: a-z 0-9 _ - . , a letter or _ first.
    #[arg(value_name = "NAME")]
    name: AccountName,

    /// It may do everything.
    #[arg(long, conflicts_with = "root")]
    admin: bool,

    /// The group of what it makes [default: users].
    #[arg(long, value_name = "GROUP")]
    group: Option<AccountName>,

    /// A directory that is its `/`: it sees nothing outside of it.
    #[arg(long, value_name = "DIR")]
    root: Option<RemotePath>,

    /// It may change nothing.
    #[arg(long)]
    read_only: bool,

    /// Its id [default: the next free one].
    #[arg(long, value_name = "N")]
    id: Option<u32>,

    /// Ask for its password.
    #[arg(long, conflicts_with_all = ["password_stdin", "with_key"])]
    with_password: bool,

    /// Take its password from the first line of standard input.
    #[arg(long, conflicts_with = "with_key")]
    password_stdin: bool,

    /// Make a key for it, and show it this once.
    #[arg(long)]
    with_key: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const SET_EXAMPLES: &str = "\
Examples:
  dfs user set alice --group dev
  dfs user set alice --admin
  dfs user set backup --root /home/alice --read-only
  dfs user set backup --no-root --no-read-only";

/// Set what a user is and may do.
///
/// With another role, or confined to something else, it must log in again.
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct SetArgs {
    /// Whom.
    #[arg(value_name = "NAME")]
    name: AccountName,

    /// It may do everything.
    #[arg(long, conflicts_with = "no_admin")]
    admin: bool,

    /// It may do what permissions of files say.
    #[arg(long)]
    no_admin: bool,

    /// The group of what it makes.
    #[arg(long, value_name = "GROUP")]
    group: Option<AccountName>,

    /// A directory that is its `/`: it sees nothing outside of it.
    #[arg(long, value_name = "DIR", conflicts_with = "no_root")]
    root: Option<RemotePath>,

    /// All of the tree is its own again.
    #[arg(long)]
    no_root: bool,

    /// It may change nothing.
    #[arg(long, conflicts_with = "no_read_only")]
    read_only: bool,

    /// It may change what permissions of files say.
    #[arg(long)]
    no_read_only: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RENAME_EXAMPLES: &str = "\
Examples:
  dfs user rename alice alice.smith";

/// Give a user another name. Its files stay its own.
#[derive(Debug, Args)]
#[command(after_help = RENAME_EXAMPLES)]
struct RenameArgs {
    /// Whom.
    #[arg(value_name = "NAME")]
    name: AccountName,

    /// The new name.
    #[arg(value_name = "NEW")]
    new: AccountName,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  dfs user rm alice
  dfs chown -R bob /home/alice      what was hers shows her number until then

Its id is not given to another. To keep somebody out for a while: `dfs user disable`.";

/// Remove a user, for good.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct RmArgs {
    /// Whom.
    #[arg(value_name = "NAME")]
    name: AccountName,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const DISABLE_EXAMPLES: &str = "\
Examples:
  dfs user disable alice      at once, wherever she is logged in";

/// Keep a user out: it is logged out, and cannot log in.
#[derive(Debug, Args)]
#[command(after_help = DISABLE_EXAMPLES)]
struct DisableArgs {
    /// Whom.
    #[arg(value_name = "NAME")]
    name: AccountName,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const ENABLE_EXAMPLES: &str = "\
Examples:
  dfs user enable alice      with the password and keys that she had";

/// Let a user log in again.
#[derive(Debug, Args)]
#[command(after_help = ENABLE_EXAMPLES)]
struct EnableArgs {
    /// Whom.
    #[arg(value_name = "NAME")]
    name: AccountName,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: UserArgs, context: &Context) -> Result<()> {
    match args.command {
        UserCommand::Ls(args) => show::ls(args, context).await,
        UserCommand::Show(args) => show::show(args, context).await,
        UserCommand::Add(args) => add(args, context).await,
        UserCommand::Set(args) => set(args, context).await,
        UserCommand::Rename(args) => rename(args, context).await,
        UserCommand::Rm(args) => rm(args, context).await,
        UserCommand::Passwd(args) => credentials::passwd(args, context).await,
        UserCommand::Key(args) => credentials::key(args, context).await,
        UserCommand::Disable(args) => {
            let client = context.client(&args.cluster).await?;
            set_enabled(client, &args.name, false).await
        }
        UserCommand::Enable(args) => {
            let client = context.client(&args.cluster).await?;
            set_enabled(client, &args.name, true).await
        }
    }
}

/// The user of a name.
///
/// # Errors
/// There is none.
pub(crate) async fn find(client: &Client, name: &AccountName) -> Result<UserInfo> {
    let found = client.user(name).await.doing("find user", name);
    found.map_err(|failure| failure.hint("`dfs user ls` shows who there is"))
}

async fn add(args: AddArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let name = &args.name;
    let group = match &args.group {
        Some(group) => Some(group::find(client, group).await?.id),
        None => None,
    };
    // Before the user is there: what was mistyped leaves nothing behind.
    let password = match args.with_password || args.password_stdin {
        true => {
            let question = format!("password of {name}");
            Some(secret::new_password(args.password_stdin, &question).await?)
        }
        false => None,
    };
    let new = NewUser {
        id: args.id.map(UserId),
        group,
        role: match args.admin {
            true => Role::Administrator,
            false => Role::User,
        },
        root: args
            .root
            .as_ref()
            .map(|root| Location::from(root.path.clone())),
        read_only: args.read_only,
        ..NewUser::named(name.clone())
    };
    let user = client.add_user(new).await.doing("add user", name)?;
    context.output.note(format_args!("added {name} ({user})"));
    let has_password = password.is_some();
    if has_password {
        let set = client.set_password(user, password).await;
        let set = set.doing("set the password of", name);
        let next = format!("the user is there: `dfs user passwd {name}` sets its password");
        set.map_err(|failure| failure.hint(next))?;
    }
    if args.with_key {
        let made = credentials::add_key(client, (user, name), "made with the user", context).await;
        let next = format!("the user is there: `dfs user key add {name}` makes a key");
        made.map_err(|failure| failure.hint(next))?;
    }
    let can_log_in = has_password || args.with_key;
    context.output.hint(how_to_log_in(client, name, can_log_in));
    Ok(())
}

fn how_to_log_in(client: &Client, name: &AccountName, can_log_in: bool) -> String {
    let config = client.config();
    match (can_log_in, &config.access) {
        (true, Some(access)) => format!(
            "it logs in with `dfs login {name} --masters {} --authority {}`",
            config.masters.join(","),
            access.authority()
        ),
        (true, None) => "this cluster has no security: nobody needs to log in".to_owned(),
        (false, _) => {
            format!("it cannot log in yet: `dfs user passwd {name}` or `dfs user key add {name}`")
        }
    }
}

async fn set(args: SetArgs, context: &Context) -> Result<()> {
    let (is_set, mut change) = asked(&args);
    if !is_set {
        return Err(Failure::usage("nothing to set")
            .hint("pass `--group`, `--admin`, `--root` or `--read-only`, see `--help`"));
    }
    let client = context.client(&args.cluster).await?;
    if let Some(group) = &args.group {
        change.group = Some(group::find(client, group).await?.id);
    }
    let user = find(client, &args.name).await?;
    let set = client.set_user(user.id, change).await;
    set.doing("change user", &args.name)
}

/// Whether anything is to be set, and all of it that needs no cluster to be understood.
fn asked(args: &SetArgs) -> (bool, UserChange) {
    let flag = |yes, no| match (yes, no) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    };
    let admin = flag(args.admin, args.no_admin);
    let change = UserChange {
        group: None,
        role: admin.map(|admin| match admin {
            true => Role::Administrator,
            false => Role::User,
        }),
        enabled: None,
        root: match &args.root {
            Some(root) => Some(Some(Location::from(root.path.clone()))),
            None => args.no_root.then_some(None),
        },
        read_only: flag(args.read_only, args.no_read_only),
    };
    let is_set = args.group.is_some() || change != UserChange::default();
    (is_set, change)
}

async fn rename(args: RenameArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let user = find(client, &args.name).await?;
    let renamed = client.rename_user(user.id, args.new).await;
    renamed.doing("rename user", &args.name)
}

async fn rm(args: RmArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let user = find(client, &args.name).await?;
    let removed = client.remove_user(user.id).await;
    removed.doing("remove user", &args.name)
}

async fn set_enabled(client: &Client, name: &AccountName, enabled: bool) -> Result<()> {
    let user = find(client, name).await?;
    let change = UserChange {
        enabled: Some(enabled),
        ..UserChange::default()
    };
    let verb = match enabled {
        true => "enable user",
        false => "disable user",
    };
    client.set_user(user.id, change).await.doing(verb, name)
}
