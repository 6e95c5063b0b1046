//! Histories of clients that are imagined: right ones, to try the judges on.
//!
//! The model stands for the cluster. Operations begin, take effect and end at moments of their
//! own, so that they overlap; some get no answer, and of those some take effect much later and
//! some never.

use dfs_core::types::Rev;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{Actor, Event, Kind, Op, Output};
use crate::model::{Namespace, Refused};

/// What a rehearsal is made of.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// Chance.
    pub seed: u64,
    /// Clients that do something at the same time.
    pub clients: usize,
    /// Operations.
    pub operations: u64,
    /// Names in each of the three directories.
    pub names: u64,
    /// Of a thousand operations so many get no answer.
    pub unanswered: u32,
}

impl Default for Rehearsal {
    fn default() -> Rehearsal {
        Rehearsal {
            seed: 1,
            clients: 5,
            operations: 100,
            names: 4,
            unanswered: 0,
        }
    }
}

struct Client {
    process: u64,
    doing: Option<Doing>,
}

struct Doing {
    number: u64,
    op: Op,
    /// What it gave and when, once it has taken effect.
    gave: Option<(Result<Output, Refused>, Rev)>,
    answered: bool,
}

struct Stage<'a> {
    plan: &'a Rehearsal,
    random: StdRng,
    state: Namespace,
    log: Rev,
    events: Vec<Event>,
    begun: u64,
    processes: u64,
    /// Unanswered operations that may take effect yet.
    limbo: Vec<Doing>,
}

impl Rehearsal {
    /// The history. It starts from an empty namespace.
    pub fn history(&self) -> Vec<Event> {
        let mut stage = Stage {
            plan: self,
            random: StdRng::seed_from_u64(self.seed),
            state: Namespace::new(),
            log: Rev { term: 1, index: 9 },
            events: Vec::new(),
            begun: 0,
            processes: 0,
            limbo: Vec::new(),
        };
        let mut clients: Vec<Client> = (0..self.clients.max(1)).map(|_| stage.client()).collect();
        while stage.begun < self.operations || clients.iter().any(|c| c.doing.is_some()) {
            let index = stage.random.random_range(0..clients.len());
            if let Some(client) = clients.get_mut(index) {
                stage.step(client);
            }
            if stage.random.random_ratio(1, 50) {
                stage.act_late();
            }
        }
        stage.events
    }
}

impl Stage<'_> {
    fn client(&mut self) -> Client {
        self.processes += 1;
        Client {
            process: self.processes - 1,
            doing: None,
        }
    }

    fn step(&mut self, client: &mut Client) {
        match client.doing.take() {
            None if self.begun < self.plan.operations => {
                let op = self.any();
                self.record(client.process, Kind::Invoke, &op, None);
                client.doing = Some(Doing {
                    number: self.begun,
                    op,
                    gave: None,
                    answered: !self.random.random_ratio(self.plan.unanswered, 1000),
                });
                self.begun += 1;
            }
            None => {}
            Some(doing) if !doing.answered => {
                // Said, or never said at all: that is the same.
                if self.random.random_bool(0.5) {
                    self.record(client.process, Kind::Info, &doing.op, None);
                }
                self.limbo.push(doing);
                *client = self.client();
            }
            Some(mut doing) if doing.gave.is_none() => {
                self.take_effect(&mut doing);
                client.doing = Some(doing);
            }
            Some(doing) => {
                let kind = match &doing.gave {
                    Some((Ok(_), _)) => Kind::Ok,
                    _ => Kind::Fail,
                };
                self.record(client.process, kind, &doing.op, doing.gave);
            }
        }
    }

    /// An operation of which nobody hears any more takes effect, or is lost.
    fn act_late(&mut self) {
        if self.limbo.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.limbo.len());
        let mut doing = self.limbo.swap_remove(index);
        if self.random.random_bool(0.5) {
            self.take_effect(&mut doing);
        }
    }

    fn take_effect(&mut self, doing: &mut Doing) {
        if !matches!(doing.op, Op::Stat { .. } | Op::List { .. }) {
            // Entries of others are in the log, too, and leaders change.
            self.log.index += 1 + u64::from(self.random.random_ratio(1, 10));
            self.log.term += u64::from(self.random.random_ratio(1, 100));
        }
        doing.gave = Some((self.state.answer(&doing.op, doing.number), self.log));
    }

    fn any(&mut self) -> Op {
        let (path, to) = (self.path(), self.path());
        let sometimes = self.random.random_bool(0.5);
        match self.random.random_range(0..100) {
            0..25 => Op::Create {
                path,
                exclusive: sometimes,
            },
            25..35 => Op::Mkdir { path },
            35..47 => Op::Unlink {
                path,
                skip_trash: sometimes,
            },
            47..65 => Op::Rename {
                from: path,
                to,
                replace: sometimes,
            },
            65..72 => Op::Link { from: path, to },
            72..76 => Op::Rmdir { path },
            76..90 => Op::Stat { path },
            _ => Op::List {
                path: self.directory().to_owned(),
            },
        }
    }

    fn directory(&mut self) -> &'static str {
        match self.random.random_range(0..3) {
            0 => "/n0",
            1 => "/n1",
            _ => "/",
        }
    }

    fn path(&mut self) -> String {
        let name = self.random.random_range(0..self.plan.names.max(1));
        format!("{}/n{name}", self.directory().trim_end_matches('/'))
    }

    fn record(
        &mut self,
        process: u64,
        kind: Kind,
        op: &Op,
        gave: Option<(Result<Output, Refused>, Rev)>,
    ) {
        let index = self.events.len() as u64;
        let rev = gave.as_ref().map(|(_, rev)| *rev);
        let (output, error) = match gave {
            Some((Ok(output), _)) => (Some(output), None),
            Some((Err(Refused(why)), _)) => (None, Some(format!("{why}: refused"))),
            None => (None, None),
        };
        self.events.push(Event {
            index,
            time: index * 1000,
            actor: Actor::Process(process),
            kind,
            op: op.clone(),
            output,
            rev,
            error,
        });
    }
}
