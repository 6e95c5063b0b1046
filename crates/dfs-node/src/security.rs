//! How a node proves who it is, by its settings.

use dfs_core::node::Security;
use dfs_core::security::JoinToken;

use crate::failure::{Failure, USAGE};

/// What is set.
pub(crate) struct Wanted<'a> {
    /// A join token, or addresses of masters.
    pub(crate) join: &'a [String],
    pub(crate) insecure: bool,
    pub(crate) listen: &'a str,
}

impl Wanted<'_> {
    /// How the node proves who it is, and where masters are that it may join.
    ///
    /// # Errors
    /// What is set contradicts itself, or would let everybody in.
    pub(crate) fn security(&self) -> Result<(Security, Vec<String>), Failure> {
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
            return Ok((Security::Insecure, self.join.to_vec()));
        }
        match self.join {
            [] => Ok((Security::Papers, Vec::new())),
            [token] => {
                let token: JoinToken = token.parse().map_err(|e| {
                    Failure::new(USAGE, format!("`--join`: {e}"))
                        .hint("make one with `dfs token create`, and pass on all of it")
                })?;
                let addresses = token.addresses.clone();
                Ok((Security::join(token), addresses))
            }
            _ => Err(Failure::new(USAGE, "`--join` takes one join token")
                .hint("make one with `dfs token create`; it names all masters")),
        }
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

fn is_loopback(listen: &str) -> bool {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(join: &[&str], insecure: bool, listen: &str) -> Result<Security, String> {
        let join: Vec<String> = join.iter().map(|j| (*j).to_owned()).collect();
        let wanted = Wanted {
            join: &join,
            insecure,
            listen,
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
