//! Data nodes as this client knows them: where they are, and which failed it lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::debug;

use super::Client;
use crate::error::{Error, Result};
use crate::proto::chunk_stream::{StreamError, StreamErrorKind};
use crate::proto::metadata::{NodeAddress, NodeInfo};
use crate::types::{ChunkId, NodeId};

/// A data node that failed is passed over for this long, where there is another.
const SUSPECT_FOR: Duration = Duration::from_secs(10);
/// One that was slow, for this long.
const SLOW_FOR: Duration = Duration::from_secs(3);
/// Addresses are not asked for more often than this.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// Corrupt replicas remembered as reported.
const REPORTED_MAX: usize = 1024;

/// What is known, and what is decided from it alone.
#[derive(Debug, Default)]
struct Book {
    addresses: BTreeMap<NodeId, NodeAddress>,
    suspect_until: BTreeMap<NodeId, Instant>,
    slow_until: BTreeMap<NodeId, Instant>,
    refreshed: Option<Instant>,
    reported: BTreeSet<(ChunkId, NodeId)>,
}

impl Book {
    fn is_suspect(&self, node: NodeId, now: Instant) -> bool {
        lies_ahead(&self.suspect_until, node, now)
    }

    /// The same nodes, those that were slow lately after the others, those that failed last.
    fn order(&self, replicas: &[NodeId], now: Instant) -> Vec<NodeId> {
        let mut order = replicas.to_vec();
        order.sort_by_key(|node| {
            let slow = lies_ahead(&self.slow_until, *node, now);
            (self.is_suspect(*node, now), slow)
        });
        order
    }
}

fn lies_ahead(times: &BTreeMap<NodeId, Instant>, node: NodeId, now: Instant) -> bool {
    times.get(&node).is_some_and(|until| now < *until)
}

/// The book, shared by all operations of a client.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    book: Mutex<Book>,
    /// Held by the one who asks a master.
    refreshing: tokio::sync::Mutex<()>,
}

impl Nodes {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in where nodes are.
    pub(super) fn learn<'a>(&self, nodes: impl IntoIterator<Item = &'a NodeAddress>) {
        let mut book = self.book();
        for node in nodes {
            book.addresses.insert(node.node, node.clone());
        }
    }

    /// Whether a node failed lately.
    pub(super) fn is_suspect(&self, node: NodeId) -> bool {
        self.book().is_suspect(node, Instant::now())
    }

    /// The nodes that failed lately.
    pub(super) fn suspects(&self) -> Vec<NodeId> {
        let now = Instant::now();
        let mut book = self.book();
        book.suspect_until.retain(|_, until| now < *until);
        book.suspect_until.keys().copied().collect()
    }

    /// The same nodes, those that were slow lately after the others, those that failed last.
    pub(super) fn order(&self, replicas: &[NodeId]) -> Vec<NodeId> {
        self.book().order(replicas, Instant::now())
    }

    /// Takes in that a stream failed.
    pub(super) fn failed(&self, error: &StreamError) {
        let lasts = match error.kind {
            StreamErrorKind::Unreachable
            | StreamErrorKind::Failed
            | StreamErrorKind::OutOfSpace => SUSPECT_FOR,
            StreamErrorKind::Busy => SLOW_FOR,
            StreamErrorKind::NotFound
            | StreamErrorKind::Corrupt
            | StreamErrorKind::Invalid
            | StreamErrorKind::Denied => {
                return;
            }
        };
        let until = Instant::now() + lasts;
        self.book().suspect_until.insert(error.node, until);
    }

    /// Takes in that a node was slower than another would have been.
    pub(super) fn slow(&self, node: NodeId) {
        let until = Instant::now() + SLOW_FOR;
        self.book().slow_until.insert(node, until);
    }

    /// Takes in that a node did what it was asked.
    pub(super) fn worked(&self, node: NodeId) {
        self.book().suspect_until.remove(&node);
    }

    fn address(&self, node: NodeId) -> Option<NodeAddress> {
        self.book().addresses.get(&node).cloned()
    }

    fn may_refresh(&self) -> bool {
        let refreshed = self.book().refreshed;
        refreshed.is_none_or(|at| at.elapsed() >= REFRESH_MIN)
    }

    /// Whether this is the first time that a replica is found corrupt.
    fn is_news(&self, chunk: ChunkId, node: NodeId) -> bool {
        let mut book = self.book();
        if book.reported.len() >= REPORTED_MAX {
            book.reported.clear();
        }
        book.reported.insert((chunk, node))
    }
}

impl Client {
    /// Where a data node is. Asks a master only if that is not known.
    pub(super) async fn address_of(&self, node: NodeId) -> Result<NodeAddress> {
        let nodes = &self.inner.nodes;
        if let Some(address) = nodes.address(node) {
            return Ok(address);
        }
        if nodes.may_refresh() || nodes.address(node).is_none() {
            self.refresh_nodes().await?;
        }
        nodes
            .address(node)
            .ok_or_else(|| Error::unavailable(format!("the masters do not know data node {node}")))
    }

    async fn refresh_nodes(&self) -> Result<()> {
        let nodes = &self.inner.nodes;
        let _one_asks = nodes.refreshing.lock().await;
        if !nodes.may_refresh() {
            return Ok(());
        }
        let infos = self.nodes().await?;
        nodes.book().refreshed = Some(Instant::now());
        let addresses: Vec<NodeAddress> = infos.iter().map(NodeInfo::target).collect();
        nodes.learn(&addresses);
        Ok(())
    }

    /// Takes in that a node failed; it may have moved, so that is looked up meanwhile.
    pub(super) fn node_failed(&self, error: &StreamError) {
        self.inner.nodes.failed(error);
        let nodes = &self.inner.nodes;
        let moved = error.kind == StreamErrorKind::Unreachable;
        if moved && nodes.may_refresh() && nodes.refreshing.try_lock().is_ok() {
            let client = self.clone();
            tokio::spawn(async move {
                if let Err(error) = client.refresh_nodes().await {
                    debug!(%error, "the addresses of data nodes stay as they are");
                }
            });
        }
    }

    /// Tells the masters of a replica that is corrupt, or not where they say it is, once.
    pub(super) fn found_bad(&self, chunk: ChunkId, error: &StreamError) {
        let node = error.node;
        let is_bad = matches!(
            error.kind,
            StreamErrorKind::Corrupt | StreamErrorKind::NotFound
        );
        if !is_bad || !self.inner.nodes.is_news(chunk, node) {
            return;
        }
        let metadata = self.inner.metadata.clone();
        tokio::spawn(async move {
            if let Err(error) = metadata.report_corrupt(chunk, node).await {
                debug!(%chunk, %node, %error, "a bad replica could not be reported");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_failed_lately_come_last_and_are_forgiven() {
        let (mut book, now) = (Book::default(), Instant::now());
        book.suspect_until.insert(NodeId(1), now + SUSPECT_FOR);
        book.slow_until.insert(NodeId(2), now + SLOW_FOR);
        let replicas = [NodeId(1), NodeId(2), NodeId(3)];
        assert_eq!(
            book.order(&replicas, now),
            [NodeId(3), NodeId(2), NodeId(1)]
        );
        assert_eq!(book.order(&replicas, now + SUSPECT_FOR), replicas);
    }
}
