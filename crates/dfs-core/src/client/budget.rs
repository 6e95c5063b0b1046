//! Bytes that may be in memory at a time, shared by all files of a client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

/// Bytes of one permit.
const UNIT: u64 = 4096;
/// A budget from which nothing came back for this long is held by files that stand still.
const STALL: Duration = Duration::from_secs(2);

/// A number of bytes to share.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    units: Arc<Semaphore>,
    total: u64,
    returned: Arc<Mutex<Instant>>,
}

/// A part of a budget; it goes back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    permit: OwnedSemaphorePermit,
    returned: Arc<Mutex<Instant>>,
}

impl Budget {
    pub(super) fn new(bytes: u64) -> Budget {
        let units = usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Budget {
            units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
            total: bytes,
            returned: Arc::new(Mutex::new(Instant::now())),
        }
    }

    /// All of it, in bytes.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Takes `bytes` if they are free.
    pub(super) fn try_take(&self, bytes: u64) -> Option<Hold> {
        let permit = self.units.clone().try_acquire_many_owned(units(bytes));
        permit.ok().map(|permit| self.hold(permit))
    }

    /// Takes `bytes` as soon as they are free, in the order of the callers. None when they are
    /// held by files that stand still, so that waiting would not help.
    pub(super) async fn take(&self, bytes: u64) -> Option<Hold> {
        let taking = self.units.clone().acquire_many_owned(units(bytes));
        tokio::pin!(taking);
        let since = Instant::now();
        loop {
            match timeout(STALL, &mut taking).await {
                Ok(permit) => return permit.ok().map(|permit| self.hold(permit)),
                Err(_) => {
                    let returned = *lock(&self.returned);
                    if returned.max(since).elapsed() >= STALL {
                        return None;
                    }
                }
            }
        }
    }

    fn hold(&self, permit: OwnedSemaphorePermit) -> Hold {
        Hold {
            permit,
            returned: self.returned.clone(),
        }
    }
}

impl Hold {
    /// Gives back all but `bytes`.
    pub(super) fn shrink(&mut self, bytes: u64) {
        let surplus = self
            .permit
            .num_permits()
            .saturating_sub(units(bytes) as usize);
        drop(self.permit.split(surplus));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *lock(&self.returned) = Instant::now();
    }
}

fn lock(returned: &Mutex<Instant>) -> std::sync::MutexGuard<'_, Instant> {
    returned.lock().unwrap_or_else(PoisonError::into_inner)
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let budget = Budget::new(10 * UNIT);
        let mut hold = budget.try_take(10 * UNIT);
        assert!(budget.try_take(1).is_none());
        if let Some(hold) = &mut hold {
            hold.shrink(4 * UNIT);
        }
        assert!(budget.try_take(6 * UNIT).is_some());
        drop(hold);
        assert!(budget.try_take(10 * UNIT).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_those_who_stand_still() {
        let budget = Budget::new(2 * UNIT);
        let idle = budget.try_take(2 * UNIT);
        assert!(budget.take(UNIT).await.is_none());
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.take(UNIT).await.is_some() }
        });
        tokio::time::sleep(STALL / 2).await;
        drop(idle);
        assert_eq!(waiting.await.ok(), Some(true));
    }
}
