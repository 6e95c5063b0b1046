//! Papers are renewed while clients work.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::*;
use crate::env::{Clock, SystemClock, Timestamp};

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MASTERS: u64 = 3;
const DATA_NODES: u64 = 2;

/// The machine's clock, and more.
#[derive(Default)]
pub(super) struct Ahead(AtomicU64);

impl Ahead {
    pub(super) fn jump(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap();
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        let ahead = Duration::from_micros(self.0.load(Ordering::Relaxed));
        SystemClock.now().saturating_add(ahead)
    }
}

/// Writes and reads small and large files, until it is told to stop; how many. It holds the gate
/// meanwhile.
async fn work(client: Client, worker: u64, (gate, stop): (Arc<RwLock<()>>, Arc<AtomicU64>)) -> u64 {
    let mut done = 0;
    while stop.load(Ordering::Relaxed) == 0 {
        let _open = gate.read().await;
        let path = format!("/{worker}-{}", done % 8);
        let length = if done % 2 == 0 { 100 } else { 100_000 };
        let bytes = vec![u8::try_from(done % 251).unwrap(); length];
        client.write(&path, bytes.clone()).await.unwrap();
        assert_eq!(client.read(&path).await.unwrap(), bytes);
        done += 1;
    }
    done
}

#[tokio::test]
async fn all_papers_are_renewed_under_load_and_no_operation_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(Ahead::default());
    let env = Env {
        clock: clock.clone(),
        ..Env::real()
    };
    let builder = Cluster::builder().masters(MASTERS as usize);
    let builder = builder.data_nodes(DATA_NODES as usize).env(env.clone());
    let cluster = builder.start(&directory).await.unwrap();
    let (gate, stop) = (Arc::new(RwLock::new(())), Arc::new(AtomicU64::new(0)));
    let mut workers = JoinSet::new();
    for worker in 0..4 {
        let client = cluster.client().await.unwrap();
        workers.spawn(work(client, worker, (gate.clone(), stop.clone())));
    }
    tokio::time::sleep(SECOND).await;

    // More than half of the time of all papers is over, and all of each ticket's. So is that of
    // grants, which no writer outlives whose clock jumps: nothing is written just then.
    let closed = gate.write().await;
    clock.jump(4 * DAY);
    let jumped = clock.now();
    drop(closed);
    let masters = (0..MASTERS).map(|n| Part::Master(n as usize));
    let data_nodes = (0..DATA_NODES).map(|n| Part::DataNode(n as usize));
    for part in masters.chain(data_nodes) {
        let home = cluster.directory_of(part);
        let renewed = async {
            loop {
                let papers = Papers::open(&env, &home).await.unwrap();
                if papers.unwrap().since() >= jumped {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(3 * PATIENCE, renewed).await.unwrap();
    }
    // With what is new, too.
    tokio::time::sleep(SECOND).await;
    stop.store(1, Ordering::Relaxed);
    while let Some(done) = workers.join_next().await {
        assert!(done.unwrap() > 0);
    }
    cluster.shutdown().await.unwrap();
}
