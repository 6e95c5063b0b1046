//! Room on the leader's own disk: below the reserve, nothing begins that makes the metadata grow.
//!
//! ```text
//! change ─▶ grows? ─▶ short of room? ─▶ answered before? ─no─▶ OutOfSpace
//!             └─no──────────┴─no──────────────┴─yes─▶ log
//! ```
//!
//! Removals, housekeeping, repair and the log itself go on in what is kept in reserve.
//!
//! A refusal is not in the log. Made where a linearizable read finds no answer, it says that no
//! earlier attempt of the request was carried out, and not that none will be: one may still wait
//! in a queue, or in the log. So `OutOfSpace` is final only to who has lost no attempt; others
//! ask again (`client::metadata::retry`).
//!
//! Not done here: handing leadership over to a master with more room.

use dfs_raft::Consistency;

use crate::master::shared::Shared;
use crate::meta::query;
use crate::proto::error::RpcError;
use crate::types::{Change, RequestId};

/// Room on the leader's disk, as of the last tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// The reserve is whole.
    Enough,
    /// The reserve is touched.
    Short {
        /// Bytes that are free.
        free: u64,
    },
}

/// Whether a change makes the metadata grow. Where it does, less room may be left afterwards.
fn grows(change: &Change) -> bool {
    match change {
        Change::MakeDirectory { .. }
        | Change::Create { .. }
        | Change::Symlink { .. }
        | Change::Link { .. }
        | Change::BeginUpload { .. }
        | Change::Commit(_)
        | Change::Clone { .. } => true,
        // These change rows or move them, and some lead to fewer.
        Change::Rename { .. }
        | Change::Remove { .. }
        | Change::SetAttr { .. }
        | Change::Truncate { .. }
        | Change::SetPolicy { .. }
        | Change::Restore { .. }
        | Change::DropTrash { .. }
        | Change::AbandonUpload { .. }
        | Change::CloseSession
        | Change::Concat { .. } => false,
        // Small, and whoever shuts somebody out is not to be kept from it.
        Change::SetAcl { .. } | Change::Account(_) | Change::Member(_) => false,
        // So is what keeps others from taking room.
        Change::Quota { .. } | Change::Snapshot { .. } => false,
    }
}

/// Asks the disk. What it does not say is as it was.
pub(super) async fn look(shared: &Shared) {
    let disk = shared.env.disk.clone();
    let directory = shared.config.replica.directory.clone();
    let asked = shared.env.run_blocking(move || disk.space(&directory));
    let free = match asked.await {
        Ok(space) => space.available,
        Err(error) => {
            tracing::debug!(%error, "the disk does not say how much room it has");
            return;
        }
    };
    let reserve = shared.config.reserve;
    let room = match free < reserve {
        true => Room::Short { free },
        false => Room::Enough,
    };
    let before = shared.if_leading(|leading| std::mem::replace(&mut leading.room, room));
    match (before, room) {
        (Some(Room::Enough), Room::Short { free }) => {
            tracing::warn!(free, reserve, "short of room: nothing new is made");
        }
        (Some(Room::Short { .. }), Room::Enough) => {
            tracing::info!(free, reserve, "there is room again");
        }
        _ => {}
    }
}

/// Lets a change pass if there is room for it, or if the log has its answer.
///
/// # Errors
/// [`RpcError::OutOfSpace`]; or who knows is not reached.
pub(in crate::master) async fn admit(
    shared: &Shared,
    request: RequestId,
    change: &Change,
) -> Result<(), RpcError> {
    if !grows(change) {
        return Ok(());
    }
    let Err(short) = require(shared) else {
        return Ok(());
    };
    let reading = shared.read(Consistency::Linearizable).await?;
    let look = move |view: &dfs_raft::state::View| query::is_answered(view, request);
    match shared.look(reading, look).await? {
        true => Ok(()),
        false => Err(short),
    }
}

/// Insists on the reserve being whole. Who does not lead leaves it to who does.
///
/// # Errors
/// [`RpcError::OutOfSpace`]: it is not.
pub(in crate::master) fn require(shared: &Shared) -> Result<(), RpcError> {
    let Some(Room::Short { free }) = shared.if_leading(|leading| leading.room) else {
        return Ok(());
    };
    Err(RpcError::OutOfSpace(format!(
        "{} MiB are left at {} of the master at {}, which keeps {} MiB in reserve: make room on \
         that disk; reading and removing go on",
        free >> 20,
        shared.config.replica.directory.display(),
        shared.address,
        shared.config.reserve >> 20,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::change::{CloneTarget, Commit, CommitTarget, NewAttr, Removal, WriteOffset};
    use crate::types::{
        AttrChange, DfsPath, GroupId, InodeId, Location, Mode, PolicyChange, TrashId, UserId,
    };

    const ATTR: NewAttr = NewAttr {
        mode: Mode::FILE,
        umask: Mode::new(0),
        owner: Some(UserId(0)),
        group: Some(GroupId(0)),
    };

    fn at() -> Location {
        "/f".parse::<DfsPath>().unwrap().into()
    }

    fn growing() -> Vec<Change> {
        let target = CommitTarget::Publish {
            upload: InodeId(5),
            at: at(),
            replace: true,
        };
        vec![
            Change::MakeDirectory {
                at: at(),
                attr: ATTR,
                parents: false,
            },
            Change::Create {
                at: at(),
                attr: ATTR,
                exclusive: false,
            },
            Change::Symlink {
                at: at(),
                target: "t".to_owned(),
                attr: ATTR,
            },
            Change::Link {
                from: at(),
                at: at(),
            },
            Change::BeginUpload {
                at: at(),
                attr: ATTR,
            },
            Change::Commit(Commit {
                target,
                offset: WriteOffset::End,
                pieces: Vec::new(),
                chunks: Vec::new(),
                revision: None,
                stripes: Vec::new(),
            }),
            Change::Clone {
                from: at(),
                to: CloneTarget::Upload(InodeId(5)),
                revision: None,
            },
        ]
    }

    fn others() -> Vec<Change> {
        vec![
            Change::Rename {
                from: at(),
                to: at(),
                replace: true,
            },
            Change::Remove {
                at: at(),
                what: Removal::Tree,
                skip_trash: false,
            },
            Change::SetAttr {
                at: at(),
                change: AttrChange::default(),
                follow: true,
            },
            Change::Truncate { at: at(), size: 0 },
            Change::SetPolicy {
                at: at(),
                change: PolicyChange::default(),
            },
            Change::Restore {
                trash: TrashId(1),
                to: None,
            },
            Change::DropTrash { trash: TrashId(1) },
            Change::AbandonUpload { upload: InodeId(5) },
            Change::CloseSession,
            Change::Concat {
                to: at(),
                from: vec![at()],
            },
        ]
    }

    #[test]
    fn what_makes_names_or_takes_bytes_grows_and_all_else_goes_on_without_room() {
        for change in growing() {
            assert!(grows(&change), "{change:?}");
        }
        for change in others() {
            assert!(!grows(&change), "{change:?}");
        }
    }
}
