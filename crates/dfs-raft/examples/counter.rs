//! A counter on three members in one process.
use dfs_raft::env::{Env, Network, Tcp};
use dfs_raft::state::{ReadState, StateTxn, Table};
use dfs_raft::{ApplyContext, Consistency, Fatal, Replica, ReplicaConfig, StateMachine};
use std::{error::Error, sync::Arc};

const COUNTERS: Table<String, u64> = Table::new(0, "counters");

struct Counter;

impl StateMachine for Counter {
    const TABLES: &'static [&'static str] = &["counters"];
    type Command = String; // the name of the counter to raise
    type Reply = u64;

    fn apply(
        &self,
        state: &mut StateTxn<'_>,
        _context: ApplyContext,
        name: String,
    ) -> Result<u64, Fatal> {
        let next = state.get(COUNTERS, &name)?.unwrap_or(0) + 1;
        state.put(COUNTERS, &name, &next)?;
        Ok(next)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (mut replicas, mut addresses) = (Vec::new(), Vec::new());
    for index in 0..3 {
        let config = ReplicaConfig::new(directory.path().join(format!("{index}")));
        let network: Arc<dyn Network> = Arc::new(Tcp);
        let replica = Replica::start(config, Env::real(), Arc::new(network), Counter).await?;
        let listener = Tcp.listen("127.0.0.1:0").await?;
        let address = listener.local_address();
        tokio::spawn(replica.serve_all(listener));
        if index == 0 {
            replica.bootstrap(&address).await?;
            let mut leadership = replica.leadership();
            leadership.wait_for(|now| now.is_ready).await?;
        } else {
            let member = replica.join(&addresses, &address).await?;
            replicas.first().unwrap_or(&replica).promote(member).await?;
        }
        replicas.push(replica);
        addresses.push(address);
    }
    let leader: &Replica<Counter> = replicas.first().ok_or("no replica")?;
    for _ in 0..3 {
        leader.propose("visits".to_owned()).await?;
    }
    let last = replicas.last().ok_or("no replica")?;
    let reading = last.read(Consistency::Linearizable).await?;
    assert_eq!(reading.view.get(COUNTERS, &"visits".to_owned())?, Some(3));
    Ok(())
}
