//! Writing down all metadata.

use bytes::Bytes;

use crate::client::Client;
use crate::error::Result;

/// The metadata of a cluster at one point of history, piece by piece. The pieces one after the
/// other are what `dfs-node restore` makes a master of. Whoever has them has all secrets of the
/// cluster, and none of the bytes in its chunks.
#[derive(Debug)]
pub struct MetadataBackup {
    client: Client,
    number: u64,
}

impl Client {
    /// Begins to write down the metadata, as it is with the first piece.
    pub fn backup(&self) -> MetadataBackup {
        MetadataBackup {
            client: self.clone(),
            number: 0,
        }
    }
}

impl MetadataBackup {
    /// The next piece; none after the last.
    ///
    /// # Errors
    /// `Denied` for whoever is no administrator; `Conflict` if another master leads by now, or the
    /// connection broke: then it must be begun anew; `Unavailable`.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let piece = self.client.inner.metadata.backup_piece(self.number).await?;
        self.number += 1;
        Ok(piece)
    }
}
