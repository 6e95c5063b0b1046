//! Connections to masters: one for each, shared by all requests.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use super::retry::Attempt;
use super::tickets::Tickets;
use crate::client::config::ClientConfig;
use crate::env::Env;
use crate::proto::error::RpcError;
use crate::proto::hello::{self, Hello, Service};
use crate::proto::metadata::MetadataRpcClient;
use crate::proto::transport;
use crate::types::{ClusterId, Refusal, RefusalKind};

/// A connection to a master, with as many requests under way as there are.
pub(super) struct Connection {
    pub(super) rpc: MetadataRpcClient,
    /// Answers so far: a request that times out on a connection with no answers since it was
    /// sent tells that the connection is dead.
    answers: AtomicU64,
    /// The ticket that was shown on it.
    ticket: Vec<u8>,
    dispatch: AbortOnDropHandle<()>,
}

impl Connection {
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.dispatch.is_finished()
    }
}

type Slot = Arc<tokio::sync::Mutex<Option<Arc<Connection>>>>;

/// All connections.
pub(super) struct Connections {
    env: Env,
    deadline: Duration,
    tickets: Tickets,
    cluster: Mutex<Option<ClusterId>>,
    slots: Mutex<BTreeMap<String, Slot>>,
}

impl Connections {
    pub(super) fn new(config: &ClientConfig, env: Env) -> Connections {
        let (cluster, deadline) = (config.cluster, config.deadlines.connect);
        Connections {
            env,
            deadline,
            tickets: Tickets::new(config.access.clone()),
            cluster: Mutex::new(cluster),
            slots: Mutex::default(),
        }
    }

    /// The cluster, once a master has said which.
    pub(super) fn cluster(&self) -> Option<ClusterId> {
        *self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to `address`, one of so many masters, made if there is none. Callers at the
    /// same time wait for one attempt.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn get(
        &self,
        address: &str,
        masters: usize,
    ) -> Result<Arc<Connection>, Attempt> {
        let slot = self.slot(address);
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|c| !c.is_broken()) {
            return Ok(connection.clone());
        }
        *slot = None;
        let connection = self.connect(address, masters).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Gives up a connection that no longer answers; the next request makes another.
    pub(super) async fn discard(&self, address: &str, connection: &Arc<Connection>) {
        let slot = self.slot(address);
        let mut slot = slot.lock().await;
        if slot.as_ref().is_some_and(|c| Arc::ptr_eq(c, connection)) {
            *slot = None;
        }
    }

    /// Gives up a connection, and the ticket that was shown on it, which the cluster has made
    /// void; says whether another ticket can be got.
    pub(super) async fn let_in_again(&self, address: &str, connection: &Arc<Connection>) -> bool {
        self.discard(address, connection).await;
        self.tickets.forget(&connection.ticket)
    }

    /// A master has answered on this connection, and neither that a login is required nor that
    /// it does not lead.
    pub(super) fn was_let_in(&self, connection: &Connection) {
        self.tickets.accepted(&connection.ticket);
    }

    /// Whether the leader that a master names did not take the ticket.
    pub(super) fn was_refused_by(&self, leader: &str) -> bool {
        self.tickets.was_refused_by(leader)
    }

    /// Gives up a connection to one of so many masters, which does not take the ticket any more;
    /// says whether it, or another, can still be shown.
    pub(super) async fn let_in_elsewhere(
        &self,
        (address, masters): (&str, usize),
        connection: &Arc<Connection>,
    ) -> bool {
        self.discard(address, connection).await;
        self.tickets.refused(&connection.ticket, address, masters)
    }

    /// Forgets the connections to all but `addresses`.
    pub(super) fn retain(&self, addresses: &[String]) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|address, _| addresses.contains(address));
    }

    fn slot(&self, address: &str) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        match slots.get(address) {
            Some(slot) => slot.clone(),
            None => slots.entry(address.to_owned()).or_default().clone(),
        }
    }

    async fn connect(&self, address: &str, masters: usize) -> Result<Arc<Connection>, Attempt> {
        let unreached = |why: String| Attempt::Unreached(format!("{address}: {why}"));
        let ticket = self.tickets.get(&self.env, address, self.deadline).await?;
        let shown = ticket.clone().unwrap_or_default();
        let hello = Hello {
            ticket,
            ..Hello::new(Service::Metadata, self.cluster())
        };
        let called = hello::call(&*self.env.network, address, hello, self.deadline).await;
        let (stream, theirs) = match called {
            Ok(connected) => connected,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return match self.tickets.refused(&shown, address, masters) {
                    true => Err(unreached(error.to_string())),
                    false => Err(login_required(address)),
                };
            }
            Err(error) => return Err(unreached(error.to_string())),
        };
        if let Some(theirs) = theirs {
            let mut ours = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
            match *ours {
                Some(ours) if ours != theirs => {
                    let what = format!("it belongs to cluster {theirs}, not {ours}");
                    return Err(unreached(what));
                }
                _ => *ours = Some(theirs),
            }
        }
        let config = tarpc::client::Config::default();
        let client = MetadataRpcClient::new(config, transport::messages(stream));
        let name = address.to_owned();
        let dispatch = tokio::spawn(async move {
            match client.dispatch.await {
                Ok(()) => debug!(master = %name, "connection closed"),
                Err(error) => debug!(master = %name, %error, "connection broken"),
            }
        });
        Ok(Arc::new(Connection {
            rpc: client.client,
            answers: AtomicU64::new(0),
            ticket: shown,
            dispatch: AbortOnDropHandle::new(dispatch),
        }))
    }
}

/// A master does not let this client in.
pub(super) fn login_required(address: &str) -> Attempt {
    let refusal = Refusal::new(RefusalKind::LoginRequired, address);
    Attempt::Answered(RpcError::from(refusal))
}
