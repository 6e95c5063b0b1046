//! `dfs tree`: a directory with all below it, drawn.

use clap::Args;
use dfs_core::types::FileKind;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::text::remote::RemotePath;
use crate::text::size::count;
use crate::walk::{Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs tree /
  dfs tree --level 2 /backup";

/// Draw a directory with all below it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TreeArgs {
    /// A directory of the cluster.
    #[arg(value_name = "PATH", default_value = "/")]
    path: RemotePath,

    /// Only so many levels.
    #[arg(long, short = 'L', value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    level: Option<u16>,

    /// Also names that begin with a dot.
    #[arg(long, short)]
    all: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs it.
pub(crate) async fn run(args: TreeArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let output = &context.output;
    let (mut directories, mut files) = (0, 0);
    let mut walk = Walk::below(client, &args.path.path).skip_hidden(!args.all);
    // What is drawn before names, by level: a line where more is to come.
    let mut rails: Vec<&str> = Vec::new();
    let mut next = walk.next().await?;
    output.line(&args.path)?;
    while let Some(step) = next {
        if let Step::At(found) = step {
            rails.truncate(found.depth - 1);
            let branch = if found.is_last {
                "└── "
            } else {
                "├── "
            };
            let link = match found.attr.kind {
                FileKind::Symlink => {
                    let target = client.read_link(&found.path).await;
                    let target = target.doing("read", &found.path)?;
                    format!(" -> {}", output.name(&target))
                }
                FileKind::File | FileKind::Directory => String::new(),
            };
            let name = output.name(&found.name);
            output.line(format_args!("{}{branch}{name}{link}", rails.concat()))?;
            rails.push(if found.is_last { "    " } else { "│   " });
            match found.is_directory() {
                true => directories += 1,
                false => files += 1,
            }
            if args.level.is_some_and(|level| found.depth >= level.into()) {
                walk.stay_out();
            }
        }
        next = walk.next().await?;
    }
    let directories = count(directories, "directory", "directories");
    output.line(format_args!(
        "\n{directories}, {}",
        count(files, "file", "files")
    ))
}
