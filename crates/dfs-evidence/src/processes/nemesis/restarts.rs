//! Processes that are killed, paused, starved and restarted.

use std::io::{Error, Result};

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::time::timeout;

use super::{Nemesis, Notes};
use crate::faults::{Fault, FaultKind};
use crate::processes::cluster::Node;

/// An hour, in seconds.
const HOUR: i64 = 3600;
/// How long a rolling restart waits for one node.
const ONE_RESTART: std::time::Duration = std::time::Duration::from_secs(10);

impl Nemesis {
    pub(super) async fn attack_processes(
        &mut self,
        fault: &Fault,
        places: &[usize],
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        if is_of_all(fault.kind) {
            self.kill_together(places)?;
        }
        let mut notes = Notes::default();
        for place in places {
            notes.add(match fault.kind {
                FaultKind::ClientCrash => self.clients.kill(*place).await.map(|()| None),
                FaultKind::RollingRestart => self.restart(*place).await,
                kind => {
                    let node = self.cluster.node(*place)?;
                    let done = attack(node, kind, fault.id, random).await;
                    if done.is_ok() {
                        self.excuse(*place, kind);
                    }
                    done
                }
            });
        }
        notes.end()
    }

    /// Sends SIGKILL to all that run, at once: nobody has time to do anything about the others.
    fn kill_together(&mut self, places: &[usize]) -> Result<()> {
        for place in places {
            if let Ok(process) = self.cluster.node(*place)?.process() {
                // It may just have ended by itself.
                let _ = process.signal(Signal::KILL);
            }
        }
        Ok(())
    }

    /// Restarts a node gently, if it is well.
    async fn restart(&mut self, place: usize) -> Result<Option<String>> {
        let node = self.cluster.node(place)?;
        if !node.is_well() {
            return Err(Error::other(format!("{} is not well", node.name)));
        }
        let stopped = node.stop().await;
        if let Err(error) = stopped
            && !self.is_excused(place)?
        {
            let violation = format!("P1: told to stop, {error}");
            self.violations.push(violation);
        }
        self.note_quorum();
        self.start_if_free(place).await?;
        // Whether it gets ready is not for a restart to judge.
        let _ = timeout(ONE_RESTART, self.cluster.ready(place)).await;
        self.note_quorum();
        Ok(None)
    }
}

/// Whether all go at the same time.
fn is_of_all(kind: FaultKind) -> bool {
    matches!(kind, FaultKind::KillAll | FaultKind::PowerAll)
}

async fn attack(
    node: &mut Node,
    kind: FaultKind,
    id: u32,
    random: &mut StdRng,
) -> Result<Option<String>> {
    match kind {
        FaultKind::PauseLeader | FaultKind::PauseNode => node.pause(id)?,
        FaultKind::PowerOne | FaultKind::PowerAll => {
            node.down.insert(id);
            node.power_off().await?;
        }
        FaultKind::ClockJump => {
            let jump = random.random_range(-24 * HOUR..=24 * HOUR);
            node.jump(jump)?;
            return Ok(Some(format!("{jump} s")));
        }
        FaultKind::MemoryLimit => {
            let limit = node.process()?.data()? + random.random_range(0..8_u64 << 20);
            node.process()?.limit(&format!("data={limit}")).await?;
            return Ok(Some(format!("{} KiB", limit >> 10)));
        }
        FaultKind::HandleLimit => {
            let limit = random.random_range(16..64);
            node.process()?.limit(&format!("nofile={limit}")).await?;
            return Ok(Some(format!("{limit} handles")));
        }
        FaultKind::KillLeader
        | FaultKind::KillSome
        | FaultKind::KillAll
        | FaultKind::SnapshotInstall
        | FaultKind::ReturnOfDead => {
            node.down.insert(id);
            node.kill_running().await?;
        }
        other => return Err(Error::other(format!("{other} is no fault of processes"))),
    }
    Ok(None)
}
