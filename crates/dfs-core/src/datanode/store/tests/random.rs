//! Random lives of a store: whatever is done and whenever the power goes, what was acknowledged
//! is there, bit by bit, and what was deleted stays deleted.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::*;
use crate::env::{Random, SeededRandom};

/// What a chunk may be after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Acknowledged: it must be there.
    There,
    /// Begun and not acknowledged, in either direction.
    Perhaps,
    /// Its deletion was acknowledged.
    Gone,
}

struct Life {
    disk: MemoryDisk,
    random: SeededRandom,
    store: Option<ChunkStore>,
    chunks: BTreeMap<u64, (usize, Expected)>,
    next: u64,
}

impl Life {
    async fn begin(seed: u64) -> Life {
        let disk = MemoryDisk::new(seed);
        let mut life = Life {
            store: None,
            disk,
            random: SeededRandom::new(seed ^ 0x5eed),
            chunks: BTreeMap::new(),
            next: 1,
        };
        life.reopen().await;
        life
    }

    fn below(&self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    fn store(&self) -> ChunkStore {
        self.store.clone().unwrap()
    }

    fn some_chunk(&self) -> Option<u64> {
        let all: Vec<u64> = self.chunks.keys().copied().collect();
        all.get(self.below(all.len() as u64) as usize).copied()
    }

    async fn step(&mut self) {
        match self.below(20) {
            0..=7 => self.write_some().await,
            8 => self.write_again().await,
            9 => self.abandon_one().await,
            10..=12 => self.delete_some().await,
            13 => self.quarantine_one().await,
            14 => tokio::time::sleep(Duration::from_secs(2)).await,
            15 => self.disk.lose_power_after(1 + self.below(60)),
            16 => self.crash(true).await,
            17 => self.crash(false).await,
            18 => self.close().await,
            _ => self.check().await,
        }
        let failed = self.store().failed().borrow().is_some();
        if failed {
            self.crash(true).await;
        }
    }

    fn length(&self) -> usize {
        match self.below(4) {
            0 => self.below(300) as usize,
            1 => self.below(2 * BLOCK_LEN as u64) as usize,
            2 => SMALL,
            _ => self.below(5 * BLOCK_LEN as u64) as usize,
        }
    }

    async fn write_some(&mut self) {
        let store = self.store();
        let mut writes = Vec::new();
        for _ in 0..=self.below(6) {
            // Ids go on in jumps, so that directories differ.
            self.next += 1 + self.below(3) * 100;
            let length = self.length();
            self.chunks.insert(self.next, (length, Expected::Perhaps));
            writes.push((self.next, length));
        }
        let results = writes
            .iter()
            .map(|(chunk, length)| put(&store, *chunk, *length));
        for ((chunk, length), result) in writes.iter().zip(join_all(results).await) {
            if result.is_ok() {
                self.chunks.insert(*chunk, (*length, Expected::There));
            }
        }
    }

    async fn write_again(&mut self) {
        let Some(chunk) = self.some_chunk() else {
            return;
        };
        let (length, expected) = self.chunks[&chunk];
        if expected == Expected::Gone {
            // Ids are not used again.
            return;
        }
        if put(&self.store(), chunk, length).await.is_ok() {
            self.chunks.insert(chunk, (length, Expected::There));
        }
    }

    async fn abandon_one(&mut self) {
        self.next += 1;
        let Ok(mut writer) = self
            .store()
            .create(ChunkId(self.next), 1 << 20, Purpose::Write)
            .await
        else {
            return;
        };
        let bytes = pattern(self.next, 3 * BLOCK_LEN);
        // Power may be gone.
        let _ = writer.write(bytes.clone(), &block_crcs(&bytes)).await;
    }

    async fn delete_some(&mut self) {
        let chunks: Vec<u64> = (0..=self.below(5))
            .filter_map(|_| self.some_chunk())
            .collect();
        let ids: Vec<ChunkId> = chunks.iter().copied().map(ChunkId).collect();
        let expected = match self.store().delete(&ids).await {
            Ok(()) => Expected::Gone,
            Err(_) => Expected::Perhaps,
        };
        for chunk in chunks {
            let state = self.chunks.get_mut(&chunk).unwrap();
            if state.1 != Expected::Gone {
                state.1 = expected;
            }
        }
    }

    async fn quarantine_one(&mut self) {
        let Some(chunk) = self.some_chunk() else {
            return;
        };
        let expected = match self.store().quarantine(ChunkId(chunk), "a test").await {
            Ok(()) => Expected::Gone,
            Err(StoreError::NotFound(_)) => return,
            Err(_) => Expected::Perhaps,
        };
        self.chunks.get_mut(&chunk).unwrap().1 = expected;
    }

    async fn crash(&mut self, power: bool) {
        self.store = None;
        match power {
            true => self.disk.cut_power(),
            false => self.disk.kill_process(),
        }
        self.reopen().await;
    }

    async fn close(&mut self) {
        if let Some(store) = self.store.take() {
            // Power may go before it is done.
            match store.close().await.is_err() || self.disk.is_off() {
                true => self.disk.cut_power(),
                false => self.disk.kill_process(),
            }
        }
        self.reopen().await;
    }

    /// Opens the store, sometimes with a power cut on the way, and checks all of it.
    async fn reopen(&mut self) {
        while self.below(4) == 0 {
            self.disk.lose_power_after(1 + self.below(40));
            match try_open(&self.disk).await {
                Ok((store, _)) => drop(store),
                Err(e) => assert!(
                    matches!(e, StoreError::Failed(_) | StoreError::Invalid(_)),
                    "{e}"
                ),
            }
            self.disk.cut_power();
        }
        self.store = Some(open(&self.disk).await.0);
        self.check().await;
        // What it reports from now on it has to keep.
        for row in self.store().list(ChunkId(0), 10_000).await.unwrap() {
            self.chunks.get_mut(&row.chunk.0).unwrap().1 = Expected::There;
        }
    }

    async fn check(&self) {
        let store = self.store();
        let Ok(rows) = store.list(ChunkId(0), 10_000).await else {
            assert!(store.failed().borrow().is_some());
            return;
        };
        assert_eq!(store.replicas(), rows.len() as u64);
        let rows: BTreeMap<u64, u64> = rows.iter().map(|r| (r.chunk.0, r.length)).collect();
        for (chunk, (length, expected)) in &self.chunks {
            let listed = rows.contains_key(chunk);
            match expected {
                Expected::There => assert!(listed, "c{chunk} of {length} bytes is lost"),
                Expected::Gone => assert!(!listed, "c{chunk} is back"),
                Expected::Perhaps => {}
            }
        }
        for (chunk, length) in rows {
            let (expected, _) = self.chunks.get(&chunk).expect("only what was written");
            assert_eq!(length, *expected as u64);
            match get(&store, chunk).await {
                Ok(bytes) => assert_eq!(bytes, pattern(chunk, *expected), "c{chunk}"),
                // The power went while this was looked at, or before, unnoticed.
                Err(e) => assert!(self.disk.is_off(), "c{chunk}: {e}"),
            }
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("DFS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DFS_SEEDS").unwrap_or(16),
    }
}

#[test]
fn what_was_acknowledged_survives_every_schedule_of_faults() {
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let life = std::panic::catch_unwind(|| {
            runtime.block_on(async {
                let mut life = Life::begin(seed).await;
                for _ in 0..40 {
                    life.step().await;
                }
                life.crash(true).await;
            });
        });
        if let Err(panic) = life {
            eprintln!("failed with DFS_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn power_may_go_at_every_single_change() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        for changes in 1.. {
            let mut life = Life {
                disk: MemoryDisk::new(changes),
                random: SeededRandom::new(changes),
                store: None,
                chunks: BTreeMap::new(),
                next: 1,
            };
            let (store, _) = open(&life.disk).await;
            life.store = Some(store.clone());
            life.disk.lose_power_after(changes);
            for (chunk, length) in [(1, SMALL), (2, LARGE), (3, 100), (4, LARGE)] {
                let result = put(&store, chunk, length).await;
                let expected = if result.is_ok() {
                    Expected::There
                } else {
                    Expected::Perhaps
                };
                life.chunks.insert(chunk, (length, expected));
            }
            for chunk in [1, 2] {
                let result = store.delete(&[ChunkId(chunk)]).await;
                let expected = if result.is_ok() {
                    Expected::Gone
                } else {
                    Expected::Perhaps
                };
                life.chunks.get_mut(&chunk).unwrap().1 = expected;
            }
            let done = store.close().await.is_ok();
            life.crash(true).await;
            if done {
                return;
            }
        }
    });
}
