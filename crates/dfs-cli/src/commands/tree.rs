//! `dfs tree`: a directory with all below it, drawn.

use clap::Args;
use dfs_core::types::FileKind;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::Output;
use crate::text::attr::AttrDocument;
use crate::text::remote::RemotePath;
use crate::text::size::count;
use crate::walk::{Found, Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs tree /
  dfs tree --level 2 /backup
  dfs tree --json / | jq '.entries[] | select(.kind == \"file\") | .path'";

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

    /// A JSON document: `path`, `entries`.
    #[arg(long)]
    json: bool,

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
    let mut json = match args.json {
        true => {
            let head = serde_json::json!({ "path": args.path.to_string() });
            Some(output.json_list(&head, "entries")?)
        }
        false => output.line(&args.path).map(|()| None)?,
    };
    while let Some(step) = next {
        if let Step::At(found) = step {
            let target = match found.attr.kind {
                FileKind::Symlink => {
                    let target = client.read_link(&found.path).await;
                    Some(target.doing("read", &found.path)?)
                }
                FileKind::File | FileKind::Directory => None,
            };
            match found.is_directory() {
                true => directories += 1,
                false => files += 1,
            }
            if args.level.is_some_and(|level| found.depth >= level.into()) {
                walk.stay_out();
            }
            if let Some(json) = &mut json {
                json.item(&AttrDocument::new(
                    found.path.to_string(),
                    &found.attr,
                    target,
                ))?;
            } else {
                rails.truncate(found.depth - 1);
                output.line(drawn(&rails, &found, target.as_deref(), output))?;
                rails.push(if found.is_last { "    " } else { "│   " });
            }
        }
        next = walk.next().await?;
    }
    if let Some(json) = json {
        return json.end();
    }
    let directories = count(directories, "directory", "directories");
    output.line(format_args!(
        "\n{directories}, {}",
        count(files, "file", "files")
    ))
}

fn drawn(rails: &[&str], found: &Found, target: Option<&str>, output: &Output) -> String {
    let branch = if found.is_last {
        "└── "
    } else {
        "├── "
    };
    let name = output.name(&found.name);
    let link = target.map_or_else(String::new, |target| format!(" -> {}", output.name(target)));
    format!("{}{branch}{name}{link}", rails.concat())
}
