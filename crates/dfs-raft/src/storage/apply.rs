//! A committed batch and the position it brings the state to, in one transaction.

use std::collections::BTreeSet;

use openraft::EntryPayload;

use super::codec::{decode_members, decode_rev, encode_members, encode_rev};
use crate::env::Timestamp;
use crate::error::Fatal;
use crate::machine::{ApplyContext, Rev, StateMachine};
use crate::planted::{self, Bug};
use crate::state::{LocalNotes, ReadNotes, ReadState, StateDb, StateTxn, Table, Value};
use crate::types::{
    self, Answer, Entry, MemberId, Membership, Outcome, Proposal, StoredMembership,
};

const APPLIED: &str = "applied";
const MEMBERS: &str = "members";

/// Rows that the replica itself replicates: kind and member -> number.
type SystemTable = Table<(u8, u64), u64>;

/// The time of the last command.
const TIME: (u8, u64) = (0, 0);
/// The next member id to give.
const NEXT_MEMBER: (u8, u64) = (1, 0);
/// A member that was removed, for ever.
const REMOVED: u8 = 2;

/// The founder is 1.
const FIRST_JOINER: u64 = 2;

/// What a state says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Position {
    pub(crate) applied: Option<Rev>,
    pub(crate) members: StoredMembership,
}

impl Position {
    pub(crate) fn read(notes: &ReadNotes) -> Result<Position, Fatal> {
        Position::decode(notes.get(APPLIED)?, notes.get(MEMBERS)?)
    }

    pub(crate) fn read_applied(notes: &LocalNotes<'_>) -> Result<Option<Rev>, Fatal> {
        Ok(Position::decode(notes.get(APPLIED)?, None)?.applied)
    }

    fn decode(applied: Option<Vec<u8>>, members: Option<Vec<u8>>) -> Result<Position, Fatal> {
        Ok(Position {
            applied: match applied {
                Some(stored) => decode_rev(APPLIED, &stored)?,
                None => None,
            },
            members: match members {
                Some(stored) => decode_members(&stored)?,
                None => StoredMembership::default(),
            },
        })
    }

    pub(crate) fn write(&self, notes: &mut LocalNotes<'_>) -> Result<(), Fatal> {
        notes.set(APPLIED, &encode_rev(APPLIED, self.applied)?)?;
        notes.set(MEMBERS, &encode_members(&self.members)?)
    }
}

/// Whether a member id was given out and not taken back.
pub(crate) fn may_be_member(db: &StateDb, member: MemberId) -> Result<bool, Fatal> {
    let system: SystemTable = db.system_table();
    let view = db.view()?;
    let next = view.get(system, &NEXT_MEMBER)?.unwrap_or(FIRST_JOINER);
    Ok((1..next).contains(&member.0) && !was_removed(db, member)?)
}

/// Whether a member was removed, which is for ever.
pub(crate) fn was_removed(db: &StateDb, member: MemberId) -> Result<bool, Fatal> {
    let system: SystemTable = db.system_table();
    Ok(db.view()?.get(system, &(REMOVED, member.0))?.is_some())
}

/// Begins a group anew with what a state has: all former members are removed. Gives the id of the
/// only member, which nobody had, and the time of the last command.
pub(crate) fn refound(
    system: SystemTable,
    state: &mut StateTxn<'_>,
    former: &BTreeSet<MemberId>,
) -> Result<(MemberId, Timestamp), Fatal> {
    for member in former {
        state.put(system, &(REMOVED, member.0), &1)?;
    }
    let next = state.get(system, &NEXT_MEMBER)?.unwrap_or(FIRST_JOINER);
    state.put(system, &NEXT_MEMBER, &(next + 1))?;
    let time = state.get(system, &TIME)?.unwrap_or(0);
    Ok((MemberId(next), Timestamp(time)))
}

/// Applies entries and returns their outcomes, one each.
pub(crate) fn apply_batch<M: StateMachine>(
    db: &StateDb,
    machine: &M,
    entries: Vec<Entry>,
    durable: bool,
) -> Result<Vec<Outcome>, Fatal> {
    let system: SystemTable = db.system_table();
    db.write(durable, |state, notes| {
        let before = state.get(system, &TIME)?.unwrap_or(0);
        let mut batch = Batch {
            system,
            time: Timestamp(before),
            members: None,
        };
        let mut outcomes = Vec::with_capacity(entries.len());
        let mut last = None;
        for entry in entries {
            let rev = types::rev(&entry.log_id);
            state.keep();
            let answer = batch.apply(machine, state, notes, rev, entry.payload)?;
            outcomes.push(Outcome {
                time: batch.time,
                answer,
            });
            last = Some(rev);
        }
        if batch.time.0 != before {
            state.put(system, &TIME, &batch.time.0)?;
        }
        if last.is_some() {
            notes.set(APPLIED, &encode_rev(APPLIED, last)?)?;
        }
        if let Some(members) = &batch.members {
            notes.set(MEMBERS, &encode_members(members)?)?;
        }
        Ok(outcomes)
    })
}

struct Batch {
    system: SystemTable,
    time: Timestamp,
    /// The membership, if this batch changed it.
    members: Option<StoredMembership>,
}

impl Batch {
    fn apply<M: StateMachine>(
        &mut self,
        machine: &M,
        state: &mut StateTxn<'_>,
        notes: &LocalNotes<'_>,
        rev: Rev,
        payload: types::Payload,
    ) -> Result<Answer, Fatal> {
        match payload {
            EntryPayload::Blank => Ok(Answer::Nothing),
            EntryPayload::Normal(Proposal::Command { time, command }) => {
                // The clock of a leader may be behind that of the one before.
                self.time = match planted::active(Bug::LogTimeGoesBack) {
                    true => time,
                    false => self.time.max(time),
                };
                let command = M::Command::from_bytes(&command).map_err(|e| {
                    Fatal::with_source(format!("the command of entry {rev} cannot be read"), e)
                })?;
                let time = self.time;
                let reply = machine.apply(state, ApplyContext { rev, time }, command)?;
                Ok(Answer::Reply(Box::new(reply)))
            }
            EntryPayload::Normal(Proposal::AllocateMember { time }) => {
                self.time = self.time.max(time);
                let next = state.get(self.system, &NEXT_MEMBER)?;
                let next = next.unwrap_or(FIRST_JOINER);
                state.put(self.system, &NEXT_MEMBER, &(next + 1))?;
                Ok(Answer::Member(MemberId(next)))
            }
            EntryPayload::Membership(members) => {
                self.change_members(state, notes, rev, members)?;
                Ok(Answer::Nothing)
            }
        }
    }

    fn change_members(
        &mut self,
        state: &mut StateTxn<'_>,
        notes: &LocalNotes<'_>,
        rev: Rev,
        members: Membership,
    ) -> Result<(), Fatal> {
        let before = match self.members.take() {
            Some(before) => before,
            None => Position::decode(None, notes.get(MEMBERS)?)?.members,
        };
        for (member, _) in before.nodes() {
            if members.get_node(member).is_none() {
                state.put(self.system, &(REMOVED, member.0), &1)?;
            }
        }
        self.members = Some(StoredMembership::new(Some(types::log_id(rev)), members));
        Ok(())
    }
}
