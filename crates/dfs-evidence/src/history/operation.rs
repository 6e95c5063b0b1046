//! Operations: what begins an operation and what ends it, together.

use std::collections::{BTreeMap, BTreeSet};

use dfs_core::types::Rev;

use super::{Actor, Event, Kind, Op, Output};

/// An operation of a client.
#[derive(Debug, Clone)]
pub struct Operation<'a> {
    /// By whom.
    pub process: u64,
    /// What.
    pub op: &'a Op,
    /// The index of the event that began it.
    pub began: u64,
    /// How it ended.
    pub end: End<'a>,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End<'a> {
    /// It was done.
    Ok {
        /// The index of the event.
        at: u64,
        /// What it gave.
        output: Option<&'a Output>,
        /// Its point of history, where that is known.
        rev: Option<Rev>,
    },
    /// It was not done.
    Fail {
        /// The index of the event.
        at: u64,
        /// Why not.
        error: &'a str,
        /// The point of history at which it was refused, if it was.
        rev: Option<Rev>,
    },
    /// Nobody knows, or it never ended.
    Unknown,
}

impl Operation<'_> {
    /// Whether it was done.
    pub fn is_ok(&self) -> bool {
        matches!(self.end, End::Ok { .. })
    }

    /// The index of the event that ended it; none if it may be done at any later time.
    pub fn ended(&self) -> Option<u64> {
        match self.end {
            End::Ok { at, .. } | End::Fail { at, .. } => Some(at),
            End::Unknown => None,
        }
    }

    /// Its point of history, where that is known.
    pub fn rev(&self) -> Option<Rev> {
        match self.end {
            End::Ok { rev, .. } | End::Fail { rev, .. } => rev,
            End::Unknown => None,
        }
    }

    /// What it gave.
    pub fn output(&self) -> Option<&Output> {
        match self.end {
            End::Ok { output, .. } => output,
            _ => None,
        }
    }
}

/// The operations of clients, in the order in which they began. `wanted` chooses by what they
/// are.
///
/// # Errors
/// The history contradicts itself: its index goes back, a process did two things at once, ended
/// what it had not begun, or went on after it did not know what it had done.
pub fn operations<'a>(
    history: &'a [Event],
    wanted: impl Fn(&Op) -> bool,
) -> Result<Vec<Operation<'a>>, String> {
    let mut operations = Vec::new();
    let mut open: BTreeMap<u64, usize> = BTreeMap::new();
    let mut ended: BTreeSet<u64> = BTreeSet::new();
    let mut least = 0;
    for event in history {
        let wrong = |what: &str| Err(format!("the event {} {what}", event.index));
        if event.index < least {
            return wrong("comes after later ones");
        }
        least = event.index + 1;
        let Actor::Process(process) = event.actor else {
            continue;
        };
        if !wanted(&event.op) {
            continue;
        }
        if event.kind == Kind::Invoke {
            if ended.contains(&process) {
                return wrong("is of a process that had ended");
            }
            if open.insert(process, operations.len()).is_some() {
                return wrong("begins a second operation of its process");
            }
            operations.push(Operation {
                process,
                op: &event.op,
                began: event.index,
                end: End::Unknown,
            });
            continue;
        }
        let begun = open.remove(&process);
        let Some(operation) = begun.and_then(|index| operations.get_mut(index)) else {
            return wrong("ends what was not begun");
        };
        if *operation.op != event.op {
            return wrong("ends another operation than was begun");
        }
        operation.end = match event.kind {
            Kind::Ok => End::Ok {
                at: event.index,
                output: event.output.as_ref(),
                rev: event.rev,
            },
            Kind::Fail => End::Fail {
                at: event.index,
                error: event.error.as_deref().unwrap_or_default(),
                rev: event.rev,
            },
            Kind::Invoke | Kind::Info => {
                ended.insert(process);
                End::Unknown
            }
        };
    }
    Ok(operations)
}
