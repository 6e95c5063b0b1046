//! `dfs user passwd` and `key`: what a user logs in with.

use clap::{Args, Subcommand};
use dfs_core::client::Client;
use dfs_core::types::UserId;
use dfs_core::types::account::{AccountName, KeyId, UserInfo};

use super::find;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::local::secret;

const PASSWD_EXAMPLES: &str = "\
Examples:
  dfs user passwd                     your own
  dfs user passwd alice
  pass show alice | dfs user passwd alice --password-stdin
  dfs user passwd alice --remove      she logs in with a key, or not at all";

/// Set a password, or take it away.
///
/// Whoever is logged in as that user must log in again. Only a hash of the password leaves this
/// machine.
#[derive(Debug, Args)]
#[command(after_help = PASSWD_EXAMPLES)]
pub(super) struct PasswdArgs {
    /// Whose [default: your own].
    #[arg(value_name = "NAME")]
    name: Option<AccountName>,

    /// Take the password from the first line of standard input.
    #[arg(long, conflicts_with = "remove")]
    password_stdin: bool,

    /// Take it away.
    #[arg(long)]
    remove: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Make and remove keys, with which programs log in.
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Add(AddArgs),
    Rm(RmArgs),
}

const ADD_EXAMPLES: &str = "\
Examples:
  dfs user key add backup --label 'host b3' > backup.key
  dfs login backup --key-stdin < backup.key";

/// Make a key of a user, and show it this once.
///
/// Whoever has it is that user, until it is removed. Its id is told on standard error, and by
/// `dfs user show`.
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct AddArgs {
    /// Whose.
    #[arg(value_name = "NAME")]
    name: AccountName,

    /// What it is for.
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const RM_EXAMPLES: &str = "\
Examples:
  dfs user key rm backup k2";

/// Take a key away. Whoever is logged in as that user must log in again.
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct RmArgs {
    /// Whose.
    #[arg(value_name = "NAME")]
    name: AccountName,

    /// Which, as `dfs user show` shows it.
    #[arg(value_name = "KEY", value_parser = parse_key)]
    key: KeyId,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs `passwd`.
pub(super) async fn passwd(args: PasswdArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let user = match &args.name {
        Some(name) => find(client, name).await?,
        None => client
            .whoami()
            .await
            .doing("find out", "who is logged in")?,
    };
    let password = match args.remove {
        true => None,
        false => {
            let question = format!("new password of {}", user.name);
            Some(secret::new_password(args.password_stdin, &question).await?)
        }
    };
    let set = client.set_password(user.id, password).await;
    set.doing("set the password of", &user.name)?;
    tell_to_log_in(&user, context);
    Ok(())
}

/// Runs `key`.
pub(super) async fn key(args: KeyArgs, context: &Context) -> Result<()> {
    match args.command {
        KeyCommand::Add(args) => {
            let client = context.client(&args.cluster).await?;
            let user = find(client, &args.name).await?;
            let label = args.label.unwrap_or_default();
            add_key(client, (user.id, &user.name), &label, context).await
        }
        KeyCommand::Rm(args) => {
            let client = context.client(&args.cluster).await?;
            let user = find(client, &args.name).await?;
            let removed = client.remove_key(user.id, args.key).await;
            removed.doing("remove key", format!("{} of {}", args.key, user.name))?;
            tell_to_log_in(&user, context);
            Ok(())
        }
    }
}

/// Makes a key, and prints it.
pub(super) async fn add_key(
    client: &Client,
    (user, name): (UserId, &AccountName),
    label: &str,
    context: &Context,
) -> Result<()> {
    let made = client.add_key(user, label).await;
    let (id, key) = made.doing("make a key of", name)?;
    context.output.note(format_args!(
        "{id} of {name}: keep it in private, it is not shown again"
    ));
    context.output.line(&*key.reveal())
}

fn tell_to_log_in(user: &UserInfo, context: &Context) {
    let name = &user.name;
    context.output.note(format_args!(
        "whoever was logged in as {name} must log in again: `dfs login {name}`"
    ));
}

/// `k2`, or the number alone.
fn parse_key(text: &str) -> std::result::Result<KeyId, String> {
    let number = text.strip_prefix('k').unwrap_or(text);
    let id = number.parse().map(KeyId);
    id.map_err(|_| format!("{text:?} is no key; `dfs user show` shows them, like k2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_as_it_is_shown() {
        assert_eq!(parse_key("k2"), Ok(KeyId(2)));
        assert_eq!(parse_key(&KeyId(7).to_string()), Ok(KeyId(7)));
        assert_eq!(parse_key("2"), Ok(KeyId(2)));
        for text in ["", "k", "x2", "kk2", "-1"] {
            assert!(parse_key(text).is_err(), "{text}");
        }
    }
}
