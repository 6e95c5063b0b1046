//! Operations carried out, and what became of them taken down.
//!
//! A read that fails had no effect. A change that fails had none only if a master refused it or
//! provably never got it; in any other case nobody knows.

use dfs_core::client::Stamped;
use dfs_core::error::{Error, ErrorKind, Result};
use dfs_core::types::change::Removal;
use dfs_core::types::limits::ENTRIES_PER_REPLY_MAX;
use dfs_core::types::snapshot::{SNAPSHOTS_NAME, SnapshotChange};
use dfs_core::types::{
    Answer, Attr, Change, Changed, DfsPath, FileKind, Location, Name, Query, RefusalKind, TrashId,
};

use super::Worker;
use crate::history::{Node, Op, Output, Pending};

/// What an operation on names is for the masters.
enum Request {
    Change(Change),
    Query(Query),
}

/// What became of an operation.
#[derive(Debug)]
pub enum Became {
    /// It was done, and gave this.
    Done(Option<Output>),
    /// It had no effect, and never will have one.
    Nothing,
    /// Nobody knows.
    Unknown,
}

impl Worker {
    /// Carries out an operation on names; what it gave, if it was done.
    pub async fn perform(&mut self, op: Op) -> Option<Output> {
        match self.attempt(op).await {
            Became::Done(output) => output,
            Became::Nothing | Became::Unknown => None,
        }
    }

    /// Carries out an operation on names.
    pub async fn attempt(&mut self, op: Op) -> Became {
        let request = self.request(&op);
        let pending = self.invoke(op.clone());
        let given = match request {
            Ok(Request::Change(change)) => {
                let submitted = self.client.submit(change).await;
                submitted.map(|Stamped { rev, value }| (rev, changed(&op, value)))
            }
            Ok(Request::Query(query)) => {
                let answered = self.client.query(query).await;
                answered.map(|Stamped { rev, value }| (rev, answer(value)))
            }
            Err(error) => Err(error),
        };
        match given {
            Ok((rev, output)) => {
                pending.ok(output.clone(), Some(rev));
                Became::Done(output)
            }
            Err(error) => self.failed(pending, &error, !op.changes()),
        }
    }

    /// Takes down that `directory` is not changed any more, and is looked at once more.
    pub fn begin_last_look(&self, directory: &str) {
        let of = directory.to_owned();
        self.invoke(Op::LastLook { of }).ok(None, None);
    }

    /// Takes down, once, that bytes below `directory` were made from other members of a stripe.
    pub fn note_decoded(&mut self, directory: &str) {
        if self.client.decoded() > 0 && !self.decoded {
            self.decoded = true;
            let of = directory.to_owned();
            self.invoke(Op::Decoded { of }).ok(None, None);
        }
    }

    /// Lists a directory page after page, however long it is.
    pub async fn list_all(&mut self, path: &str) -> Option<Vec<(String, u64)>> {
        let path_text = path.to_owned();
        let pending = self.invoke(Op::ListAll { path: path_text });
        let listed = async {
            let mut listing = self.client.read_dir_names(path).await?;
            let mut names = Vec::new();
            while let Some(entry) = listing.next_entry().await? {
                names.push((entry.name.to_string(), entry.inode.0));
            }
            Result::Ok(names)
        };
        match listed.await {
            Ok(names) => {
                pending.ok(Some(Output::Names(names.clone())), None);
                Some(names)
            }
            Err(error) => {
                self.failed(pending, &error, true);
                None
            }
        }
    }

    /// Takes down that an operation failed.
    pub fn failed(&mut self, pending: Pending, error: &Error, read: bool) -> Became {
        let text = describe(error);
        if read || had_no_effect(error) {
            pending.fail(text, error.rev());
            return Became::Nothing;
        }
        pending.info(text);
        self.become_another();
        Became::Unknown
    }

    fn request(&self, op: &Op) -> Result<Request> {
        let identity = self.client.config().identity;
        let remove = |path: &str, what, skip_trash| -> Result<Change> {
            Ok(Change::Remove {
                at: at(path)?,
                what,
                skip_trash,
            })
        };
        Ok(Request::Change(match op {
            Op::Mkdir { path } => Change::MakeDirectory {
                at: at(path)?,
                attr: identity.directory(),
                parents: false,
            },
            Op::Create { path, exclusive } => Change::Create {
                at: at(path)?,
                attr: identity.file(),
                exclusive: *exclusive,
            },
            Op::Link { from, to } => Change::Link {
                from: at(from)?,
                at: at(to)?,
            },
            Op::Rename { from, to, replace } => Change::Rename {
                from: at(from)?,
                to: at(to)?,
                replace: *replace,
            },
            Op::Unlink { path, skip_trash } => remove(path, Removal::File, *skip_trash)?,
            Op::Rmdir { path } => remove(path, Removal::EmptyDirectory, true)?,
            Op::RemoveTree { path, skip_trash } => remove(path, Removal::Tree, *skip_trash)?,
            Op::Restore { trash, to } => Change::Restore {
                trash: TrashId(*trash),
                to: to.as_deref().map(at).transpose()?,
            },
            Op::DropTrash { trash, .. } => Change::DropTrash {
                trash: TrashId(*trash),
            },
            Op::TakeSnapshot { path, name } => Change::Snapshot {
                at: at(path)?,
                change: SnapshotChange::Create {
                    name: Name::new(name.as_str())?,
                },
            },
            Op::DropSnapshot { path, name } => Change::Snapshot {
                at: at(path)?,
                change: SnapshotChange::Remove {
                    name: Name::new(name.as_str())?,
                },
            },
            other => return query(other).map(Request::Query),
        }))
    }
}

/// Asks how many inodes are used of the quota of a directory.
pub(super) async fn used(worker: &mut Worker, path: &str) {
    let path = path.to_owned();
    worker.perform(Op::Used { path }).await;
}

/// Asks for all names in one page.
fn list(path: &str) -> Result<Query> {
    Ok(Query::List {
        at: at(path)?,
        after: None,
        limit: u32::try_from(ENTRIES_PER_REPLY_MAX).unwrap_or(u32::MAX),
        attrs: false,
    })
}

fn query(op: &Op) -> Result<Query> {
    match op {
        Op::Stat { path } => Ok(Query::Stat {
            at: at(path)?,
            follow: false,
        }),
        Op::List { path } => list(path),
        Op::SeeSnapshot { path, name } => list(&format!("{path}/{SNAPSHOTS_NAME}/{name}")),
        Op::Used { path } => Ok(Query::Quotas { at: at(path)? }),
        _ => Err(Error::invalid("no operation on names")),
    }
}

pub(super) fn at(path: &str) -> Result<Location> {
    Ok(Location::from(path.parse::<DfsPath>()?))
}

pub(super) fn node(attr: &Attr) -> Node {
    let directory = attr.kind == FileKind::Directory;
    Node {
        inode: attr.inode.0,
        directory,
        size: if directory { 0 } else { attr.size },
        links: u64::from(attr.links),
    }
}

fn changed(op: &Op, changed: Changed) -> Option<Output> {
    match op {
        Op::Unlink { .. } | Op::Rmdir { .. } | Op::RemoveTree { .. } => {
            Some(Output::Trash(changed.trash.map(|id| id.0)))
        }
        Op::TakeSnapshot { .. } | Op::DropSnapshot { .. } => None,
        _ => changed.attr.as_ref().map(node).map(Output::Node),
    }
}

fn answer(answer: Answer) -> Option<Output> {
    match answer {
        Answer::Attr(attr) => Some(Output::Node(node(&attr))),
        Answer::Entries(page) => {
            let names = page.entries.into_iter();
            let names = names.map(|entry| (entry.name.to_string(), entry.inode.0));
            Some(Output::Names(names.collect()))
        }
        Answer::Quotas(quotas) => {
            let nearest = quotas.first().map(|quota| quota.inodes);
            Some(Output::Number(nearest))
        }
        _ => None,
    }
}

/// Whether a change that ended so was not carried out, and never will be.
fn had_no_effect(error: &Error) -> bool {
    if error.is_outcome_unknown() {
        return false;
    }
    match error.refusal() {
        // Not an answer for good: an attempt that was lost may still be carried out.
        Some(refusal) => refusal.kind != RefusalKind::Busy,
        None => !matches!(error.kind(), ErrorKind::Internal | ErrorKind::Corrupt),
    }
}

/// The stable name of an error first: `NotFound: not found: /a`.
fn describe(error: &Error) -> String {
    let name = match error.refusal() {
        Some(refusal) => format!("{:?}", refusal.kind),
        None => match error.kind() {
            ErrorKind::Unavailable { .. } => "Unavailable".to_owned(),
            kind => format!("{kind:?}"),
        },
    };
    format!("{name}: {error}")
}
