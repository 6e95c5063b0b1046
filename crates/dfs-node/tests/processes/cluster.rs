//! A cluster of processes: three masters and three data nodes.

use std::path::{Path, PathBuf};

use dfs_core::client::{Client, ClientConfig};
use dfs_core::env::Env;
use futures::future::try_join_all;

use crate::process::{Process, command};

pub(crate) const MASTERS: usize = 3;
pub(crate) const DATA_NODES: usize = 3;

/// Places are numbered: masters first, then data nodes.
pub(crate) struct Cluster {
    directory: PathBuf,
    processes: Vec<Option<Process>>,
    addresses: Vec<String>,
}

impl Cluster {
    /// Founds a cluster in `directory` and starts all of it.
    pub(crate) async fn found(directory: &Path) -> std::io::Result<Cluster> {
        let first = directory.join("m1");
        let first = first.to_string_lossy();
        let init = ["init", "--directory", &first, "--listen", "127.0.0.1:0"];
        let output = command(&init).output().await?;
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let address = said
            .trim_end()
            .rsplit(' ')
            .next()
            .unwrap_or_default()
            .to_owned();
        let mut cluster = Cluster {
            directory: directory.to_owned(),
            processes: (0..MASTERS + DATA_NODES).map(|_| None).collect(),
            addresses: vec![String::from("127.0.0.1:0"); MASTERS + DATA_NODES],
        };
        cluster.addresses[0] = address;
        for place in 0..MASTERS + DATA_NODES {
            cluster.start(place, true).await?;
        }
        Ok(cluster)
    }

    /// Starts the process at a place; `new` the first time.
    pub(crate) async fn start(&mut self, place: usize, new: bool) -> std::io::Result<()> {
        let process = self.spawn(place, new).await?;
        self.addresses[place] = process.address().to_owned();
        self.processes[place] = Some(process);
        Ok(())
    }

    async fn spawn(&self, place: usize, new: bool) -> std::io::Result<Process> {
        let name = name(place);
        let directory = self.directory.join(&name);
        let directory = directory.to_string_lossy();
        let role = if place < MASTERS { "master" } else { "data" };
        let mut arguments = vec![role, "--directory", &directory];
        arguments.extend(["--listen", &self.addresses[place]]);
        let masters = self.masters().join(",");
        match role {
            "master" if new && place > 0 => arguments.extend(["--join", &self.addresses[0]]),
            "data" => {
                arguments.extend(["--masters", &masters]);
                if new {
                    arguments.push("--new");
                }
            }
            _ => {}
        }
        Process::start(&arguments, &self.directory.join(format!("{name}.log"))).await
    }

    /// Kills the process at a place with SIGKILL.
    pub(crate) async fn kill(&mut self, place: usize) -> std::io::Result<()> {
        match self.processes[place].take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Kills everything, then starts everything.
    pub(crate) async fn kill_and_restart_all(&mut self) -> std::io::Result<()> {
        for place in 0..self.processes.len() {
            self.kill(place).await?;
        }
        let starts = (0..self.processes.len()).map(|place| self.spawn(place, false));
        let started = try_join_all(starts).await?;
        self.processes = started.into_iter().map(Some).collect();
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

    pub(crate) fn masters(&self) -> Vec<String> {
        self.addresses[..MASTERS]
            .iter()
            .filter(|a| !a.ends_with(":0"))
            .cloned()
            .collect()
    }

    pub(crate) async fn client(&self) -> dfs_core::error::Result<Client> {
        Client::connect(ClientConfig::new(self.masters()), Env::real()).await
    }
}

/// `m1 m2 m3 n1 n2 n3`.
pub(crate) fn name(place: usize) -> String {
    if place < MASTERS {
        format!("m{}", place + 1)
    } else {
        format!("n{}", place - MASTERS + 1)
    }
}
