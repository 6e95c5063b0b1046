//! What is said of an item besides its contents.

use std::time::Duration;

use super::changes::location;
use super::tree::{Item, Result, Tree, Where};
use super::{Driver, Expected};
use crate::meta::tests::fixture::{ATTR, OWNER};
use crate::types::{
    AttrChange, Change, GroupId, Mode, Policy, PolicyChange, RefusalKind as Kind,
    ReplicationTarget, UserId,
};

/// Attributes and policy of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) mode: Mode,
    pub(super) owner: UserId,
    pub(super) group: GroupId,
    pub(super) policy: Policy,
}

impl Facts {
    /// Those of the root of a new file system.
    pub(super) const ROOT: Facts = Facts {
        mode: Mode::DIRECTORY,
        owner: UserId(0),
        group: GroupId(0),
        policy: Policy::DEFAULT,
    };

    /// Those of an item made in a directory that says this of itself.
    pub(super) fn of_new(self, item: &Item) -> Facts {
        // A directory with the set-group-id bit hands it on.
        let handed_on = match item {
            Item::Directory(_) => self.mode.bits() & 0o2000,
            Item::File(_) | Item::Link(_) => 0,
        };
        Facts {
            mode: Mode::new(ATTR.mode.bits() | handed_on),
            owner: OWNER.0,
            group: OWNER.1,
            policy: self.policy,
        }
    }
}

impl Tree {
    pub(super) fn policy(&self, id: u64) -> Policy {
        self.facts[&id].policy
    }

    fn set_attr(&mut self, at: &Where, change: &AttrChange, follow: bool) -> Result<u64> {
        let id = self.find(at, follow)?;
        let is_file = matches!(self.items[&id], Item::File(_));
        let facts = self.facts.get_mut(&id).unwrap();
        if is_file && (change.owner.is_some() || change.group.is_some()) {
            facts.mode = Mode::new(facts.mode.bits() & 0o1777);
        }
        facts.mode = change.mode.unwrap_or(facts.mode);
        facts.owner = change.owner.unwrap_or(facts.owner);
        facts.group = change.group.unwrap_or(facts.group);
        Ok(id)
    }

    pub(super) fn set_policy(&mut self, at: &Where, change: &PolicyChange) -> Result<u64> {
        let id = self.find(at, true)?;
        let policy = change.apply_to(self.policy(id));
        if policy.replicas_min > policy.replicas {
            return Err(Kind::Invalid);
        }
        self.facts.get_mut(&id).unwrap().policy = policy;
        Ok(id)
    }
}

impl Driver {
    /// One of a few, or nothing.
    fn perhaps<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        let index = self.below(2 * all.len() as u64) as usize;
        all.get(index).copied()
    }

    pub(super) fn attributes(&mut self) -> (Change, Expected) {
        let place = self.place();
        let at = location(&place);
        if self.chance(50) {
            let follow = self.chance(50);
            let change = AttrChange {
                mode: self.perhaps(&[0, 0o600, 0o7777]).map(Mode::new),
                owner: self.perhaps(&[0, 1, u32::MAX]).map(UserId),
                group: self.perhaps(&[0, 1, u32::MAX]).map(GroupId),
                ..AttrChange::default()
            };
            let set = self.tree.set_attr(&place, &change, follow);
            return (Change::SetAttr { at, change, follow }, set.map(Some));
        }
        let change = PolicyChange {
            replicas: self.perhaps(&[1, 2, 3]).map(ReplicationTarget),
            replicas_min: self.perhaps(&[1, 1, 2, 3]).map(ReplicationTarget),
            inline_max: self.perhaps(&[0, 16, 64, 128]),
            trash: self.perhaps(&[0, 60, 24 * 3600]).map(Duration::from_secs),
            ..PolicyChange::default()
        };
        let set = self.tree.set_policy(&place, &change);
        (Change::SetPolicy { at, change }, set.map(Some))
    }
}
