//! Masters and data nodes.

pub(super) mod audit_logs;
pub(super) mod logs;
mod node;
mod replicas;
mod states;

use std::collections::BTreeMap;
use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

use dfs_core::client::{
    Access, Client, ClientConfig, ClusterStatus, Liveness, NodeInfo, Profile, TokenRequest,
};
use dfs_core::env::Env;
use dfs_core::types::{AdminState, NodeId, NodeRole};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

pub(super) use node::{Node, Role};

use super::disk::{Disk, Format};
use super::network::Network;
use super::process::Process;
use super::tool;

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// `dfs-node`.
    pub(super) program: PathBuf,
    /// For disks and logs.
    pub(super) directory: PathBuf,
    pub(super) masters: usize,
    pub(super) data_nodes: usize,
    /// Decides on file systems and clocks.
    pub(super) seed: u64,
    /// Whether wall clocks are to jump.
    pub(super) clocks: bool,
}

/// Masters first, then data nodes.
pub(super) struct Cluster {
    plan: Plan,
    pub(super) network: Network,
    pub(super) nodes: Vec<Node>,
    client: Option<Client>,
    /// What clients log in with.
    access: Option<Access>,
    /// What masters and data nodes join with.
    tokens: Option<(String, String)>,
    /// Who was seen to lead in a term.
    pub(super) leaders: BTreeMap<u64, String>,
    /// Data nodes that are being emptied, by their places, and those that are to be taken back.
    emptied: BTreeMap<usize, NodeId>,
    to_take_back: Vec<NodeId>,
}

/// Data nodes read all they have through in this time, so that rot is found that nobody reads.
const SCRUB_PERIOD: Duration = Duration::from_secs(20);
/// A silent data node is dead after this.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(8);
/// Few, so that a master that was away for seconds has missed more.
pub(super) const LOG_ENTRIES: u32 = 300;
/// Replicas move though disks are nearly empty.
const BALANCE_PERCENT: u32 = 1;
/// Many short chunks become one when their file was not changed for so long.
const COMPACT_AFTER: Duration = Duration::from_secs(2);
const RESERVE_MIB: u64 = 64;
const RESERVE: u64 = RESERVE_MIB << 20;
/// Clocks jump by a day.
const TOKEN_TTL: Duration = Duration::from_secs(7 * 86_400);
/// How long a look at the cluster may take.
const LOOK: Duration = Duration::from_secs(2);
/// So many bytes are not kept in the metadata.
const SOMETHING_LEN: usize = 300 << 10;
/// How long it may take to write and read them.
const NEW_WITHIN: Duration = Duration::from_secs(30);

impl Cluster {
    /// Founds a cluster and starts all of it.
    pub(super) async fn found(plan: Plan) -> Result<Cluster> {
        let mut random = StdRng::seed_from_u64(plan.seed ^ 0xd15c);
        let mut network = Network::new().await?;
        let mut nodes = Vec::new();
        let masters = (1..=plan.masters).map(|n| (format!("m{n}"), Role::Master));
        let data_nodes = (1..=plan.data_nodes).map(|n| (format!("n{n}"), Role::Data));
        for (place, (name, role)) in masters.chain(data_nodes).enumerate() {
            let host = network.add(&name).await?;
            let format = match (place + usize::from(random.random_bool(0.5))) % 2 {
                0 => Format::Xfs,
                _ => Format::Ext4,
            };
            let disk = Disk::make(&plan.directory, &name, format).await?;
            let log = plan.directory.join(format!("{name}.log"));
            let mut node = Node::new(name, role, host, disk, log);
            // A day for each: no value of a monotonic clock may ever be taken for another's.
            let ahead = 86_400 * (place as u64 + 1);
            node.circumstances.ahead = Some(Duration::from_secs(ahead));
            if plan.clocks {
                let clock = plan.directory.join(format!("{}.clock", node.name));
                std::fs::write(&clock, "+0\n")?;
                node.circumstances.clock = Some(clock);
            }
            nodes.push(node);
        }
        let mut cluster = Cluster {
            plan,
            network,
            nodes,
            client: None,
            access: None,
            tokens: None,
            leaders: BTreeMap::new(),
            emptied: BTreeMap::new(),
            to_take_back: Vec::new(),
        };
        cluster.init().await?;
        for place in 0..cluster.nodes.len() {
            cluster.start(place).await?;
            cluster.ready(place).await?;
            if place == 0 {
                cluster.make_tokens().await?;
            }
        }
        // The first named the first master alone, which may lose its disk.
        cluster.make_tokens().await?;
        Ok(cluster)
    }

    /// Tokens that are good for all that will join in a run.
    async fn make_tokens(&mut self) -> Result<()> {
        let client = Client::connect(self.client_config(), Env::real()).await;
        let client = client.map_err(Error::other)?;
        let token = |role| {
            let request = TokenRequest {
                role,
                node: None,
                uses: u32::MAX,
                ttl: TOKEN_TTL,
                label: "of a run".to_owned(),
            };
            let client = client.clone();
            async move {
                let (_, token) = client.create_token(request).await.map_err(Error::other)?;
                Ok::<_, Error>(token.reveal().map_err(Error::other)?.to_string())
            }
        };
        let masters = token(NodeRole::Master).await?;
        self.tokens = Some((masters, token(NodeRole::DataNode).await?));
        client.close().await;
        Ok(())
    }

    async fn init(&mut self) -> Result<()> {
        let program = self.plan.program.to_string_lossy().into_owned();
        let Some(first) = self.nodes.first_mut() else {
            return Ok(());
        };
        let (directory, address) = (first.disk.directory(), first.address());
        let directory = directory.to_string_lossy();
        let words = [
            "nsenter",
            &format!("--net=/run/netns/{}", first.host.name),
            &program,
            "init",
            "--directory",
            &directory,
            "--listen",
            &address,
        ];
        tool::run_with(&words, "").await?;
        first.is_new = false;
        let profile = std::fs::read_to_string(first.disk.directory().join("admin.toml"))?;
        let profile: Profile = toml::from_str(&profile).map_err(Error::other)?;
        self.access = profile.access().map_err(Error::other)?;
        Ok(())
    }

    /// The settings of a client.
    pub(super) fn client_config(&self) -> ClientConfig {
        ClientConfig {
            access: self.access.clone(),
            ..ClientConfig::new(self.masters())
        }
    }

    /// How clients log in.
    pub(super) fn profile(&self) -> Profile {
        Profile::new(self.masters(), self.access.as_ref())
    }

    /// Where masters are reached.
    pub(super) fn masters(&self) -> Vec<String> {
        let masters = self.nodes.iter().filter(|node| node.role == Role::Master);
        masters.map(Node::address).collect()
    }

    /// The node at a place.
    pub(super) fn node(&mut self, place: usize) -> Result<&mut Node> {
        let node = self.nodes.get_mut(place);
        node.ok_or_else(|| Error::other(format!("there is no place {place}")))
    }

    /// The places of all nodes of a role.
    pub(super) fn places(&self, role: Role) -> Vec<usize> {
        let nodes = self.nodes.iter().enumerate();
        let nodes = nodes.filter(|(_, node)| node.role == role);
        nodes.map(|(place, _)| place).collect()
    }

    /// Starts the daemon at a place, and does not wait until it is ready.
    pub(super) async fn start(&mut self, place: usize) -> Result<()> {
        let masters = self.masters();
        let program = self.plan.program.clone();
        let tokens = self.tokens.clone();
        let (of_masters, of_data_nodes) = tokens.unwrap_or_default();
        let node = self.node(place)?;
        node.power_on().await?;
        let (directory, address) = (node.disk.directory(), node.address());
        let role = match node.role {
            Role::Master => "master",
            Role::Data => "data",
        };
        let mut arguments = vec![
            role.to_owned(),
            format!("--directory={}", directory.display()),
            format!("--listen={address}"),
            format!("--reserve-mib={RESERVE_MIB}"),
        ];
        match node.role {
            Role::Master => {
                arguments.push(format!("--dead-after={}s", DEAD_AFTER.as_secs()));
                arguments.push(format!("--log-entries={LOG_ENTRIES}"));
                arguments.push(format!("--balance-percent={BALANCE_PERCENT}"));
                arguments.push(format!("--compact-after={}s", COMPACT_AFTER.as_secs()));
                if node.is_new || node.says_join {
                    arguments.push(format!("--join={of_masters}"));
                }
            }
            Role::Data => {
                arguments.push(format!("--masters={}", masters.join(",")));
                arguments.push(format!("--scrub-period={}s", SCRUB_PERIOD.as_secs()));
                if node.is_new {
                    arguments.push(format!("--join={of_data_nodes}"));
                    arguments.push("--new".to_owned());
                }
            }
        }
        let circumstances = &node.circumstances;
        let process = Process::launch(&node.host, &program, &arguments, circumstances, &node.log)?;
        node.process = Some(process);
        node.is_ready = false;
        Ok(())
    }

    /// Waits until the daemon at a place is ready.
    pub(super) async fn ready(&mut self, place: usize) -> Result<()> {
        let node = self.node(place)?;
        if node.is_ready {
            return Ok(());
        }
        let name = node.name.clone();
        let ready = node.process()?.ready().await;
        ready.map_err(|e| Error::other(format!("{name}: {e}")))?;
        node.is_ready = true;
        node.is_new = false;
        Ok(())
    }

    /// Notices that the daemon at a place is ready, if it is.
    pub(super) async fn notice_ready(&mut self, place: usize) -> Result<()> {
        match timeout(Duration::from_millis(5), self.ready(place)).await {
            Ok(Ok(())) | Err(_) => Ok(()),
            // That it does not run is noticed elsewhere.
            Ok(Err(error)) => Err(error),
        }
    }

    /// How the leader sees the cluster.
    pub(super) async fn status(&mut self) -> Result<ClusterStatus> {
        let looked = timeout(LOOK, self.look()).await;
        looked.map_err(|_| Error::other("no master answers"))?
    }

    async fn look(&mut self) -> Result<ClusterStatus> {
        let client = self.client().await?;
        let status = client.status().await.map_err(Error::other)?;
        let leader = status.masters.iter().find(|master| master.leader);
        let is_it = |node: &&Node| leader.is_some_and(|leader| leader.address == node.address());
        if let Some(node) = self.nodes.iter().find(is_it) {
            self.leaders.insert(status.term, node.name.clone());
        }
        Ok(status)
    }

    /// Writes and reads a file of several blocks, as new clients do.
    pub(super) async fn write_something_new(&mut self) -> Result<()> {
        let config = self.client_config();
        let bytes = vec![7; SOMETHING_LEN];
        let written = async {
            let client = Client::connect(config, Env::real()).await?;
            client.write("/new", bytes.clone()).await?;
            let read = client.read("/new").await?;
            client.close().await;
            dfs_core::error::Result::Ok(read)
        };
        let read = timeout(NEW_WITHIN, written).await;
        let read = read.map_err(|_| Error::other(format!("not in {NEW_WITHIN:?}")))?;
        match read.map_err(Error::other)? == bytes {
            true => Ok(()),
            false => Err(Error::other("other bytes were read than were written")),
        }
    }

    async fn client(&mut self) -> Result<Client> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let mut config = self.client_config();
        config.deadlines.operation = LOOK;
        let client = Client::connect(config, Env::real()).await;
        Ok(self.client.insert(client.map_err(Error::other)?).clone())
    }

    /// Takes the master at a place out of the group.
    pub(super) async fn remove_master(&mut self, place: usize) -> Result<()> {
        let status = self.status().await?;
        let address = self.node(place)?.address();
        let mut masters = status.masters.iter();
        let master = masters.find(|master| master.address == address);
        let master = master.ok_or_else(|| Error::other(format!("{address} is no member")))?;
        let client = self.client().await?;
        let removed = client.remove_master(master.member).await;
        removed.map_err(Error::other)
    }

    /// The data node at a place, as the leader sees it.
    async fn data_node(&mut self, place: usize) -> Result<NodeInfo> {
        let status = self.status().await?;
        let address = self.node(place)?.address();
        // Those that were wiped before had the same address.
        let is_it = |node: &NodeInfo| node.address == address && node.liveness == Liveness::Live;
        let node = status.nodes.into_iter().find(is_it);
        node.ok_or_else(|| Error::other(format!("no data node is at {address}")))
    }

    /// Has the data node at a place emptied.
    pub(super) async fn empty(&mut self, place: usize) -> Result<()> {
        let node = self.data_node(place).await?.node;
        // Whether it was done or not, it is taken back.
        self.emptied.insert(place, node);
        let client = self.client().await?;
        let decided = client.decide_node(node, AdminState::Draining, None).await;
        decided.map_err(Error::other)
    }

    /// Has the data node at a place taken back as soon as the masters can be asked.
    pub(super) fn take_back_later(&mut self, place: usize) {
        self.to_take_back.extend(self.emptied.remove(&place));
    }

    /// Takes back the data nodes that are to be.
    pub(super) async fn take_back(&mut self) -> Result<()> {
        while let Some(node) = self.to_take_back.last().copied() {
            let client = self.client().await?;
            let decided = client.decide_node(node, AdminState::InService, None).await;
            decided.map_err(Error::other)?;
            self.to_take_back.pop();
        }
        Ok(())
    }

    /// Sees to it that the data node at a place is never let in again as the node that it is.
    pub(super) async fn revoke_data_node(&mut self, place: usize) -> Result<()> {
        let node = self.data_node(place).await?;
        let client = self.client().await?;
        client.revoke_node(node.key).await.map_err(Error::other)
    }

    /// Where the log of the masters ends, if one of them says it.
    pub(super) async fn log_end(&mut self) -> Option<u64> {
        let status = self.status().await.ok()?;
        status.masters.iter().filter_map(|m| m.log_index).max()
    }

    /// The place of the leader, if one says that it leads.
    pub(super) async fn leader(&mut self) -> Option<usize> {
        let status = self.status().await.ok()?;
        let leader = status.masters.iter().find(|master| master.leader)?;
        let mut nodes = self.nodes.iter();
        nodes.position(|node| node.address() == leader.address)
    }

    /// Whether the master at a place and a majority hear each other, well or not.
    pub(super) fn hears_majority(&self, place: usize) -> bool {
        let Some(one) = self.nodes.get(place).map(|node| node.host.address) else {
            return false;
        };
        let masters = self.nodes.iter().filter(|node| node.role == Role::Master);
        let others = masters.map(|node| node.host.address);
        let heard = others.filter(|o| self.network.hears(one, *o) && self.network.hears(*o, one));
        2 * heard.count() > self.plan.masters
    }

    /// Whether a majority of masters is well and hears each other.
    pub(super) fn has_quorum(&self) -> bool {
        let masters = self.nodes.iter().filter(|node| node.role == Role::Master);
        let votes = |node: &&Node| node.is_well() && node.takes_part;
        let well: Vec<_> = masters.filter(votes).collect();
        let (from, network) = (well.iter(), &self.network);
        let mut together = from.map(|one| {
            let one = one.host.address;
            let others = well.iter().map(|other| other.host.address);
            let heard = others.filter(|o| network.hears(one, *o) && network.hears(*o, one));
            heard.count()
        });
        together.any(|heard| 2 * heard > self.plan.masters)
    }
}
