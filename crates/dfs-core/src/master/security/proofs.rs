//! What a client shows beside a request: that it was led to where the request starts, and that
//! the chunks of a commit were granted to it.

use crate::master::shared::Shared;
use crate::proto::error::RpcError;
use crate::proto::metadata::Proofs;
use crate::security::Capability;
use crate::security::capability::{Holder, Operation};
use crate::types::change::Commit;
use crate::types::limits::{CONCAT_SOURCES_MAX, PIECES_PER_COMMIT_MAX};
use crate::types::{Attr, Caller, Change, Handle, InodeId, Location, Refusal, RefusalKind};

/// Handles that one request may show: it starts at so many places at most.
const HANDLES_MAX: usize = CONCAT_SOURCES_MAX + 1;

/// Who shows something: a user as it was let in, and the key of its client.
#[derive(Debug, Clone, Copy)]
pub(in crate::master) struct Shows {
    pub(in crate::master) caller: Caller,
    pub(in crate::master) holder: Holder,
}

impl Shows {
    /// Gets ready to vouch for what an answer will be about: once something is done it is too late
    /// to fail.
    pub(in crate::master) async fn vouching(
        self,
        shared: &Shared,
    ) -> Result<impl Fn(&Attr) -> Handle, RpcError> {
        let key = shared.keys.handles(shared).await?;
        Ok(move |attr: &Attr| key.vouch(self.caller, attr.inode))
    }

    /// Refuses places that start where the client was not led to, as if they were not there.
    pub(in crate::master) async fn require_led<'a>(
        self,
        shared: &Shared,
        locations: impl IntoIterator<Item = &'a Location>,
        proofs: &Proofs,
    ) -> Result<(), RpcError> {
        let too_many = proofs.handles.len() > HANDLES_MAX;
        if too_many || proofs.permits.len() > PIECES_PER_COMMIT_MAX {
            return Err(Refusal::new(RefusalKind::Invalid, "too many proofs").into());
        }
        for at in locations {
            if at.base == InodeId::ROOT {
                continue;
            }
            let key = shared.keys.handles(shared).await?;
            let mut shown = proofs.handles.iter();
            let vouches = |(inode, handle): &(InodeId, Handle)| {
                *inode == at.base && key.is_good(self.caller, at.base, handle)
            };
            if !shown.any(vouches) {
                return Err(Refusal::new(RefusalKind::NotFound, at).into());
            }
        }
        Ok(())
    }

    /// Refuses a commit of chunks that were granted to another. Whether the grant is still good is
    /// for the state machine to say.
    pub(in crate::master) async fn require_granted(
        self,
        shared: &Shared,
        change: &Change,
        proofs: &Proofs,
    ) -> Result<(), RpcError> {
        let Change::Commit(Commit { chunks, .. }) = change else {
            return Ok(());
        };
        if chunks.is_empty() {
            return Ok(());
        }
        let keys = shared.keys.verifying(shared).await?;
        let opened = proofs.permits.iter().filter_map(|permit| {
            let capability = Capability::open(&permit.0, &keys).ok()?;
            let is_own = capability.operation == Operation::Write
                && capability.holder == self.holder
                && Some(capability.cluster) == shared.cluster();
            is_own.then_some(capability)
        });
        let granted: Vec<Capability> = opened.collect();
        let is_granted = |chunk| granted.iter().any(|permit| permit.covers(chunk));
        match chunks.iter().find(|new| !is_granted(new.chunk)) {
            None => Ok(()),
            Some(new) => {
                let what = format!("{} was not granted to this client", new.chunk);
                Err(Refusal::new(RefusalKind::AccessDenied, what).into())
            }
        }
    }
}
