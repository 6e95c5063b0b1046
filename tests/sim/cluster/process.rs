//! The processes: what a daemon does around a master or a data node.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use dfs_core::datanode::{DataNode, DataNodeConfig};
use dfs_core::env::Env;
use dfs_core::error::ErrorKind;
use dfs_core::master::{Master, MasterConfig};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

/// How a process ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// It does not start with the disk as it is.
    Refused(String),
    /// It cannot go on.
    Failed(String),
}

/// What the world sees of a process.
#[derive(Clone, Default)]
pub(crate) struct Probe(Arc<Inner>);

#[derive(Default)]
struct Inner {
    seen: Mutex<Seen>,
    stop: Notify,
}

#[derive(Default)]
struct Seen {
    master: Weak<Master>,
    ended: Option<Ended>,
}

impl Probe {
    /// The master, if that is what runs.
    pub(crate) fn master(&self) -> Option<Arc<Master>> {
        self.seen().master.upgrade()
    }

    /// Whether and how the process ended by itself.
    pub(crate) fn ended(&self) -> Option<Ended> {
        self.seen().ended.clone()
    }

    /// Asks it to stop in order.
    pub(crate) fn stop(&self) {
        self.0.stop.notify_one();
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self, process: impl Future<Output = Result<Ended, Ended>>) {
        let ended = process.await.unwrap_or_else(|ended| ended);
        tracing::info!(?ended, "the process ended");
        self.seen().ended = Some(ended);
    }
}

/// A master that founds the cluster, or joins that of `seeds`, unless it is a member already.
pub(crate) async fn master(env: Env, config: MasterConfig, seeds: Vec<String>, probe: Probe) {
    let inner = probe.clone();
    let process = async move {
        let started = Master::start(config, env).await;
        let master = Arc::new(started.map_err(|error| match error.kind() {
            ErrorKind::Internal => Ended::Refused(chain(&error)),
            _ => Ended::Failed(chain(&error)),
        })?);
        inner.seen().master = Arc::downgrade(&master);
        let mut failed = master.failed();
        let life = async {
            if !master.is_member() && seeds.is_empty() {
                let founded = master.found().await;
                founded.map_err(|error| Ended::Failed(chain(&error)))?;
            }
            while !master.is_admitted().await {
                if let Err(error) = master.join(&seeds).await {
                    tracing::debug!(%error, "cannot join yet");
                    sleep(Duration::from_millis(200)).await;
                }
            }
            std::future::pending::<Result<Ended, Ended>>().await
        };
        tokio::select! {
            biased;
            why = reason(&mut failed) => return Err(Ended::Failed(why)),
            () = inner.0.stop.notified() => {}
            ended = life => return ended,
        }
        if let Ok(master) = Arc::try_unwrap(master) {
            master.shutdown().await;
        }
        Ok(Ended::Stopped)
    };
    probe.run(process).await;
}

/// A data node.
pub(crate) async fn data_node(env: Env, config: DataNodeConfig, probe: Probe) {
    use dfs_core::datanode::DataNodeError;
    let inner = probe.clone();
    let process = async move {
        let started = DataNode::start(config, env).await;
        let node = Arc::new(started.map_err(|error| match error {
            DataNodeError::Store(_) => Ended::Refused(chain(&error)),
            _ => Ended::Failed(chain(&error)),
        })?);
        let mut failed = node.failed();
        tokio::select! {
            biased;
            why = reason(&mut failed) => return Err(Ended::Failed(why)),
            () = inner.0.stop.notified() => {}
        }
        if let Ok(node) = Arc::try_unwrap(node)
            && let Err(error) = node.shutdown().await
        {
            tracing::info!(%error, "did not stop cleanly");
        }
        Ok(Ended::Stopped)
    };
    probe.run(process).await;
}

/// Waits until there is a reason why a process cannot go on.
async fn reason<E: std::error::Error>(failed: &mut watch::Receiver<Option<E>>) -> String {
    if let Ok(why) = failed.wait_for(Option::is_some).await {
        return why.as_ref().map_or_else(String::new, |why| chain(why));
    }
    std::future::pending().await
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
