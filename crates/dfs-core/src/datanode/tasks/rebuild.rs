//! Making a member of a stripe from others, a part at a time.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Copy;
use crate::datanode::store::Purpose;
use crate::datanode::volumes::VolumeWriter;
use crate::planted::{self, Bug};
use crate::proto::cluster::RebuildSource;
use crate::proto::erasure::gather::{self, Source};
use crate::proto::erasure::{CodeError, decode};
use crate::types::ByteRange;
use crate::types::checksum::{block_crcs, combine_blocks};
use crate::types::limits::SHARD_UNIT;
use crate::types::stripe::{Code, StripeShape};

/// When nothing came for this long one more member is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// How a member is made from others.
pub(super) struct Recipe<'a> {
    pub(super) index: usize,
    pub(super) code: Code,
    pub(super) shape: StripeShape,
    pub(super) shard_length: u64,
    pub(super) sources: &'a [RebuildSource],
}

/// The first two of some members, each in the place of the other: a planted bug.
fn take_for_each_other(members: &mut [(usize, Bytes)]) {
    if let [(_, one), (_, other), ..] = members {
        std::mem::swap(one, other);
    }
}

impl Recipe<'_> {
    /// Refuses what makes no sense: lengths decide on memory.
    fn validate(&self, length: u64) -> Result<(), String> {
        self.shape.validate().map_err(|e| e.to_string())?;
        let is_even = self.shard_length.is_multiple_of(SHARD_UNIT);
        let fits = (1..=self.shard_length).contains(&length);
        match is_even && fits && self.index < self.shape.members() {
            true => Ok(()),
            false => Err(format!(
                "{length} bytes of member {} in a stripe of {} with {} each",
                self.index, self.shape, self.shard_length
            )),
        }
    }
}

impl Copy<'_> {
    /// Makes the chunk from other members, unless it is here and right.
    pub(super) async fn rebuild(&self, recipe: &Recipe<'_>) -> Result<(), String> {
        recipe.validate(self.length)?;
        let here = self.look().await.map_err(|e| e.to_string())?;
        self.keep(here, self.make(recipe)).await
    }

    async fn make(&self, recipe: &Recipe<'_>) -> Result<VolumeWriter, String> {
        let store = &self.shared.store;
        let replica = store.create(self.chunk, self.length, Purpose::Repair);
        let mut replica = replica.await.map_err(|e| e.to_string())?;
        let sources: Vec<Source> = recipe.sources.iter().map(|s| self.source(s)).collect();
        let step = gather::slice_length(recipe.shape);
        let mut checksums = Vec::new();
        while replica.length() < self.length {
            let offset = replica.length();
            let length = step.min(recipe.shard_length - offset);
            let range = ByteRange::new(offset, length);
            let begun = Instant::now();
            let mut bytes = self.part(recipe, &sources, range).await?;
            let rest = usize::try_from(self.length - offset).unwrap_or(usize::MAX);
            bytes.truncate(rest);
            let blocks = block_crcs(&bytes);
            let written = replica.write(bytes.into(), &blocks);
            written.await.map_err(|e| e.to_string())?;
            checksums.extend(blocks);
            self.shared.serving.give_way(begun.elapsed()).await;
        }
        // What was made of wrong members is wrong.
        let is_right = combine_blocks(&checksums, self.length) == self.checksum;
        if !is_right && !planted::active(Bug::RebuiltFromWrongMembers) {
            return Err("the members give other bytes than the masters know".to_owned());
        }
        tracing::info!(chunk = %self.chunk, "a member of a stripe was made from others");
        Ok(replica)
    }

    async fn part(
        &self,
        recipe: &Recipe<'_>,
        sources: &[Source],
        range: ByteRange,
    ) -> Result<Vec<u8>, String> {
        let pool = self.shared.pool().ok_or("not in a cluster yet")?;
        let (code, shape, index) = (recipe.code, recipe.shape, recipe.index);
        let gathered = gather::gather(pool, shape, sources, range, PATIENCE).await;
        let mut left = gathered.members;
        if planted::active(Bug::RebuiltFromWrongMembers) {
            take_for_each_other(&mut left);
        }
        let made = self
            .shared
            .env
            .run_blocking(move || decode(code, shape, &left, index))
            .await;
        made.map_err(|error| match error {
            CodeError::TooFew { .. } => {
                let failed = gathered
                    .failed
                    .iter()
                    .map(|(chunk, why)| format!("{chunk}: {why}"));
                format!("{error}: {}", failed.collect::<Vec<_>>().join("; "))
            }
            error => error.to_string(),
        })
    }

    fn source(&self, source: &RebuildSource) -> Source {
        let mut nodes = source.nodes.clone();
        self.shared.peers.sort(&mut nodes);
        Source {
            index: source.index.into(),
            chunk: source.chunk,
            length: source.length,
            checksum: source.checksum,
            permit: self.permit.clone(),
            nodes,
        }
    }
}
