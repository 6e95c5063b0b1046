//! Has data nodes rewrite what is to be kept otherwise, and puts what they wrote into the log.

use std::collections::BTreeMap;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::{Leading, map};
use crate::env::Random;
use crate::master::MasterConfig;
use crate::master::planners::Intended;
use crate::master::planners::placement::{self, Wish};
use crate::master::planners::repair::is_good;
use crate::master::planners::rewrite::{self, FilePart, PlannedRewrite, Run};
use crate::master::tasks::Purpose;
use crate::meta::command::{Replaced, Rewrite};
use crate::meta::query;
use crate::meta::query::KnownStripes;
use crate::proto::cluster::{RewriteSource, RewriteTarget, StoredChunk, StripePlan, Task};
use crate::proto::metadata::NodeAddress;
use crate::types::change::Piece;
use crate::types::stripe::Code;
use crate::types::{ChunkId, InodeId, NewChunk, NewStripe, NodeId, Permit, Policy, Timestamp};

/// Where in the map of extents to go on.
pub(crate) type Cursor = (InodeId, u64);

/// A page of the extents of all files.
#[derive(Debug, Default)]
pub(crate) struct FilePage {
    parts: Vec<FilePart>,
    /// The chunks that they name.
    chunks: BTreeMap<ChunkId, Intended>,
    /// Where to go on; none at the end.
    next: Option<Cursor>,
}

/// Reads a page of `rows` extents.
///
/// # Errors
/// The state cannot be read.
pub(super) fn read_page(
    state: &impl ReadState,
    from: Option<Cursor>,
    rows: usize,
) -> Result<FilePage, Fatal> {
    let extents = query::extents_page(state, from, rows)?;
    let mut page = FilePage {
        next: next(&extents, rows),
        ..FilePage::default()
    };
    let mut stripes = KnownStripes::default();
    for ((inode, offset), extent) in extents {
        if page.parts.last().is_none_or(|part| part.inode != inode) {
            if let Some(last) = page.parts.last_mut() {
                last.is_end = true;
            }
            let Some(row) = query::inode(state, inode)? else {
                // It is being purged.
                continue;
            };
            page.parts.push(FilePart {
                inode,
                policy: row.policy,
                modified: row.modified,
                runs: Vec::new(),
                is_end: false,
            });
        }
        let Some((chunk, chunk_offset)) = extent.in_chunk() else {
            continue;
        };
        let Some(intended) = map::look_for(state, &mut stripes, chunk)? else {
            continue;
        };
        let run = Run {
            offset,
            length: extent.length,
            chunk,
            chunk_offset,
            stripe: intended.stripe.as_ref().map(|stripe| {
                let members = stripe.members.iter().take(stripe.shape.data());
                members.map(|member| member.length).sum()
            }),
        };
        page.chunks.insert(chunk, intended);
        page.parts
            .last_mut()
            .into_iter()
            .for_each(|part| part.runs.push(run.clone()));
    }
    if page.next.is_none()
        && let Some(last) = page.parts.last_mut()
    {
        last.is_end = true;
    }
    Ok(page)
}

/// Where the page after this begins: with the last file again, or if there is but one with the
/// last quarter of this page, so that what was cut in two is seen whole.
fn next<T>(extents: &[(Cursor, T)], rows: usize) -> Option<Cursor> {
    if extents.len() < rows {
        return None;
    }
    let (last, _) = extents.last()?;
    let first_of_last = extents
        .iter()
        .position(|((inode, _), _)| *inode == last.0)?;
    let again = match first_of_last {
        0 => extents.len() - extents.len() / 4,
        first => first,
    };
    let (cursor, _) = extents.get(again).or(extents.last())?;
    Some(*cursor)
}

impl Leading {
    /// From where on the next page of extents is to be read, if one is.
    pub(super) fn next_files(&self, config: &MasterConfig) -> Option<Option<Cursor>> {
        let searches = &self.searches;
        let is_due = searches.files.is_some() || searches.files_again <= self.clock;
        let is_over = |failed| self.clock.saturating_sub(failed) >= config.rewrite.rests_for;
        let has_rested = searches.rewrite_failed.is_none_or(is_over);
        (is_due && has_rested && self.may_rewrite(config)).then_some(searches.files)
    }

    fn may_rewrite(&self, config: &MasterConfig) -> bool {
        let under_way = self.tasks.rewritten().count() + self.outbox.rewritten.len();
        under_way < config.rewrite.rewrites
    }

    /// Has data nodes rewrite what a page of extents shows.
    pub(super) fn plan_rewrites(
        &mut self,
        config: &MasterConfig,
        page: &FilePage,
        now: Timestamp,
        random: &dyn Random,
    ) {
        for part in &page.parts {
            let is_under_way = self.tasks.rewritten().any(|inode| inode == part.inode)
                || self
                    .outbox
                    .rewritten
                    .iter()
                    .any(|made| made.inode == part.inode);
            if is_under_way || !self.may_rewrite(config) {
                continue;
            }
            if let Some(planned) = rewrite::plan(part, now, &config.rewrite) {
                let begun = self.begin_rewrite(&planned, (part.policy, now), &page.chunks, random);
                if begun.is_none() {
                    tracing::debug!(inode = %part.inode, "not rewritten now");
                }
            }
        }
        self.searches.files = page.next;
        if page.next.is_none() {
            self.searches.files_again = self.clock.saturating_add(config.pass_interval);
        }
    }

    /// Begins a rewrite, if its bytes can be read and there are places for what they become.
    fn begin_rewrite(
        &mut self,
        planned: &PlannedRewrite,
        (policy, now): (Policy, Timestamp),
        chunks: &BTreeMap<ChunkId, Intended>,
        random: &dyn Random,
    ) -> Option<()> {
        let sources = planned.runs.iter().map(|run| self.source(run, chunks));
        let sources: Vec<RewriteSource> = sources.collect::<Option<_>>()?;
        let length = planned.length();
        let stripe = planned.shape.map(|shape| StripePlan {
            code: Code::Leopard16,
            shape,
            shard_length: shape.shard_length_of(length),
        });
        let worker = self.worker(&sources)?;
        let targets = self.targets((policy, length), stripe, now, random)?;
        let replaced = planned.runs.iter().map(|run| Replaced {
            offset: run.offset,
            length: run.length,
            chunk: run.chunk,
            chunk_offset: run.chunk_offset,
        });
        let purpose = Purpose::Rewrite {
            inode: planned.inode,
            replaced: replaced.collect(),
        };
        let (inode, shape) = (planned.inode, planned.shape);
        tracing::info!(%inode, length, ?shape, by = %worker, "bytes are to be rewritten");
        let task = Task::Rewrite {
            inode,
            sources,
            targets,
            stripe,
        };
        self.tasks
            .start(worker, task, purpose, self.clock)
            .then_some(())
    }

    fn source(&self, run: &Run, chunks: &BTreeMap<ChunkId, Intended>) -> Option<RewriteSource> {
        let chunk = chunks.get(&run.chunk)?;
        let good = chunk.replicas.iter().copied();
        let mut good: Vec<NodeId> = good
            .filter(|n| is_good(&self.view, run.chunk, *n))
            .collect();
        self.view.sort_for_reading(run.chunk, &mut good);
        (!good.is_empty()).then(|| RewriteSource {
            chunk: run.chunk,
            offset: run.chunk_offset,
            length: run.length,
            chunk_length: chunk.length,
            checksum: chunk.checksum,
            nodes: self.addresses(&good),
        })
    }

    /// Who does it: a node that is free, best one that has some of the bytes.
    fn worker(&self, sources: &[RewriteSource]) -> Option<NodeId> {
        let holders = sources.iter().flat_map(|source| &source.nodes);
        let holders = holders.map(|node| node.node);
        let others = self.view.nodes().map(|node| node.row.node);
        let mut all = holders.chain(others);
        all.find(|id| {
            let node = self.view.node(*id);
            node.is_some_and(|node| node.takes_replicas()) && !self.tasks.is_rewriting(*id)
        })
    }

    /// New chunks, and the data nodes that they go to.
    fn targets(
        &mut self,
        (policy, length): (Policy, u64),
        stripe: Option<StripePlan>,
        now: Timestamp,
        random: &dyn Random,
    ) -> Option<Vec<RewriteTarget>> {
        // All of them: what is there is as safe as it is to be, and nobody waits.
        let (count, replicas, bytes) = match stripe {
            Some(StripePlan {
                shape,
                shard_length,
                ..
            }) => {
                // Too few bytes for so many members are no stripe.
                shape.member_length(shape.data().checked_sub(1)?, shard_length, length)?;
                (shape.members(), shape.members(), shard_length)
            }
            None => (1, usize::from(policy.replicas.0), length),
        };
        let wish = Wish {
            replicas,
            replicas_min: replicas,
            bytes,
            beside: &[],
            avoid: &[],
        };
        let nodes = placement::place(&self.view, wish, &mut |bound| random.below(bound)).ok()?;
        let wanted = u32::try_from(count).ok()?;
        let Some((ids, _)) = self.ids.take(wanted, now) else {
            self.ids_wanted = wanted;
            return None;
        };
        nodes.iter().for_each(|node| self.view.pledge(*node, bytes));
        let mut places = self.addresses(&nodes).into_iter();
        let target = |chunk| RewriteTarget {
            chunk,
            nodes: match stripe {
                Some(_) => places.next().into_iter().collect(),
                None => places.by_ref().collect(),
            },
        };
        Some(ids.into_iter().map(target).collect())
    }

    fn addresses(&self, nodes: &[NodeId]) -> Vec<NodeAddress> {
        let known = nodes.iter().filter_map(|&node| self.view.node(node));
        known.map(|node| node.address()).collect()
    }

    /// A rewrite failed: whatever the reason is, it is not tried again at once.
    pub(super) fn rest_from_rewrites(&mut self) {
        self.searches.rewrite_failed = Some(self.clock);
        self.searches.files = None;
    }

    /// Takes in what a data node wrote for a rewrite.
    pub(super) fn rewritten(&mut self, purpose: Purpose, task: &Task, stored: &[StoredChunk]) {
        let (
            Purpose::Rewrite { inode, replaced },
            Task::Rewrite {
                targets, stripe, ..
            },
        ) = (purpose, task)
        else {
            return;
        };
        let told = targets.iter().map(|target| target.chunk);
        if !told.eq(stored.iter().map(|stored| stored.chunk)) {
            tracing::warn!(%inode, "a data node has rewritten other chunks than it was told to");
            return;
        }
        let chunks: Vec<NewChunk> = stored
            .iter()
            .map(|stored| NewChunk {
                chunk: stored.chunk,
                length: stored.length,
                checksum: stored.checksum,
                replicas: stored.nodes.clone(),
                permit: Permit::default(),
            })
            .collect();
        let data = stripe.map_or(chunks.len(), |plan| plan.shape.data());
        let piece = |new: &NewChunk| Piece::Chunk {
            chunk: new.chunk,
            offset: 0,
            length: new.length,
        };
        let stripes = stripe.map(|plan| NewStripe {
            code: plan.code,
            shape: plan.shape,
            shard_length: plan.shard_length,
            members: chunks.iter().map(|new| new.chunk).collect(),
        });
        self.outbox.rewritten.push_back(Rewrite {
            inode,
            replaced,
            pieces: chunks.iter().take(data).map(piece).collect(),
            stripes: stripes.into_iter().collect(),
            chunks,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cuts_a_file_in_two_is_followed_by_one_that_has_its_end() {
        let page = |keys: &[(u64, u64)]| {
            let rows = keys
                .iter()
                .map(|(inode, offset)| ((InodeId(*inode), *offset), ()));
            next(&rows.collect::<Vec<_>>(), 4)
        };
        assert_eq!(page(&[(1, 0), (1, 9)]), None);
        assert_eq!(
            page(&[(1, 0), (2, 0), (2, 5), (2, 9)]),
            Some((InodeId(2), 0))
        );
        assert_eq!(
            page(&[(1, 0), (1, 5), (1, 9), (1, 12)]),
            Some((InodeId(1), 12))
        );
    }
}
