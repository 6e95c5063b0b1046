//! `dfs logout`: forget how to log in.

use clap::Args;

use crate::context::Context;
use crate::error::Result;
use crate::local::home::Home;

const EXAMPLES: &str = "\
Examples:
  dfs logout";

/// Log out: remove the profile that `dfs login` keeps.
///
/// Other commands use the local cluster from now on. A key that was kept here is still good
/// elsewhere, until `dfs user key rm` makes it void.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogoutArgs {}

/// Runs it.
pub(crate) fn run(_args: &LogoutArgs, context: &Context) -> Result<()> {
    let there = Home::find()?.remove_profile()?;
    context.output.note(match there {
        true => "logged out",
        false => "nobody was logged in",
    });
    Ok(())
}
