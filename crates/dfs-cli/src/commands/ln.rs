//! `dfs ln`: links.

use std::ffi::OsString;

use clap::Args;
use dfs_core::types::Name;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::text::remote::RemotePath;
use crate::transfer::target::Target;

const EXAMPLES: &str = "\
Examples:
  dfs ln /a.txt /b.txt               another name for the same file
  dfs ln -s ../releases/7 /current   a symbolic link, to any text";

/// Give a file another name, or make a symbolic link.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LnArgs {
    /// The file; with -s what the link leads to.
    #[arg(value_name = "TARGET")]
    target: OsString,

    /// The new name, or a directory to make it in.
    #[arg(value_name = "PATH")]
    link: RemotePath,

    /// Make a symbolic link.
    #[arg(long, short)]
    symbolic: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: LnArgs, context: &Context) -> Result<()> {
    if args.symbolic {
        return symbolic(args, context).await;
    }
    let original = RemotePath::parse(args.target).map_err(|error| {
        Failure::usage(format!("the target is no path in the cluster: {error}"))
            .hint("`dfs ln -s` makes links to any text")
    })?;
    let client = context.client(&args.cluster).await?;
    let link = Target::resolve(client, &args.link, 1).await?;
    let link = link.place(original.path.name().cloned())?;
    let made = client.hard_link(&original.path, &link).await;
    made.map(drop)
        .doing("link", format_args!("{original}` as `{link}"))
}

async fn symbolic(args: LnArgs, context: &Context) -> Result<()> {
    let target = args.target.into_string();
    let target = target.map_err(|_| Failure::usage("the target of the link is not UTF-8"))?;
    let client = context.client(&args.cluster).await?;
    let link = Target::resolve(client, &args.link, 1).await?;
    // Inside a directory it is called like what it leads to.
    let name = target.trim_end_matches('/').rsplit('/').next();
    let link = link.place(name.and_then(|name| Name::new(name).ok()))?;
    let made = client.symlink(target, &link).await;
    made.map(drop).doing("link", link)
}
