//! What a line says.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;

use super::Deed;
use super::deed::cut;
use crate::env::Timestamp;
use crate::types::{InodeId, Rev};

/// Who asks, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A user, a node, a key.
    pub who: String,
    /// `host:port` of the connection; empty within a node.
    pub source: String,
}

impl Actor {
    /// Somebody at the other end of a connection.
    pub fn new(who: impl ToString, source: &str) -> Actor {
        Actor {
            who: who.to_string(),
            source: source.to_owned(),
        }
    }
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused, and nothing was done.
    Refused,
    /// It may or may not have been done.
    Unknown,
}

/// How something ended, and at which point of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// Why, if it was not done.
    pub why: Option<String>,
    /// When, in the history of the cluster.
    pub rev: Option<Rev>,
    /// The inode that it was about.
    pub inode: Option<InodeId>,
}

impl Ending {
    /// Whoever asked was gone before that.
    pub(super) const UNANSWERED: Ending = Ending::of(Outcome::Unknown);

    const fn of(outcome: Outcome) -> Ending {
        Ending {
            outcome,
            why: None,
            rev: None,
            inode: None,
        }
    }

    /// It was done.
    pub fn done() -> Ending {
        Ending::of(Outcome::Done)
    }

    /// It was refused.
    pub fn refused(why: impl ToString) -> Ending {
        Ending {
            why: Some(cut(why)),
            ..Ending::of(Outcome::Refused)
        }
    }

    /// Nobody knows.
    pub fn unknown(why: impl ToString) -> Ending {
        Ending {
            why: Some(cut(why)),
            ..Ending::of(Outcome::Unknown)
        }
    }

    /// The same, at a point of history.
    #[must_use]
    pub fn at(self, rev: Option<Rev>) -> Ending {
        Ending { rev, ..self }
    }

    /// The same, about an inode.
    #[must_use]
    pub fn of_inode(self, inode: Option<InodeId>) -> Ending {
        Ending { inode, ..self }
    }
}

/// One line. Fields are only ever added.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    /// When it ended, in UTC.
    time: String,
    who: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    source: String,
    #[serde(flatten)]
    deed: Deed,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rev: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<String>,
    /// Lines before this one that were not written.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) unwritten: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Line {
    /// Of something that has not ended.
    pub(super) fn new(actor: &Actor, deed: Deed) -> Line {
        Line {
            time: String::new(),
            who: actor.who.clone(),
            source: actor.source.clone(),
            deed,
            outcome: Outcome::Unknown,
            why: None,
            rev: None,
            inode: None,
            unwritten: 0,
        }
    }

    pub(super) fn end(&mut self, ending: Ending, now: Timestamp) {
        self.time = Utc(now).to_string();
        self.outcome = ending.outcome;
        self.why = ending.why;
        self.rev = ending.rev.map(|rev| rev.to_string());
        self.inode = ending.inode.map(|inode| inode.to_string());
    }

    /// As bytes, with the end of the line.
    pub(super) fn to_json(&self) -> Vec<u8> {
        // Strings and numbers, of which nothing fails.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

/// A time as RFC 3339 has it, always as long.
struct Utc(Timestamp);

impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i128::from(self.0.0) * 1000;
        let Ok(at) = OffsetDateTime::from_unix_timestamp_nanos(nanos) else {
            return write!(f, "{}", self.0);
        };
        let (year, month, day) = at.to_calendar_date();
        let (hour, minute, second, micro) = at.to_hms_micro();
        let month = u8::from(month);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z"
        )
    }
}
