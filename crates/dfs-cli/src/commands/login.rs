//! `dfs login`: which cluster commands use from now on, and as whom.

use std::time::Duration;

use clap::Args;
use dfs_core::client::{Access, ClientConfig, Profile};
use dfs_core::env::Env;
use dfs_core::security::{ApiKey, Fingerprint};
use dfs_core::types::account::AccountName;

use crate::context::{Context, connect};
use crate::error::{Doing, Exit, Failure, Result};
use crate::local::home::Home;
use crate::local::secret;
use crate::text::when::{date, parse_duration};

const EXAMPLES: &str = "\
Examples:
  dfs login alice --masters m1:7400,m2:7400,m3:7400 --authority 5f0c...e2
  dfs login                                   again, where and as whom it was before
  dfs login backup --key-stdin < backup.key   a program: its key does not expire

Whoever is logged in sees masters and authority with `dfs whoami`. A password is good for some
hours. What is needed to log in is kept in `profile.toml` in the local data directory, for its owner
alone; `dfs logout` removes it.";

/// Log in to a cluster: other commands use it from now on.
///
/// The cluster proves who it is before anything is said to it: by its authority, whose fingerprint
/// you have from somebody you trust.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoginArgs {
    /// Who logs in [default: as before].
    #[arg(value_name = "USER")]
    user: Option<AccountName>,

    /// Addresses of masters, `host:port`, separated by commas [env: DFS_MASTERS] [default: as
    /// before].
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    masters: Vec<String>,

    /// The fingerprint of the cluster's authority, 64 hexadecimal digits [default: as before].
    #[arg(long, value_name = "FINGERPRINT")]
    authority: Option<Fingerprint>,

    /// Take the password from the first line of standard input.
    #[arg(long, conflicts_with = "key_stdin")]
    password_stdin: bool,

    /// Take a key of the user from the first line of standard input, and keep it.
    #[arg(long)]
    key_stdin: bool,

    /// How long to try before giving up.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

/// Where to log in, and as whom.
#[derive(Debug)]
struct Target {
    masters: Vec<String>,
    authority: Fingerprint,
    user: AccountName,
}

/// Runs it.
pub(crate) async fn run(args: LoginArgs, context: &Context) -> Result<()> {
    let home = Home::find()?;
    let before = home.profile();
    let before = before.map_err(|failure| failure.hint("`dfs logout` removes it"))?;
    let target = target(&args, before.as_ref())?;
    let (access, until) = match args.key_stdin {
        true => (with_key(&target).await?, String::new()),
        false => with_password(&target, &args).await?,
    };
    let config = ClientConfig {
        access: Some(access.clone()),
        ..ClientConfig::new(target.masters.clone())
    };
    let client = connect(config, args.timeout).await?;
    let user = client.whoami().await.doing("log in as", &target.user)?;
    client.close().await;
    let path = home.write_profile(&Profile::new(target.masters, Some(&access)))?;
    context.output.note(format_args!(
        "logged in as {} ({}){until}; kept in `{}`",
        user.name,
        user.id,
        path.display()
    ));
    if variable("DFS_PROFILE").is_some() {
        let hint = "commands use the profile that DFS_PROFILE names, not this one";
        context.output.hint(hint);
    }
    Ok(())
}

fn target(args: &LoginArgs, before: Option<&Profile>) -> Result<Target> {
    Ok(Target {
        masters: masters(args, before)?,
        authority: authority(args, before)?,
        user: user(args, before)?,
    })
}

fn masters(args: &LoginArgs, before: Option<&Profile>) -> Result<Vec<String>> {
    let named = (!args.masters.is_empty()).then(|| args.masters.join(","));
    let named = named.or_else(|| variable("DFS_MASTERS"));
    let named = named.or_else(|| before.map(|profile| profile.masters.join(",")));
    let named = named.ok_or_else(|| {
        Failure::usage("nothing says where the masters are")
            .hint("pass `--masters HOST:PORT,HOST:PORT`")
    })?;
    let config: std::result::Result<ClientConfig, _> = named.parse();
    let config = config.map_err(|error: dfs_core::error::Error| {
        Failure::usage(error.to_string()).hint("write `host:port,host:port`")
    })?;
    Ok(config.masters)
}

/// Whom to believe. Never whoever answers first.
fn authority(args: &LoginArgs, before: Option<&Profile>) -> Result<Fingerprint> {
    if let Some(authority) = args.authority {
        return Ok(authority);
    }
    let kept = before.and_then(|profile| profile.authority.as_ref());
    let kept = kept.ok_or_else(|| {
        Failure::usage("nothing says which authority to believe")
            .hint("pass `--authority FINGERPRINT`")
            .hint("whoever is logged in to that cluster sees it with `dfs whoami`")
    })?;
    let wrong = |_| Failure::usage("the profile's `authority` is no fingerprint");
    kept.parse().map_err(wrong)
}

fn user(args: &LoginArgs, before: Option<&Profile>) -> Result<AccountName> {
    if let Some(user) = &args.user {
        return Ok(user.clone());
    }
    let kept = before.and_then(|profile| profile.user.as_ref());
    let kept = kept.ok_or_else(|| {
        Failure::usage("nothing says who logs in").hint("name the user, as in `dfs login alice`")
    })?;
    let wrong = |_| Failure::usage("the profile's `user` is no name");
    kept.parse().map_err(wrong)
}

async fn with_key(target: &Target) -> Result<Access> {
    let typed = secret::first_line().await?;
    let key = ApiKey::parse(&typed);
    let key = key.map_err(|error| {
        Failure::usage(format!("`--key-stdin`: {error}"))
            .hint("`dfs user key add` makes one, and shows it once")
    })?;
    Ok(Access::with_key(target.authority, target.user.clone(), key))
}

/// The access, and until when it is good, in words.
async fn with_password(target: &Target, args: &LoginArgs) -> Result<(Access, String)> {
    let question = format!("password of {}", target.user);
    let password = secret::password(args.password_stdin, &question).await?;
    let mut config = ClientConfig::new(target.masters.clone());
    let patience = args.timeout.max(Duration::from_millis(1));
    config.deadlines.operation = patience;
    config.deadlines.attempt = config.deadlines.attempt.min(patience);
    let who = (&target.user, password);
    let ticket = Access::log_in(&config, target.authority, who, &Env::real()).await;
    let ticket = ticket.doing("log in as", &target.user);
    let ticket = ticket.map_err(|failure| match failure.exit() {
        Exit::Unavailable => failure.hint("check the addresses, and the authority's fingerprint"),
        _ => failure,
    })?;
    let until = format!(" until {} UTC", date(ticket.expires));
    let access = Access::with_ticket(target.authority, target.user.clone(), ticket);
    Ok((access, until))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(authority: Option<Fingerprint>, user: Option<&str>) -> LoginArgs {
        LoginArgs {
            user: user.map(|name| name.parse().unwrap()),
            masters: vec!["m1:7400".to_owned()],
            authority,
            password_stdin: false,
            key_stdin: false,
            timeout: Duration::ZERO,
        }
    }

    fn hints(failure: Failure) -> String {
        match failure {
            Failure::Said(message) => message.hints.join(" "),
            other => panic!("not said: {other:?}"),
        }
    }

    #[test]
    fn no_cluster_is_believed_because_it_answers() {
        let refused = target(&args(None, Some("alice")), None).unwrap_err();
        assert_eq!(refused.exit(), Exit::Usage);
        assert!(hints(refused).contains("--authority"));
        let insecure = Profile::new(vec!["m2:7400".to_owned()], None);
        assert!(target(&args(None, Some("alice")), Some(&insecure)).is_err());
    }

    #[test]
    fn what_is_not_said_is_as_before() {
        let ours = Fingerprint([5; 32]);
        let random = dfs_core::env::SeededRandom::new(7);
        let key = ApiKey::generate(&random);
        let access = Access::with_key(ours, "alice".parse().unwrap(), key);
        let before = Profile::new(vec!["m2:7400".to_owned()], Some(&access));
        let mut again = args(None, None);
        let found = target(&again, Some(&before)).unwrap();
        assert_eq!((found.user.as_str(), found.authority), ("alice", ours));
        assert_eq!(found.masters, ["m1:7400"]);
        again.masters = vec!["nowhere".to_owned()];
        assert!(target(&again, Some(&before)).is_err());
        let other = Fingerprint([6; 32]);
        let found = target(&args(Some(other), Some("bob")), Some(&before)).unwrap();
        assert_eq!((found.user.as_str(), found.authority), ("bob", other));
    }
}
