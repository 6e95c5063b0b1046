//! Settings: flag before environment before file before default.
//!
//! One type serves the flags and the file, so a setting cannot be in one and not in the other.

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
        toml::from_str(&text)
            .map_err(|e| format!("the configuration {} is wrong: {e}", path.display()))
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
        join: Vec<String> = None;
        /// A file that has the join token; `-` is standard input
        #[arg(long, env = "DFS_JOIN_FILE", value_name = "FILE")]
        join_file: PathBuf = None;
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
        /// Where chunks are kept
        #[arg(long, env = "DFS_DIRECTORY", value_name = "DIR")]
        directory: PathBuf = None;
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
        join: String = None;
        /// A file that has the join token; `-` is standard input
        #[arg(long, env = "DFS_JOIN_FILE", value_name = "FILE")]
        join_file: PathBuf = None;
        /// No encryption and no logins: for tests and benchmarks, on loopback only
        #[arg(long, env = "DFS_INSECURE", num_args = 0..=1, default_missing_value = "true")]
        insecure: bool = Some(false);
        /// Kept free on the disk for repair and deletion, in MiB; never less than 2 % of it
        #[arg(long, env = "DFS_RESERVE_MIB", value_name = "MIB")]
        reserve_mib: u32 = Some(1024);
        /// Room for the audit log, in MiB; when it is full the oldest lines go
        #[arg(long, env = "DFS_AUDIT_MIB", value_name = "MIB")]
        audit_mib: u32 = Some(64);
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
        let error = toml::from_str::<File>("[master]\nlissten = \"x\"").unwrap_err();
        assert!(error.to_string().contains("lissten"), "{error}");
    }

    #[test]
    fn what_is_printed_is_read_back_the_same() {
        let master = MasterSettings {
            directory: Some("/d".into()),
            join: Some(vec!["a:1".to_owned()]),
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
