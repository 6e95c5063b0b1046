//! The world as arguments: time, randomness, network, disk and blocking.
//!
//! Nothing in this workspace reads a clock, draws a random number, opens a socket or a file or
//! blocks a thread except through an [`Env`]. [`Env::real`] is the machine; a simulator supplies
//! its own and the same code runs on one thread, from one seed, with faults.
//!
//! Monotonic time is `tokio::time`, which a simulator drives as well; [`Clock`] is the wall clock
//! and nothing here depends on it for safety.

mod blocking;
mod clock;
mod database;
mod disk;
mod handles;
mod network;
mod overlay;
mod random;
mod real_disk;

use std::fmt;
use std::sync::Arc;

pub use blocking::{Blocking, ThreadPool};
pub use clock::{Clock, SystemClock, Timestamp};
pub use database::DatabaseFile;
pub use disk::{Disk, DiskFile, DiskLock, Entry, OpenMode, Space};
pub use handles::raise_handle_limit;
pub use network::{BoxStream, Connection, Listener, Network, Stream, Tcp, is_loopback};
pub use overlay::Overlay;
pub use random::{OsRandom, Random, SeededRandom};
pub use real_disk::RealDisk;

/// Everything outside the program that it may touch. Cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// The source of chance.
    pub random: Arc<dyn Random>,
    /// How connections are made and accepted; security wraps this.
    pub network: Arc<dyn Network>,
    /// Files and directories.
    pub disk: Arc<dyn Disk>,
    /// Where work that blocks a thread runs.
    pub blocking: Arc<dyn Blocking>,
}

impl Env {
    /// The machine this process runs on: plain TCP, the operating system's clock, randomness,
    /// file system and tokio's blocking threads.
    pub fn real() -> Env {
        Env {
            clock: Arc::new(SystemClock),
            random: Arc::new(OsRandom),
            network: Arc::new(Tcp),
            disk: Arc::new(RealDisk),
            blocking: Arc::new(ThreadPool),
        }
    }

    /// Runs work that blocks (a file read, a database commit) away from the async threads and
    /// waits for its result.
    ///
    /// Dropping the returned future does not stop the work. A panic in `work` resumes here.
    pub async fn run_blocking<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        blocking::run(&*self.blocking, work).await
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}
