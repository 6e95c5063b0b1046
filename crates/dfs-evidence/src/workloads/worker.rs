//! What a worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dfs_core::client::Client;
use rand::rngs::StdRng;

use crate::history::{Actor, Op, Pending, Recorder};

/// What a worker has: a client of its own, chance of its own, and a place to write to.
#[derive(Debug)]
pub struct Worker {
    /// Which of the workload's workers it is, from 0.
    pub number: u64,
    /// Its client.
    pub client: Client,
    /// Its chance.
    pub random: StdRng,
    recorder: Recorder,
    actors: Arc<AtomicU64>,
    actor: u64,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// A worker. `actors` counts the processes of the whole history; `stop` is set when it is
    /// time to end.
    pub fn new(
        number: u64,
        client: Client,
        random: StdRng,
        recorder: Recorder,
        actors: Arc<AtomicU64>,
        stop: Arc<AtomicBool>,
    ) -> Worker {
        let actor = actors.fetch_add(1, Ordering::Relaxed);
        Worker {
            number,
            client,
            random,
            recorder,
            actors,
            actor,
            stop,
        }
    }

    /// Whether it is time to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Takes down that an operation is about to be sent.
    pub fn invoke(&self, op: Op) -> Pending {
        self.recorder.invoke(Actor::Process(self.actor), op)
    }

    /// Goes on as another process: after an operation whose outcome is unknown.
    pub fn become_another(&mut self) {
        self.actor = self.actors.fetch_add(1, Ordering::Relaxed);
    }
}
