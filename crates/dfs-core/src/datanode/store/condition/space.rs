//! Room on the disk: what is free, what is promised to writers, what is kept in reserve.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

use crate::datanode::store::config::Reserve;
use crate::datanode::store::error::StoreError;
use crate::env;

const STALE_AFTER: Duration = Duration::from_secs(1);

/// What a replica is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A client's write: the whole reserve stays free.
    Write,
    /// A repair: may use half of the reserve.
    Repair,
}

#[derive(Debug)]
pub(in crate::datanode::store) struct Room {
    reserve: Reserve,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    disk: env::Space,
    asked: Instant,
    /// Bytes writers may still write that the disk does not count as used.
    promised: u64,
}

impl Room {
    pub(in crate::datanode::store) fn new(reserve: Reserve, disk: env::Space) -> Room {
        Room {
            reserve,
            state: Mutex::new(State {
                disk,
                asked: Instant::now(),
                promised: 0,
            }),
        }
    }

    /// Notes what the disk says.
    pub(in crate::datanode::store) fn update(&self, disk: env::Space) {
        let mut state = self.state();
        state.disk = disk;
        state.asked = Instant::now();
    }

    /// Whether the disk was asked so long ago that others may have used it up meanwhile.
    pub(in crate::datanode::store) fn is_stale(&self) -> bool {
        self.state().asked.elapsed() >= STALE_AFTER
    }

    /// The size of the disk, and what ordinary writes may use of it.
    pub(in crate::datanode::store) fn total_and_available(&self) -> (u64, u64) {
        let state = self.state();
        let free = state.disk.available.saturating_sub(state.promised);
        let reserve = self.reserve.of(state.disk.total);
        (state.disk.total, free.saturating_sub(reserve))
    }

    /// Promises room for a replica.
    ///
    /// # Errors
    /// [`StoreError::OutOfSpace`] if the reserve would be touched.
    pub(in crate::datanode::store) fn promise(
        self: &Arc<Room>,
        length: u64,
        purpose: Purpose,
    ) -> Result<Promise, StoreError> {
        let mut state = self.state();
        let reserve = match purpose {
            Purpose::Write => self.reserve.of(state.disk.total),
            Purpose::Repair => self.reserve.of(state.disk.total) / 2,
        };
        let free = state.disk.available.saturating_sub(state.promised);
        if length > free.saturating_sub(reserve) {
            return Err(StoreError::OutOfSpace(format!(
                "{length} bytes wanted, {free} free, {reserve} in reserve"
            )));
        }
        state.promised += length;
        Ok(Promise {
            room: Arc::clone(self),
            length,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one replica, given back when dropped.
#[derive(Debug)]
pub(in crate::datanode::store) struct Promise {
    room: Arc<Room>,
    length: u64,
}

impl Promise {
    /// The disk has reserved it and counts it as used from now on.
    pub(in crate::datanode::store) fn keep(&mut self) {
        let mut state = self.room.state();
        state.promised = state.promised.saturating_sub(self.length);
        state.disk.available = state.disk.available.saturating_sub(self.length);
        drop(state);
        self.length = 0;
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.promised = state.promised.saturating_sub(self.length);
    }
}
