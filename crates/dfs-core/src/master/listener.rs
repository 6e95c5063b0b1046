//! One port for everything: a hello says what each connection is for.
//!
//! Clients may have most of the connections and not all: some are left for data nodes and
//! masters, without whom the cluster fails. A client that finds no room is refused and turns to
//! another master, or comes again.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use dfs_raft::Incoming;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::server::{BaseChannel, Channel, Config, InFlightRequest, serve as answering};
use tarpc::{ClientMessage, RequestName, Response, ServerError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::security::admission::{Guest, Judged, admit, judge, let_out, stands};
use super::security::trail;
use super::services::cluster::ClusterService;
use super::services::enrol::EnrolService;
use super::services::login::LoginService;
use super::services::metadata::MetadataService;
use super::shared::Shared;
use crate::env::{BoxStream, Listener};
use crate::node::audit::{Actor, Deed};
use crate::node::lobby::{Lobby, Visitor};
use crate::proto::cluster::ClusterRpc;
use crate::proto::enrol::EnrolRpc;
use crate::proto::hello::{self, HelloReply, Service};
use crate::proto::login::LoginRpc;
use crate::proto::metadata::MetadataRpc;
use crate::proto::transport::{STRANGER_MESSAGE_LEN_MAX, messages_of};
use crate::types::limits::MESSAGE_LEN_MAX;

/// The pause after a connection could not be accepted: files may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long it may take to write down that somebody is not let in.
const NOTED_WITHIN: Duration = Duration::from_secs(2);
/// One in so many connections is not for clients.
const LEFT_FOR_OTHERS: usize = 4;
/// Connections of whoever has only a key: one in so many, and in all, and of one source; and how
/// long each may last: it asks for a ticket or for papers.
const STRANGERS: usize = 16;
const STRANGERS_MAX: usize = 64;
const STRANGERS_OF_SOURCE_MAX: usize = 16;
const STRANGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests of such a connection at a time.
const STRANGER_REQUESTS_MAX: usize = 2;
/// One in so many connections may not have said yet what it wants, and so many of one source.
const UNGREETED: usize = 8;
const UNGREETED_OF_SOURCE_MAX: usize = 128;

/// Accepts and serves connections, for ever. Dropping the future cuts them all off.
pub(super) async fn run(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    let most = shared.config.connections_max;
    let places = Arc::new(Semaphore::new(most));
    let room = Arc::new(Room::new(most));
    let mut connections = JoinSet::new();
    loop {
        // Without room nobody is accepted: the backlog of the port is the queue.
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            Some(_) = connections.join_next() => continue,
        };
        match connection {
            Ok(connection) => {
                let (shared, room) = (Arc::clone(&shared), Arc::clone(&room));
                connections.spawn(async move {
                    serve(shared, &room, connection.stream, &connection.peer).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(shared: Arc<Shared>, room: &Room, mut stream: BoxStream, peer: &str) {
    let visitor = room.ungreeted.enter(peer);
    let heard = tokio::select! {
        heard = hello::hear(&mut stream) => heard,
        () = visitor.gives_way() => Err(hello::gave_way()),
    };
    drop(visitor);
    let hello = match heard {
        Ok(hello) => hello,
        Err(error) => {
            tracing::debug!(peer, %error, "a caller did not say hello");
            if let Some(what) = hello::oddity(&error) {
                not_let_in(&shared, &Actor::new("somebody", peer), what, &error).await;
            }
            return;
        }
    };
    let identity = stream.identity();
    let (judged, place) = match room.place(hello.service, peer) {
        Ok(place) => (admit(&shared, &hello, identity.as_deref()).await, place),
        Err(full) => (Err(HelloReply::Refused(full.to_owned())), Place::Any),
    };
    let (reply, guest) = match judged {
        Ok(guest) => {
            let cluster = shared.cluster();
            (HelloReply::Welcome { cluster }, Some(guest))
        }
        Err(refused) => (refused, None),
    };
    if guest.is_none() {
        let actor = Actor::new(identity.as_deref().unwrap_or("somebody"), peer);
        not_let_in(&shared, &actor, hello.service.name(), reason(&reply)).await;
    }
    if let Err(error) = hello::answer(&mut stream, &reply).await {
        tracing::debug!(peer, %error, "a caller went away");
        return;
    }
    let Some(guest) = guest else {
        tracing::debug!(peer, ?reply, "a caller was not let in");
        return;
    };
    let actor = Arc::new(trail::actor(&shared, guest, peer).await);
    tokio::select! {
        () = serve_guest(&shared, (guest, &actor), hello.service, (stream, peer)) => {}
        why = let_out(&shared, guest) => not_let_in(&shared, &actor, "stay", why).await,
        () = place.ends() => {}
    }
}

/// Writes down that somebody is not let in, or no longer. It is not, also if that fails.
async fn not_let_in(
    shared: &Shared,
    actor: &Actor,
    what: impl Into<Cow<'static, str>>,
    why: impl ToString,
) {
    let noted = shared.audit.not_let_in(actor, Deed::new(what), why);
    // Nobody keeps a place for long because a disk is slow.
    if !matches!(timeout(NOTED_WITHIN, noted).await, Ok(Ok(()))) {
        tracing::warn!(
            ?actor,
            "somebody was not let in, and it is not in the audit log"
        );
    }
}

/// Why somebody is not let in, in words.
fn reason(reply: &HelloReply) -> String {
    match reply {
        HelloReply::Refused(why) => why.clone(),
        HelloReply::LoginRequired => "it has no ticket that is good".to_owned(),
        HelloReply::Welcome { .. } => String::new(),
    }
}

/// Serves one service on a connection.
macro_rules! serve_with {
    ($shared:expr, $whom:expr, $stream:expr, $service:expr) => {{
        let service = $service.serve();
        let execute = move |request: InFlightRequest<_, _>| {
            Box::pin(request.execute(service.clone())) as BoxFuture<'static, ()>
        };
        answer($shared, $whom, $stream, execute).await
    }};
}

async fn serve_guest(
    shared: &Arc<Shared>,
    (guest, actor): (Guest, &Arc<Actor>),
    service: Service,
    (stream, peer): (BoxStream, &str),
) {
    let (own, whom, actor) = (Arc::clone(shared), (guest, actor), Arc::clone(actor));
    match (service, guest, guest.caller()) {
        (Service::Raft, _, _) => shared.replica.serve(stream).await,
        (Service::Metadata, _, Some(caller)) => {
            let service = MetadataService::new(own, actor, (caller, guest.key()));
            serve_with!(shared, whom, stream, service);
        }
        (Service::Cluster, _, _) => {
            let service = ClusterService::new(own, actor, guest);
            serve_with!(shared, whom, stream, service);
        }
        (Service::Enrol, Guest::Key(key), _) => {
            let service = EnrolService::new(own, actor, key);
            serve_with!(shared, whom, stream, service);
        }
        (Service::Login, Guest::Key(key), _) => {
            let service = LoginService::new(own, actor, (key, peer));
            serve_with!(shared, whom, stream, service);
        }
        // Nobody was let in to these.
        (
            Service::Metadata
            | Service::Enrol
            | Service::Login
            | Service::ChunkStream
            | Service::Peers,
            _,
            _,
        ) => {}
    }
}

/// Answers the requests that a guest may make, each in a task of its own, until it goes or is
/// silent for long.
async fn answer<Req, Resp>(
    shared: &Arc<Shared>,
    (guest, actor): (Guest, &Arc<Actor>),
    stream: BoxStream,
    execute: impl Fn(InFlightRequest<Req, Resp>) -> BoxFuture<'static, ()> + Clone + Send + 'static,
) where
    Req: DeserializeOwned + RequestName + Send + 'static,
    Resp: Serialize + Send + 'static,
{
    let (limit, longest) = match guest {
        Guest::Key(_) => (STRANGER_REQUESTS_MAX, STRANGER_MESSAGE_LEN_MAX),
        _ => (shared.config.requests_per_connection_max, MESSAGE_LEN_MAX),
    };
    let config = Config {
        pending_response_buffer: limit,
    };
    let heard = messages_of::<Incoming<Req>, Response<Resp>>(stream, longest);
    let channel = BaseChannel::new(config, heard.map_ok(ClientMessage::from));
    let requests = channel.max_concurrent_requests(limit).requests();
    let mut requests = std::pin::pin!(requests);
    let mut running = JoinSet::new();
    loop {
        let next = tokio::select! {
            next = timeout(shared.config.idle_timeout, requests.next()) => next,
            Some(_) = running.join_next() => continue,
        };
        match next {
            Ok(Some(Ok(request))) => {
                let us = (Arc::clone(shared), Arc::clone(actor));
                match judge(shared, guest, request.get().message.name()) {
                    Judged::Permitted => running.spawn(execute(request)),
                    Judged::Refused(error) => running.spawn(refuse(us, request, error)),
                    Judged::If(caller, rule) => {
                        let execute = execute.clone();
                        running.spawn(async move {
                            match stands(&us.0, caller, rule).await {
                                Ok(()) => execute(request).await,
                                Err(error) => refuse(us, request, error).await,
                            }
                        })
                    }
                };
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "a connection broke");
                return;
            }
            Ok(None) => return,
            Err(_) if running.is_empty() => return,
            Err(_) => {}
        }
    }
}

async fn refuse<Req, Resp>(
    (shared, actor): (Arc<Shared>, Arc<Actor>),
    request: InFlightRequest<Req, Resp>,
    error: ServerError,
) where
    Req: RequestName,
{
    let method = request.get().message.name().to_owned();
    not_let_in(&shared, &actor, method, &error.detail).await;
    let refused = move |_, _| std::future::ready(Err(error));
    request.execute(answering(refused)).await;
}

/// How many of so many connections each kind may have. All together have fewer, so that there is
/// always a place for masters and data nodes to come to.
struct Shares {
    ungreeted: usize,
    clients: usize,
    strangers: usize,
}

impl Shares {
    fn of(connections: usize) -> Shares {
        Shares {
            ungreeted: connections / UNGREETED,
            clients: connections - connections / LEFT_FOR_OTHERS,
            strangers: STRANGERS_MAX.min(connections / STRANGERS),
        }
    }
}

/// Places for connections that are not everybody's.
struct Room {
    ungreeted: Lobby,
    clients: Semaphore,
    strangers: Lobby,
}

/// A place that a connection has.
enum Place<'a> {
    /// One of those that all have.
    Any,
    /// A client's.
    Client { _held: SemaphorePermit<'a> },
    /// That of somebody with only a key.
    Stranger(Visitor<'a>),
}

impl Place<'_> {
    /// Returns when whoever has it must go.
    async fn ends(&self) {
        match self {
            Place::Any | Place::Client { .. } => std::future::pending().await,
            Place::Stranger(visitor) => {
                // It is gone either way.
                let _ = timeout(STRANGER_TIMEOUT, visitor.gives_way()).await;
            }
        }
    }
}

impl Room {
    fn new(connections: usize) -> Room {
        let shares = Shares::of(connections);
        Room {
            ungreeted: Lobby::new(shares.ungreeted, UNGREETED_OF_SOURCE_MAX),
            clients: Semaphore::new(shares.clients),
            strangers: Lobby::new(shares.strangers, STRANGERS_OF_SOURCE_MAX),
        }
    }

    /// A place for a caller.
    fn place(&self, service: Service, peer: &str) -> Result<Place<'_>, &'static str> {
        match service {
            Service::Metadata => {
                let place = self.clients.try_acquire();
                let place = place.map_err(|_| "this master has too many clients");
                place.map(|held| Place::Client { _held: held })
            }
            Service::Enrol | Service::Login => Ok(Place::Stranger(self.strangers.enter(peer))),
            Service::Raft | Service::Cluster | Service::ChunkStream | Service::Peers => {
                Ok(Place::Any)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn whoever_is_no_node_leaves_places_for_nodes() {
        for connections in [16, 100, 4096] {
            let Shares {
                ungreeted,
                clients,
                strangers,
            } = Shares::of(connections);
            assert!(
                ungreeted + clients + strangers < connections,
                "{connections}"
            );
            assert!(ungreeted.min(clients).min(strangers) > 0, "{connections}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_key_alone_has_a_place_for_half_a_minute_or_until_others_want_it() {
        let room = Room::new(1024);
        let began = Instant::now();
        let alone = room.place(Service::Login, "10.0.0.1:1").unwrap();
        alone.ends().await;
        assert_eq!(began.elapsed(), STRANGER_TIMEOUT);
        let began = Instant::now();
        let enter = |n: usize| {
            room.place(Service::Enrol, &format!("10.0.1.{n}:1"))
                .unwrap()
        };
        let others: Vec<Place<'_>> = (0..STRANGERS_MAX).map(enter).collect();
        alone.ends().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        let stays = timeout(STRANGER_TIMEOUT / 2, others[0].ends()).await;
        assert!(stays.is_err());
        // Of one source there are fewer.
        let same = |n: usize| {
            room.place(Service::Login, &format!("10.0.2.1:{n}"))
                .unwrap()
        };
        let of_one: Vec<Place<'_>> = (0..=STRANGERS_OF_SOURCE_MAX).map(same).collect();
        let began = Instant::now();
        of_one[0].ends().await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert!(
            timeout(STRANGER_TIMEOUT / 2, of_one[1].ends())
                .await
                .is_err()
        );
        let client = room.place(Service::Metadata, "10.0.3.1:1").unwrap();
        assert!(
            timeout(100 * STRANGER_TIMEOUT, client.ends())
                .await
                .is_err()
        );
    }
}
