//! Lets an administrator in again that has lost every key and password.

use std::time::Duration;

use dfs_core::client::{Access, HeldTicket, Profile};
use dfs_core::env::Env;
use dfs_core::master::{Recovered, recover as recover_from};
use dfs_core::types::account::AccountName;

use crate::args::RecoverArgs;
use crate::failure::{Failure, USAGE};
use crate::profile;
use crate::run::say;

/// How long it is let in: for as long as it takes to make a key.
const TTL: Duration = Duration::from_secs(60 * 60);
const NAME: &str = "recovered.toml";

/// Writes a profile for an administrator, from the directory of a master that does not run.
pub(crate) async fn recover(args: RecoverArgs) -> Result<(), Failure> {
    let user = args.user.map(|name| name.parse::<AccountName>());
    let user = user.transpose();
    let user = user.map_err(|e| Failure::new(USAGE, format!("`--user`: {e}")))?;
    let recovered = recover_from(&Env::real(), &args.directory, user, TTL).await?;
    let Recovered {
        cluster,
        authority,
        masters,
        user,
        key,
        ticket,
        expires,
    } = recovered;
    let held = HeldTicket {
        key,
        ticket,
        expires,
    };
    let access = Access::with_ticket(authority, user.clone(), held);
    let path = args.out.unwrap_or_else(|| args.directory.join(NAME));
    profile::write_new(&path, &Profile::new(masters, Some(&access)))?;
    let path = path.display();
    say(&format!("recovered {user} of cluster {cluster}"))?;
    say(&format!("profile, for one hour: {path}"))?;
    say(&format!(
        "next: start the master, then dfs user passwd {user} --profile {path}"
    ))
}
