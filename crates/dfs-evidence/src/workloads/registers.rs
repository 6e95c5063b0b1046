//! Registers: small files that are written and read as a whole, each key by itself.

use std::time::Duration;

use bytes::Bytes;
use dfs_core::client::Client;
use dfs_core::error::{ErrorKind, Result};
use futures::future::BoxFuture;
use rand::RngExt;

use super::judged::{self, chosen};
use super::{Worker, Workload};
#[cfg(feature = "porcupine")]
use crate::checkers::judge::Porcupine;
use crate::checkers::judge::{Judge, Register, Search, registers};
use crate::history::{Event, Op, Output};

pub(super) const ROOT: &str = "/registers";
/// What no writer ever writes: the answer to a register that holds something else.
const FOREIGN: u64 = u64::MAX;

/// Several clients write and read a few keys through the interface of whole files. Half of the
/// files are so long that their bytes are on data nodes.
#[derive(Debug, Clone)]
pub struct Registers {
    /// How many keys.
    pub keys: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Registers {
    fn default() -> Registers {
        Registers {
            keys: 8,
            pause: Duration::from_millis(20),
        }
    }
}

impl Workload for Registers {
    fn name(&self) -> &'static str {
        "registers"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["D1"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { client.create_dir_all(ROOT).await.map(drop) })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let Registers { keys, pause } = self.clone();
        Box::pin(async move {
            while !worker.is_stopped() {
                let key = worker.random.random_range(0..keys.max(1));
                match worker.chance(50) {
                    true => set(&mut worker, key).await,
                    false => get(&mut worker, key).await,
                }
                worker.pause(pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let keys = self.keys;
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            for key in 0..keys {
                get(&mut worker, key).await;
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let wanted = |op: &Op| matches!(op, Op::Set { .. } | Op::Get { .. });
        let operations = match chosen(history, wanted) {
            Ok(operations) => operations,
            Err(unsound) => return unsound,
        };
        let mut found = Vec::new();
        for (key, calls) in &registers(&operations) {
            let what = format!("D1: register {key}");
            found.extend(Search::default().complaint(&what, &Register, calls));
            #[cfg(feature = "porcupine")]
            found.extend(Porcupine::default().complaint(
                &format!("{what}, as others judge it"),
                &Register,
                calls,
            ));
        }
        found.extend(judged::last_look(ROOT, history));
        found
    }
}

async fn set(worker: &mut Worker, key: u64) {
    let number = worker.unique();
    let name = format!("k{key}");
    let pending = worker.invoke(Op::Set { key: name, number });
    match worker.client.write(path(key), contents(key, number)).await {
        Ok(_) => pending.ok(None, worker.client.last_change()),
        Err(error) => drop(worker.failed(pending, &error, false)),
    }
}

async fn get(worker: &mut Worker, key: u64) {
    let name = format!("k{key}");
    let pending = worker.invoke(Op::Get { key: name });
    match worker.client.read(path(key)).await {
        Ok(bytes) => {
            let number = number(key, &bytes).unwrap_or(FOREIGN);
            pending.ok(Some(Output::Number(Some(number))), None);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            pending.ok(Some(Output::Number(None)), None);
        }
        Err(error) => drop(worker.failed(pending, &error, true)),
    }
}

fn path(key: u64) -> String {
    format!("{ROOT}/k{key}")
}

/// The number, over and over: what is torn is seen.
fn contents(key: u64, number: u64) -> Bytes {
    let words = match key % 2 {
        0 => 8,
        _ => 1000,
    };
    number.to_le_bytes().repeat(words).into()
}

fn number(key: u64, bytes: &[u8]) -> Option<u64> {
    let number = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == contents(key, number)).then_some(number)
}
