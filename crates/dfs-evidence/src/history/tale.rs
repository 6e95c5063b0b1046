//! Histories written by hand, for tests of judges.

use std::collections::BTreeMap;

use dfs_core::types::Rev;

use crate::history::{Actor, Event, Kind, Node, Op, Output};

/// A history that is being written.
#[derive(Debug, Default)]
pub(crate) struct Tale {
    events: Vec<Event>,
    open: BTreeMap<u64, Op>,
}

impl Tale {
    pub(crate) fn begins(&mut self, process: u64, op: Op) -> &mut Tale {
        self.push(process, Kind::Invoke, op.clone(), None, None, None);
        self.open.insert(process, op);
        self
    }

    pub(crate) fn ends(&mut self, process: u64, output: Option<Output>, at: u64) -> &mut Tale {
        let op = self.open.remove(&process).unwrap();
        let rev = (at > 0).then_some(Rev { term: 1, index: at });
        self.push(process, Kind::Ok, op, output, rev, None);
        self
    }

    /// From beginning to end. A point of history of 0 is none.
    pub(crate) fn does(
        &mut self,
        process: u64,
        op: Op,
        output: Option<Output>,
        at: u64,
    ) -> &mut Tale {
        self.begins(process, op).ends(process, output, at)
    }

    pub(crate) fn refused(&mut self, process: u64, op: Op, why: &str, at: u64) -> &mut Tale {
        self.begins(process, op.clone());
        self.open.remove(&process);
        let rev = (at > 0).then_some(Rev { term: 1, index: at });
        self.push(process, Kind::Fail, op, None, rev, Some(why.to_owned()));
        self
    }

    /// Nobody knows what became of it.
    pub(crate) fn loses(&mut self, process: u64, op: Op) -> &mut Tale {
        self.begins(process, op.clone());
        self.open.remove(&process);
        self.push(
            process,
            Kind::Info,
            op,
            None,
            None,
            Some("timeout".to_owned()),
        );
        self
    }

    /// Says that the last event is of another term.
    pub(crate) fn in_term(&mut self, term: u64) -> &mut Tale {
        let rev = self.events.last_mut().unwrap().rev.as_mut();
        rev.unwrap().term = term;
        self
    }

    pub(crate) fn history(&self) -> Vec<Event> {
        self.events.clone()
    }

    fn push(
        &mut self,
        process: u64,
        kind: Kind,
        op: Op,
        output: Option<Output>,
        rev: Option<Rev>,
        error: Option<String>,
    ) {
        let index = self.events.len() as u64;
        self.events.push(Event {
            index,
            time: index * 10,
            actor: Actor::Process(process),
            kind,
            op,
            output,
            rev,
            error,
        });
    }
}

pub(crate) fn create(path: &str) -> Op {
    let (path, exclusive) = (path.to_owned(), true);
    Op::Create { path, exclusive }
}

pub(crate) fn mkdir(path: &str) -> Op {
    let path = path.to_owned();
    Op::Mkdir { path }
}

pub(crate) fn unlink(path: &str) -> Op {
    let (path, skip_trash) = (path.to_owned(), true);
    Op::Unlink { path, skip_trash }
}

pub(crate) fn rename(from: &str, to: &str) -> Op {
    let (from, to, replace) = (from.to_owned(), to.to_owned(), true);
    Op::Rename { from, to, replace }
}

pub(crate) fn stat(path: &str) -> Op {
    let path = path.to_owned();
    Op::Stat { path }
}

pub(crate) fn list(path: &str) -> Op {
    let path = path.to_owned();
    Op::List { path }
}

pub(crate) fn last_look(directory: &str) -> Op {
    let of = directory.to_owned();
    Op::LastLook { of }
}

/// A file with one name.
pub(crate) fn file(inode: u64) -> Option<Output> {
    Some(Output::Node(Node {
        inode,
        directory: false,
        size: 0,
        links: 1,
    }))
}

pub(crate) fn directory(inode: u64) -> Option<Output> {
    Some(Output::Node(Node {
        inode,
        directory: true,
        size: 0,
        links: 2,
    }))
}

pub(crate) fn names(names: &[(&str, u64)]) -> Option<Output> {
    let names = names.iter().map(|(name, id)| ((*name).to_owned(), *id));
    Some(Output::Names(names.collect()))
}

/// What removals for good give.
pub(crate) fn gone() -> Option<Output> {
    Some(Output::Trash(None))
}
