//! Settings: flag before environment before file before default.
//!
//! One type serves the flags and the file, so a setting cannot be in one and not in the other.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The configuration file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// What is logged, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<LogSettings>,
    /// For `init` and `master`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) master: Option<MasterSettings>,
    /// For `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<DataSettings>,
}

impl File {
    /// Reads a configuration file; none is an empty one.
    pub(crate) fn read(path: Option<&Path>) -> Result<File, String> {
        let Some(path) = path else {
            return Ok(File::default());
        };
        #[allow(
            clippy::disallowed_methods,
            reason = "the operator's file, read once at start"
        )]
        let text = std::fs::read_to_string(path)
            .map_err(|e| format!("cannot read the configuration {}: {e}", path.display()))?;
        File::parse(&text)
            .map_err(|e| format!("the configuration {} is wrong: {e}", path.display()))
    }

    /// What is wrong is said without what is set, which may be secret.
    fn parse(text: &str) -> Result<File, String> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let place = before.map(|before| {
                let line = before.matches('\n').count() + 1;
                let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
                format!(" at line {line}, column {column}")
            });
            let what = without_values(error.message());
            format!("{what}{}", place.unwrap_or_default())
        })
    }
}

/// The message of an error without the text that it is about.
fn without_values(message: &str) -> String {
    let value = message.split_once("string \"");
    match value.and_then(|(before, value)| Some((before, value.rsplit_once('"')?.1))) {
        Some((before, after)) => format!("{before}string{after}"),
        None => message.to_owned(),
    }
}

/// A join token, or without security the address of a master. A token is not printed.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Join(String);

/// What is printed of a token.
const HIDDEN: &str = "dfsjoin1-…";

impl Join {
    /// All of it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// What others may see: an address, and of anything else nothing.
    fn shown(&self) -> &str {
        let port = self.0.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => &self.0,
            Some(Err(_)) | None => HIDDEN,
        }
    }
}

impl std::str::FromStr for Join {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Join, Infallible> {
        Ok(Join(text.to_owned()))
    }
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.shown())
    }
}

impl Serialize for Join {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

macro_rules! settings {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$attribute:meta])* $field:ident: $type:ty = $default:expr;)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$attribute])*
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(crate) $field: Option<$type>,)*
        }

        impl $name {
            /// These settings, and where they say nothing those of `file`, then the defaults.
            pub(crate) fn over(self, file: Option<$name>) -> $name {
                let file = file.unwrap_or_default();
                $name { $($field: self.$field.or(file.$field).or($default),)* }
            }
        }
    };
}

/// Sets bytes to so many MiB, if that is set.
pub(crate) fn set_mib(bytes: &mut u64, mib: Option<u32>) {
    if let Some(mib) = mib {
        *bytes = u64::from(mib) << 20;
    }
}

settings! {
    /// Settings of a master.
    MasterSettings {
        /// Where the metadata is kept
        #[arg(long, env = "DFS_DIRECTORY", value_name = "DIR")]
        directory: PathBuf = None;
        /// Where to listen
        #[arg(long, env = "DFS_LISTEN", value_name = "HOST:PORT")]
        listen: String = Some("127.0.0.1:7400".to_owned());
        /// The address others reach it at, if that is another
        #[arg(long, env = "DFS_ADVERTISE", value_name = "HOST:PORT")]
        advertise: String = None;
        /// A join token, to join the cluster that made it; without security, addresses of masters
        ///
        /// Once it has joined it needs the token no more, and does not mind it. Others see what is
        /// on a command line: `--join-file`, the environment and the configuration file are safer.
        #[arg(long, env = "DFS_JOIN", value_name = "TOKEN", value_delimiter = ',')]
        #[arg(hide_env_values = true)]
        join: Vec<Join> = None;
        /// A file that has the join token; `-` is standard input
        #[arg(long, env = "DFS_JOIN_FILE", value_name = "FILE")]
        join_file: PathBuf = None;
        /// Announce it on the local network, and find masters to join there
        #[arg(long, env = "DFS_DISCOVER", num_args = 0..=1, default_missing_value = "true")]
        discover: bool = Some(false);
        /// No encryption and no logins: for tests and benchmarks, on loopback only
        #[arg(long, env = "DFS_INSECURE", num_args = 0..=1, default_missing_value = "true")]
        insecure: bool = Some(false);
        /// Kept free on the disk for the log and removals, in MiB; with less nothing new is made
        #[arg(long, env = "DFS_RESERVE_MIB", value_name = "MIB")]
        reserve_mib: u32 = Some(512);
        /// Room for the audit log, in MiB; when it is full the oldest lines go
        #[arg(long, env = "DFS_AUDIT_MIB", value_name = "MIB")]
        audit_mib: u32 = Some(1024);
        /// A data node silent for this long is dead, and its chunks are repaired
        #[arg(long, env = "DFS_DEAD_AFTER", value_name = "DURATION")]
        dead_after: Period = Some(Period(Duration::from_secs(120)));
        /// The same if most of the other data nodes hold it for down, too; two must
        #[arg(long, env = "DFS_DEAD_AFTER_AGREED", value_name = "DURATION")]
        dead_after_agreed: Period = Some(Period(Duration::from_secs(30)));
        /// How fast a data node makes and serves copies for repair, in MiB a second
        #[arg(long, env = "DFS_REPAIR_MIB", value_name = "MIB")]
        repair_mib: u32 = Some(128);
        /// By how many percent data nodes may be fuller or emptier than all; 100 moves nothing
        #[arg(long, env = "DFS_BALANCE_PERCENT", value_name = "PERCENT")]
        balance_percent: u32 = Some(5);
        /// Many short chunks of a file become one when nobody has changed it for this long
        #[arg(long, env = "DFS_COMPACT_AFTER", value_name = "DURATION")]
        compact_after: Period = Some(Period(Duration::from_secs(600)));
        /// Memory for the metadata's cache, in MiB
        #[arg(long, env = "DFS_CACHE_MIB", value_name = "MIB")]
        cache_mib: u32 = Some(128);
        /// Changes after which the log is cut, and as many kept for masters that were away
        ///
        /// A master that missed more gets a copy of all metadata instead.
        #[arg(long, env = "DFS_LOG_ENTRIES", value_name = "COUNT")]
        log_entries: u32 = Some(20_000);
    }
}

settings! {
    /// Settings of a data node.
    DataSettings {
        /// Where chunks are kept, and what the node is known by
        #[arg(long, env = "DFS_DIRECTORY", value_name = "DIR")]
        directory: PathBuf = None;
        /// Another directory for chunks, on a disk of its own; again for each
        ///
        /// One that is empty and was none of this node becomes one. One that fails is taken out
        /// alone, and what it held is repaired. Without `--directory` the first is that one.
        #[arg(long, env = "DFS_DIRS", value_name = "DIR", value_delimiter = ',')]
        dir: Vec<PathBuf> = None;
        /// One of the directories that is to be taken out; again for each
        ///
        /// What it has goes to the others, and nothing new comes to it. `dfs node ls --volumes`
        /// shows when it is empty: then leave it out, with `--forget`.
        #[arg(long, env = "DFS_LEAVE", value_name = "DIR", value_delimiter = ',')]
        leave: Vec<PathBuf> = None;
        /// Where to listen
        #[arg(long, env = "DFS_LISTEN", value_name = "HOST:PORT")]
        listen: String = Some("127.0.0.1:7500".to_owned());
        /// The address others reach it at, if that is another
        #[arg(long, env = "DFS_ADVERTISE", value_name = "HOST:PORT")]
        advertise: String = None;
        /// Masters of the cluster, unless a join token names them
        #[arg(long, env = "DFS_MASTERS", value_name = "HOST:PORT", value_delimiter = ',')]
        masters: Vec<String> = None;
        /// A join token, to join the cluster that made it
        ///
        /// Once it has joined it needs the token no more, and does not mind it. Others see what is
        /// on a command line: `--join-file`, the environment and the configuration file are safer.
        #[arg(long, env = "DFS_JOIN", value_name = "TOKEN", hide_env_values = true)]
        join: Join = None;
        /// A file that has the join token; `-` is standard input
        #[arg(long, env = "DFS_JOIN_FILE", value_name = "FILE")]
        join_file: PathBuf = None;
        /// Find masters on the local network, when those that are known do not answer
        #[arg(long, env = "DFS_DISCOVER", num_args = 0..=1, default_missing_value = "true")]
        discover: bool = Some(false);
        /// No encryption and no logins: for tests and benchmarks, on loopback only
        #[arg(long, env = "DFS_INSECURE", num_args = 0..=1, default_missing_value = "true")]
        insecure: bool = Some(false);
        /// Kept free on the disk for repair and deletion, in MiB; never less than 2 % of it
        #[arg(long, env = "DFS_RESERVE_MIB", value_name = "MIB")]
        reserve_mib: u32 = Some(1024);
        /// Room for the audit log, in MiB; when it is full the oldest lines go
        #[arg(long, env = "DFS_AUDIT_MIB", value_name = "MIB")]
        audit_mib: u32 = Some(64);
        /// Every replica is read through within this time, to find what rotted
        #[arg(long, env = "DFS_SCRUB_PERIOD", value_name = "DURATION")]
        scrub_period: Period = Some(Period(Duration::from_secs(14 * 24 * 3600)));
        /// But no more than so many MiB a second are read for that
        #[arg(long, env = "DFS_SCRUB_MIB", value_name = "MIB")]
        scrub_mib: u32 = Some(64);
        /// The zone it is in
        #[arg(long, env = "DFS_ZONE")]
        zone: String = Some(String::new());
        /// The rack it is in
        #[arg(long, env = "DFS_RACK")]
        rack: String = Some(String::new());
        /// The host it is on, where several nodes share one
        #[arg(long, env = "DFS_HOST")]
        host: String = Some(String::new());
    }
}

settings! {
    /// What is logged, and how.
    LogSettings {
        /// What to log: a level, or a filter such as `warn,dfs_core=debug`
        #[arg(long = "log", env = "DFS_LOG", value_name = "FILTER")]
        filter: String = Some("info,openraft=warn".to_owned());
        /// How to log
        #[arg(long = "log-format", env = "DFS_LOG_FORMAT", value_name = "FORMAT")]
        format: LogFormat = Some(LogFormat::Text);
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A length of time, written `90s`, `2m`, `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Period(pub(crate) Duration);

impl std::str::FromStr for Period {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Period, Self::Err> {
        humantime::parse_duration(text).map(Period)
    }
}

impl TryFrom<String> for Period {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Period, Self::Error> {
        text.parse()
    }
}

impl From<Period> for String {
    fn from(period: Period) -> String {
        humantime::format_duration(period.0).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let flags = MasterSettings {
            cache_mib: Some(1),
            ..MasterSettings::default()
        };
        let file: File = toml::from_str(
            "[master]\ncache_mib = 2\nlisten = \"127.0.0.1:1\"\ndead_after = \"90s\"",
        )
        .unwrap();
        let settings = flags.over(file.master);
        assert_eq!(settings.cache_mib, Some(1));
        assert_eq!(settings.listen.as_deref(), Some("127.0.0.1:1"));
        assert_eq!(settings.dead_after, Some(Period(Duration::from_secs(90))));
        assert_eq!(settings.directory, None);
        let defaults = MasterSettings::default().over(None);
        assert_eq!(defaults.listen.as_deref(), Some("127.0.0.1:7400"));
    }

    #[test]
    fn an_unknown_setting_is_refused_by_name() {
        let error = File::parse("[master]\nlissten = \"x\"").unwrap_err();
        assert!(error.contains("lissten"), "{error}");
        assert!(error.ends_with("at line 2, column 1"), "{error}");
    }

    #[test]
    fn no_error_and_nothing_printed_has_a_join_token_in_it() {
        let token = "dfsjoin1-00c0ffee";
        for wrong in [
            format!("[data]\njoin = {token}"),
            format!("[data]\njoin = \"{token}"),
            format!("[data]\njoin = '{token}\""),
            format!("[data]\njoin = [\"{token}\"]"),
            format!("[master]\njoin = \"{token}\""),
            format!("[master]\ninsecure = \"{token}\""),
            format!("[data]\njoin \"{token}\""),
            format!("[master]\ndead_after = \"{token}\""),
        ] {
            let error = File::parse(&wrong).unwrap_err();
            assert!(!error.contains("c0ffee"), "{wrong}: {error}");
        }
        let right = format!("[data]\njoin = \"{token}\"\n[master]\njoin = [\"{token}\", \"a:1\"]");
        let file = File::parse(&right).unwrap();
        let data = file.data.as_ref().unwrap();
        assert_eq!(data.join.as_ref().unwrap().reveal(), token);
        let printed = toml::to_string(&file).unwrap() + &format!("{file:?}");
        assert!(!printed.contains("c0ffee"), "{printed}");
        assert!(printed.contains("a:1"), "{printed}");
    }

    #[test]
    fn what_is_printed_is_read_back_the_same() {
        let master = MasterSettings {
            directory: Some("/d".into()),
            join: Some(vec!["a:1".parse().unwrap()]),
            ..MasterSettings::default()
        };
        let file = File {
            master: Some(master.over(None)),
            ..File::default()
        };
        let again: File = toml::from_str(&toml::to_string(&file).unwrap()).unwrap();
        assert_eq!(again.master, file.master);
    }
}
