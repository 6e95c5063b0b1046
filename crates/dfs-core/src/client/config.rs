//! Settings of a client: plain data, validated once.

use std::str::FromStr;
use std::time::Duration;

use super::access::Access;
use crate::error::{Error, Result};
use crate::types::change::NewAttr;
use crate::types::{ClusterId, GroupId, Mode, UserId};

/// All a client needs to know.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Addresses of masters, `host:port`. One that answers is enough to find the others.
    pub masters: Vec<String>,
    /// The cluster it must be; otherwise whichever the masters belong to.
    pub cluster: Option<ClusterId>,
    /// How it proves who its user is; none for a cluster without security.
    pub access: Option<Access>,
    /// Who owns new files, and who may do what with them.
    pub identity: Identity,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// How much memory things may take.
    pub budgets: Budgets,
}

/// What new files and directories get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Their owner; otherwise the user itself. Administrators alone may make it another.
    pub owner: Option<UserId>,
    /// Their group; otherwise the user's.
    pub group: Option<GroupId>,
    /// Permissions of new files.
    pub file_mode: Mode,
    /// Permissions of new directories.
    pub directory_mode: Mode,
    /// Permissions that they do not get where the directory has no default list.
    pub umask: Mode,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// One metadata operation, with all its attempts.
    pub operation: Duration,
    /// One attempt of it at one master; the next are given more, up to four times as much.
    pub attempt: Duration,
    /// Making a connection to a master.
    pub connect: Duration,
    /// How long a master may be silent before the others are asked whether they have a new leader.
    pub patience: Duration,
}

/// How much memory data on its way may take, in bytes, over all files of the client. Each open
/// file may take a little more ([`SLICE_LEN`](super::SLICE_LEN)), so that none waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Data being written: kept until the data nodes have acknowledged it.
    pub write_bytes: u64,
    /// Data read ahead.
    pub read_bytes: u64,
}

const MIB: u64 = 1 << 20;

impl ClientConfig {
    /// The usual settings, for the cluster of `masters`, without a login.
    pub fn new(masters: impl IntoIterator<Item = impl Into<String>>) -> ClientConfig {
        ClientConfig {
            masters: masters.into_iter().map(Into::into).collect(),
            cluster: None,
            access: None,
            identity: Identity {
                owner: None,
                group: None,
                file_mode: Mode::FILE,
                directory_mode: Mode::DIRECTORY,
                umask: Mode::new(0),
            },
            deadlines: Deadlines {
                operation: Duration::from_secs(30),
                attempt: Duration::from_secs(1),
                connect: Duration::from_millis(500),
                patience: Duration::from_millis(250),
            },
            budgets: Budgets {
                write_bytes: 128 * MIB,
                read_bytes: 64 * MIB,
            },
        }
    }

    /// Checks the settings against each other.
    ///
    /// # Errors
    /// Names the settings that cannot be.
    pub fn validate(&self) -> Result<()> {
        if self.masters.is_empty() {
            return Err(Error::invalid("masters: none given"));
        }
        for address in &self.masters {
            validate_address(address)?;
        }
        let Deadlines {
            operation,
            attempt,
            connect,
            patience,
        } = self.deadlines;
        if attempt.is_zero() || connect.is_zero() || patience.is_zero() {
            return Err(Error::invalid("deadlines: one of them is zero"));
        }
        if operation < attempt {
            return Err(Error::invalid(format!(
                "deadlines.operation {operation:?} is below deadlines.attempt {attempt:?}"
            )));
        }
        for (name, bytes) in [
            ("budgets.write_bytes", self.budgets.write_bytes),
            ("budgets.read_bytes", self.budgets.read_bytes),
        ] {
            if !(MIB..=1 << 40).contains(&bytes) {
                return Err(Error::invalid(format!(
                    "{name} {bytes} is not in 1 MiB..=1 TiB"
                )));
            }
        }
        Ok(())
    }
}

impl Identity {
    /// The attributes of a new file.
    pub fn file(&self) -> NewAttr {
        self.attr(self.file_mode)
    }

    /// The attributes of a new directory.
    pub fn directory(&self) -> NewAttr {
        self.attr(self.directory_mode)
    }

    /// Attributes with other permissions.
    pub fn attr(&self, mode: Mode) -> NewAttr {
        NewAttr {
            mode,
            umask: self.umask,
            owner: self.owner,
            group: self.group,
        }
    }
}

fn validate_address(address: &str) -> Result<()> {
    let good = address
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    match good {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the master address {address:?} is not `host:port`"
        ))),
    }
}

/// `dfs://host:port,host:port`, or the same without the scheme.
impl FromStr for ClientConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<ClientConfig> {
        let rest = match url.split_once("://") {
            None => url,
            Some(("dfs", rest)) => rest.strip_suffix('/').unwrap_or(rest),
            Some((scheme, _)) => {
                let message = format!("{url:?}: the scheme is {scheme:?}, not \"dfs\"");
                return Err(Error::invalid(message));
            }
        };
        let config = ClientConfig::new(rest.split(',').map(str::trim));
        config
            .validate()
            .map_err(|e| e.context(format!("{url:?}")))?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_masters() {
        for url in [
            "dfs://a:1,b:2",
            "dfs://a:1,b:2/",
            "a:1, b:2",
            "dfs://[::1]:1,b:2",
        ] {
            let config: Result<ClientConfig> = url.parse();
            assert_eq!(config.map(|c| c.masters.len()).ok(), Some(2), "{url}");
        }
        for url in [
            "",
            "dfs://",
            "dfs://a",
            "http://a:1",
            "a:1,,b:2",
            "a:99999",
            ":1",
        ] {
            assert!(url.parse::<ClientConfig>().is_err(), "{url}");
        }
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let mut config = ClientConfig::new(["a:1"]);
        config.deadlines.operation = Duration::from_millis(1);
        let message = config.validate().map_err(|e| e.to_string());
        assert!(message.is_err_and(|m| m.contains("deadlines.attempt")));
    }
}
