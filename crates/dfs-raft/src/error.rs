//! Two kinds of error: one that ends a replica, and one that a caller can act on.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::config::InvalidConfig;
use crate::types::MemberId;

/// A fault that this replica must not survive: its disk failed, its database is damaged, or
/// something impossible was found. It stops and says why, instead of answering wrongly.
#[derive(Clone)]
pub struct Fatal {
    message: String,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    /// Whether it is what is stored that is wrong.
    of_state: bool,
}

impl Fatal {
    /// A fault that `message` describes.
    pub fn new(message: impl Into<String>) -> Fatal {
        Fatal {
            message: message.into(),
            source: None,
            of_state: false,
        }
    }

    /// A fault of what is stored, and not of reading it: the state must not be used again.
    pub(crate) fn of_state(message: impl Into<String>) -> Fatal {
        Fatal {
            of_state: true,
            ..Fatal::new(message)
        }
    }

    pub(crate) fn is_of_state(&self) -> bool {
        self.of_state
    }

    /// A fault with the error that caused it.
    pub fn with_source(
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Fatal {
        Fatal {
            message: message.into(),
            source: Some(Arc::new(source)),
            of_state: false,
        }
    }

    /// A fault that was found by a panic, such as redb's where it meets a damaged page.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Fatal {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let why = text.unwrap_or("without a message");
        Fatal::new(format!("the program panicked: {why}"))
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl StdError for Fatal {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_deref()
            .map(|e| e as &(dyn StdError + 'static))
    }
}

/// Where the leader is, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderHint {
    /// The leader.
    pub member: MemberId,
    /// Its address.
    pub address: String,
}

fn at(leader: &Option<LeaderHint>) -> String {
    match leader {
        Some(leader) => format!("{} at {}", leader.member, leader.address),
        None => "unknown".to_owned(),
    }
}

/// Why a replica did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings do not fit together.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The directory cannot be made or locked; [`io::ErrorKind::WouldBlock`] if another replica
    /// has it.
    #[error("the directory cannot be used: {0}")]
    Directory(#[source] io::Error),
    /// What is in the directory must not run: it is damaged or incomplete.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why nothing was restored from a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup is damaged, cut short, none, or of a newer program.
    #[error("the backup cannot be used: {0}")]
    Backup(String),
    /// There is a replica in the directory, or remains of one.
    #[error("the directory is not empty: a replica, or remains of one, are in it")]
    NotEmpty,
    /// The directory cannot be made, locked or read.
    #[error("the directory cannot be used: {0}")]
    Directory(#[source] io::Error),
    /// The disk failed.
    #[error(transparent)]
    Fatal(#[from] Fatal),
}

/// Why a command was not, or perhaps was, carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProposeError {
    /// This replica is not the leader, or is and has not heard of a majority lately; nothing
    /// happened. Ask the leader, or again.
    #[error("not the leader; the leader is {}", at(.0))]
    NotLeader(Option<LeaderHint>),
    /// It may have happened, or may yet. Repeat it only if the state machine recognises
    /// repetitions, by a number in the command; a read tells whether it happened, but not that it
    /// will not.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Nothing happened; try again later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The command cannot be proposed; nothing happened.
    #[error("invalid: {0}")]
    Invalid(String),
    /// The replica has stopped; nothing happened.
    #[error("the replica has stopped: {0}")]
    Stopped(Fatal),
}

/// Why a read has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// No leader could confirm the read; try again, at the leader if one is named.
    #[error("no leader confirmed the read; the leader is {}", at(.0))]
    NotLeader(Option<LeaderHint>),
    /// Try again later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(Fatal),
}

/// Why a cluster was not founded, joined or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// This replica is not the leader; nothing happened. Ask the leader.
    #[error("not the leader; the leader is {}", at(.0))]
    NotLeader(Option<LeaderHint>),
    /// It would be wrong, or is not possible in this state; nothing happened.
    #[error("refused: {0}")]
    Refused(String),
    /// It may have happened, now or later. Look at the members before trying again.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// Nothing happened; try again later.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(Fatal),
}

macro_rules! fatal_from_redb {
    ($($error:ty),*) => {$(
        impl From<$error> for Fatal {
            fn from(e: $error) -> Fatal {
                Fatal::with_source("the database failed", e)
            }
        }
    )*};
}

fatal_from_redb!(
    redb::CommitError,
    redb::DatabaseError,
    redb::SetDurabilityError,
    redb::StorageError,
    redb::TableError,
    redb::TransactionError
);
