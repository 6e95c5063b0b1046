//! A network inside the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use tokio::io::{copy_bidirectional, duplex};
use tokio::sync::watch;

use crate::env::BoxStream;
use crate::machine::StateMachine;
use crate::network::Dial;
use crate::replica::Replica;

/// Bytes that a connection holds.
const BUFFER: usize = 256 << 10;

type Accept = Arc<dyn Fn(BoxStream) + Send + Sync>;

/// A network inside the process: addresses are any strings. Clones are the same network.
#[derive(Clone)]
pub struct Loopback {
    shared: Arc<Shared>,
}

struct Shared {
    accepting: Mutex<BTreeMap<String, (u64, Accept)>>,
    /// Addresses that nothing reaches and that reach nothing, counted.
    cut: watch::Sender<BTreeMap<String, usize>>,
}

impl fmt::Debug for Loopback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loopback").finish_non_exhaustive()
    }
}

impl Default for Loopback {
    fn default() -> Loopback {
        Loopback::new()
    }
}

impl Loopback {
    /// A network without anyone on it.
    pub fn new() -> Loopback {
        let accepting = Mutex::default();
        let cut = watch::Sender::new(BTreeMap::new());
        Loopback {
            shared: Arc::new(Shared { accepting, cut }),
        }
    }

    /// How `from` makes connections.
    pub fn dialer(&self, from: &str) -> Arc<dyn Dial> {
        Arc::new(Dialer {
            network: self.clone(),
            from: from.to_owned(),
        })
    }

    /// Lets `accept` have the connections to `address` until the registration is dropped.
    pub fn accept(
        &self,
        address: &str,
        accept: impl Fn(BoxStream) + Send + Sync + 'static,
    ) -> Registration {
        let mut accepting = self.shared.accepting();
        let number = accepting.values().map(|(n, _)| *n).max().unwrap_or(0) + 1;
        accepting.insert(address.to_owned(), (number, Arc::new(accept)));
        Registration {
            network: self.clone(),
            address: address.to_owned(),
            number,
        }
    }

    /// Lets a replica serve the connections to `address` until the registration is dropped.
    pub fn serve<M: StateMachine>(&self, address: &str, replica: &Replica<M>) -> Registration {
        let replica = replica.clone();
        self.accept(address, move |stream| {
            tokio::spawn(replica.serve(stream));
        })
    }

    /// Cuts `address` off: its connections break and none can be made, until the guard is
    /// dropped.
    pub fn isolate(&self, address: &str) -> Cut {
        self.shared.cut.send_modify(|cut| {
            *cut.entry(address.to_owned()).or_default() += 1;
        });
        Cut {
            network: self.clone(),
            address: address.to_owned(),
        }
    }

    fn connect(&self, from: &str, to: &str) -> io::Result<BoxStream> {
        let ends = BTreeSet::from([from.to_owned(), to.to_owned()]);
        let mut cut = self.shared.cut.subscribe();
        let is_cut = move |cut: &BTreeMap<String, usize>| ends.iter().any(|e| cut.contains_key(e));
        if is_cut(&cut.borrow()) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let accept = match self.shared.accepting().get(to) {
            Some((_, accept)) => accept.clone(),
            None => return Err(io::ErrorKind::ConnectionRefused.into()),
        };
        let (near, mut near_relay) = duplex(BUFFER);
        let (far, mut far_relay) = duplex(BUFFER);
        tokio::spawn(async move {
            tokio::select! {
                // Either end closing it, and cutting it, are how a connection ends.
                _ = copy_bidirectional(&mut near_relay, &mut far_relay) => {}
                _ = cut.wait_for(is_cut) => {}
            }
        });
        accept(Box::new(far));
        Ok(Box::new(near))
    }
}

impl Shared {
    fn accepting(&self) -> MutexGuard<'_, BTreeMap<String, (u64, Accept)>> {
        self.accepting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct Dialer {
    network: Loopback,
    from: String,
}

impl Dial for Dialer {
    fn dial(&self, address: &str) -> BoxFuture<'static, io::Result<BoxStream>> {
        let connected = self.network.connect(&self.from, address);
        Box::pin(std::future::ready(connected))
    }
}

/// While it exists, connections to an address are accepted.
#[derive(Debug)]
pub struct Registration {
    network: Loopback,
    address: String,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut accepting = self.network.shared.accepting();
        if accepting.get(&self.address).map(|(n, _)| *n) == Some(self.number) {
            accepting.remove(&self.address);
        }
    }
}

/// While it exists, an address is cut off.
#[derive(Debug)]
#[must_use = "the cut heals when this is dropped"]
pub struct Cut {
    network: Loopback,
    address: String,
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.network.shared.cut.send_modify(|cut| {
            if let Some(count) = cut.get_mut(&self.address) {
                *count -= 1;
                if *count == 0 {
                    cut.remove(&self.address);
                }
            }
        });
    }
}
