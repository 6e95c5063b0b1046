//! A cluster in the world, and whoever starts its processes again.

mod process;
mod settings;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_core::client::{Client, ClientConfig};
use dfs_core::datanode::store::StoreConfig;
use dfs_core::env::{Disk, Env, Random};
use dfs_core::types::Rev;

use super::audit::{self, Audits};
use super::net::{HostId, Link};
use super::world::{Crash, World};
pub(crate) use process::{Ended, Probe};
pub(crate) use settings::{DIRECTORY, Taste};

/// Masters of the group; one more machine waits to join.
pub(crate) const MASTERS: usize = 3;
/// Data nodes, where nothing is in stripes.
pub(crate) const DATA_NODES: usize = 4;
/// Bytes on their way to a master, and to a data node: to masters go messages whose length is
/// not quite the same in every run, so nothing may depend on it.
const WINDOWS: [usize; 2] = [64 << 20, 128 << 10];

/// How long a process may take to find out that its disk has failed.
const FINDS_OUT_WITHIN: Duration = Duration::from_secs(10);

/// What a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A master.
    Master,
    /// A data node.
    DataNode,
}

/// A machine that serves.
pub(crate) struct Server {
    /// Its machine.
    pub(crate) host: HostId,
    /// What it is.
    pub(crate) role: Role,
    /// What runs there, if anything does.
    pub(crate) probe: Probe,
    /// It belongs to the cluster.
    pub(crate) present: bool,
    /// Its process is to run.
    pub(crate) wanted: bool,
    /// Nothing was ever stored there.
    pub(crate) new: bool,
    /// Bits flipped in its files: it may find that out at any time, and refuse to go on.
    pub(crate) rotten: bool,
    /// Its disk failed, or was full, until then: it may have stopped for that.
    pub(crate) harmed_until: Duration,
    /// Faults by which it lacks what it takes to start, room or file handles: it may say so.
    pub(crate) starved: u32,
    /// It founds the cluster.
    founds: bool,
    address: String,
    start_at: Duration,
    refusals: u32,
}

/// The servers of a cluster and the world they are in.
pub(crate) struct Cluster {
    /// The world.
    pub(crate) world: World,
    /// Masters first, then the spare one, then data nodes.
    pub(crate) servers: Vec<Server>,
    /// Machines for clients.
    pub(crate) clients: Vec<HostId>,
    /// Data nodes that there are when all is well.
    pub(crate) data_nodes: usize,
    taste: Taste,
    /// Processes that were started again.
    pub(crate) restarts: u64,
    /// Changes of leadership that were seen.
    pub(crate) elections: u64,
    /// Who was seen to lead in a term.
    pub(crate) leaders: BTreeMap<u64, String>,
    led: Option<(HostId, u64)>,
    /// Rotten disks with which a process did not start, and why.
    pub(crate) refusals: Vec<String>,
    /// What no process may do.
    pub(crate) wrong: Vec<String>,
    /// What data nodes had on their disks.
    pub(crate) audits: Audits,
}

impl Cluster {
    /// Machines on which nothing runs yet.
    pub(crate) fn new(seed: u64, data_nodes: usize, clients: usize) -> Cluster {
        let mut world = World::new(seed);
        let mut servers = Vec::new();
        for index in 0..=MASTERS {
            let name = format!("m{}", index + 1);
            servers.push(Server {
                host: world.add_host(&name, WINDOWS[0]),
                role: Role::Master,
                probe: Probe::default(),
                present: index < MASTERS,
                wanted: index < MASTERS,
                new: true,
                rotten: false,
                harmed_until: Duration::ZERO,
                starved: 0,
                founds: index == 0,
                address: format!("{name}:7400"),
                start_at: Duration::ZERO,
                refusals: 0,
            });
        }
        for index in 0..data_nodes {
            let name = format!("n{}", index + 1);
            servers.push(Server {
                host: world.add_host(&name, WINDOWS[1]),
                role: Role::DataNode,
                probe: Probe::default(),
                present: true,
                wanted: true,
                new: true,
                rotten: false,
                harmed_until: Duration::ZERO,
                starved: 0,
                founds: false,
                address: format!("{name}:7400"),
                start_at: Duration::ZERO,
                refusals: 0,
            });
        }
        let client = |index| world.add_host(&format!("c{}", index + 1), WINDOWS[0]);
        let clients = (0..clients).map(client).collect();
        Cluster {
            world,
            servers,
            clients,
            data_nodes,
            taste: Taste::new(seed),
            restarts: 0,
            elections: 0,
            leaders: BTreeMap::new(),
            led: None,
            refusals: Vec::new(),
            wrong: Vec::new(),
            audits: Audits::default(),
        }
    }

    /// Lets one step of time pass, and starts again what has ended.
    pub(crate) fn step(&mut self) {
        self.world.step();
        for index in 0..self.servers.len() {
            self.look_after(index);
        }
        self.count_elections();
        audit::compare(self);
    }

    /// Lets time pass until `done` says so; false if it does not within `limit`.
    pub(crate) fn run_until(
        &mut self,
        limit: Duration,
        mut done: impl FnMut(&mut Cluster) -> bool,
    ) -> bool {
        let end = self.world.now() + limit;
        loop {
            if done(self) {
                return true;
            }
            if self.world.now() >= end {
                return false;
            }
            self.step();
        }
    }

    /// Lets so much time pass.
    pub(crate) fn run_for(&mut self, long: Duration) {
        self.run_until(long, |_| false);
    }

    /// Runs a task on a host that runs, to its end; none if that does not come within `limit`.
    pub(crate) fn ask<T: Send + 'static>(
        &mut self,
        host: HostId,
        limit: Duration,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let answer = Arc::new(Mutex::new(None));
        let into = Arc::clone(&answer);
        self.world.spawn(host, async move {
            let value = task.await;
            *into.lock().unwrap() = Some(value);
        });
        self.run_until(limit, |_| answer.lock().unwrap().is_some());
        answer.lock().unwrap().take()
    }

    fn look_after(&mut self, index: usize) {
        let now = self.world.now();
        let server = &mut self.servers[index];
        let running = self.world.is_running(server.host);
        if !running {
            if server.wanted && now >= server.start_at {
                self.start(index);
            }
            return;
        }
        let Some(ended) = server.probe.ended() else {
            return;
        };
        let pause = Duration::from_millis(200 + self.world.random().below(1000));
        server.start_at = now + pause;
        let host = server.host;
        self.world.crash(host, Crash::Kill);
        match ended {
            Ended::Refused(why) => self.refused(index, why),
            Ended::Failed(why) => self.failed(index, &why),
            Ended::Stopped => {}
        }
    }

    /// An operator sees that a process does not start with the disk as it is: what is full may
    /// be empty again soon; what is damaged is replaced.
    fn refused(&mut self, index: usize, why: String) {
        let server = &mut self.servers[index];
        server.refusals += u32::from(server.starved == 0);
        if server.refusals < 5 {
            return;
        }
        let name = self.world.name(server.host).to_owned();
        match server.rotten {
            true => self.refusals.push(format!("{name}: {why}")),
            false => self
                .wrong
                .push(format!("P1: undamaged and refused: {name}: {why}")),
        }
        self.wipe(index);
    }

    /// A process found that it must not go on. That its disk failed is a reason, and that it was
    /// removed from the group; nothing else is.
    fn failed(&mut self, index: usize, why: &str) {
        let server = &mut self.servers[index];
        // It had started.
        server.refusals = 0;
        let harmed = server.rotten || self.world.now() < server.harmed_until + FINDS_OUT_WITHIN;
        if !harmed && !why.contains("removed from the group") {
            let name = self.world.name(server.host).to_owned();
            let promise = if why.contains("differ") { "M4" } else { "P1" };
            self.wrong.push(format!("{promise}: {name} stopped: {why}"));
        }
    }

    /// Has whoever may be rotten start again, to find out what it can: some of what a process
    /// needs to start is read only then.
    pub(crate) fn restart_rotten(&mut self) {
        let all = 0..self.servers.len();
        let rotten: Vec<usize> = all.filter(|index| self.servers[*index].rotten).collect();
        for index in rotten {
            self.crash(index, Crash::Kill, Duration::from_millis(100));
            // Until it is back, or has got an empty disk and its old self is dead.
            self.run_for(FINDS_OUT_WITHIN);
        }
    }

    /// Takes down that the disk of a server fails from now on, until `healed` is called.
    pub(crate) fn harm(&mut self, index: usize) {
        self.servers[index].harmed_until = Duration::MAX - FINDS_OUT_WITHIN;
    }

    /// Its disk does what it should.
    pub(crate) fn healed(&mut self, host: HostId) {
        let now = self.world.now();
        let server = self.servers.iter_mut().find(|server| server.host == host);
        if let Some(server) = server {
            server.harmed_until = now;
        }
    }

    /// Puts an empty disk into a machine on which nothing runs.
    pub(crate) fn wipe(&mut self, index: usize) {
        let server = &mut self.servers[index];
        server.new = true;
        server.founds = false;
        server.refusals = 0;
        server.rotten = false;
        self.world.replace_disk(server.host);
    }

    fn start(&mut self, index: usize) {
        if self.servers[index].role == Role::DataNode && !self.servers[index].new {
            audit::before_start(self, index);
        }
        let masters = self.master_addresses();
        let server = &mut self.servers[index];
        if !server.new {
            self.restarts += 1;
        }
        server.probe = Probe::default();
        let (probe, taste) = (server.probe.clone(), self.taste.clone());
        let (host, address) = (server.host, server.address.clone());
        match server.role {
            Role::Master => {
                let seeds = if server.founds { Vec::new() } else { masters };
                let config = taste.master(&address);
                self.world
                    .start(host, |env| process::master(env, config, seeds, probe));
            }
            Role::DataNode => {
                let mut config = taste.data_node(&address, masters);
                let disk = self.world.disk(host);
                let exists = disk.exists(Path::new(DIRECTORY)).unwrap_or(true);
                config.store.initialize = server.new || !exists;
                self.world
                    .start(host, |env| process::data_node(env, config, probe));
            }
        }
        self.servers[index].new = false;
    }

    /// Ends a process without asking it; it starts again when `wanted` and `after` has passed.
    pub(crate) fn crash(&mut self, index: usize, how: Crash, after: Duration) {
        let server = &mut self.servers[index];
        server.start_at = self.world.now() + after;
        if self.world.is_running(server.host) {
            self.world.crash(server.host, how);
        }
    }

    /// Lets the process of a server run again, unless the server is gone for good.
    pub(crate) fn want(&mut self, index: usize) {
        let server = &mut self.servers[index];
        server.wanted = server.present;
    }

    /// Addresses of all masters.
    pub(crate) fn master_addresses(&self) -> Vec<String> {
        let masters = self.servers.iter().filter(|s| s.role == Role::Master);
        let present = masters.filter(|s| s.present);
        present.map(|s| s.address.clone()).collect()
    }

    /// The servers of a kind.
    pub(crate) fn of(&self, role: Role) -> Vec<usize> {
        let all = 0..self.servers.len();
        all.filter(|index| self.servers[*index].role == role && self.servers[*index].present)
            .collect()
    }

    /// The server that leads and answers.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leads = |index: &usize| {
            let master = self.servers[*index].probe.master();
            master.is_some_and(|master| master.leads())
        };
        let mut leading: Vec<usize> = (0..=MASTERS).filter(leads).collect();
        // Of two the one with the later term: the other does not know yet.
        leading.sort_by_key(|index| self.term(*index));
        leading.last().copied()
    }

    fn term(&self, index: usize) -> u64 {
        let master = self.servers[index].probe.master();
        master.map_or(0, |master| master.leadership().borrow().term)
    }

    fn count_elections(&mut self) {
        if !self.world.now().as_millis().is_multiple_of(50) {
            return;
        }
        if let Some(leader) = self.leader() {
            let led = Some((leader, self.term(leader)));
            if self.led != led {
                let name = self.world.name(self.servers[leader].host).to_owned();
                self.leaders.insert(self.term(leader), name);
                self.elections += u64::from(self.led.is_some());
                self.led = led;
            }
        }
    }

    /// Masters that vote and data nodes that live, as the leader sees them.
    pub(crate) fn strength(&self) -> Option<(usize, usize)> {
        self.servers[self.leader()?].probe.master()?.strength()
    }

    /// Of every master that runs: its name, what it applied, the end of its log, and the digest.
    pub(crate) fn states(&self) -> Vec<(String, Rev, Option<u64>, String)> {
        let mut states = Vec::new();
        for server in self.servers.iter().filter(|s| s.role == Role::Master) {
            if let Some(master) = server.probe.master()
                && let Ok(Some(status)) = master.status()
            {
                let name = self.world.name(server.host).to_owned();
                let digest = status.digest.to_string();
                states.push((name, status.applied, status.last_log, digest));
            }
        }
        states
    }

    /// Settings of the chunk store of a data node.
    pub(crate) fn store_config(&self) -> StoreConfig {
        self.taste.data_node("", Vec::new()).store
    }

    /// Settings for a client.
    pub(crate) fn client_config(&self) -> ClientConfig {
        self.taste.client(self.master_addresses())
    }

    /// All links between two sets of hosts, in both directions.
    pub(crate) fn links(left: &[HostId], right: &[HostId]) -> Vec<Link> {
        let pairs = left.iter().flat_map(|a| right.iter().map(|b| (*a, *b)));
        pairs
            .filter(|(a, b)| a != b)
            .flat_map(|(a, b)| [(a, b), (b, a)])
            .collect()
    }
}

/// Connects, however long it takes.
pub(crate) async fn connect(config: ClientConfig, env: Env) -> Client {
    loop {
        match Client::connect(config.clone(), env.clone()).await {
            Ok(client) => return client,
            Err(error) => tracing::debug!(%error, "no client yet"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
