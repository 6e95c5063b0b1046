//! `dfs ls`: what is in directories.

use clap::{ArgAction, Args};
use dfs_core::client::Client;
use dfs_core::types::{Attr, DfsPath, FileKind};

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::{JsonList, Output, Tally};
use crate::text::attr::{AttrDocument, long_columns};
use crate::text::owner::Names;
use crate::text::remote::RemotePath;
use crate::text::table::{Align, Table};
use crate::walk::{attr_of, child};

const EXAMPLES: &str = "\
Examples:
  dfs ls /                               names
  dfs ls -lh /photos                     with permissions, owners, sizes and times
  dfs ls -R /                            all of the tree
  dfs ls --json /logs | jq .entries[].size";

/// List directories.
///
/// Names come in the order of their bytes, times are UTC. Names that begin with a dot are shown
/// with -a only, also with --json.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_flag = true)]
pub(crate) struct LsArgs {
    /// Directories and files of the cluster.
    #[arg(value_name = "PATH", default_value = "/")]
    paths: Vec<RemotePath>,

    /// One line each with permissions, links, owner, group, size and time of the last change.
    #[arg(long, short)]
    long: bool,

    /// Also names that begin with a dot.
    #[arg(long, short)]
    all: bool,

    /// Directories themselves, not what is in them.
    #[arg(long, short)]
    directory: bool,

    /// All below as well.
    #[arg(long, short = 'R')]
    recursive: bool,

    /// Sizes such as 1.5 GiB.
    #[arg(long, short = 'h')]
    human_readable: bool,

    /// A JSON document: `paths`, `entries`.
    #[arg(long)]
    json: bool,

    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Something to be listed.
struct Line {
    path: DfsPath,
    name: String,
    attr: Attr,
    link: Option<String>,
}

/// How much of a directory is held to align its columns.
const BATCH: usize = 1000;

struct Lister<'a> {
    args: &'a LsArgs,
    client: &'a Client,
    output: &'a Output,
    names: Names,
    json: Option<JsonList<'a>>,
}

/// Runs it.
pub(crate) async fn run(args: LsArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let output = &context.output;
    let tally = Tally::new(output);
    let mut lister = Lister {
        args: &args,
        client,
        output,
        names: match args.long {
            true => Names::fitting(client).await?,
            false => Names::default(),
        },
        json: None,
    };
    let mut directories = Vec::new();
    let mut files = Vec::new();
    for typed in &args.paths {
        let Some(attr) = tally.take(lister.look(typed).await)? else {
            continue;
        };
        match attr.kind == FileKind::Directory && !args.directory {
            true => directories.push(typed.path.clone()),
            false => files.push(lister.line(typed.path.clone(), None, attr).await?),
        }
    }
    let listed = !files.is_empty() || !directories.is_empty();
    if args.json && listed {
        let paths: Vec<_> = args.paths.iter().map(ToString::to_string).collect();
        let head = serde_json::json!({ "paths": paths });
        lister.json = Some(output.json_list(&head, "entries")?);
    }
    let with_heads = args.recursive || directories.len() + files.len() > 1;
    let mut is_first = files.is_empty();
    directories.reverse();
    lister.print(files)?;
    while let Some(directory) = directories.pop() {
        if with_heads && !args.json {
            let gap = if is_first { "" } else { "\n" };
            output.line(format_args!("{gap}{directory}:"))?;
        }
        is_first = false;
        let below = tally.take(lister.list(&directory).await)?;
        directories.extend(below.unwrap_or_default().into_iter().rev());
    }
    if let Some(json) = lister.json {
        json.end()?;
    }
    tally.finish()
}

impl Lister<'_> {
    /// What was named: a link to a directory is listed as that, unless asked about itself.
    async fn look(&self, typed: &RemotePath) -> Result<Attr> {
        let path = &typed.path;
        if self.args.directory || self.args.long && !typed.is_directory {
            return self.client.symlink_metadata(path).await.doing("list", path);
        }
        match self.client.metadata(path).await {
            Ok(attr) => Ok(attr),
            // A link that leads nowhere can still be listed itself.
            Err(_) => self.client.symlink_metadata(path).await.doing("list", path),
        }
    }

    async fn line(&self, path: DfsPath, name: Option<String>, attr: Attr) -> Result<Line> {
        let wanted = attr.kind == FileKind::Symlink && (self.args.long || self.args.json);
        let link = match wanted {
            true => Some(self.client.read_link(&path).await.doing("read", &path)?),
            false => None,
        };
        Ok(Line {
            name: name.unwrap_or_else(|| path.to_string()),
            path,
            attr,
            link,
        })
    }

    /// Lists a directory; the directories in it, if they are to be listed as well.
    async fn list(&mut self, path: &DfsPath) -> Result<Vec<DfsPath>> {
        let mut below = Vec::new();
        let mut batch = Vec::new();
        let mut entries = self.client.read_dir(path).await.doing("list", path)?;
        while let Some(entry) = entries.next_entry().await.doing("list", path)? {
            if entry.name.as_str().starts_with('.') && !self.args.all {
                continue;
            }
            let entry_path = child(path, &entry)?;
            let name = entry.name.to_string();
            let attr = attr_of(path, entry)?;
            if self.args.recursive && attr.kind == FileKind::Directory {
                below.push(entry_path.clone());
            }
            batch.push(self.line(entry_path, Some(name), attr).await?);
            if batch.len() >= BATCH {
                self.print(std::mem::take(&mut batch))?;
            }
        }
        self.print(batch)?;
        Ok(below)
    }

    fn print(&mut self, batch: Vec<Line>) -> Result<()> {
        if let Some(json) = &mut self.json {
            return batch.into_iter().try_for_each(|line| {
                let path = line.path.to_string();
                json.item(&AttrDocument::new(path, &line.attr, line.link))
            });
        }
        if !self.args.long {
            return self
                .output
                .lines(batch.iter().map(|line| self.output.name(&line.name)));
        }
        let right = |n| n == 1 || n == 4;
        let mut table =
            Table::new((0..7).map(|n| if right(n) { Align::Right } else { Align::Left }));
        for line in batch {
            let mut cells = long_columns(&line.attr, &self.names, self.args.human_readable);
            let name = self.output.name(&line.name);
            cells.push(match line.link {
                Some(link) => format!("{name} -> {}", self.output.name(&link)),
                None => name.into_owned(),
            });
            table.row(cells);
        }
        self.output.lines(table.lines())
    }
}
