//! A bridge with one host for each node and client, and pairs of hosts that do not hear each
//! other.
//!
//! This program is on the bridge itself and hears everybody always: rules are for what passes
//! from host to host.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::io::Result;
use std::net::Ipv4Addr;

use super::switch::{Quality, Switch};
use super::tool;

/// From whom, to whom.
pub(super) type Pair = (Ipv4Addr, Ipv4Addr);

/// A namespace with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) address: Ipv4Addr,
}

/// All hosts, and what is wrong between them. Faults are known by a number and compose.
pub(super) struct Network {
    hosts: Vec<Host>,
    cuts: BTreeMap<u32, Vec<Pair>>,
    bad: BTreeMap<u32, (Vec<Pair>, Quality)>,
    switch: Switch,
}

const RULES: &str = "
table bridge dfs {
    set cut { type ipv4_addr . ipv4_addr; }
    chain forward {
        type filter hook forward priority 0;
        ip saddr . ip daddr @cut drop
    }
}
table netdev dfs {
    set bad { type ipv4_addr . ipv4_addr; }
}
";

impl Network {
    /// A bridge without hosts.
    pub(super) async fn new() -> Result<Network> {
        tool::run("ip link add name switch type bridge").await?;
        tool::run("ip link set switch up").await?;
        tool::run("ip address add 10.77.0.254/24 dev switch").await?;
        tool::run_with(&["nft", "-f", "-"], RULES).await?;
        Ok(Network {
            hosts: Vec::new(),
            cuts: BTreeMap::new(),
            bad: BTreeMap::new(),
            switch: Switch::open("switch").await?,
        })
    }

    /// Adds a host.
    pub(super) async fn add(&mut self, name: &str) -> Result<Host> {
        let number = u8::try_from(self.hosts.len() + 1).map_err(std::io::Error::other)?;
        let address = Ipv4Addr::new(10, 77, 0, number);
        let port = format!("p_{name}");
        for line in [
            format!("ip netns add {name}"),
            format!("ip link add {port} type veth peer name eth0 netns {name}"),
            format!("ip link set {port} master switch up"),
            format!("ip -n {name} link set lo up"),
            format!("ip -n {name} link set eth0 up"),
            format!("ip -n {name} address add {address}/24 dev eth0"),
        ] {
            tool::run(&line).await?;
        }
        let device = self.switch.device();
        let chain = format!(
            "table netdev dfs {{
                chain {port} {{
                    type filter hook ingress device {port} priority 0;
                    ip saddr . ip daddr @bad fwd to {device}
                }}
            }}"
        );
        tool::run_with(&["nft", "-f", "-"], &chain).await?;
        let host = Host {
            name: name.to_owned(),
            address,
        };
        self.hosts.push(host.clone());
        Ok(host)
    }

    /// Cuts these pairs until [`mend`](Network::mend).
    pub(super) async fn cut(&mut self, fault: u32, pairs: Vec<Pair>) -> Result<()> {
        self.cuts.insert(fault, pairs);
        self.write_rules().await
    }

    /// Lets what passes between these pairs pass badly until [`mend`](Network::mend).
    pub(super) async fn worsen(
        &mut self,
        fault: u32,
        pairs: Vec<Pair>,
        how: Quality,
    ) -> Result<()> {
        self.bad.insert(fault, (pairs, how));
        self.write_rules().await
    }

    /// Ends what a fault did.
    pub(super) async fn mend(&mut self, fault: u32) -> Result<()> {
        let (cut, bad) = (self.cuts.remove(&fault), self.bad.remove(&fault));
        match cut.is_some() || bad.is_some() {
            true => self.write_rules().await,
            false => Ok(()),
        }
    }

    /// Whether `from` is heard by `to`.
    pub(super) fn hears(&self, from: Ipv4Addr, to: Ipv4Addr) -> bool {
        !self.cuts.values().flatten().any(|pair| *pair == (from, to))
    }

    /// Writes both sets anew, at once.
    async fn write_rules(&self) -> Result<()> {
        let mut qualities: BTreeMap<Pair, Quality> = BTreeMap::new();
        for (pairs, quality) in self.bad.values() {
            for pair in pairs {
                let known = qualities.entry(*pair).or_default();
                *known = known.and(*quality);
            }
        }
        let cut: BTreeSet<Pair> = self.cuts.values().flatten().copied().collect();
        let mut script = String::new();
        set(&mut script, "bridge dfs cut", cut.iter());
        set(&mut script, "netdev dfs bad", qualities.keys());
        self.switch.set(qualities)?;
        tool::run_with(&["nft", "-f", "-"], &script).await?;
        Ok(())
    }
}

fn set<'a>(script: &mut String, name: &str, pairs: impl Iterator<Item = &'a Pair>) {
    // Writing to a string does not fail.
    let _ = writeln!(script, "flush set {name}");
    let pairs: Vec<_> = pairs.map(|(from, to)| format!("{from} . {to}")).collect();
    if !pairs.is_empty() {
        let _ = writeln!(script, "add element {name} {{ {} }}", pairs.join(", "));
    }
}
