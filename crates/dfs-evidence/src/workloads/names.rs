//! Names: all that can be done to names, on few of them, so that clients meet.

use std::iter;
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
/// Places with names of their own, to the next of which all go on now and then: an operation that
/// nobody heard of may have been done at any later time, and the judges look for it at each that
/// shares a name with it.
const PLACES: u64 = 16;
/// How long they stay.
const STAY: Duration = Duration::from_secs(40);
/// Some of them are directories, now and then, and some are directories in those.
const LEAVES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Those in which names are made, and how often of four times.
const DIRECTORIES: [&str; 4] = ["", "", "d", "e"];
/// Operations from the beginning that are judged as those of a black box.
const BLACK_BOX_MAX: usize = 10_000;
#[cfg(feature = "porcupine")]
const BLACK_BOX_OF_OTHERS_MAX: usize = 2_000;

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

impl Names {
    /// What is there when they begin.
    pub fn start() -> Namespace {
        let places = (0..PLACES).map(root);
        let directories: Vec<String> = iter::once(ROOT.to_owned()).chain(places).collect();
        Namespace::with::<_, &str>(&directories, &[])
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
            for place in 0..PLACES {
                client.create_dir_all(root(place)).await?;
            }
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
            for place in 0..PLACES {
                for in_it in DIRECTORIES.iter().skip(1) {
                    let path = directory(place, in_it);
                    worker.perform(Op::List { path: path.clone() }).await;
                    for leaf in LEAVES {
                        let path = format!("{path}/{leaf}{place}");
                        worker.perform(Op::Stat { path }).await;
                    }
                }
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let start = Names::start();
        let mut found = judged::names("M1", &start, history, ROOT);
        // Again, without the points of history: a point that lies would hide what is wrong.
        let wanted = |op: &Op| is_of_names(op) && judged::is_in(ROOT, op);
        if let Ok(operations) = judged::chosen(history, wanted) {
            let calls = names(&operations, BLACK_BOX_MAX);
            let what = "M1: names, as a black box";
            let names = judge::Names(start);
            found.extend(Search::default().complaint(what, &names, &calls));
            #[cfg(feature = "porcupine")]
            found.extend(judge::Porcupine::default().complaint(
                "M1: names, as a black box of others",
                &names,
                &judge::names(&operations, BLACK_BOX_OF_OTHERS_MAX),
            ));
        }
        found.extend(judged::last_look(ROOT, history));
        found
    }
}

fn root(place: u64) -> String {
    format!("{ROOT}/{place}")
}

/// A directory in a place. No two places have a name in common.
fn directory(place: u64, name: &str) -> String {
    match name {
        "" => root(place),
        name => format!("{}/{name}{place}", root(place)),
    }
}

/// Where all are at this time.
fn place_now(worker: &Worker) -> u64 {
    worker.elapsed().as_secs() / STAY.as_secs() % PLACES
}

fn path(worker: &mut Worker) -> String {
    let place = place_now(worker);
    let name = DIRECTORIES.choose(&mut worker.random).unwrap_or(&"");
    let leaf = LEAVES.choose(&mut worker.random).unwrap_or(&"a");
    format!("{}/{leaf}{place}", directory(place, name))
}

fn any(worker: &mut Worker) -> Op {
    let path = path(worker);
    match worker.random.random_range(0..100) {
        0..18 => Op::Create {
            path,
            exclusive: worker.chance(50),
        },
        18..23 => Op::Mkdir { path },
        23..28 => {
            // Without these there is no place for half of the names.
            let name = if worker.chance(50) { "d" } else { "e" };
            let path = directory(place_now(worker), name);
            Op::Mkdir { path }
        }
        28..42 => Op::Unlink {
            path,
            // The judge must remember what is in the trash.
            skip_trash: worker.chance(95),
        },
        42..60 => Op::Rename {
            from: path,
            to: self::path(worker),
            replace: worker.chance(70),
        },
        60..68 => Op::Link {
            from: path,
            to: self::path(worker),
        },
        68..73 => Op::Rmdir { path },
        73..76 => Op::RemoveTree {
            path,
            // What goes for good goes in steps; what goes to the trash goes at once.
            skip_trash: false,
        },
        76..90 => Op::Stat { path },
        _ => {
            let name = DIRECTORIES.choose(&mut worker.random).unwrap_or(&"");
            let path = directory(place_now(worker), name);
            Op::List { path }
        }
    }
}
