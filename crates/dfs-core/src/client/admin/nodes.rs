//! How files and data nodes are, and what is decided about data nodes.

use std::time::Duration;

use crate::client::{Client, IntoLocation, mismatch};
use crate::error::Result;
use crate::types::node::{MemberChange, NodeDuties};
use crate::types::query::Layout;
use crate::types::story::{ChunkStory, Explained};
use crate::types::{
    AdminState, Answer, ByteRange, Change, ChunkId, Location, NodeId, Permit, Query,
};

/// How many chunks of a data node are asked for at a time.
const PAGE_LEN: u32 = 1024;

impl Client {
    /// Where the bytes of a file are, how each of its chunks is, and what is being done for it, as
    /// the leader knows. Pages are put together: it grows with the number of extents.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` if it is no file, `Denied`, `Unavailable`.
    pub async fn explain(&self, path: impl IntoLocation) -> Result<Explained> {
        let at = path.into_location()?;
        let mut all = self.explain_from(at.clone(), 0).await?;
        while all.layout.more {
            let last = all.layout.extents.last();
            let from = last.map_or(0, |last| last.offset.saturating_add(last.length));
            let next = self.explain_from(at.clone(), from).await?;
            let moved_on = next
                .layout
                .extents
                .last()
                .is_some_and(|last| last.offset >= from);
            all.layout = Layout {
                more: next.layout.more && moved_on,
                extents: [all.layout.extents, next.layout.extents].concat(),
                stripes: [all.layout.stripes, next.layout.stripes].concat(),
                attr: next.layout.attr,
                permit: Permit::default(),
            };
            all.chunks.extend(next.chunks);
        }
        all.chunks.sort_by_key(|story| story.chunk);
        all.chunks.dedup_by_key(|story| story.chunk);
        Ok(all)
    }

    async fn explain_from(&self, at: Location, from: u64) -> Result<Explained> {
        let range = ByteRange::new(from, u64::MAX - from);
        match self.ask(Query::Explain { at, range }).await? {
            Answer::Explained(explained) => Ok(explained),
            other => Err(mismatch(&other)),
        }
    }

    /// The next chunks, by id, that a data node is meant to have, and how they are; none after the
    /// last.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is no administrator; `Unavailable`.
    pub async fn chunks_of_node(
        &self,
        node: NodeId,
        after: Option<ChunkId>,
    ) -> Result<Vec<ChunkStory>> {
        let query = Query::NodeChunks {
            node,
            after,
            limit: PAGE_LEN,
        };
        match self.ask(query).await? {
            Answer::Chunks(chunks) => Ok(chunks),
            other => Err(mismatch(&other)),
        }
    }

    /// What is to be known before something is decided about a data node.
    ///
    /// # Errors
    /// `NotFound`; `Denied` for whoever is no administrator; `Unavailable`.
    pub async fn node_duties(&self, node: NodeId) -> Result<NodeDuties> {
        match self.ask(Query::NodeDuties(node)).await? {
            Answer::NodeDuties(duties) => Ok(duties),
            other => Err(mismatch(&other)),
        }
    }

    /// Decides what a data node is to be: empties it, lets it rest, takes it back, or is rid of
    /// it. With the number of a plan from [`node_duties`](Client::node_duties) it is refused if
    /// data nodes, or what was decided about them, have changed since.
    ///
    /// A node that is to be emptied is [`Drained`](AdminState::Drained) once all that it was meant
    /// to have is elsewhere, verified; only then it can be removed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if others have come between, if the node cannot be spared, or if it
    /// is not empty; `Denied` for whoever is no administrator; `Unavailable`.
    pub async fn decide_node(
        &self,
        node: NodeId,
        state: AdminState,
        plan: Option<u64>,
    ) -> Result<()> {
        self.decide(node, state, plan, None).await
    }

    /// Lets a data node rest for so long: its copies count as if they were there, and nothing is
    /// made again elsewhere. Then it is in service again by itself; before, if somebody says so
    /// with [`decide_node`](Client::decide_node).
    ///
    /// # Errors
    /// As [`decide_node`](Client::decide_node).
    pub async fn rest_node(&self, node: NodeId, time: Duration, plan: Option<u64>) -> Result<()> {
        let rests = AdminState::Maintenance;
        self.decide(node, rests, plan, Some(time)).await
    }

    async fn decide(
        &self,
        node: NodeId,
        state: AdminState,
        plan: Option<u64>,
        rest: Option<Duration>,
    ) -> Result<()> {
        let change = MemberChange::Decide {
            node,
            state,
            plan,
            rest,
        };
        self.change(Change::Member(change)).await.map(|_| ())
    }
}
