//! One port for everything: a hello says what each connection is for.
//!
//! Clients may have most of the connections and not all: some are left for data nodes and
//! masters, without whom the cluster fails. A client that finds no room is refused and turns to
//! another master, or comes again.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::RequestName;
use tarpc::server::{BaseChannel, Channel, Config, InFlightRequest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::services::cluster::ClusterService;
use super::services::enrol::EnrolService;
use super::services::metadata::MetadataService;
use super::shared::Shared;
use crate::env::{BoxStream, Listener};
use crate::proto::cluster::ClusterRpc;
use crate::proto::enrol::EnrolRpc;
use crate::proto::hello::{self, Hello, HelloReply, Service};
use crate::proto::metadata::MetadataRpc;
use crate::proto::transport::messages;
use crate::types::Caller;

/// The pause after a connection could not be accepted: files may be short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// One in so many connections is not for clients.
const LEFT_FOR_OTHERS: usize = 4;

/// Accepts and serves connections, for ever. Dropping the future cuts them all off.
pub(super) async fn run(shared: Arc<Shared>, mut listener: Box<dyn Listener>) {
    let most = shared.config.connections_max;
    let room = Arc::new(Semaphore::new(most));
    let clients = Arc::new(Semaphore::new(most - most / LEFT_FOR_OTHERS));
    let mut connections = JoinSet::new();
    loop {
        // Without room nobody is accepted: the backlog of the port is the queue.
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            Some(_) = connections.join_next() => continue,
        };
        match connection {
            Ok(connection) => {
                let (shared, clients) = (Arc::clone(&shared), Arc::clone(&clients));
                connections.spawn(async move {
                    serve(shared, &clients, connection.stream, &connection.peer).await;
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

async fn serve(shared: Arc<Shared>, clients: &Semaphore, mut stream: BoxStream, peer: &str) {
    let hello = match hello::hear(&mut stream).await {
        Ok(hello) => hello,
        Err(error) => {
            tracing::debug!(peer, %error, "a caller did not say hello");
            return;
        }
    };
    let is_client = hello.service == Service::Metadata;
    let permit = is_client.then(|| clients.try_acquire());
    let reply = match permit {
        Some(Err(_)) => HelloReply::Refused("this master has too many clients".to_owned()),
        Some(Ok(_)) | None => judge(&shared, hello),
    };
    if let Err(error) = hello::answer(&mut stream, &reply).await {
        tracing::debug!(peer, %error, "a caller went away");
        return;
    }
    if let HelloReply::Refused(reason) = reply {
        tracing::debug!(peer, reason, "a caller was refused");
        return;
    }
    match hello.service {
        Service::Raft => shared.replica.serve(stream).await,
        Service::Metadata => {
            let service = MetadataService::new(Arc::clone(&shared), Caller::System).serve();
            let execute = |request: InFlightRequest<_, _>| {
                Box::pin(request.execute(service.clone())) as BoxFuture<'static, ()>
            };
            answer(&shared, stream, execute).await;
        }
        Service::Cluster => {
            let service = ClusterService::new(Arc::clone(&shared)).serve();
            let execute = |request: InFlightRequest<_, _>| {
                Box::pin(request.execute(service.clone())) as BoxFuture<'static, ()>
            };
            answer(&shared, stream, execute).await;
        }
        Service::Enrol => {
            let shown = stream.identity().and_then(|text| text.parse().ok());
            let Some(shown) = shown else {
                tracing::debug!(peer, "a caller without a key wants papers");
                return;
            };
            let service = EnrolService::new(Arc::clone(&shared), shown).serve();
            let execute = |request: InFlightRequest<_, _>| {
                Box::pin(request.execute(service.clone())) as BoxFuture<'static, ()>
            };
            answer(&shared, stream, execute).await;
        }
        Service::ChunkStream => {}
    }
}

fn judge(shared: &Shared, hello: Hello) -> HelloReply {
    let cluster = shared.cluster();
    match (hello.service, hello.cluster, cluster) {
        (Service::ChunkStream, _, _) => {
            HelloReply::Refused("this is a master, it has no chunks".to_owned())
        }
        (_, Some(theirs), Some(ours)) if theirs != ours => {
            HelloReply::Refused(format!("this master belongs to cluster {ours}"))
        }
        _ => HelloReply::Welcome { cluster },
    }
}

/// Answers requests, each in a task of its own, until the caller goes or is silent for long.
async fn answer<Req, Resp>(
    shared: &Shared,
    stream: BoxStream,
    execute: impl Fn(InFlightRequest<Req, Resp>) -> BoxFuture<'static, ()>,
) where
    Req: DeserializeOwned + RequestName + Send + 'static,
    Resp: Serialize + Send + 'static,
{
    let limit = shared.config.requests_per_connection_max;
    let config = Config {
        pending_response_buffer: limit,
    };
    let channel = BaseChannel::new(config, messages(stream));
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
                running.spawn(execute(request));
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
