//! Writing down all metadata, for an administrator, piece by piece on one connection.

use bytes::Bytes;
use dfs_raft::{Backup, Fatal};

use crate::master::shared::Shared;
use crate::proto::error::RpcError;
use crate::types::{Refusal, RefusalKind};

/// The backup that is being sent on a connection.
#[derive(Default)]
pub(super) struct Sending {
    backup: Option<Backup>,
    /// The number of the last piece, and the piece.
    last: (u64, Option<Bytes>),
}

impl Sending {
    /// The piece with a number: the next, the last once more, or the first of another backup.
    pub(super) async fn piece(
        &mut self,
        shared: &Shared,
        number: u64,
    ) -> Result<Option<Bytes>, RpcError> {
        let is_next = self.last.0.checked_add(1) == Some(number);
        match number {
            0 => {
                let begun = shared.replica.backup().await;
                let begun = begun.map_err(|e| RpcError::Unavailable(e.to_string()))?;
                self.backup = Some(begun);
            }
            number if self.backup.is_some() && number == self.last.0 => {
                return Ok(self.last.1.clone());
            }
            _ if self.backup.is_some() && is_next => {}
            _ => {
                let what = "a backup was interrupted: begin it anew";
                return Err(Refusal::new(RefusalKind::Conflict, what).into());
            }
        }
        let piece = self.next(shared).await;
        let piece = piece.map_err(|e: Fatal| RpcError::Internal(e.to_string()))?;
        self.last = (number, piece.clone());
        Ok(piece)
    }

    async fn next(&mut self, shared: &Shared) -> Result<Option<Bytes>, Fatal> {
        let Some(mut backup) = self.backup.take() else {
            return Ok(None);
        };
        let read = move || {
            let piece = backup.next_piece();
            (backup, piece)
        };
        let (backup, piece) = shared.env.run_blocking(read).await;
        let piece = piece?.map(Bytes::from);
        self.backup = Some(backup);
        Ok(piece)
    }
}
