//! The client: a file system whose metadata the masters keep and whose bytes data nodes keep.
//!
//! ```text
//! Client ─ metadata ─▶ leader        one change, one request id, however often it is sent
//!        ├ write ────▶ data nodes    grant ─▶ chunks through pipelines ─▶ one commit
//!        └ read ─────▶ data nodes    layout ─▶ ranges of replicas, verified, hedged, in order
//! ```
//!
//! Rules:
//! - What is written is seen whole or not at all: bytes go to data nodes first and become part of
//!   a file by a commit. A [`FileWriter`] that is dropped leaves nothing behind.
//! - What is read is verified. A bad replica is reported and another one read; if all are bad the
//!   error is `Corrupt`, and not one bad byte was handed out.
//! - Memory is bounded by [`Budgets`], whatever the length of files and the number of operations.
//! - Everything has a deadline; nothing waits for a node that hangs while another could do it.
//!
//! ```no_run
//! # async fn example() -> dfs_core::error::Result<()> {
//! use dfs_core::client::{Client, ClientConfig};
//! use dfs_core::env::Env;
//!
//! let config: ClientConfig = "dfs://m1:7400,m2:7400,m3:7400".parse()?;
//! let client = Client::connect(config, Env::real()).await?;
//! client.create_dir_all("/logs/today").await?;
//! client.write("/logs/today/a", "first line\n").await?;
//! client.append("/logs/today/a", "second line\n").await?;
//! assert_eq!(client.read("/logs/today/a").await?, "first line\nsecond line\n");
//! # Ok(())
//! # }
//! ```
//!
//! Not done here: caching of bytes or names over time, locks.

mod access;
mod admin;
mod budget;
mod config;
mod file;
mod metadata;
mod names;
mod nodes;
mod read;
#[cfg(test)]
mod tests;
mod transfer;
mod write;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use access::{Access, HeldTicket, Profile};
pub use admin::{MetadataBackup, NewUser, TokenRequest};
pub use config::{Budgets, ClientConfig, Deadlines, Identity};
pub use file::{File, OpenOptions};
pub use names::listing::{Listing, ReadDir, TrashListing};
pub use names::location::IntoLocation;
pub use names::restoring::Restored;
pub use transfer::{GetOptions, GetSummary, Progress, PutOptions, PutSummary, READ_LEN_MAX};
pub use write::FileWriter;

pub use crate::proto::metadata::{
    ChunkHealth, ClusterStatus, Liveness, MasterInfo, NodeInfo, Stamped,
};

use tokio::sync::Semaphore;

use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::chunk_stream::{ChunkPool, PoolConfig};
use crate::types::query::{Layout, StatFs};
use crate::types::{
    Answer, Attr, ByteRange, Change, Changed, ClusterId, Location, NodeId, Query, Rev,
};
use budget::Budget;
use metadata::Metadata;
use nodes::Nodes;
use read::{DECODINGS_MAX, Hedge, aside_max};
use write::Policies;

/// Bytes that an open file may keep in memory whatever the budgets say.
pub const SLICE_LEN: usize = 1 << 20;

/// A client of one cluster. Cheap to clone; clones share connections, session and budgets.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    config: ClientConfig,
    cluster: ClusterId,
    metadata: Arc<Metadata>,
    pool: ChunkPool,
    nodes: Nodes,
    policies: Policies,
    hedge: Mutex<Hedge>,
    decodings: Semaphore,
    decoded: AtomicU64,
    write_budget: Budget,
    read_budget: Budget,
    /// Of the read budget, what bytes that are not due yet may take.
    aside_budget: Budget,
    last_change: Mutex<Option<Rev>>,
}

impl Client {
    /// Connects to a cluster: waits until one of its masters has answered.
    ///
    /// # Errors
    /// `Invalid` settings; `Unavailable` if no master answers in time.
    pub async fn connect(config: ClientConfig, env: Env) -> Result<Client> {
        config.validate()?;
        let env = match &config.access {
            Some(access) => access.env(&env)?,
            None => env,
        };
        let metadata = Metadata::new(&config, env.clone());
        let cluster = metadata.discover().await?;
        Ok(Client {
            inner: Arc::new(Inner {
                cluster,
                metadata,
                pool: ChunkPool::new(env.clone(), cluster, PoolConfig::default()),
                nodes: Nodes::default(),
                policies: Policies::default(),
                hedge: Mutex::new(Hedge::new()),
                decodings: Semaphore::new(DECODINGS_MAX),
                decoded: AtomicU64::new(0),
                write_budget: Budget::new(config.budgets.write_bytes),
                read_budget: Budget::new(config.budgets.read_bytes),
                aside_budget: Budget::new(aside_max(config.budgets.read_bytes)),
                last_change: Mutex::default(),
                config,
                env,
            }),
        })
    }

    /// Settings and environment one by one.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            config: ClientConfig::new(Vec::<String>::new()),
            env: Env::real(),
        }
    }

    /// The cluster it is connected to.
    pub fn cluster(&self) -> ClusterId {
        self.inner.cluster
    }

    /// The connections to data nodes.
    #[cfg(test)]
    pub(crate) fn pool(&self) -> &ChunkPool {
        &self.inner.pool
    }

    /// Ids of chunks, and data nodes to write them to.
    #[cfg(test)]
    pub(crate) async fn grant(
        &self,
        request: crate::proto::metadata::GrantRequest,
    ) -> Result<crate::proto::metadata::WriteGrant> {
        let within = self.inner.config.deadlines.operation;
        self.inner.metadata.grant(request, within).await
    }

    /// Its settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// Ends the session, so that masters need not remember it; unpublished uploads are given up.
    /// A later change opens another.
    pub async fn close(&self) {
        self.inner.metadata.close().await;
    }

    /// The data nodes as the leader sees them.
    ///
    /// # Errors
    /// `Unavailable` if no leader can be reached in time.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        self.inner.metadata.nodes().await
    }

    /// The state of the cluster.
    ///
    /// # Errors
    /// `Unavailable` if no leader can be reached in time.
    pub async fn status(&self) -> Result<ClusterStatus> {
        self.inner.metadata.status().await
    }

    /// Takes a master out of the group, for good: started again it stops and says that it is no
    /// member any more. One that is not in the group is no error. If the group has fewer masters
    /// than it is meant to have, another that has joined gets the vote.
    ///
    /// # Errors
    /// `Denied` if no majority of the others answers, or it is the last; `Unavailable`, and then
    /// its outcome may be unknown. It is safe to ask again.
    pub async fn remove_master(&self, member: u64) -> Result<()> {
        self.inner.metadata.remove_master(member).await
    }

    /// Has a data node begin to read all of its replicas through, now and at full pace. What it
    /// finds corrupt is repaired. [`Client::nodes`] tells how far it is. The leader forgets it if
    /// it loses its leadership before the node's next heartbeat.
    ///
    /// # Errors
    /// `NotFound` if no such node is heard, `Denied` for whoever is no administrator,
    /// `Unavailable`. It is safe to ask again.
    pub async fn scrub_node(&self, node: NodeId) -> Result<()> {
        self.inner.metadata.scrub_node(node).await
    }

    /// Totals of the file system.
    ///
    /// # Errors
    /// `Unavailable` if no leader can be reached in time.
    pub async fn statfs(&self) -> Result<StatFs> {
        match self.ask(Query::StatFs).await? {
            Answer::StatFs(statfs) => Ok(statfs),
            other => Err(mismatch(&other)),
        }
    }

    /// Where the bytes of a file are. If the reply says `more`, ask again from the end of its
    /// last extent.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` if it is no file, `Unavailable`.
    pub async fn layout(&self, path: impl IntoLocation, range: ByteRange) -> Result<Layout> {
        self.layout_at(path.into_location()?, range).await
    }

    async fn layout_at(&self, at: Location, range: ByteRange) -> Result<Layout> {
        match self.ask(Query::Layout { at, range }).await? {
            Answer::Layout(layout) => Ok(layout),
            other => Err(mismatch(&other)),
        }
    }

    /// Makes one change, and says which point of history it is: changes with greater points see
    /// it, those with smaller ones do not. The other methods are made of it.
    ///
    /// # Errors
    /// What the change may be refused for, with that point in [`Error::rev`]; `Unavailable`.
    pub async fn submit(&self, change: Change) -> Result<Stamped<Changed>> {
        // In boxes, or the futures of programs that use a client are too deep for the compiler.
        let changed = Box::pin(self.inner.metadata.change(change)).await?;
        let mut last = self.last();
        *last = (*last).max(Some(changed.rev));
        Ok(changed)
    }

    /// The point of history of the last change that was made with this client: after a write it
    /// is that of the write.
    pub fn last_change(&self) -> Option<Rev> {
        *self.last()
    }

    /// How many pieces of chunks were read with this client, its clones too, that were made from
    /// other members of their stripes.
    pub fn decoded(&self) -> u64 {
        self.inner.decoded.load(Ordering::Relaxed)
    }

    fn last(&self) -> MutexGuard<'_, Option<Rev>> {
        let last = &self.inner.last_change;
        last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers one question, and says which point of history the answer is of: it has seen the
    /// changes up to there and no others.
    ///
    /// # Errors
    /// What the question may be refused for, with that point in [`Error::rev`]; `Unavailable`.
    pub async fn query(&self, query: Query) -> Result<Stamped<Answer>> {
        Box::pin(self.inner.metadata.query(query)).await
    }

    async fn ask(&self, query: Query) -> Result<Answer> {
        Ok(self.query(query).await?.value)
    }

    async fn change(&self, change: Change) -> Result<Changed> {
        Ok(self.submit(change).await?.value)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.inner.cluster)
            .finish_non_exhaustive()
    }
}

/// Collects the settings of a [`Client`].
#[derive(Debug, Clone)]
#[must_use]
pub struct ClientBuilder {
    config: ClientConfig,
    env: Env,
}

impl ClientBuilder {
    /// Adds the address of a master, `host:port`.
    pub fn master(mut self, address: impl Into<String>) -> ClientBuilder {
        self.config.masters.push(address.into());
        self
    }

    /// Adds addresses of masters.
    pub fn masters(
        mut self,
        addresses: impl IntoIterator<Item = impl Into<String>>,
    ) -> ClientBuilder {
        let addresses = addresses.into_iter().map(Into::into);
        self.config.masters.extend(addresses);
        self
    }

    /// Refuses any other cluster.
    pub fn cluster(mut self, cluster: ClusterId) -> ClientBuilder {
        self.config.cluster = Some(cluster);
        self
    }

    /// Sets who owns new files.
    pub fn identity(mut self, identity: Identity) -> ClientBuilder {
        self.config.identity = identity;
        self
    }

    /// Sets how long things may take.
    pub fn deadlines(mut self, deadlines: Deadlines) -> ClientBuilder {
        self.config.deadlines = deadlines;
        self
    }

    /// Sets how much memory things may take.
    pub fn budgets(mut self, budgets: Budgets) -> ClientBuilder {
        self.config.budgets = budgets;
        self
    }

    /// Sets the world to live in: the machine, unless set.
    pub fn env(mut self, env: Env) -> ClientBuilder {
        self.env = env;
        self
    }

    /// Connects; see [`Client::connect`].
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn connect(self) -> Result<Client> {
        Client::connect(self.config, self.env).await
    }
}

/// A master answered another question than it was asked.
fn mismatch(answer: &Answer) -> Error {
    let kind = match answer {
        Answer::Attr(_) => "attributes",
        Answer::Entries(_) => "entries",
        Answer::Layout(_) => "a layout",
        Answer::Target(_) => "a target",
        Answer::StatFs(_) => "totals",
        Answer::Trash(_) => "trash",
        Answer::Acl(_) => "an access list",
        Answer::User(_) | Answer::Users(_) => "users",
        Answer::Group(_) | Answer::Groups(_) => "groups",
        Answer::JoinTokens(_) => "join tokens",
        Answer::EnrolledNodes(_) => "nodes with papers",
        Answer::NodeDuties(_) => "what a data node has to do",
        Answer::Explained(_) | Answer::Chunks(_) => "how chunks are",
        Answer::Quotas(_) | Answer::QuotaPage(_) => "quotas",
        Answer::Snapshots(_) => "snapshots",
    };
    let message = format!("a master answered another question, with {kind}");
    Error::new(ErrorKind::Internal, message)
}

/// The attributes that a change must have given.
fn changed_attr(changed: Changed) -> Result<Attr> {
    changed.attr.ok_or_else(|| {
        let message = "a master made a change and did not say what it became";
        Error::new(ErrorKind::Internal, message)
    })
}
