//! Links between hosts, with the meaning of TCP.
//!
//! Bytes of a connection arrive in order, after a delay, or not at all. A cut link keeps them
//! until it is healed, as retransmission would. A process that is killed has its connections
//! reset; a machine without power says nothing, and knows nothing of them when it is back.
//!
//! Nothing here depends on the length of what is sent, as far as can be: messages carry real
//! time and real chance in fields of a length that varies (tarpc's deadlines and span ids).

mod rules;
mod state;
mod stream;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use dfs_core::env::{BoxStream, Connection, Listener, Network};
use futures::future::{BoxFuture, poll_fn};

use crate::sim::trace::Trace;
pub(crate) use rules::Delay;
use state::{Side, State};
use stream::SimStream;

/// A host's place in the world.
pub(crate) type HostId = usize;
/// A direction from one host to another.
pub(crate) type Link = (HostId, HostId);

/// All links of the world. Clones are the same.
#[derive(Clone)]
pub(crate) struct Net(Arc<Mutex<State>>);

impl Net {
    /// Links without hosts, whose delays depend on `seed`.
    pub(crate) fn new(seed: u64, trace: Trace) -> Net {
        Net(Arc::new(Mutex::new(State::new(seed, trace))))
    }

    /// Adds a host. Connections to it keep at most `window` bytes on their way.
    pub(crate) fn add_host(&self, name: &str, window: usize) -> HostId {
        self.lock().add_host(name, window)
    }

    /// Whether the host's machine answers; if it does, packets for it arrive.
    pub(crate) fn set_power(&self, host: HostId, on: bool) {
        self.act(|state| state.set_power(host, on));
    }

    /// Closes all that a host has open: with a reset that others see, or in silence.
    pub(crate) fn close_all(&self, host: HostId, silently: bool) {
        self.act(|state| state.close_all(host, silently));
    }

    /// Lets arrive what is due at `now`, in milliseconds.
    pub(crate) fn deliver(&self, now: u64) {
        self.act(|state| state.deliver(now));
    }

    /// Keeps what is sent over these links, from now on.
    pub(crate) fn cut(&self, links: &[Link]) {
        self.act(|state| state.rules.cut(links));
    }

    /// Undoes one [`cut`](Net::cut) of these links.
    pub(crate) fn heal(&self, links: &[Link]) {
        self.act(|state| state.heal(links));
    }

    /// Resets all connections that use one of these links, at both ends.
    pub(crate) fn reset(&self, links: &[Link]) {
        self.act(|state| state.reset(links));
    }

    /// Makes these links slower, or as they were.
    pub(crate) fn delay(&self, links: &[Link], delay: Option<Delay>) {
        self.act(|state| state.rules.delay(links, delay));
    }

    /// The network as one host sees it.
    pub(crate) fn of(&self, host: HostId) -> Arc<dyn Network> {
        Arc::new(HostNetwork {
            net: self.clone(),
            host,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something, then wakes whom it concerns: not under the lock, as tasks may be dropped.
    fn act<T>(&self, what: impl FnOnce(&mut State) -> T) -> T {
        let (done, wakers) = {
            let mut state = self.lock();
            let done = what(&mut state);
            (done, state.take_wakers())
        };
        wakers.into_iter().for_each(Waker::wake);
        done
    }
}

struct HostNetwork {
    net: Net,
    host: HostId,
}

impl Network for HostNetwork {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (net, host, address) = (self.net.clone(), self.host, address.to_owned());
        Box::pin(async move {
            let connection = net.act(|state| state.dial(host, &address))?;
            let stream = SimStream::new(net.clone(), connection, Side::Dialer);
            poll_fn(|cx| net.lock().poll_connected(connection, cx)).await?;
            Ok(Box::new(stream) as BoxStream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (net, host, address) = (self.net.clone(), self.host, address.to_owned());
        Box::pin(async move {
            let (port, life) = net.lock().listen(host, &address)?;
            Ok(Box::new(SimListener {
                net,
                host,
                port,
                life,
                address,
            }) as Box<dyn Listener>)
        })
    }
}

struct SimListener {
    net: Net,
    host: HostId,
    port: u16,
    life: u64,
    address: String,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let accepted = poll_fn(|cx| self.net.lock().poll_accept(self.host, self.port, cx));
            let (connection, peer) = accepted.await;
            let stream = SimStream::new(self.net.clone(), connection, Side::Acceptor);
            Ok(Connection {
                stream: Box::new(stream),
                peer,
            })
        })
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let (host, port, life) = (self.host, self.port, self.life);
        self.net.act(|state| state.unlisten(host, port, life));
    }
}
