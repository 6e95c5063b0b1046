//! Masters that are taken out of the group, and others that join in their place.

use std::io::Result;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::{Nemesis, Notes};
use crate::faults::Fault;

/// A master that was removed must have stopped after it has run undisturbed for so long.
const STOPS_WITHIN: Duration = Duration::from_secs(30);
/// What it must say then.
const SAYS: &str = "was removed";

impl Nemesis {
    /// Has a data node emptied, as far as that goes until it is taken back.
    pub(super) async fn drain(&mut self, places: &[usize]) -> Result<Option<String>> {
        let mut notes = Notes::default();
        for place in places {
            notes.add(self.cluster.empty(*place).await.map(|()| None));
        }
        notes.end()
    }

    /// Takes a master out of the group: one that is killed before and never comes back, one that
    /// comes back with its old disk, or one that runs. The last two must stop by themselves; in
    /// any case an empty one joins in its place.
    pub(super) async fn replace_master(
        &mut self,
        fault: &Fault,
        place: usize,
        random: &mut StdRng,
    ) -> Result<Option<String>> {
        let (runs, comes_back, says_join) = (
            random.random_bool(0.4),
            random.random_bool(0.7),
            random.random_bool(0.5),
        );
        let node = self.cluster.node(place)?;
        if !runs {
            node.down.insert(fault.id);
            node.kill().await?;
        }
        // It may stop, and say why, before its removal is heard of here.
        let length = std::fs::metadata(&node.log)?.len();
        let removed = self.cluster.remove_master(place).await;
        let node = self.cluster.node(place)?;
        let note = match removed {
            // If it is still a member, its successor will take its place.
            Err(error) => {
                node.down.insert(fault.id);
                node.wipe().await?;
                format!("lost all, for it could not be removed: {error}")
            }
            Ok(()) if runs || comes_back => {
                (node.is_removed, node.says_join) = (true, says_join);
                self.watched.entry(place).or_default().removed_at = length;
                match (runs, says_join) {
                    (true, _) => "removed while it ran".to_owned(),
                    (_, true) => "removed, comes back and asks to join".to_owned(),
                    (_, false) => "removed, comes back".to_owned(),
                }
            }
            Ok(()) => {
                node.wipe().await?;
                "removed, never comes back".to_owned()
            }
        };
        Ok(Some(note))
    }

    /// A master that was removed and does not stop, although nothing keeps it from hearing that
    /// it was, breaks a promise; it is replaced all the same.
    pub(super) async fn judge_removed(&mut self, place: usize) -> Result<()> {
        let is_disturbed = !self.active.is_empty();
        let node = self.cluster.node(place)?;
        if !node.is_removed {
            return Ok(());
        }
        let (name, runs) = (node.name.clone(), node.runs());
        let watched = self.watched.entry(place).or_default();
        if is_disturbed || !runs {
            watched.runs_removed = None;
            return Ok(());
        }
        let since = watched.runs_removed.get_or_insert_with(Instant::now);
        if since.elapsed() > STOPS_WITHIN {
            let violation = format!("S1: {name} was removed and runs after {STOPS_WITHIN:?}");
            self.violations.push(violation);
            self.cluster.node(place)?.wipe().await?;
        }
        Ok(())
    }

    /// A master that was removed has stopped, and this is its log.
    pub(super) async fn replace_removed(&mut self, place: usize, log: &str) -> Result<()> {
        let may_say_else = self.is_excused(place)?;
        let node = self.cluster.node(place)?;
        let name = node.name.clone();
        node.wipe().await?;
        let watched = self.watched.entry(place).or_default();
        watched.deaths = 0;
        let before = usize::try_from(watched.removed_at).unwrap_or_default();
        let mut since = log.get(before..).unwrap_or(log).lines();
        let last_line = since.clone().next_back().unwrap_or_default();
        match since.find(|line| line.contains(SAYS)) {
            Some(line) => (self.tell)(format!("{name} was removed and stopped: {line}")),
            None if may_say_else => {
                (self.tell)(format!("{name} was removed and died: {last_line}"));
            }
            None => self.violations.push(format!(
                "S1: {name} was removed, and stopped without saying so: {last_line}"
            )),
        }
        Ok(())
    }
}
