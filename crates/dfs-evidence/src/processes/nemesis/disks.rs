//! Disks that are slow, fail, fill up, rot and lose everything.

use std::io::{Error, Result};
use std::path::Path;

use dfs_core::node::audit;
use rand::RngExt;
use rand::rngs::StdRng;

use super::{Nemesis, Notes};
use crate::faults::{Fault, FaultKind};
use crate::processes::cluster::Role;

impl Nemesis {
    pub(super) async fn attack_disks(
        &mut self,
        fault: &Fault,
        places: &[usize],
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let mut notes = Notes::default();
        for place in places {
            let done = self.attack_disk(fault, *place, random).await;
            if done.is_ok() {
                self.excuse(*place, fault.kind);
            }
            notes.add(done);
        }
        notes.end()
    }

    async fn attack_disk(
        &mut self,
        fault: &Fault,
        place: usize,
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let node = self.cluster.node(place)?;
        match fault.kind {
            FaultKind::SlowDisk => {
                let micros = random.random_range(5_000..200_000);
                node.tamper(&format!("delay_enter={micros}")).await?;
                return Ok(Some(format!("{micros} us")));
            }
            FaultKind::FailedSync => {
                let nth = random.random_range(1..20);
                node.tamper(&format!("error=EIO:when={nth}")).await?;
                return Ok(Some(format!("sync {nth}")));
            }
            FaultKind::DiskFull => node.fill_disk()?,
            FaultKind::InodesFull => node.fill_inodes()?,
            FaultKind::BitRot => return self.rot(fault, place, random).await,
            FaultKind::Membership => return self.replace_master(fault, place, random).await,
            FaultKind::Wipe => return self.wipe(fault, place, random).await,
            other => return Err(Error::other(format!("{other} is no fault of disks"))),
        }
        Ok(None)
    }

    /// A node loses all it had. Some data nodes were revoked just before: they leave for good.
    async fn wipe(
        &mut self,
        fault: &Fault,
        place: usize,
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let is_data = self.cluster.node(place)?.role == Role::Data;
        let revoked = match is_data && random.random_bool(0.5) {
            true => Some(self.cluster.revoke_data_node(place).await),
            false => None,
        };
        let node = self.cluster.node(place)?;
        node.down.insert(fault.id);
        node.wipe().await?;
        Ok(revoked.map(|revoked| match revoked {
            Ok(()) => "revoked".to_owned(),
            Err(error) => format!("could not be revoked: {error}"),
        }))
    }

    /// Lets bits flip: in replicas while they are served, in anything while its owner is down.
    async fn rot(
        &mut self,
        fault: &Fault,
        place: usize,
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let pick = random.random();
        let node = self.cluster.node(place)?;
        let while_it_runs = node.role == Role::Data && random.random_bool(0.5);
        let file = match while_it_runs {
            true => node.disk.rot(pick, REPLICA_BITS, is_replica)?,
            false => {
                node.down.insert(fault.id);
                node.kill().await?;
                node.disk.rot(pick, BITS, |path| !is_audit_log(path))?
            }
        };
        node.is_rotten = true;
        Ok(Some(file))
    }
}

/// Most bits that flip at a time in anything, and in replicas alone: of those most are not read
/// again.
const BITS: u32 = 8;
const REPLICA_BITS: u32 = 64;

/// No second copy of it is anywhere.
fn is_audit_log(path: &Path) -> bool {
    path.parent()
        .is_some_and(|above| above.ends_with(audit::DIRECTORY))
}

fn is_replica(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "chunk" || e == "seg")
}
