//! The cluster file: which parts there are, and at which addresses.
//!
//! ```text
//! dfs cluster 1
//! id 0123456789abcdef0123456789abcdef
//! master 127.0.0.1:20001
//! node 127.0.0.1:40011
//! ```
//!
//! Masters know each other by address, so theirs must stay; data nodes tell theirs anew at each
//! start, and keep them where they can. The id is there once the cluster is founded: it is never
//! founded again, even if no master is left.

use std::path::Path;

use crate::env::{Env, OpenMode};
use crate::error::{Error, ErrorKind, Result};
use crate::types::ClusterId;

const FIRST_LINE: &str = "dfs cluster 1";
const NAME: &str = "cluster";
const NEW_NAME: &str = "cluster.new";
/// Longest file that is read.
const LEN_MAX: u64 = 1 << 20;

/// The addresses of all parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Roster {
    pub(crate) cluster: Option<ClusterId>,
    pub(crate) masters: Vec<String>,
    pub(crate) nodes: Vec<String>,
}

impl Roster {
    /// Reads the file; none if there is none.
    pub(crate) async fn read(env: &Env, directory: &Path) -> Result<Option<Roster>> {
        let path = directory.join(NAME);
        let disk = env.disk.clone();
        let read = move || {
            if !disk.exists(&path)? {
                return Ok(None);
            }
            let file = disk.open(&path, OpenMode::Read)?;
            let length = usize::try_from(file.len()?.min(LEN_MAX)).unwrap_or(0);
            let mut bytes = vec![0; length];
            file.read_at(&mut bytes, 0)?;
            Ok(Some(bytes))
        };
        let bytes = env
            .run_blocking(read)
            .await
            .map_err(|e| failed("read", e))?;
        bytes.map(|bytes| parse(&bytes)).transpose()
    }

    /// Writes the file, whole or not at all.
    pub(crate) async fn write(&self, env: &Env, directory: &Path) -> Result<()> {
        let (text, directory, disk) = (self.text(), directory.to_owned(), env.disk.clone());
        let write = move || {
            let (path, new) = (directory.join(NAME), directory.join(NEW_NAME));
            let file = disk.open(&new, OpenMode::Create)?;
            file.set_len(0)?;
            file.write_at(text.as_bytes(), 0)?;
            file.sync()?;
            disk.rename(&new, &path)?;
            disk.sync_directory(&directory)
        };
        let written = env.run_blocking(write).await;
        written.map_err(|e| failed("write", e))
    }

    fn text(&self) -> String {
        let masters = self.masters.iter().map(|address| ("master", address));
        let nodes = self.nodes.iter().map(|address| ("node", address));
        let mut text = format!("{FIRST_LINE}\n");
        if let Some(cluster) = self.cluster {
            text.push_str(&format!("id {cluster}\n"));
        }
        for (word, address) in masters.chain(nodes) {
            text.push_str(&format!("{word} {address}\n"));
        }
        text
    }
}

fn parse(bytes: &[u8]) -> Result<Roster> {
    let wrong = |what: &str| Error::invalid(format!("the cluster file: {what}"));
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("not text"))?;
    let mut lines = text.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Err(wrong("its first line is not known"));
    }
    let mut roster = Roster::default();
    for line in lines {
        match line.split_once(' ') {
            Some(("id", id)) => {
                let id = id.parse().map_err(|_| wrong("its id is none"))?;
                roster.cluster = Some(id);
            }
            Some(("master", address)) => roster.masters.push(address.to_owned()),
            Some(("node", address)) => roster.nodes.push(address.to_owned()),
            _ => return Err(wrong(&format!("`{line}` is not understood"))),
        }
    }
    Ok(roster)
}

fn failed(what: &str, error: std::io::Error) -> Error {
    let message = format!("cannot {what} the cluster file");
    Error::with_source(ErrorKind::Internal, message, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let env = Env::real();
        assert_eq!(Roster::read(&env, directory.path()).await.unwrap(), None);
        let mut roster = Roster {
            cluster: Some(ClusterId(7)),
            masters: vec!["a:1".to_owned(), "b:2".to_owned()],
            nodes: vec!["c:3".to_owned()],
        };
        roster.write(&env, directory.path()).await.unwrap();
        roster.masters.pop();
        roster.write(&env, directory.path()).await.unwrap();
        let read = Roster::read(&env, directory.path()).await.unwrap();
        assert_eq!(read, Some(roster));
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        for text in [
            "",
            "hello",
            "dfs cluster 2\n",
            "dfs cluster 1\nnode",
            "dfs cluster 1\nid x",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
