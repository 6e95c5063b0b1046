//! A bank: files that only move. Their number never changes, and none is in two places.

use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::error::Result;
use futures::future::BoxFuture;
use rand::RngExt;

use super::{Worker, Workload, judged};
use crate::checkers::bank;
use crate::history::{Event, Op};
use crate::model::Namespace;

const ROOT: &str = "/bank";

/// Several clients move files, and directories with files in them.
///
/// The files of one directory, the vault, move from name to name within it, so that each listing
/// of it must show all of them. The others move between directories: all of them are seen at the
/// end, and in between the points of history tell.
#[derive(Debug, Clone)]
pub struct Bank {
    /// Directories between which files move.
    pub directories: u64,
    /// Files in the vault, and files in the other directories together.
    pub files: u64,
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Bank {
    fn default() -> Bank {
        Bank {
            directories: 3,
            files: 8,
            pause: Duration::from_millis(20),
        }
    }
}

impl Bank {
    /// The directory whose files stay in it.
    pub const VAULT: &'static str = "/bank/vault";

    /// Every directory of the bank but the vault. The box moves, into any of the others.
    pub fn places(&self) -> Vec<String> {
        let directories = (0..self.directories).map(|n| format!("{ROOT}/d{n}"));
        let boxes = (0..self.directories).map(|n| format!("{ROOT}/d{n}/box"));
        directories.chain(boxes).collect()
    }

    /// All there is at the beginning: directories, each after the one it is in, and files.
    pub fn beginning(&self) -> (Vec<String>, Vec<String>) {
        let mut directories = vec![ROOT.to_owned(), Bank::VAULT.to_owned()];
        directories.extend((0..self.directories).map(|n| format!("{ROOT}/d{n}")));
        directories.push(format!("{ROOT}/d0/box"));
        let mut files = Vec::new();
        for file in 0..self.files {
            files.push(format!("{}/{file}", Bank::VAULT));
            files.push(format!("{ROOT}/d{}/{file}", file % self.directories.max(1)));
        }
        (directories, files)
    }

    fn slot(&self, worker: &mut Worker) -> u64 {
        worker.random.random_range(0..self.files * 2)
    }

    fn directory(&self, worker: &mut Worker) -> String {
        let number = worker.random.random_range(0..self.directories.max(1));
        format!("{ROOT}/d{number}")
    }

    fn place(&self, worker: &mut Worker) -> String {
        let mut place = self.directory(worker);
        if worker.chance(30) {
            place.push_str("/box");
        }
        place
    }

    fn any(&self, worker: &mut Worker) -> Op {
        let replace = false;
        match worker.random.random_range(0..100) {
            0..30 => Op::Rename {
                from: format!("{}/{}", Bank::VAULT, self.slot(worker)),
                to: format!("{}/{}", Bank::VAULT, self.slot(worker)),
                replace,
            },
            30..65 => {
                let (from, to) = (self.place(worker), self.place(worker));
                Op::Rename {
                    from: format!("{from}/{}", self.slot(worker)),
                    to: format!("{to}/{}", self.slot(worker)),
                    replace,
                }
            }
            65..75 => Op::Rename {
                from: format!("{}/box", self.directory(worker)),
                to: format!("{}/box", self.directory(worker)),
                replace,
            },
            75..87 => Op::List {
                path: Bank::VAULT.to_owned(),
            },
            _ => Op::List {
                path: self.place(worker),
            },
        }
    }
}

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["M3"]
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            let (directories, files) = self.beginning();
            for directory in directories {
                client.create_dir_all(directory).await?;
            }
            for file in files {
                client.create_file(file, false).await?;
            }
            Ok(())
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let bank = self.clone();
        Box::pin(async move {
            while !worker.is_stopped() {
                let op = bank.any(&mut worker);
                worker.perform(op).await;
                worker.pause(bank.pause).await;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let places = self.places();
        Box::pin(async move {
            worker.begin_last_look(ROOT);
            let vault = Bank::VAULT.to_owned();
            let all: Vec<String> = [vault].into_iter().chain(places).collect();
            // Twice: nothing moves any more.
            for path in all.iter().chain(&all).cloned() {
                worker.perform(Op::List { path }).await;
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let (directories, files) = self.beginning();
        let start = Namespace::with(&directories, &files);
        let mut found = judged::names("M3", &start, history, ROOT);
        let files = usize::try_from(self.files).unwrap_or(usize::MAX);
        let bank = bank::Bank {
            vault: Bank::VAULT,
            in_vault: files,
            places: &self.places(),
            in_places: files,
            r#box: "box",
        };
        match judged::chosen(history, |op| judged::is_in(ROOT, op)) {
            Ok(operations) => found.extend(bank.complaints(&operations)),
            Err(unsound) => found.extend(unsound),
        }
        found.extend(judged::last_look(ROOT, history));
        found
    }
}
