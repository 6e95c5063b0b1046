//! The trash: what is removed comes back once, as it was.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use dfs_core::types::PolicyChange;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::{TRASH_FOR_LONG, Worker, Workload, judged};
use crate::history::{Event, Op, Output};
use crate::model::Namespace;

pub(super) const ROOT: &str = "/trash";
/// Removals that workers remember, so that several restore the same.
const REMEMBERED: usize = 8;

/// Several clients make a few names, remove them into the trash, and restore what any of them
/// has removed, to where it was or to another name.
#[derive(Debug, Clone)]
pub struct Trash {
    /// How many names.
    pub names: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
    removed: Arc<Mutex<Vec<u64>>>,
}

impl Default for Trash {
    fn default() -> Trash {
        Trash {
            names: 6,
            pause: Duration::from_millis(20),
            removed: Arc::default(),
        }
    }
}

impl Trash {
    fn remember(&self, trash: u64) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        if removed.len() >= REMEMBERED {
            removed.remove(0);
        }
        removed.push(trash);
    }

    fn path(&self, worker: &mut Worker) -> String {
        let name = worker.random.random_range(0..self.names.max(1));
        format!("{ROOT}/n{name}")
    }

    fn restore(&self, worker: &mut Worker) -> Option<Op> {
        let to = worker.chance(50).then(|| self.path(worker));
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        let trash = *removed.choose(&mut worker.random)?;
        Some(Op::Restore { trash, to })
    }

    fn any(&self, worker: &mut Worker) -> Op {
        let path = self.path(worker);
        let skip_trash = false;
        let restore = match worker.chance(35) {
            true => self.restore(worker),
            false => None,
        };
        restore.unwrap_or_else(|| match worker.random.random_range(0..100) {
            0..30 => Op::Create {
                path,
                exclusive: true,
            },
            30..45 => Op::Mkdir { path },
            45..65 => Op::Unlink { path, skip_trash },
            65..80 => Op::RemoveTree { path, skip_trash },
            80..90 => Op::Stat { path },
            _ => Op::List {
                path: ROOT.to_owned(),
            },
        })
    }
}

impl Workload for Trash {
    fn name(&self) -> &'static str {
        "trash"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["M5"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            client.create_dir_all(ROOT).await?;
            let trash = PolicyChange {
                trash: Some(TRASH_FOR_LONG),
                ..PolicyChange::default()
            };
            client.set_policy(ROOT, trash).await.map(drop)
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            while !worker.is_stopped() {
                let op = this.any(&mut worker);
                if let Some(Output::Trash(Some(trash))) = worker.perform(op).await {
                    this.remember(trash);
                }
                worker.pause(this.pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let names = self.names;
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            let path = ROOT.to_owned();
            worker.perform(Op::List { path }).await;
            for name in 0..names {
                let path = format!("{ROOT}/n{name}");
                worker.perform(Op::Stat { path }).await;
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let start = Namespace::with::<_, &str>(&[ROOT], &[]);
        let mut found = judged::names("M5", &start, history, ROOT);
        found.extend(judged::last_look(ROOT, history));
        found
    }
}
