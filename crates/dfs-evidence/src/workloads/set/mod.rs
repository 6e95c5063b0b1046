//! A set: names that only come. Not one that was acknowledged may be missing.

pub(super) mod quota;
pub(super) mod snapshots;

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use futures::future::BoxFuture;

use super::{Worker, Workload, judged};
use crate::checkers::set;
use crate::history::{Event, Op};
use crate::model::Namespace;

const ROOT: &str = "/set";
/// A worker looks again when it has made a tenth more, so that long runs look through as many
/// names for each that is made as short ones.
const LISTED_WHEN_GROWN_BY: u64 = 10;

/// Several clients make files of unique names, and look at all of them now and then.
#[derive(Debug, Clone)]
pub struct Set {
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Set {
    fn default() -> Set {
        Set {
            pause: Duration::from_millis(10),
        }
    }
}

impl Workload for Set {
    fn name(&self) -> &'static str {
        "set"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["M1", "M2"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async { client.create_dir_all(ROOT).await.map(drop) })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let pause = self.pause;
        Box::pin(async move {
            let (mut made, mut seen) = (0, 0);
            while !worker.is_stopped() {
                let grew = made >= seen + seen / LISTED_WHEN_GROWN_BY;
                if worker.chance(2) && grew {
                    worker.list_all(ROOT).await;
                    seen = made;
                }
                made += 1;
                let path = format!("{ROOT}/{}", worker.unique());
                let exclusive = true;
                worker.perform(Op::Create { path, exclusive }).await;
                worker.pause(pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            worker.list_all(ROOT).await;
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let start = Namespace::with::<_, &str>(&[ROOT], &[]);
        let mut found = judged::names("M1", &start, history, ROOT);
        match judged::chosen(history, |op| judged::is_in(ROOT, op)) {
            Ok(operations) => found.extend(set::account(ROOT, &operations).complaints()),
            Err(unsound) => found.extend(unsound),
        }
        found.extend(judged::last_look(ROOT, history));
        found
    }
}
