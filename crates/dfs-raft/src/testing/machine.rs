//! A state machine alone, and what every state machine must do.

use std::fmt;

use crate::env::Timestamp;
use crate::error::Fatal;
use crate::machine::{ApplyContext, Rev, StateMachine};
use crate::state::{Digest, StateDb, Value, View};

/// A state machine over a database in memory, without replication.
pub struct Solo<M> {
    machine: M,
    db: StateDb,
    last: Rev,
}

impl<M: StateMachine> Solo<M> {
    /// A state machine with an empty state.
    ///
    /// # Errors
    /// None that is known.
    pub fn new(machine: M) -> Result<Solo<M>, Fatal> {
        Ok(Solo {
            machine,
            db: StateDb::in_memory(M::TABLES)?,
            last: Rev { term: 1, index: 0 },
        })
    }

    /// Applies a command as the next entry.
    ///
    /// # Errors
    /// The state machine's; nothing was changed.
    pub fn apply(&mut self, time: Timestamp, command: M::Command) -> Result<M::Reply, Fatal> {
        Ok(self.apply_all(time, [command])?.remove(0))
    }

    /// Applies commands as the next entries, in one batch.
    ///
    /// # Errors
    /// The state machine's; nothing was changed.
    pub fn apply_all(
        &mut self,
        time: Timestamp,
        commands: impl IntoIterator<Item = M::Command>,
    ) -> Result<Vec<M::Reply>, Fatal> {
        let (machine, mut rev) = (&self.machine, self.last);
        let replies = self.db.write(false, |state, _| {
            let mut replies = Vec::new();
            for command in commands {
                rev.index += 1;
                state.keep();
                replies.push(machine.apply(state, ApplyContext { rev, time }, command)?);
            }
            Ok(replies)
        })?;
        self.last = rev;
        Ok(replies)
    }

    /// The state now.
    ///
    /// # Errors
    /// None that is known.
    pub fn view(&self) -> Result<View, Fatal> {
        self.db.view()
    }

    /// The digest of the state, computed from its rows and compared with the one kept.
    ///
    /// # Errors
    /// They differ.
    pub fn digest(&self) -> Result<Digest, Fatal> {
        let (kept, found) = (
            self.db.digest()?,
            StateDb::recompute_digest(&self.db.view()?)?,
        );
        match kept == found {
            true => Ok(kept),
            false => Err(Fatal::new(format!(
                "the rows have digest {found}, not {kept}"
            ))),
        }
    }
}

impl<M> fmt::Debug for Solo<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solo").field("last", &self.last).finish()
    }
}

/// Applies commands on two replicas, on one singly and on the other in a batch, as they may be in
/// a cluster, and fails unless the states are equal. Commands that are refused must be among them.
///
/// # Errors
/// Names the first command after which the states differ, or what failed.
pub fn check_machine<M: StateMachine>(
    make: impl Fn() -> M,
    commands: &[M::Command],
) -> Result<(), Fatal> {
    let copy = |command: &M::Command| M::Command::from_bytes(&command.to_bytes()?);
    let time = |index: usize| Timestamp(1_000_000 * (index as u64 / 3));
    let (mut single, mut again) = (Solo::new(make())?, Solo::new(make())?);
    for (index, command) in commands.iter().enumerate() {
        single.apply(time(index), copy(command)?)?;
        again.apply(time(index), copy(command)?)?;
        if single.digest()? != again.digest()? {
            let what = format!("command {index} is not deterministic: two states differ after it");
            return Err(Fatal::new(what));
        }
    }
    let mut batched = Solo::new(make())?;
    for (index, group) in commands.chunks(3).enumerate() {
        let group: Vec<_> = group.iter().map(copy).collect::<Result<_, _>>()?;
        batched.apply_all(time(index * 3), group)?;
    }
    match batched.digest()? == single.digest()? {
        true => Ok(()),
        false => Err(Fatal::new(
            "commands applied in batches give another state than applied singly",
        )),
    }
}
