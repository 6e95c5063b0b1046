//! Whether what a cluster gave is what it should have given.

use super::{FIRST, Footprint, Gave, Namespace, OF_TRASH, REASONS, Refused};
use crate::history::{Node, Op, Output};

/// What a cluster said to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen<'a> {
    /// It was done, and gave this, if that is known.
    Done(Option<&'a Output>),
    /// It was refused for this reason.
    Refused(&'a str),
}

impl<'a> Seen<'a> {
    /// What an error says of the namespace; nothing if its reason is outside of it. The reason
    /// stands first: `NotFound: /a`.
    pub fn refusal(error: &'a str) -> Option<Seen<'a>> {
        let reason = error.split(':').next().unwrap_or_default();
        REASONS.contains(&reason).then_some(Seen::Refused(reason))
    }
}

impl Namespace {
    /// Carries out the operation of a number and compares what it gives; learns ids by it.
    ///
    /// # Errors
    /// What it should have given. The namespace is then not to be used any more.
    pub fn admit(&mut self, op: &Op, number: u64, seen: Seen<'_>) -> Result<(), String> {
        let planned = self.plan(op, &mut Footprint::off());
        let (plan, output) = match (planned, seen) {
            (Ok(plan), Seen::Done(output)) => (plan, output),
            (Err(Refused(right)), Seen::Refused(reason)) if right == reason => return Ok(()),
            (Err(Refused(right)), _) => return Err(format!("{right} was right")),
            (Ok(_), Seen::Refused(_)) => return Err("to do it was right".to_owned()),
        };
        let gave = self.carry_out(&plan, FIRST + number);
        match output {
            Some(output) => self.compare(gave, output),
            None => Ok(()),
        }
    }

    /// Carries out the operation of a number and says what it gives. Ids are those of a cluster
    /// that numbers its inodes like its operations.
    ///
    /// # Errors
    /// The reason of the refusal.
    pub fn answer(&mut self, op: &Op, number: u64) -> Result<Output, Refused> {
        let gave = self.apply(op, number)?;
        let output = self.output(gave);
        // It is what the model itself says, so there is nothing to complain of.
        let _ = self.compare(gave, &output);
        Ok(output)
    }

    /// What an operation gave, in the words of histories; items whose ids are not known have
    /// their numbers for ids.
    pub fn output(&self, gave: Gave) -> Output {
        match gave {
            Gave::Node(item) => Output::Node(self.node(item).unwrap_or(Node {
                inode: item,
                directory: false,
                size: 0,
                links: 0,
            })),
            Gave::Names(item) => {
                let names = self.item(item).into_iter().flat_map(|d| d.names.iter());
                let id = |item: &u64| self.items.get(*item).and_then(|i| i.inode).unwrap_or(*item);
                Output::Names(names.map(|(name, item)| (name.clone(), id(item))).collect())
            }
            Gave::Trash(trash) => Output::Trash(trash),
        }
    }

    fn node(&self, item: u64) -> Option<Node> {
        let found = self.items.get(item)?;
        Some(Node {
            inode: found.inode.unwrap_or(item),
            directory: found.directory.is_some(),
            size: 0,
            links: match &found.directory {
                Some(directory) => 2 + directory.directories,
                None => found.links,
            },
        })
    }

    fn compare(&mut self, gave: Gave, output: &Output) -> Result<(), String> {
        match (gave, output) {
            (Gave::Node(item), Output::Node(seen)) => {
                self.learn(item, seen.inode)?;
                match self.node(item) {
                    Some(right) if right == *seen => Ok(()),
                    right => Err(format!("{right:?} was right")),
                }
            }
            (Gave::Names(item), Output::Names(seen)) => self.compare_names(item, seen),
            (Gave::Trash(None), Output::Trash(None)) => Ok(()),
            (Gave::Trash(Some(trash)), Output::Trash(Some(id))) => {
                let is_old = self.gone.0.get(id | OF_TRASH).is_some();
                if self.trash_ids.insert(*id, trash).is_some() || is_old {
                    return Err(format!("the trash has an entry {id} already"));
                }
                self.trash.change(trash, |entry| entry.id = Some(*id));
                Ok(())
            }
            (gave, _) => Err(format!("{:?} was right", self.output(gave))),
        }
    }

    fn compare_names(&mut self, item: u64, seen: &[(String, u64)]) -> Result<(), String> {
        let right = self.item(item).map(|directory| &directory.names);
        let names = || right.into_iter().flat_map(|names| names.iter());
        if !names()
            .map(|(name, _)| name)
            .eq(seen.iter().map(|(name, _)| name))
        {
            let right: Vec<_> = names().map(|(name, _)| name).collect();
            return Err(format!("the names {right:?} were right"));
        }
        let items: Vec<u64> = names().map(|(_, item)| *item).collect();
        for (item, (name, id)) in items.into_iter().zip(seen) {
            self.learn(item, *id)
                .map_err(|e| format!("`{name}`: {e}"))?;
        }
        Ok(())
    }

    fn learn(&mut self, item: u64, id: u64) -> Result<(), String> {
        match self.items.get(item).map(|item| item.inode) {
            Some(Some(known)) if known == id => return Ok(()),
            Some(Some(known)) => return Err(format!("the inode {known} was right")),
            _ => self.items.change(item, |item| item.inode = Some(id)),
        };
        let is_old = self.gone.0.get(id).is_some();
        match self.inodes.insert(id, item).is_some() || is_old {
            false => Ok(()),
            true => Err(format!("the inode {id} is another's, now or in the past")),
        }
    }
}
