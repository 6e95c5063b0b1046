//! The leading master dies, or hangs, while writers create files.

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::proto::metadata::MasterInfo;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, name};
use crate::figures::Figure;
use crate::writers::Writers;
use crate::{Outcome, Stage, until};

const DATA_NODES: usize = 3;
/// Entries that a master may be behind the leader, under load, and count as caught up.
const LAG_MAX: u64 = 200;

/// What happens to the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Hung,
}

pub(crate) async fn measure(stage: &Stage<'_>, fault: Fault) -> Outcome<Vec<Figure>> {
    let mut cluster = Cluster::found(stage.directory, DATA_NODES).await?;
    let client = cluster.client().await?;
    all_caught_up(&client).await?;
    let writers = Writers::start(&cluster, stage.options.writers).await?;
    let rounds = match fault {
        Fault::Killed => stage.options.kills,
        Fault::Hung => stage.options.hangs,
    };
    let (mut next, mut gaps) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let (min, max) = (Duration::from_millis(500), Duration::from_millis(1500));
        sleep(stage.between(min, max)).await;
        let leader = place_of_leader(&cluster, &client).await?;
        let since = Instant::now();
        match fault {
            Fault::Killed => cluster.kill(leader).await?,
            Fault::Hung => cluster.process(leader)?.signal("STOP").await?,
        }
        // What began before the signal had its effect may have been carried out by this leader.
        let gone = Instant::now();
        until("every writer writes again", || async {
            Ok(writers.all_wrote_after(gone))
        })
        .await?;
        let resumed = writers.next_after(gone).unwrap_or(gone) - since;
        match fault {
            Fault::Killed => cluster.start(leader, false).await?,
            Fault::Hung => cluster.process(leader)?.signal("CONT").await?,
        }
        all_caught_up(&client).await?;
        let gap = writers.longest_gap(since);
        eprintln!(
            "{round}/{rounds} {fault:?} {}: next write after {resumed:?}, longest gap {gap:?}",
            name(leader)
        );
        next.push(resumed);
        gaps.push(gap);
    }
    let verified = writers.stop_and_verify(&client).await?;
    for failure in verified.failures.iter().take(10) {
        eprintln!("{failure}");
    }
    cluster.stop().await?;
    Ok(figures(fault, &next, &gaps, &verified))
}

fn figures(
    fault: Fault,
    next: &[Duration],
    gaps: &[Duration],
    verified: &crate::writers::Verified,
) -> Vec<Figure> {
    let which = match fault {
        Fault::Killed => "leader killed",
        Fault::Hung => "leader hung",
    };
    vec![
        Figure::times(
            format!("{which}: to the next write"),
            next,
            "from the signal to the first acknowledgement of a create that began after it had its \
             effect",
        )
        .at_most(1500),
        Figure::times(
            format!("{which}: longest gap of a writer"),
            gaps,
            "per fault: longest time between two acknowledgements of the same writer, from the \
             last before the signal until the master is back and has caught up",
        )
        .at_most(1500),
        Figure::count(
            format!("{which}: creates acknowledged"),
            verified.acknowledged,
            "all writers together",
        ),
        Figure::count(
            format!("{which}: acknowledged and lost"),
            verified.lost,
            "every acknowledged file is read at the end and compared byte by byte",
        )
        .at_most(0),
        Figure::count(
            format!("{which}: creates that failed"),
            verified.failures.len() as u64,
            "creates that ended in an error instead of being carried through by the client",
        )
        .at_most(0),
    ]
}

async fn place_of_leader(cluster: &Cluster, client: &Client) -> Outcome<usize> {
    let masters = client.status().await?.masters;
    let leader = masters.iter().find(|master| master.leader);
    let place = leader.and_then(|master| cluster.place_of(&master.address));
    place.ok_or_else(|| format!("nobody of {masters:?} leads").into())
}

/// Waits until all masters vote and have what the leader has.
async fn all_caught_up(client: &Client) -> Outcome<()> {
    until("all masters have caught up", || async {
        let Ok(status) = client.status().await else {
            return Ok(false);
        };
        let index = |master: &MasterInfo| master.log_index.unwrap_or_default();
        let last = status.masters.iter().map(index).max().unwrap_or_default();
        let is_close = |master: &MasterInfo| master.voter && index(master) + LAG_MAX >= last;
        Ok(status.masters.len() == crate::cluster::MASTERS && status.masters.iter().all(is_close))
    })
    .await
}
