//! Starts what is found dead, as an init system would, and asks why it died.

use std::collections::BTreeSet;
use std::io::Result;
use std::time::Duration;

use tokio::time::Instant;

use super::Nemesis;
use crate::faults::FaultKind;
use crate::processes::cluster::logs::panics;

/// What is known of the life of a process.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// Faults that may kill it.
    excuses: BTreeSet<&'static str>,
    /// Until when they still count, once healed.
    excused_until: Option<Instant>,
    /// Deaths since it was ready.
    pub(super) deaths: u32,
    died: Option<Instant>,
    /// Since when it runs undisturbed, although it was removed from the group.
    pub(super) runs_removed: Option<Instant>,
    /// How long its log was when it was removed.
    pub(super) removed_at: u64,
}

/// A dead process is started again after this.
const RESTART_AFTER: Duration = Duration::from_millis(300);
/// A rotten node that does not start so many times loses its files.
const ROTTEN_STARTS_MAX: u32 = 2;
/// Who dies so many times is not started again before the end.
const DEATHS_MAX: u32 = 20;

impl Nemesis {
    /// From now on a death of this process may be the fault's doing.
    pub(super) fn excuse(&mut self, place: usize, kind: FaultKind) {
        let watched = self.watched.entry(place).or_default();
        match kind {
            FaultKind::FailedSync
            | FaultKind::DiskFull
            | FaultKind::InodesFull
            | FaultKind::MemoryLimit
            | FaultKind::HandleLimit => {
                watched.excuses.insert(kind.name());
            }
            _ => {}
        }
    }

    /// Whether a fault may be why it dies now. Rotten files may be none to run on.
    pub(super) fn is_excused(&mut self, place: usize) -> Result<bool> {
        let watched = self.watched.entry(place).or_default();
        let is_late = watched.excused_until.is_some_and(|t| Instant::now() < t);
        let is_attacked = is_late || !watched.excuses.is_empty();
        Ok(is_attacked || self.cluster.node(place)?.is_rotten)
    }

    /// The fault is healed; what it did may show a little later.
    pub(super) fn excuse_until(&mut self, place: usize, kind: FaultKind, until: Instant) {
        let watched = self.watched.entry(place).or_default();
        if watched.excuses.remove(kind.name()) {
            watched.excused_until = Some(until);
        }
    }

    /// Looks at every process once.
    pub(super) async fn supervise(&mut self) -> Result<()> {
        for place in 0..self.cluster.nodes.len() {
            if let Some(status) = self.cluster.node(place)?.found_dead().await? {
                self.bury(place, &status.to_string()).await?;
            }
            self.judge_removed(place).await?;
            let watched = self.watched.entry(place).or_default();
            let is_time = watched.died.is_none_or(|at| at.elapsed() > RESTART_AFTER);
            if is_time && watched.deaths < DEATHS_MAX {
                self.start_if_free(place).await?;
            }
            if self.cluster.node(place)?.runs() && self.cluster.notice_ready(place).await.is_ok() {
                let is_well = self.cluster.node(place)?.is_well();
                let watched = self.watched.entry(place).or_default();
                if is_well
                    && watched
                        .died
                        .is_none_or(|at| at.elapsed() > 10 * RESTART_AFTER)
                {
                    watched.deaths = 0;
                }
            }
        }
        self.note_quorum();
        Ok(())
    }

    /// Takes down whether there is a quorum, if that has changed.
    pub(super) fn note_quorum(&mut self) {
        let has_quorum = self.cluster.has_quorum();
        if self.quorum.last().map(|(_, had)| *had) != Some(has_quorum) {
            self.quorum.push(((self.now)(), has_quorum));
        }
    }

    /// Starts a node that does not run and that no fault holds down. One that cannot start
    /// because its files are rotten loses them.
    pub(super) async fn start_if_free(&mut self, place: usize) -> Result<()> {
        let watched = self.watched.entry(place).or_default();
        let node = self.cluster.node(place)?;
        let must_be_wiped = node.is_rotten && watched.deaths >= ROTTEN_STARTS_MAX;
        if node.runs() || !node.down.is_empty() {
            return Ok(());
        }
        if must_be_wiped {
            node.wipe().await?;
            watched.deaths = 0;
        }
        self.cluster.start(place).await
    }

    async fn bury(&mut self, place: usize, status: &str) -> Result<()> {
        let is_excused = self.is_excused(place)?;
        let watched = self.watched.entry(place).or_default();
        watched.deaths += 1;
        watched.died = Some(Instant::now());
        let node = self.cluster.node(place)?;
        let log = std::fs::read_to_string(&node.log).unwrap_or_default();
        let name = node.name.clone();
        if let Some(panic) = panics(&log).last() {
            (self.tell)(format!("{name} has panicked: {panic}"));
        }
        if node.is_removed {
            return self.replace_removed(place, &log).await;
        }
        let last = last_words(&log);
        if !is_excused && self.violations.len() < 100 {
            let at = (self.now)() / 1_000_000;
            self.violations.push(format!(
                "P1: {name} ended by itself at {at} ms: {status}: {last}"
            ));
        }
        Ok(())
    }
}

/// What a log says last, if it is an error.
fn last_words(log: &str) -> String {
    let mut lines = log.lines().rev().take(20);
    let telling = |line: &&str| {
        ["error", "panicked", "ERROR"]
            .iter()
            .any(|w| line.contains(w))
    };
    lines.find(telling).unwrap_or_default().to_owned()
}
