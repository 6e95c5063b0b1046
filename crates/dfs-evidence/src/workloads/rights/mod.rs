//! Rights: an administrator takes them away and gives them back, while users do what takes them.

mod person;
mod uses;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_core::client::{Client, Stamped};
use dfs_core::error::Result;
use dfs_core::types::{Change, Changed, Mode, NewAttr};
use futures::future::{BoxFuture, join};
use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::time::sleep;

use super::act::Became;
use super::{Worker, Workload, judged};
use crate::checkers::rights;
use crate::history::{Event, Op, Output, Right, Use};
use person::Person;

pub(super) const ROOT: &str = "/rights";
/// A directory and a file whose mode bits every administrator changes.
const DIRECTORY: &str = "/rights/all";
const FILE: &str = "/rights/file";
/// So many bytes are on data nodes.
const DATA_LEN: usize = 100_000;
/// The pause before a person is made once more.
const AGAIN: Duration = Duration::from_millis(100);

/// Each worker is an administrator and, at the same time, a user of its own. The administrator
/// takes away what that user needs, and gives it back: mode bits, access lists, membership of
/// groups, the key, leave to log in or to change anything.
#[derive(Debug, Clone)]
pub struct Rights {
    /// Between two operations of a worker, on average.
    pub pause: Duration,
}

impl Default for Rights {
    fn default() -> Rights {
        Rights {
            pause: Duration::from_millis(20),
        }
    }
}

impl Workload for Rights {
    fn name(&self) -> &'static str {
        "rights"
    }

    fn promises(&self) -> &'static [&'static str] {
        &["A1"]
    }

    fn needs_users(&self) -> bool {
        true
    }

    fn prepare<'a>(&'a self, client: &'a Client) -> BoxFuture<'a, Result<()>> {
        Box::pin(async {
            client.create_dir_all(ROOT).await?;
            let all = NewAttr::of_mode(Mode::new(0o777));
            client.create_dir_with(DIRECTORY, all, true).await?;
            let data = format!("{DIRECTORY}/data");
            client.write(&data, vec![7; DATA_LEN]).await?;
            for file in [FILE.to_owned(), format!("{DIRECTORY}/file"), data] {
                client.create_file(&file, false).await?;
                client.set_permissions(&file, Mode::new(0o666)).await?;
            }
            Ok(())
        })
    }

    fn work(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        let pause = self.pause;
        Box::pin(async move {
            let mut generation = 0;
            while !worker.is_stopped() {
                let name = format!("rights-{}-{generation}", worker.number);
                let Ok((mut person, mut user)) = meet(&mut worker, &name).await else {
                    sleep(AGAIN).await;
                    continue;
                };
                let (over, places) = (AtomicBool::new(false), person.places());
                let administering = async {
                    administer(&mut worker, &mut person, pause).await;
                    over.store(true, Ordering::Relaxed);
                };
                let using = uses::go_on(&mut user, &name, &places, (&over, pause));
                join(administering, using).await;
                generation += 1;
            }
        })
    }

    fn conclude(&self, mut worker: Worker) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let name = format!("rights-{}-last", worker.number);
            let met = meet(&mut worker, &name).await;
            for right in shared() {
                set(
                    &mut worker,
                    right.clone(),
                    true,
                    person::shared(&right, true),
                )
                .await;
            }
            worker.begin_last_look(ROOT);
            for right in shared() {
                see(&mut worker, right, None).await;
            }
            for (name, _) in worker.list_all(ROOT).await.unwrap_or_default() {
                if name.starts_with("rights-") {
                    for right in person::without_key(&name) {
                        see(&mut worker, right, None).await;
                    }
                }
            }
            match met {
                Ok((person, mut user)) => uses::once(&mut user, &name, &person.places()).await,
                Err(error) => {
                    let [right, _] = shared();
                    let pending = worker.invoke(uses::op(&name, &right, Use::List, 0));
                    worker.failed(pending, &error, true);
                }
            }
        })
    }

    fn check(&self, history: &[Event]) -> Vec<String> {
        let mut found = match judged::chosen(history, |op| judged::is_in(ROOT, op)) {
            Ok(operations) => rights::complaints(&operations),
            Err(unsound) => unsound,
        };
        found.extend(judged::last_look(ROOT, history));
        found
    }
}

/// The rights that all administrators give and take.
fn shared() -> [Right; 2] {
    [DIRECTORY, FILE].map(|path| Right::Mode(path.to_owned()))
}

/// A person of a name who has all rights of its own, and a worker that is logged in as that.
async fn meet(worker: &mut Worker, name: &str) -> Result<(Person, Worker)> {
    let person = Person::make(&worker.client, name).await?;
    let client = person.log_in(&worker.client).await?;
    Ok((person, worker.beside(client)))
}

/// Takes rights away and gives them back, until it is time to stop or nobody knows any more which
/// keys the person has.
async fn administer(admin: &mut Worker, person: &mut Person, pause: Duration) {
    let rights = person.rights();
    while !admin.is_stopped() {
        let Some(right) = rights.choose(&mut admin.random).cloned() else {
            return;
        };
        match admin.random.random_range(0..100) {
            0..10 => void_tickets(admin, person).await,
            10..20 => see(admin, right, Some(person)).await,
            _ => {
                let known = take_and_give_back(admin, person, right, pause).await;
                if known.is_none() {
                    return;
                }
            }
        }
        admin.pause(pause).await;
    }
}

/// Nothing if nobody knows any more which keys the person has.
async fn take_and_give_back(
    admin: &mut Worker,
    person: &mut Person,
    right: Right,
    pause: Duration,
) -> Option<()> {
    let is_key = matches!(right, Right::Key(_));
    match set_of(admin, person, right.clone(), false).await {
        Became::Unknown if is_key => return None,
        Became::Nothing => return Some(()),
        Became::Done(_) | Became::Unknown => admin.pause(pause * 2).await,
    }
    loop {
        match set_of(admin, person, right.clone(), true).await {
            Became::Done(_) => return Some(()),
            Became::Unknown if is_key => return None,
            _ if admin.is_stopped() => return None,
            Became::Nothing | Became::Unknown => admin.pause(pause).await,
        }
    }
}

async fn set_of(admin: &mut Worker, person: &mut Person, right: Right, on: bool) -> Became {
    let change = person.change(&right, on);
    let (became, changed) = set(admin, right, on, change).await;
    person.learn(changed);
    became
}

async fn set(
    admin: &mut Worker,
    right: Right,
    on: bool,
    change: Result<Change>,
) -> (Became, Option<Changed>) {
    let pending = admin.invoke(Op::SetRight { right, on });
    match submit(admin, change).await {
        Ok(Stamped { rev, value }) => {
            pending.ok(None, Some(rev));
            (Became::Done(None), Some(value))
        }
        Err(error) => (admin.failed(pending, &error, false), None),
    }
}

async fn submit(worker: &Worker, change: Result<Change>) -> Result<Stamped<Changed>> {
    worker.client.submit(change?).await
}

async fn void_tickets(admin: &mut Worker, person: &Person) {
    let user = person.name();
    let pending = admin.invoke(Op::VoidTickets { user });
    match submit(admin, Ok(person.void_tickets())).await {
        Ok(Stamped { rev, .. }) => pending.ok(None, Some(rev)),
        Err(error) => drop(admin.failed(pending, &error, false)),
    }
}

/// Asks whether a right is given. Which key a person logs in with, who made that person knows.
async fn see(admin: &mut Worker, right: Right, person: Option<&Person>) {
    let op = Op::SeeRight {
        right: right.clone(),
    };
    let pending = admin.invoke(op);
    let answered = async { admin.client.query(person::question(&right)?).await };
    match answered.await {
        Ok(Stamped { rev, value }) => {
            let is_on = person::is_on(&right, &value, person);
            pending.ok(is_on.map(Output::Is), Some(rev));
        }
        Err(error) => drop(admin.failed(pending, &error, true)),
    }
}
