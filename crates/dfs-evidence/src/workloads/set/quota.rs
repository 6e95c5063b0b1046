//! A quota: several clients make and remove files where only so many may be.

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use dfs_core::types::PolicyChange;
use dfs_core::types::quota::Limits;
use futures::future::BoxFuture;
use rand::RngExt;

use crate::checkers::set::quota;
use crate::history::{Event, Op};
use crate::workloads::act::{Became, used};
use crate::workloads::{TRASH_FOR_LONG, Worker, Workload, judged};

const ROOT: &str = "/quota";

/// Several clients make files of unique names in one directory, each removes its own, and all look
/// at what is used. There are more of them than may be.
#[derive(Debug, Clone)]
pub struct Quota {
    /// How many files may be there.
    pub limit: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Quota {
    fn default() -> Quota {
        Quota {
            limit: 8,
            pause: Duration::from_millis(15),
        }
    }
}

impl Workload for Quota {
    fn name(&self) -> &'static str {
        "quota"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["Q1"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            client.create_dir_all(ROOT).await?;
            let trash = PolicyChange {
                trash: Some(TRASH_FOR_LONG),
                ..PolicyChange::default()
            };
            client.set_policy(ROOT, trash).await?;
            let limits = Limits {
                bytes: None,
                inodes: Some(self.limit),
            };
            client.set_quota(ROOT, limits, false).await
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let pause = self.pause;
        Box::pin(async move {
            // What of its files may be there.
            let mut own: Vec<String> = Vec::new();
            while !worker.is_stopped() {
                match worker.random.random_range(0..100) {
                    0..10 => used(&mut worker, ROOT).await,
                    10..60 => {
                        let path = format!("{ROOT}/{}", worker.unique());
                        let (exclusive, name) = (true, path.clone());
                        let made = worker.attempt(Op::Create { path, exclusive }).await;
                        if !matches!(made, Became::Nothing) {
                            own.push(name);
                        }
                    }
                    _ if own.is_empty() => {}
                    _ => {
                        let index = worker.random.random_range(0..own.len());
                        let path = own.swap_remove(index);
                        let (skip_trash, name) = (worker.chance(50), path.clone());
                        let removed = worker.attempt(Op::Unlink { path, skip_trash }).await;
                        if matches!(removed, Became::Nothing) {
                            own.push(name);
                        }
                    }
                }
                worker.pause(pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            worker.list_all(ROOT).await;
            used(&mut worker, ROOT).await;
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let mut found = match judged::chosen(history, |op| judged::is_in(ROOT, op)) {
            Ok(operations) => quota::complaints(ROOT, self.limit, &operations),
            Err(unsound) => unsound,
        };
        found.extend(judged::last_look(ROOT, history));
        found
    }
}
