//! Names: all that can be done to names, on few of them, so that clients meet.

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use dfs_core::types::PolicyChange;
use futures::future::BoxFuture;
use rand::RngExt;
use rand::seq::IndexedRandom;

use super::{TRASH_FOR_LONG, Worker, Workload, judged};
use crate::checkers::certificate::is_of_names;
use crate::checkers::judge::{self, Judge, Search, names};
use crate::history::{Event, Op};
use crate::model::Namespace;

const ROOT: &str = "/names";
/// Some of them are directories, now and then, and some are directories in those.
const LEAVES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Operations from the beginning that are judged as those of a black box.
const BLACK_BOX_MAX: usize = 10_000;
const DIRECTORIES: [&str; 4] = ["", "", "/d", "/e"];

/// Several clients make, move, link, remove and look at a few names.
#[derive(Debug, Clone)]
pub struct Names {
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            pause: Duration::from_millis(20),
        }
    }
}

impl Workload for Names {
    fn name(&self) -> &'static str {
        "names"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["M1"]
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
        let pause = self.pause;
        Box::pin(async move {
            while !worker.is_stopped() {
                let op = any(&mut worker);
                worker.perform(op).await;
                worker.pause(pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            for directory in DIRECTORIES.iter().skip(1) {
                let path = format!("{ROOT}{directory}");
                worker.perform(Op::List { path }).await;
                for leaf in LEAVES {
                    let path = format!("{ROOT}{directory}/{leaf}");
                    worker.perform(Op::Stat { path }).await;
                }
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let start = Namespace::with::<_, &str>(&[ROOT], &[]);
        let mut found = judged::names("M1", &start, history, ROOT);
        // Again, without the points of history: a point that lies would hide what is wrong.
        let wanted = |op: &Op| is_of_names(op) && judged::is_in(ROOT, op);
        if let Ok(operations) = judged::chosen(history, wanted) {
            let calls = names(&operations, BLACK_BOX_MAX);
            let what = "M1: names, as a black box";
            found.extend(Search::default().complaint(what, &judge::Names(start), &calls));
        }
        found.extend(judged::last_look(ROOT, history));
        found
    }
}

fn place(worker: &mut Worker) -> String {
    let directory = DIRECTORIES.choose(&mut worker.random).unwrap_or(&"");
    let leaf = LEAVES.choose(&mut worker.random).unwrap_or(&"a");
    format!("{ROOT}{directory}/{leaf}")
}

fn any(worker: &mut Worker) -> Op {
    let path = place(worker);
    match worker.random.random_range(0..100) {
        0..18 => Op::Create {
            path,
            exclusive: worker.chance(50),
        },
        18..23 => Op::Mkdir { path },
        23..28 => {
            // Without these there is no place for half of the names.
            let directory = if worker.chance(50) { "/d" } else { "/e" };
            let path = format!("{ROOT}{directory}");
            Op::Mkdir { path }
        }
        28..42 => Op::Unlink {
            path,
            // The judge must remember what is in the trash.
            skip_trash: worker.chance(95),
        },
        42..60 => Op::Rename {
            from: path,
            to: place(worker),
            replace: worker.chance(70),
        },
        60..68 => Op::Link {
            from: path,
            to: place(worker),
        },
        68..73 => Op::Rmdir { path },
        73..76 => Op::RemoveTree {
            path,
            // What goes for good goes in steps; what goes to the trash goes at once.
            skip_trash: false,
        },
        76..90 => Op::Stat { path },
        _ => {
            let directory = DIRECTORIES.choose(&mut worker.random).unwrap_or(&"");
            let path = format!("{ROOT}{directory}");
            Op::List { path }
        }
    }
}
