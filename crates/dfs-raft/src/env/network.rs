//! How connections are made and accepted.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A two-way byte stream: a TCP connection, a TLS session, a simulated link.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {
    /// Who is at the other end, in the words of the network that has made sure of it. None if it
    /// has not: by its nature, or not yet, because the first bytes have not come.
    fn identity(&self) -> Option<Arc<str>> {
        None
    }
}

impl Stream for TcpStream {}

/// A pipe in memory, for tests and whatever needs no network.
impl Stream for tokio::io::DuplexStream {}

/// Any [`Stream`], owned.
pub type BoxStream = Box<dyn Stream>;

/// A connection that was accepted.
pub struct Connection {
    /// The bytes.
    pub stream: BoxStream,
    /// The other end's address, for logs.
    pub peer: String,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Makes and accepts connections. Transport security is an implementation that wraps another.
pub trait Network: Send + Sync {
    /// Connects to `address` (`host:port`). The caller sets the deadline.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>>;

    /// Starts to accept connections at `address`; port 0 chooses a free one.
    ///
    /// # Errors
    /// The port is taken, or the address is not this machine's.
    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>>;
}

/// Accepts connections until it is dropped.
pub trait Listener: Send {
    /// The next connection. An error concerns one connection or passes (too many open files):
    /// call again after a moment.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>>;

    /// The address (`host:port`) actually bound.
    fn local_address(&self) -> String;
}

/// Plain TCP with Nagle's algorithm off (it costs small requests forty milliseconds).
#[derive(Debug, Clone, Copy)]
pub struct Tcp;

impl Network for Tcp {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let listener = TcpListener::bind(&address).await?;
            let local = listener.local_addr()?.to_string();
            Ok(Box::new(Bound { listener, local }) as Box<dyn Listener>)
        })
    }
}

struct Bound {
    listener: TcpListener,
    local: String,
}

impl Listener for Bound {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Connection {
                stream: Box::new(stream),
                peer: peer.to_string(),
            })
        })
    }

    fn local_address(&self) -> String {
        self.local.clone()
    }
}

/// Whether an address, `host:port`, is reached from this machine alone.
///
/// ```
/// use dfs_raft::env::is_loopback;
///
/// assert!(is_loopback("127.0.0.1:7400") && is_loopback("[::1]:7400"));
/// assert!(!is_loopback("0.0.0.0:7400") && !is_loopback("m1:7400"));
/// ```
pub fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_matches(['[', ']']);
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
