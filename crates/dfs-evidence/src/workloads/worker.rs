//! What a worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dfs_core::client::Client;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::history::{Actor, Op, Pending, Recorder};

/// How many numbers a process can give away before they touch those of the next.
const NUMBERS_PER_PROCESS: u64 = 1_000_000;

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
    given: u64,
    /// How much longer its pauses are than the workload would make them.
    slowness: f64,
    /// Whether it was taken down that it has read by decoding.
    pub(super) decoded: bool,
    stop: Arc<AtomicBool>,
}

impl Worker {
    /// A worker. `actors` counts the processes of the whole history; where several programs
    /// write one each, they begin far apart. `stop` is set when it is time to end.
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
            given: 0,
            slowness: 1.0,
            decoded: false,
            stop,
        }
    }

    /// Whether it is time to end.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// How long the run goes on already, the same for all of its workers.
    pub fn elapsed(&self) -> Duration {
        self.recorder.elapsed()
    }

    /// Takes down that an operation is about to be sent.
    pub fn invoke(&self, op: Op) -> Pending {
        self.recorder.invoke(Actor::Process(self.actor), op)
    }

    /// Goes on as another process: after an operation whose outcome is unknown.
    pub fn become_another(&mut self) {
        self.actor = self.actors.fetch_add(1, Ordering::Relaxed);
        self.given = 0;
    }

    /// A number that no other operation of the history has. It tells who gave it.
    pub fn unique(&mut self) -> u64 {
        self.given += 1;
        self.actor * NUMBERS_PER_PROCESS + self.given
    }

    /// Whether something happens that happens in `percent` of cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// The same, with pauses that are `times` as long as the workload would make them.
    #[must_use]
    pub fn slower(mut self, times: f64) -> Worker {
        self.slowness = times;
        self
    }

    /// Another worker, who works at the same time with a client of its own.
    pub fn beside(&mut self, client: Client) -> Worker {
        let random = StdRng::seed_from_u64(self.random.random());
        let (recorder, actors) = (self.recorder.clone(), Arc::clone(&self.actors));
        let stop = Arc::clone(&self.stop);
        Worker::new(self.number, client, random, recorder, actors, stop).slower(self.slowness)
    }

    /// Waits: `mean` on average, twice that at most.
    pub async fn pause(&mut self, mean: Duration) {
        let wait = mean.mul_f64(self.slowness * self.random.random_range(0.0..2.0));
        tokio::time::sleep(wait).await;
    }
}
