//! Connections in memory, so that time can be the test's own.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use tokio::sync::mpsc;

use crate::env::{BoxStream, Connection, Env, Listener, Network, SeededRandom};

/// Addresses, and who listens there.
#[derive(Default)]
pub(super) struct MemoryNetwork {
    listeners: Mutex<BTreeMap<String, mpsc::UnboundedSender<BoxStream>>>,
}

impl MemoryNetwork {
    /// The machine with this network in place of its own.
    pub(super) fn env(self: &Arc<Self>) -> Env {
        Env {
            network: self.clone(),
            random: Arc::new(SeededRandom::new(7)),
            ..Env::real()
        }
    }
}

impl Network for MemoryNetwork {
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let listeners = self.listeners.lock().unwrap();
        let sent = listeners
            .get(address)
            .is_some_and(|listener| listener.send(Box::new(theirs)).is_ok());
        Box::pin(async move {
            match sent {
                true => Ok(Box::new(ours) as BoxStream),
                false => Err(io::ErrorKind::ConnectionRefused.into()),
            }
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (sender, incoming) = mpsc::unbounded_channel();
        let mut listeners = self.listeners.lock().unwrap();
        listeners.insert(address.to_owned(), sender);
        let address = address.to_owned();
        Box::pin(async move { Ok(Box::new(Incoming { address, incoming }) as Box<dyn Listener>) })
    }
}

struct Incoming {
    address: String,
    incoming: mpsc::UnboundedReceiver<BoxStream>,
}

impl Listener for Incoming {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let stream = self.incoming.recv().await;
            let stream = stream.ok_or(io::ErrorKind::AddrInUse)?;
            let peer = "test".to_owned();
            Ok(Connection { stream, peer })
        })
    }

    fn local_address(&self) -> String {
        self.address.clone()
    }
}
