//! `dfs node drain`, `undrain`, `maintenance`, `remove`: what is decided about a data node. What
//! costs something is shown first, with a number, and done with that number.

use std::time::Duration;

use clap::Args;
use dfs_core::client::{Client, Liveness, NodeInfo};
use dfs_core::types::AdminState;
use dfs_core::types::node::NodeDuties;
use serde::Serialize;

use super::named;
use crate::context::{ClusterArgs, Context};
use crate::error::{Doing, Failure, Result};
use crate::text::size::{count, human};
use crate::text::table::{Align, Table};
use crate::text::when::{about, duration, parse_duration};

/// How often a node is looked at that is waited for.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

const DRAIN_EXAMPLES: &str = "\
Examples:
  dfs node drain n3                 what it would mean; nothing is changed
  dfs node drain n3 --plan 12       do it, if nothing has come between
  dfs node drain n3 --yes --wait    do it now, and wait until it is empty

It goes on when the leader changes, and ends when all that the node was meant to have is elsewhere,
verified. Then the node is drained, and `dfs node remove` is rid of it.";

/// Empty a data node: what it has goes elsewhere, and nothing new comes to it.
#[derive(Debug, Args)]
#[command(after_help = DRAIN_EXAMPLES)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    decide: DecideArgs,

    /// Wait until it is drained.
    #[arg(long)]
    wait: bool,
}

const UNDRAIN_EXAMPLES: &str = "\
Examples:
  dfs node undrain n3     whether it is being emptied, is empty, or rests";

/// Take a data node back into service.
#[derive(Debug, Args)]
#[command(after_help = UNDRAIN_EXAMPLES)]
pub(super) struct UndrainArgs {
    /// Which, by its id or address.
    #[arg(value_name = "NODE")]
    node: String,

    #[command(flatten)]
    cluster: ClusterArgs,
}

const MAINTENANCE_EXAMPLES: &str = "\
Examples:
  dfs node maintenance n3             what it would mean; nothing is changed
  dfs node maintenance n3 --plan 12   do it, if nothing has come between
  dfs node maintenance n3 --yes --for 2h
  dfs node undrain n3                 when the node is back

While it is away its copies count as if they were there, so nothing is repaired; the plan says what
cannot be read meanwhile.";

/// Let a data node be away for a while, without its copies being made elsewhere.
#[derive(Debug, Args)]
#[command(after_help = MAINTENANCE_EXAMPLES)]
pub(super) struct MaintenanceArgs {
    #[command(flatten)]
    decide: DecideArgs,

    /// For how long at most; then it is in service again, and repaired if it is away.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    rest: Option<Duration>,
}

const REMOVE_EXAMPLES: &str = "\
Examples:
  dfs node remove n3             what it would mean; nothing is changed
  dfs node remove n3 --plan 12   do it, if nothing has come between

Only a node that is drained can be removed. It is refused from then on, and so are its papers; with
an empty directory and a join token the machine joins as another node.";

/// Make a drained data node one no more, for good.
#[derive(Debug, Args)]
#[command(after_help = REMOVE_EXAMPLES)]
pub(super) struct RemoveArgs {
    #[command(flatten)]
    decide: DecideArgs,
}

#[derive(Debug, Args)]
struct DecideArgs {
    /// Which, by its id or address; `dfs node ls` shows both.
    #[arg(value_name = "NODE")]
    node: String,

    /// Do what the plan of that number has shown.
    #[arg(long, value_name = "NUMBER", conflicts_with = "yes")]
    plan: Option<u64>,

    /// Do it without looking at a plan.
    #[arg(long)]
    yes: bool,

    /// The plan as a JSON document.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// What would become of a data node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decision {
    verb: &'static str,
    to: AdminState,
    /// Whether its chunks are looked at.
    looks: bool,
    /// For how long, if it is to rest.
    rest: Option<Duration>,
}

pub(super) async fn drain(args: DrainArgs, context: &Context) -> Result<()> {
    let decision = Decision {
        verb: "drain",
        to: AdminState::Draining,
        looks: true,
        rest: None,
    };
    let decided = decide(&args.decide, decision, context).await?;
    match decided && args.wait {
        true => wait(&args.decide, context).await,
        false => Ok(()),
    }
}

pub(super) async fn undrain(args: UndrainArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let node = named(client, &args.node).await?;
    let back = client.decide_node(node.node, AdminState::InService, None);
    back.await.doing("take back", node.node)
}

pub(super) async fn maintenance(args: MaintenanceArgs, context: &Context) -> Result<()> {
    let decision = Decision {
        verb: "maintenance",
        to: AdminState::Maintenance,
        looks: true,
        rest: args.rest,
    };
    decide(&args.decide, decision, context).await.map(|_| ())
}

pub(super) async fn remove(args: RemoveArgs, context: &Context) -> Result<()> {
    let decision = Decision {
        verb: "remove",
        to: AdminState::Removed,
        looks: false,
        rest: None,
    };
    decide(&args.decide, decision, context).await.map(|_| ())
}

/// Shows a plan, or does what one has shown; whether it was done.
async fn decide(args: &DecideArgs, decision: Decision, context: &Context) -> Result<bool> {
    let client = context.client(&args.cluster).await?;
    let node = named(client, &args.node).await?;
    let Decision { verb, to, .. } = decision;
    let plan = match (args.plan, args.yes) {
        (None, false) => {
            let plan = Plan::make(client, &node, decision).await?;
            match args.json {
                true => context.output.json(&plan)?,
                false => context.output.lines(plan.lines(&node))?,
            }
            for warning in &plan.warnings {
                context.output.warning(warning);
            }
            let rest = decision
                .rest
                .map(|time| format!(" --for '{}'", duration(time)));
            let (id, number, rest) = (node.node, plan.plan, rest.unwrap_or_default());
            let next = format!("; `dfs node {verb} {id}{rest} --plan {number}` does it");
            let next = if plan.is_refused() { "" } else { &next };
            context.output.hint(format!("nothing was changed{next}"));
            return Ok(false);
        }
        (plan, _) => plan,
    };
    let decided = match decision.rest {
        Some(time) => client.rest_node(node.node, time, plan).await,
        None => client.decide_node(node.node, to, plan).await,
    };
    decided.doing(&format!("{verb} node"), node.node)?;
    Ok(true)
}

/// Waits until a node is drained, and tells how far it is.
async fn wait(args: &DecideArgs, context: &Context) -> Result<()> {
    let client = context.client(&args.cluster).await?;
    let mut before = None;
    loop {
        let node = named(client, &args.node).await?;
        match node.admin {
            AdminState::Draining => {}
            AdminState::Drained => return Ok(()),
            other => {
                let message = format!("node {} is {other} by now", node.node);
                return Err(Failure::refused(message));
            }
        }
        if before != Some(node.replicas) {
            let replicas = count(node.replicas, "replica", "replicas");
            context
                .output
                .note(format!("{replicas}, {} left", human(node.bytes)));
            before = Some(node.replicas);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// How a warning begins that says that a plan comes to nothing.
const REFUSED: &str = "it will be refused";

#[derive(Debug, Serialize)]
struct Plan {
    plan: u64,
    decision: &'static str,
    node: u32,
    state: &'static str,
    replicas: u64,
    bytes: u64,
    /// Other data nodes in service, and what they have room for.
    others: u32,
    room: u64,
    /// How many data nodes the most widely spread chunks are to be on.
    widest: u32,
    /// Chunks that cannot be read without it, and those of which one copy, or as much of their
    /// stripe as it takes, is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    only_here: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_elsewhere: Option<u64>,
    /// How long it takes at the rate of what was copied lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<u64>,
    warnings: Vec<String>,
}

impl Plan {
    async fn make(client: &Client, node: &NodeInfo, decision: Decision) -> Result<Plan> {
        let duties = client.node_duties(node.node).await;
        let duties = duties.doing("look at", node.node)?;
        let status = client.status().await.doing("look at", "the cluster")?;
        let left = status.nodes.iter().filter(|other| {
            let serves = other.admin == AdminState::InService && other.liveness == Liveness::Live;
            serves && other.node != node.node
        });
        let room = left.map(|other| other.space.available);
        let room = room.fold(0, u64::saturating_add);
        let (only_here, one_elsewhere) = match decision.looks {
            true => {
                let (none, one) = spared(client, node).await?;
                (Some(none), Some(one))
            }
            false => (None, None),
        };
        let rate = status.chunks.repair_bytes_per_second;
        let moves = decision.to == AdminState::Draining;
        let seconds = (moves && rate > 0).then(|| duties.bytes / rate);
        let mut plan = Plan {
            plan: duties.plan,
            decision: decision.verb,
            node: node.node.0,
            state: duties.state.name(),
            replicas: duties.replicas,
            bytes: duties.bytes,
            others: duties.others,
            room,
            widest: duties.widest,
            only_here,
            one_elsewhere,
            seconds,
            warnings: Vec::new(),
        };
        plan.warn(decision, &duties);
        Ok(plan)
    }

    fn warn(&mut self, decision: Decision, duties: &NodeDuties) {
        let alone = self.only_here.unwrap_or(0);
        match decision.to {
            AdminState::Draining if duties.others < duties.widest => {
                self.warnings.push(format!(
                    "{REFUSED}: {} data nodes are needed, for {} of all chunks; add a \
                     data node first",
                    duties.widest, duties.widest_chunks
                ));
            }
            AdminState::Draining if self.room < duties.bytes => {
                self.warnings
                    .push("the others have too little room: it will not end".to_owned());
            }
            AdminState::Maintenance if alone > 0 => {
                let chunks = count(alone, "chunk", "chunks");
                self.warnings
                    .push(format!("{chunks} cannot be read while it is away"));
            }
            AdminState::Removed if duties.replicas > 0 => {
                self.warnings
                    .push(format!("{REFUSED}: drain the node first"));
            }
            _ => {}
        }
    }

    fn is_refused(&self) -> bool {
        let mut warnings = self.warnings.iter();
        warnings.any(|warning| warning.starts_with(REFUSED))
    }

    fn lines(&self, node: &NodeInfo) -> Vec<String> {
        let (verb, id, address) = (self.decision, node.node, &node.address);
        let mut table = Table::new([Align::Left, Align::Left]);
        let mut row = |what: &str, value: String| table.row([what.to_owned(), value]);
        row("it is", self.state.to_owned());
        row(
            "it has",
            format!(
                "{} of {}",
                human(self.bytes),
                count(self.replicas, "replica", "replicas")
            ),
        );
        if let (Some(none), Some(one)) = (self.only_here, self.one_elsewhere) {
            row("readable only there", count(none, "chunk", "chunks"));
            row("once elsewhere", count(one, "chunk", "chunks"));
        }
        let others = count(self.others.into(), "other", "others");
        row(
            "in service",
            format!("{others}, room for {}", human(self.room)),
        );
        if self.widest > 0 {
            row(
                "needed",
                format!(
                    "{} data nodes, for the most widely spread chunks",
                    self.widest
                ),
            );
        }
        if let Some(seconds) = self.seconds {
            row("takes about", about(Duration::from_secs(seconds)));
        }
        let mut lines = vec![format!("plan {}: {verb} {id} at {address}", self.plan)];
        lines.extend(table.lines().into_iter().map(|line| format!("  {line}")));
        lines
    }
}

/// Of how many chunks of a node no other copy can be read now, and of how many only one.
async fn spared(client: &Client, node: &NodeInfo) -> Result<(u64, u64)> {
    let (mut none, mut one) = (0, 0);
    let mut after = None;
    loop {
        let page = client.chunks_of_node(node.node, after).await;
        let page = page.doing("look through", node.node)?;
        let Some(last) = page.last() else {
            return Ok((none, one));
        };
        after = Some(last.chunk);
        for story in &page {
            match story.spare(|other| other == node.node) {
                None => none += 1,
                Some(0) => one += 1,
                Some(_) => {}
            }
        }
    }
}
