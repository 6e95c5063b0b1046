//! How a node proves who it is, by its settings.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dfs_core::env::is_loopback;
use dfs_core::node::Security;
use dfs_core::security::JoinToken;

use crate::failure::{Failure, USAGE};
use crate::settings::Join;

/// What papers are called in the directory of a node.
const PAPERS: &str = "papers";
/// Longest file that may have a join token in it.
const JOIN_LEN_MAX: u64 = 64 << 10;

/// What is set.
pub(crate) struct Wanted<'a> {
    /// A join token, or addresses of masters.
    pub(crate) join: &'a [Join],
    /// The file that has it instead.
    pub(crate) join_file: Option<&'a Path>,
    pub(crate) insecure: bool,
    pub(crate) listen: &'a str,
    /// The node's own. With papers in it, it needs no token.
    pub(crate) directory: &'a Path,
}

impl Wanted<'_> {
    /// How the node proves who it is, and where masters are that it may join.
    ///
    /// # Errors
    /// What is set contradicts itself, or would let everybody in.
    pub(crate) fn security(&self) -> Result<(Security, Vec<String>), Failure> {
        let join = self.join()?;
        if self.insecure {
            if !is_loopback(self.listen) {
                let what = format!(
                    "{}: without security only loopback is listened at",
                    self.listen
                );
                return Err(Failure::new(USAGE, what)
                    .hint("leave out `--insecure`: whoever reached this port had full access"));
            }
            warn();
            return Ok((Security::Insecure, join));
        }
        match join.as_slice() {
            [] => Ok((Security::Papers, Vec::new())),
            [token] => {
                let token: JoinToken = token.parse().map_err(|e| {
                    Failure::new(USAGE, format!("the join token: {e}"))
                        .hint("make one with `dfs token create`, and pass on all of it")
                })?;
                let addresses = token.addresses.clone();
                Ok((Security::join(token), addresses))
            }
            _ => Err(Failure::new(USAGE, "a node joins with one join token")
                .hint("make one with `dfs token create`; it names all masters")),
        }
    }

    /// What is set, or stands in the file.
    fn join(&self) -> Result<Vec<String>, Failure> {
        let Some(file) = self.join_file else {
            let set = self.join.iter().map(|join| join.reveal().to_owned());
            return Ok(set.collect());
        };
        if !self.join.is_empty() {
            let what = "both a join token and a file that has one are set";
            return Err(Failure::new(USAGE, what).hint("set `--join-file` alone"));
        }
        let has_papers = self.directory.join(PAPERS).exists();
        let text = match read(file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && has_papers => return Ok(Vec::new()),
            read => read,
        };
        let text = text.map_err(|e| {
            let what = format!("cannot read the join token in {}: {e}", file.display());
            Failure::new(USAGE, what)
        })?;
        let text = text.trim();
        if text.is_empty() && has_papers {
            return Ok(Vec::new());
        }
        if text.is_empty() {
            let what = format!("there is no join token in {}", file.display());
            return Err(Failure::new(USAGE, what).hint("make one with `dfs token create`"));
        }
        Ok(text.split(',').map(str::to_owned).collect())
    }
}

/// All of a file that is not too long to have a join token in it; `-` is standard input.
#[allow(
    clippy::disallowed_methods,
    reason = "the operator's file, read once at start"
)]
fn read(file: &Path) -> io::Result<String> {
    let source: &mut dyn Read = match file == Path::new("-") {
        true => &mut io::stdin().lock(),
        false => &mut File::open(file)?,
    };
    let mut text = String::new();
    source.take(JOIN_LEN_MAX + 1).read_to_string(&mut text)?;
    match text.len() as u64 > JOIN_LEN_MAX {
        true => Err(io::Error::other(format!(
            "longer than {JOIN_LEN_MAX} bytes"
        ))),
        false => Ok(text),
    }
}

/// Says that there is no security, whatever the log is for.
#[allow(
    clippy::print_stderr,
    reason = "for a person, and not to be filtered away"
)]
fn warn() {
    eprintln!(
        "warning: INSECURE: no encryption and no logins: every program on this machine can read, \
         change and delete everything"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(join: &[&str], insecure: bool, listen: &str) -> Result<Security, String> {
        let join: Vec<Join> = join.iter().map(|j| j.parse().unwrap()).collect();
        let wanted = Wanted {
            join: &join,
            join_file: None,
            insecure,
            listen,
            directory: Path::new("/nowhere"),
        };
        let (security, _) = wanted.security().map_err(|failure| failure.to_string())?;
        Ok(security)
    }

    #[test]
    fn nobody_is_let_in_by_mistake() {
        for open in ["0.0.0.0:7400", "10.0.0.1:7400", "[::]:7400", "m1:7400"] {
            assert!(wanted(&[], true, open).is_err(), "{open}");
        }
        for own in ["127.0.0.1:7400", "[::1]:7400", "localhost:7400"] {
            assert!(wanted(&[], true, own).unwrap().is_insecure(), "{own}");
            assert!(!wanted(&[], false, own).unwrap().is_insecure(), "{own}");
        }
    }

    #[test]
    fn a_token_is_one_and_is_not_repeated() {
        let secret = "dfsjoin1-00c0ffee";
        let refused = wanted(&[secret], false, "10.0.0.1:7400").unwrap_err();
        assert!(!refused.contains("c0ffee"), "{refused}");
        assert!(wanted(&["a:1", "b:2"], false, "10.0.0.1:7400").is_err());
    }
}
