//! A group of replicas on a loopback network.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::loopback::{Cut, Loopback, Registration};
use crate::config::ReplicaConfig;
use crate::env::Env;
use crate::error::{ChangeError, StartError};
use crate::machine::StateMachine;
use crate::replica::Replica;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(30);

type MakeMachine<M> = Arc<dyn Fn() -> M + Send + Sync>;
type Settings = Arc<dyn Fn(&mut ReplicaConfig) + Send + Sync>;

/// A group of replicas in one process. Member `i`, from 0, is at address `member-i` and in the
/// directory of that name.
///
/// Its methods panic when something does not happen in time: it is for tests.
pub struct Cluster<M: StateMachine> {
    /// The network between them.
    pub network: Loopback,
    env: Env,
    directory: PathBuf,
    make: MakeMachine<M>,
    settings: Settings,
    members: Vec<Option<Running<M>>>,
}

struct Running<M: StateMachine> {
    replica: Replica<M>,
    _registration: Registration,
}

impl<M: StateMachine> fmt::Debug for Cluster<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl<M: StateMachine> Cluster<M> {
    /// Founds a cluster of `size` voters with directories under `directory`.
    ///
    /// # Errors
    /// A replica did not start, or did not join.
    pub async fn start(
        size: usize,
        env: Env,
        directory: &Path,
        make: impl Fn() -> M + Send + Sync + 'static,
        settings: impl Fn(&mut ReplicaConfig) + Send + Sync + 'static,
    ) -> Result<Cluster<M>, ChangeError> {
        let mut cluster = Cluster {
            network: Loopback::new(),
            env,
            directory: directory.to_owned(),
            make: Arc::new(make),
            settings: Arc::new(settings),
            members: Vec::new(),
        };
        for index in 0..size {
            cluster.add(index > 0).await?;
        }
        Ok(cluster)
    }

    /// Adds a member, as a voter or as a learner, and returns its number.
    ///
    /// # Errors
    /// It did not start or join.
    pub async fn add(&mut self, voter: bool) -> Result<usize, ChangeError> {
        let index = self.members.len();
        self.members.push(None);
        let started = self.start_member(index).await;
        started.map_err(|e| ChangeError::Unavailable(e.to_string()))?;
        let replica = self.replica(index).clone();
        if index == 0 {
            replica.bootstrap(&Self::address(0)).await?;
            self.leader().await;
            return Ok(index);
        }
        let seeds: Vec<_> = (0..index).map(Self::address).collect();
        let member = replica.join(&seeds, &Self::address(index)).await?;
        if voter {
            let leader = self.leader().await;
            self.replica(leader).promote(member).await?;
        }
        Ok(index)
    }

    /// The address of a member.
    pub fn address(index: usize) -> String {
        format!("member-{index}")
    }

    /// The directory of a member.
    pub fn directory(&self, index: usize) -> PathBuf {
        self.directory.join(Self::address(index))
    }

    /// Starts a member that is not running, in its directory.
    ///
    /// # Errors
    /// The replica's.
    pub async fn start_member(&mut self, index: usize) -> Result<(), StartError> {
        let mut config = ReplicaConfig::new(self.directory(index));
        (self.settings)(&mut config);
        let address = Self::address(index);
        let deadline = Instant::now() + PATIENCE;
        let replica = loop {
            let dialer = self.network.dialer(&address);
            let started =
                Replica::start(config.clone(), self.env.clone(), dialer, (self.make)()).await;
            match started {
                // The files of the run before are still being closed.
                Err(StartError::Directory(e))
                    if e.kind() == std::io::ErrorKind::WouldBlock && Instant::now() < deadline =>
                {
                    sleep(Duration::from_millis(5)).await;
                }
                result => break result?,
            }
        };
        let registration = self.network.serve(&address, &replica);
        if let Some(slot) = self.members.get_mut(index) {
            *slot = Some(Running {
                replica,
                _registration: registration,
            });
        }
        Ok(())
    }

    /// Stops a member in order.
    pub async fn stop(&mut self, index: usize) {
        if let Some(running) = self.members.get_mut(index).and_then(Option::take) {
            running.replica.shutdown().await;
        }
    }

    /// Drops a member without stopping it in order.
    pub fn crash(&mut self, index: usize) {
        drop(self.members.get_mut(index).and_then(Option::take));
    }

    /// Cuts a member off until the guard is dropped.
    pub fn isolate(&self, index: usize) -> Cut {
        self.network.isolate(&Self::address(index))
    }

    /// A running member.
    #[allow(
        clippy::expect_used,
        reason = "a test asks for a member that it stopped"
    )]
    pub fn replica(&self, index: usize) -> &Replica<M> {
        let running = self.members.get(index).and_then(Option::as_ref);
        &running.expect("the member is running").replica
    }

    /// The numbers of the running members.
    pub fn running(&self) -> Vec<usize> {
        let members = self.members.iter().enumerate();
        members.filter_map(|(i, m)| m.as_ref().map(|_| i)).collect()
    }

    /// Waits until a running member leads and may act, and returns its number.
    pub async fn leader(&self) -> usize {
        self.leader_among(&self.running()).await
    }

    /// Waits until one of these members leads and may act, and returns its number.
    pub async fn leader_among(&self, members: &[usize]) -> usize {
        self.eventually("a leader", async |cluster: &Self| {
            let ready = |i: &usize| cluster.replica(*i).leadership().borrow().is_ready;
            let mut leaders: Vec<_> = members.iter().copied().filter(ready).collect();
            // One that was deposed may not know yet.
            leaders.sort_by_key(|i| cluster.replica(*i).leadership().borrow().term);
            leaders.last().copied()
        })
        .await
    }

    /// Waits until all running members have applied the same entry and have equal digests.
    pub async fn converged(&self) {
        self.eventually("equal states", async |cluster: &Self| {
            let mut states = Vec::new();
            for index in cluster.running() {
                let status = cluster.replica(index).status().ok()??;
                states.push((status.applied, status.last_log, status.digest));
            }
            let first = states.first()?;
            let applied_all = first.1 == Some(first.0.index);
            (applied_all && states.iter().all(|s| s == first)).then_some(())
        })
        .await;
    }

    /// Waits until `condition` gives a value.
    #[allow(clippy::panic, reason = "a test waits in vain")]
    pub async fn eventually<T>(
        &self,
        what: &str,
        condition: impl AsyncFn(&Self) -> Option<T>,
    ) -> T {
        let wait = async {
            loop {
                if let Some(value) = condition(self).await {
                    return value;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(value) => value,
            Err(_) => panic!("{what} did not come about in time"),
        }
    }
}
