//! A state machine in memory, with a log time to set.

use std::time::Duration;

use dfs_raft::state::{Digest, StateDb, StateTxn, View};
use dfs_raft::{ApplyContext, Fatal, Rev, StateMachine};

use crate::meta::namespace::inode;
use crate::meta::tables::INODES;
use crate::meta::{Command, MetaMachine, Reply, check, counters};
use crate::types::{
    Caller, Change, ClientId, DfsPath, GroupId, InodeId, Location, Mode, NewAttr, NodeId, NodeKey,
    Outcome, Policy, ReplicationTarget, RequestId, Space, Timestamp, Topology, UserId,
};

/// The log time at which every fixture begins.
pub(crate) const START: Timestamp = Timestamp(1_000_000_000_000);

/// Whose is what fixtures make.
pub(crate) const OWNER: (UserId, GroupId) = (UserId(7), GroupId(8));

/// The attributes of what fixtures make.
pub(crate) const ATTR: NewAttr = NewAttr {
    mode: Mode::FILE,
    umask: Mode::new(0),
    owner: Some(OWNER.0),
    group: Some(OWNER.1),
};

/// The default policy, but for the copies it insists on.
pub(crate) const LENIENT: Policy = Policy {
    replicas_min: ReplicationTarget(1),
    ..Policy::DEFAULT
};

/// A replica of nothing: the machine, its tables and its log time.
pub(crate) struct Machine {
    db: StateDb,
    pub(crate) now: Timestamp,
    index: u64,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let db = StateDb::in_memory(MetaMachine::TABLES).unwrap();
        Machine {
            db,
            now: START,
            index: 0,
        }
    }

    /// One whose policy is content with one copy of a chunk, so that a test needs one data node.
    pub(crate) fn lenient() -> Machine {
        let machine = Machine::new();
        machine.edit(|state| {
            counters::found(state, START)?;
            let mut root = inode::require(state, InodeId::ROOT)?;
            root.policy = LENIENT;
            state.put(INODES, &InodeId::ROOT, &root)
        });
        machine
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = self.now.saturating_add(by);
    }

    pub(crate) fn apply(&mut self, command: Command) -> Reply {
        self.apply_batch(vec![(self.now, command)]).pop().unwrap()
    }

    /// Applies commands in one transaction, each at its log time.
    pub(crate) fn apply_batch(&mut self, batch: Vec<(Timestamp, Command)>) -> Vec<Reply> {
        let first = self.index + 1;
        self.index += batch.len() as u64;
        let applied: Result<Vec<Reply>, Fatal> = self.db.write(false, |state, _| {
            let commands = batch.into_iter().zip(first..);
            commands
                .map(|((time, command), index)| {
                    state.keep();
                    let context = ApplyContext {
                        rev: Rev { term: 1, index },
                        time,
                    };
                    MetaMachine.apply(state, context, command)
                })
                .collect()
        });
        applied.unwrap()
    }

    /// Writes rows past all rules.
    pub(crate) fn edit(&self, edit: impl FnOnce(&mut StateTxn<'_>) -> Result<(), Fatal>) {
        self.db.write(false, |state, _| edit(state)).unwrap();
    }

    pub(crate) fn view(&self) -> View {
        self.db.view().unwrap()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.db.digest().unwrap()
    }

    /// Panics if an invariant does not hold.
    pub(crate) fn check(&self) {
        let violations = check(&self.view()).unwrap();
        assert!(violations.is_empty(), "{violations:#?}");
    }

    pub(crate) fn open_session(&mut self) -> ClientId {
        self.open_session_of(Caller::System)
    }

    pub(crate) fn open_session_of(&mut self, caller: Caller) -> ClientId {
        match self.apply(Command::OpenSession { caller }) {
            Reply::Session(Ok(client)) => client,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn request(&mut self, request: RequestId, change: Change) -> Outcome {
        self.request_of(Caller::System, request, change)
    }

    pub(crate) fn request_of(
        &mut self,
        caller: Caller,
        request: RequestId,
        change: Change,
    ) -> Outcome {
        let command = Command::Client {
            caller,
            request,
            change,
        };
        match self.apply(command) {
            Reply::Client { outcome, .. } => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn register(&mut self, key: u128) -> NodeId {
        match self.apply(register(key)) {
            Reply::Node(Ok(registered)) => registered.node,
            other => panic!("{other:?}"),
        }
    }

    /// Does all housekeeping that is due; gives the number of commands it took.
    pub(crate) fn housekeep(&mut self) -> usize {
        for steps in 1.. {
            match self.apply(Command::Housekeeping) {
                Reply::Housekeeping { more: true } => {}
                Reply::Housekeeping { more: false } => return steps,
                other => panic!("{other:?}"),
            }
        }
        unreachable!("housekeeping ends")
    }
}

/// A registration of the data node with that key.
pub(crate) fn register(key: u128) -> Command {
    Command::RegisterNode {
        key: NodeKey(key),
        node: None,
        address: format!("node{key}:1"),
        topology: Topology::default(),
        space: Space::default(),
    }
}

/// The place of a path that is written without its first slash.
pub(crate) fn at(path: &str) -> Location {
    format!("/{path}").parse::<DfsPath>().unwrap().into()
}

/// The request of a client that does one thing after the other.
pub(crate) fn serial(client: ClientId, sequence: u64) -> RequestId {
    RequestId {
        client,
        sequence,
        answered_below: sequence,
    }
}
