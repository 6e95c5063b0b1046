//! Has data nodes rewrite what is to be kept otherwise, and puts what they wrote into the log.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_raft::Fatal;
use dfs_raft::state::ReadState;

use super::{Leading, map};
use crate::env::Random;
use crate::master::MasterConfig;
use crate::master::planners::Intended;
use crate::master::planners::placement::{self, Wish};
use crate::master::planners::repair::is_good;
use crate::master::planners::rewrite::{
    self, FilePart, PAUSE_MAX, PlannedRewrite, RewriteBudget, Run, Setbacks,
};
use crate::master::tasks::{Purpose, Running};
use crate::meta::command::{Replaced, Rewrite, range_of};
use crate::meta::query::{self, KnownOthers, KnownStripes};
use crate::proto::cluster::{RewriteSource, RewriteTarget, StoredChunk, StripePlan, Task};
use crate::proto::metadata::NodeAddress;
use crate::types::change::Piece;
use crate::types::stripe::Code;
use crate::types::{ChunkId, InodeId, NewChunk, NewStripe, NodeId, Permit, Policy, Timestamp};

/// Where in the map of extents to go on.
pub(crate) type Cursor = (InodeId, u64);

/// How far a leader is in rewriting, and what went wrong.
#[derive(Debug)]
pub(crate) struct Rewrites {
    budget: RewriteBudget,
    /// The extents of all files: from where to go on.
    files: Option<Cursor>,
    /// When they are gone through again.
    again: Duration,
    /// What could not be rewritten.
    setbacks: Setbacks,
    /// How many data nodes failed to rewrite something since one could.
    failed_in_row: usize,
    /// Until then nothing is begun, because it was not for one file that they failed.
    rests_until: Duration,
    /// Ids that a rewrite lacked.
    pub(super) ids_wanted: u32,
}

impl Rewrites {
    pub(super) fn new(budget: RewriteBudget) -> Rewrites {
        Rewrites {
            budget,
            files: None,
            again: Duration::ZERO,
            setbacks: Setbacks::default(),
            failed_in_row: 0,
            rests_until: Duration::ZERO,
            ids_wanted: 0,
        }
    }
}

/// Why a rewrite did not begin.
enum NotBegun {
    /// What it takes is not at hand.
    Yet,
    /// Its bytes cannot be read, or there is no place for what they become.
    Impossible,
}

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
    let (mut stripes, mut others) = (KnownStripes::default(), KnownOthers::default());
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
        let Some(row) = query::chunk(state, chunk)? else {
            continue;
        };
        let others = others.of(state, (inode, offset), (chunk, &row))?;
        let intended = map::intended(state, &mut stripes, row)?;
        let run = Run {
            offset,
            length: extent.length,
            chunk,
            chunk_offset,
            stripe: intended.stripe.as_ref().map(|stripe| {
                let members = stripe.members.iter().take(stripe.shape.data());
                members.map(|member| member.length).sum()
            }),
            others,
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
    pub(super) fn next_files(&self) -> Option<Option<Cursor>> {
        let rewrites = &self.rewrites;
        let is_due = rewrites.files.is_some() || rewrites.again <= self.clock;
        let has_rested = rewrites.rests_until <= self.clock;
        (is_due && has_rested && self.may_rewrite()).then_some(rewrites.files)
    }

    /// Whether one more may be under way: each data node does one at a time.
    fn may_rewrite(&self) -> bool {
        let under_way = self.tasks.rewritten().count() + self.outbox.rewritten.len();
        let nodes = self.view.nodes().filter(|node| node.takes_replicas());
        under_way < self.rewrites.budget.rewrites.min(nodes.count())
    }

    /// Has data nodes rewrite what a page of extents shows. Where no more may begin the next page
    /// does, so that what comes after has its turn.
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
            if is_under_way {
                continue;
            }
            let (setbacks, clock) = (&self.rewrites.setbacks, self.clock);
            let may = |run: &Run| !setbacks.holds(part.inode, run, clock);
            let Some(planned) = rewrite::plan(part, now, &self.rewrites.budget, &may) else {
                continue;
            };
            let begun = match self.may_rewrite() {
                true => self.begin_rewrite(&planned, (part.policy, now), &page.chunks, random),
                false => Err(NotBegun::Yet),
            };
            match begun {
                Ok(()) => {}
                Err(NotBegun::Yet) => {
                    let first = part.runs.first().map_or(0, |run| run.offset);
                    self.rewrites.files = Some((part.inode, first));
                    return;
                }
                Err(NotBegun::Impossible) => {
                    tracing::debug!(inode = %part.inode, "not rewritten now");
                    // To look again costs little, whenever there may be other data nodes.
                    let most = self.rewrites.budget.rests_for;
                    self.set_rewrite_back(part.inode, planned.range(), most);
                }
            }
        }
        self.rewrites.files = page.next;
        if page.next.is_none() {
            self.rewrites.again = self.clock.saturating_add(config.pass_interval);
        }
    }

    /// Begins a rewrite, if its bytes can be read and there are places for what they become.
    fn begin_rewrite(
        &mut self,
        planned: &PlannedRewrite,
        (policy, now): (Policy, Timestamp),
        chunks: &BTreeMap<ChunkId, Intended>,
        random: &dyn Random,
    ) -> Result<(), NotBegun> {
        let sources = planned.runs.iter().map(|run| self.source(run, chunks));
        let sources: Option<Vec<RewriteSource>> = sources.collect();
        let sources = sources.ok_or(NotBegun::Impossible)?;
        let length = planned.length();
        let stripe = planned.shape.map(|shape| StripePlan {
            code: Code::Leopard16,
            shape,
            shard_length: shape.shard_length_of(length),
        });
        let worker = self.worker(&sources).ok_or(NotBegun::Yet)?;
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
        match self.tasks.start(worker, task, purpose, self.clock) {
            true => Ok(()),
            false => Err(NotBegun::Yet),
        }
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
    ) -> Result<Vec<RewriteTarget>, NotBegun> {
        // All of them: what is there is as safe as it is to be, and nobody waits.
        let (count, replicas, bytes) = match stripe {
            Some(StripePlan {
                shape,
                shard_length,
                ..
            }) => {
                // Too few bytes for so many members are no stripe.
                let last = shape.data().saturating_sub(1);
                let last = shape.member_length(last, shard_length, length);
                last.ok_or(NotBegun::Impossible)?;
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
        let nodes = placement::place(&self.view, wish, &mut |bound| random.below(bound));
        let nodes = nodes.map_err(|_| NotBegun::Impossible)?;
        let wanted = u32::try_from(count).map_err(|_| NotBegun::Impossible)?;
        let Some((ids, _)) = self.ids.take(wanted, now) else {
            self.rewrites.ids_wanted = wanted;
            return Err(NotBegun::Yet);
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
        Ok(ids.into_iter().map(target).collect())
    }

    fn addresses(&self, nodes: &[NodeId]) -> Vec<NodeAddress> {
        let known = nodes.iter().filter_map(|&node| self.view.node(node));
        known.map(|node| node.address()).collect()
    }

    /// A data node failed to rewrite something, whatever the reason is: that is left alone for a
    /// while, and all is if the others before it failed, too.
    pub(super) fn rewrite_failed(&mut self, running: &Running) {
        let Purpose::Rewrite { inode, replaced } = &running.purpose else {
            return;
        };
        self.set_rewrite_back(*inode, range_of(replaced), PAUSE_MAX);
        let rewrites = &mut self.rewrites;
        rewrites.failed_in_row += 1;
        if rewrites.failed_in_row >= rewrites.budget.rewrites {
            rewrites.failed_in_row = 0;
            rewrites.rests_until = self.clock.saturating_add(rewrites.budget.rests_for);
        }
    }

    /// Ends all tasks of a node that is gone. What it was to rewrite may be why.
    pub(super) fn forget_tasks(&mut self, node: NodeId) {
        for running in self.tasks.forget_node(node) {
            self.rewrite_failed(&running);
        }
    }

    fn set_rewrite_back(&mut self, inode: InodeId, range: (u64, u64), most: Duration) {
        let waits = (self.rewrites.budget.rests_for, most);
        let setbacks = &mut self.rewrites.setbacks;
        setbacks.set_back(inode, range, self.clock, waits);
    }

    /// Takes in whether what a data node wrote has come to be part of its file.
    pub(super) fn rewrite_recorded(&mut self, rewrite: &Rewrite, is_part: bool) {
        let (inode, range) = (rewrite.inode, rewrite.range());
        match is_part {
            true => {
                self.rewrites.failed_in_row = 0;
                self.rewrites.setbacks.forget(inode, range);
            }
            false => self.set_rewrite_back(inode, range, PAUSE_MAX),
        }
        for new in &rewrite.chunks {
            self.hint(new.chunk);
        }
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
mod tests;
