//! `dfs getfacl`: access lists, in the form of POSIX.1e.

use clap::Args;
use dfs_core::client::Client;
use dfs_core::types::acl::AclKind;
use dfs_core::types::{Acl, Attr, DfsPath, FileKind, Mode};
use serde::Serialize;

use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Result};
use crate::output::{JsonList, Output, Tally};
use crate::text::acl::{Lists, Row, line, rows};
use crate::text::owner::Names;
use crate::text::remote::RemotePath;
use crate::walk::{Step, Walk};

const EXAMPLES: &str = "\
Examples:
  dfs getfacl /shared
  dfs getfacl -R --json /shared | jq '.entries[] | select(.default)'";

/// Show who may do what with files and directories.
///
/// `#effective` is what the mask leaves of an entry. Lines that begin with `default` are of the
/// list that new files in a directory get.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetfaclArgs {
    /// Files and directories of the cluster.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<RemotePath>,

    /// All below as well; symbolic links are passed over.
    #[arg(long, short = 'R')]
    recursive: bool,

    /// Numbers instead of names.
    #[arg(long, short = 'n')]
    numeric: bool,

    /// A JSON document: `entries`.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Document {
    path: String,
    owner: String,
    group: String,
    mode: String,
    access: Vec<Row>,
    /// None if there is no such list.
    default: Option<Vec<Row>>,
}

#[derive(Serialize)]
struct Head {}

struct Shower<'a> {
    args: &'a GetfaclArgs,
    client: &'a Client,
    output: &'a Output,
    names: Names,
    json: Option<JsonList<'a>>,
}

/// Runs it.
pub(crate) async fn run(args: GetfaclArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let output = &context.output;
    let tally = Tally::new(output);
    let mut shower = Shower {
        args: &args,
        client,
        output,
        names: match args.numeric {
            true => Names::default(),
            false => Names::fitting(client).await?,
        },
        json: match args.json {
            true => Some(output.json_list(&Head {}, "entries")?),
            false => None,
        },
    };
    for path in &args.paths {
        let shown = shower.path(&path.path, &tally).await;
        tally.take(shown)?;
    }
    if let Some(json) = shower.json {
        json.end()?;
    }
    tally.finish()
}

impl Shower<'_> {
    /// Shows the lists of something, and of all below it if that is asked for.
    async fn path(&mut self, path: &DfsPath, tally: &Tally<'_>) -> Result<()> {
        let attr = self.client.metadata(path).await;
        let attr = attr.doing("look at", path)?;
        self.show(path, &attr).await?;
        if !self.args.recursive || attr.kind != FileKind::Directory {
            return Ok(());
        }
        let mut walk = Walk::below(self.client, path);
        while let Some(step) = walk.next().await? {
            if let Step::At(found) = step
                && found.attr.kind != FileKind::Symlink
            {
                tally.take(self.show(&found.path, &found.attr).await)?;
            }
        }
        Ok(())
    }

    async fn show(&mut self, path: &DfsPath, attr: &Attr) -> Result<()> {
        let lists = lists_of(self.client, path, attr).await?;
        let owner = self.names.user(attr.owner);
        let group = self.names.group(attr.group);
        let access = rows(&lists.access, &self.names);
        let default = lists.default.map(|list| rows(&list, &self.names));
        if let Some(json) = &mut self.json {
            return json.item(&Document {
                path: path.to_string(),
                owner,
                group,
                mode: attr.mode.to_string(),
                access,
                default,
            });
        }
        let mut lines = vec![
            format!("# file: {}", self.output.name(&path.to_string())),
            format!("# owner: {owner}"),
            format!("# group: {group}"),
        ];
        lines.extend(flags(attr.mode));
        lines.extend(access.iter().map(|row| line("", row)));
        let default = default.unwrap_or_default();
        lines.extend(default.iter().map(|row| line("default:", row)));
        lines.push(String::new());
        self.output.lines(lines)
    }
}

/// The lists of something that has these attributes.
///
/// # Errors
/// It is not there any more, or the cluster does not answer.
pub(crate) async fn lists_of(client: &Client, path: &DfsPath, attr: &Attr) -> Result<Lists> {
    let access = client.acl(path, AclKind::Access).await;
    let access = access.doing("read the access list of", path)?;
    let default = match attr.kind {
        FileKind::Directory => {
            let default = client.acl(path, AclKind::Default).await;
            default.doing("read the default list of", path)?
        }
        FileKind::File | FileKind::Symlink => None,
    };
    Ok(Lists {
        access: access.unwrap_or_else(|| Acl::of_mode(attr.mode)),
        default,
    })
}

/// `# flags: ss-`, where set-user-id, set-group-id or sticky is set.
fn flags(mode: Mode) -> Option<String> {
    let all = [
        (Mode::SET_USER_ID, 's'),
        (Mode::SET_GROUP_ID, 's'),
        (Mode::STICKY, 't'),
    ];
    let letter = |(bit, letter)| if mode.has(bit) { letter } else { '-' };
    let text: String = all.map(letter).iter().collect();
    (text != "---").then(|| format!("# flags: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_bits_are_shown_where_there_are_some() {
        let shown = |bits| flags(Mode::new(bits));
        assert_eq!(shown(0o755), None);
        assert_eq!(shown(0o2755).as_deref(), Some("# flags: -s-"));
        assert_eq!(shown(0o5755).as_deref(), Some("# flags: s-t"));
    }
}
