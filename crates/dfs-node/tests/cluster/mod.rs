//! A cluster of processes on loopback: three masters, and data nodes.

mod founded;
mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dfs_core::client::{Client, ClientConfig, TokenRequest};
use dfs_core::env::Env;
use dfs_core::master::{Master, MasterConfig};
use dfs_core::node::Security;
use dfs_core::types::NodeRole;
use tokio::time::{sleep, timeout};

pub(crate) use founded::Founded;
pub(crate) use process::Process;
#[allow(unused_imports, reason = "benchmarks run no other commands")]
pub(crate) use process::command;

pub(crate) const MASTERS: usize = 3;

const EQUAL_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Places are numbered: masters first, then data nodes.
pub(crate) struct Cluster {
    directory: PathBuf,
    processes: Vec<Option<Process>>,
    addresses: Vec<String>,
    founded: Founded,
    /// Arguments of every master besides those that all need.
    master_arguments: &'static [&'static str],
}

impl Cluster {
    /// Founds a cluster in `directory` and starts all of it.
    pub(crate) async fn found(directory: &Path, data_nodes: usize) -> std::io::Result<Cluster> {
        Cluster::found_with(directory, data_nodes, &[]).await
    }

    /// Founds a cluster whose masters have these arguments too.
    pub(crate) async fn found_with(
        directory: &Path,
        data_nodes: usize,
        master_arguments: &'static [&'static str],
    ) -> std::io::Result<Cluster> {
        let founded = Founded::init(&directory.join("m1"), &[]).await?;
        Cluster::start_all(founded, directory, data_nodes, master_arguments).await
    }

    /// Founds a cluster without security in `directory` and starts all of it.
    pub(crate) async fn found_insecure(
        directory: &Path,
        data_nodes: usize,
    ) -> std::io::Result<Cluster> {
        let founded = Founded::init(&directory.join("m1"), &["--insecure"]).await?;
        Cluster::start_all(founded, directory, data_nodes, &[]).await
    }

    async fn start_all(
        founded: Founded,
        directory: &Path,
        data_nodes: usize,
        master_arguments: &'static [&'static str],
    ) -> std::io::Result<Cluster> {
        let address = founded.address.clone();
        let places = MASTERS + data_nodes;
        let mut cluster = Cluster {
            directory: directory.to_owned(),
            processes: (0..places).map(|_| None).collect(),
            addresses: vec![String::from("127.0.0.1:0"); places],
            founded,
            master_arguments,
        };
        cluster.addresses[0] = address;
        for place in 0..places {
            cluster.start(place, true).await?;
            if place == 0 && !cluster.founded.is_insecure() {
                // For masters that lose their disks, too.
                let token = cluster.token_for_masters(100).await;
                cluster.founded.master_token = Some(token.map_err(std::io::Error::other)?);
            }
        }
        Ok(cluster)
    }

    /// Masters and data nodes together.
    pub(crate) fn places(&self) -> usize {
        self.processes.len()
    }

    /// Starts the process at a place; `new` the first time.
    pub(crate) async fn start(&mut self, place: usize, new: bool) -> std::io::Result<()> {
        self.processes[place] = Some(self.launch(place, new)?);
        self.ready(place).await
    }

    /// Starts the process at a place again, and does not wait until it is ready.
    pub(crate) fn begin_start(&mut self, place: usize) -> std::io::Result<()> {
        self.processes[place] = Some(self.launch(place, false)?);
        Ok(())
    }

    /// Waits until the process at a place is ready.
    pub(crate) async fn ready(&mut self, place: usize) -> std::io::Result<()> {
        let process = self.processes[place].as_mut();
        let process = process.ok_or_else(|| does_not_run(place))?;
        let ready = process.ready().await;
        ready.map_err(|e| std::io::Error::other(format!("{}: {e}", name(place))))?;
        self.addresses[place] = process.address().to_owned();
        Ok(())
    }

    /// Starts the process at a place if it does not run.
    pub(crate) async fn start_if_down(&mut self, place: usize) -> std::io::Result<()> {
        match &self.processes[place] {
            Some(_) => Ok(()),
            None => self.start(place, false).await,
        }
    }

    fn launch(&self, place: usize, new: bool) -> std::io::Result<Process> {
        let name = name(place);
        let directory = self.directory.join(&name);
        let directory = directory.to_string_lossy();
        let role = if place < MASTERS { "master" } else { "data" };
        let mut arguments = vec![role, "--directory", &directory];
        arguments.extend(["--listen", &self.addresses[place]]);
        let masters = self.masters().join(",");
        if role == "master" {
            arguments.extend(self.master_arguments);
        }
        if self.founded.is_insecure() {
            arguments.push("--insecure");
        }
        let join = match (role, self.founded.is_insecure()) {
            ("master", true) if place > 0 => Some(&self.addresses[0]),
            ("master", _) => self.founded.master_token.as_ref(),
            _ => self.founded.data_token.as_ref(),
        };
        if let Some(join) = join.filter(|_| new) {
            arguments.extend(["--join", join]);
        }
        if role == "data" {
            arguments.extend(["--masters", &masters]);
            if new {
                arguments.push("--new");
            }
        }
        Process::launch(&arguments, &self.directory.join(format!("{name}.log")))
    }

    /// The process at a place.
    pub(crate) fn process(&self, place: usize) -> std::io::Result<&Process> {
        let process = self.processes.get(place).and_then(Option::as_ref);
        process.ok_or_else(|| does_not_run(place))
    }

    /// The same, to be changed.
    pub(crate) fn process_mut(&mut self, place: usize) -> std::io::Result<&mut Process> {
        let process = self.processes.get_mut(place).and_then(Option::as_mut);
        process.ok_or_else(|| does_not_run(place))
    }

    /// The place of the process with this address.
    pub(crate) fn place_of(&self, address: &str) -> Option<usize> {
        self.addresses.iter().position(|a| a == address)
    }

    /// Kills the process at a place with SIGKILL.
    pub(crate) async fn kill(&mut self, place: usize) -> std::io::Result<()> {
        match self.processes[place].take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Where the process at a place has its files.
    pub(crate) fn directory(&self, place: usize) -> PathBuf {
        self.directory.join(name(place))
    }

    /// Kills everything, then starts everything.
    pub(crate) async fn kill_and_restart_all(&mut self) -> std::io::Result<()> {
        for place in 0..self.processes.len() {
            self.kill(place).await?;
        }
        for place in 0..self.processes.len() {
            self.begin_start(place)?;
        }
        for place in 0..self.processes.len() {
            self.ready(place).await?;
        }
        Ok(())
    }

    /// Stops everything with SIGTERM; every process must end well.
    pub(crate) async fn stop(mut self) -> std::io::Result<()> {
        for place in (0..self.processes.len()).rev() {
            if let Some(process) = self.processes[place].take() {
                assert_eq!(
                    process.stop().await?,
                    Some(0),
                    "{} did not end well",
                    name(place)
                );
            }
        }
        Ok(())
    }

    /// The address of the process at a place.
    pub(crate) fn address(&self, place: usize) -> &str {
        &self.addresses[place]
    }

    /// The id of the process at a place, while it runs.
    pub(crate) fn pid(&self, place: usize) -> Option<u32> {
        self.processes[place].as_ref().and_then(Process::pid)
    }

    /// Stops everything and opens the masters' directories in this process: all must come to
    /// the same state, in which no invariant is broken.
    pub(crate) async fn stop_and_compare_states(self) -> Result<(), Box<dyn std::error::Error>> {
        let directories: Vec<_> = (0..MASTERS).map(|place| self.directory(place)).collect();
        let addresses = self.addresses[..MASTERS].to_vec();
        let insecure = self.founded.is_insecure();
        self.stop().await?;
        let mut masters = Vec::new();
        for (directory, address) in directories.into_iter().zip(addresses) {
            let mut config = MasterConfig::new(directory);
            if insecure {
                config.security = Security::Insecure;
            }
            config.listen = address;
            masters.push(Master::start(config, Env::real()).await?);
        }
        timeout(EQUAL_WITHIN, async {
            while !are_equal(&masters)? {
                sleep(POLL).await;
            }
            Ok::<_, dfs_core::error::Error>(())
        })
        .await??;
        for master in masters {
            assert_eq!(master.check().await?.violations, []);
            master.shutdown().await;
        }
        Ok(())
    }

    pub(crate) fn masters(&self) -> Vec<String> {
        self.addresses[..MASTERS]
            .iter()
            .filter(|a| !a.ends_with(":0"))
            .cloned()
            .collect()
    }

    pub(crate) async fn client(&self) -> dfs_core::error::Result<Client> {
        Client::connect(self.client_config()?, Env::real()).await
    }

    /// The settings of a client.
    pub(crate) fn client_config(&self) -> dfs_core::error::Result<ClientConfig> {
        Ok(ClientConfig {
            access: self.founded.profile.access()?,
            ..ClientConfig::new(self.masters())
        })
    }

    /// A token for more masters.
    pub(crate) async fn token_for_masters(&self, uses: u32) -> dfs_core::error::Result<String> {
        let request = TokenRequest {
            role: NodeRole::Master,
            node: None,
            uses,
            ttl: Duration::from_secs(60),
            label: String::new(),
        };
        let (_, token) = self.client().await?.create_token(request).await?;
        let text = token.reveal();
        let text = text.map_err(|e| dfs_core::error::Error::invalid(e.to_string()))?;
        Ok(text.to_string())
    }

    /// Where its administrator's profile is.
    pub(crate) fn profile(&self) -> PathBuf {
        self.directory(0).join("admin.toml")
    }
}

/// Whether all have applied all of their logs, and that gave equal states.
fn are_equal(masters: &[Master]) -> dfs_core::error::Result<bool> {
    let mut states = Vec::new();
    for master in masters {
        if let Some(status) = master.status()? {
            states.push((status.last_log, status.applied, status.digest));
        }
    }
    let first = states.first().copied();
    let equal = states.len() == masters.len() && states.iter().all(|s| Some(*s) == first);
    let applied = |(last, applied, _): (_, dfs_core::types::Rev, _)| last == Some(applied.index);
    Ok(equal && first.is_some_and(applied))
}

fn does_not_run(place: usize) -> std::io::Error {
    std::io::Error::other(format!("{} does not run", name(place)))
}

/// `m1 m2 m3 n1 n2 n3`.
pub(crate) fn name(place: usize) -> String {
    if place < MASTERS {
        format!("m{}", place + 1)
    } else {
        format!("n{}", place - MASTERS + 1)
    }
}
