//! What this machine can do without us: the figures ours are held against, from the same run.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::measure::{Latencies, Measured, Round, Unit};
use crate::local;

/// A floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Floor {
    /// Appends of 4 KiB to a file, each followed by fdatasync.
    Fdatasync,
    /// A file written from start to end, then synced.
    DiskWrite,
    /// A message of 64 bytes and its echo over loopback TCP.
    RoundTrip,
    /// Bytes through one loopback TCP connection.
    LoopbackStream,
    /// Bytes copied in memory.
    MemoryCopy,
}

impl Floor {
    /// All of them.
    pub(crate) const ALL: [Floor; 5] = [
        Floor::Fdatasync,
        Floor::DiskWrite,
        Floor::RoundTrip,
        Floor::LoopbackStream,
        Floor::MemoryCopy,
    ];

    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Floor::Fdatasync => "fdatasync of 4 KiB",
            Floor::DiskWrite => "disk write",
            Floor::RoundTrip => "loopback round trip",
            Floor::LoopbackStream => "loopback stream",
            Floor::MemoryCopy => "memory copy",
        }
    }

    /// Measures it once, with files in `dir` and bulk of `bytes`. Blocks.
    ///
    /// # Errors
    /// The machine refused something.
    fn measure(self, dir: &Path, bytes: u64) -> io::Result<Round> {
        let bytes = bytes.next_multiple_of(BUFFER_LEN as u64);
        match self {
            Floor::Fdatasync => fdatasync(dir),
            Floor::DiskWrite => disk_write(dir, bytes),
            Floor::RoundTrip => round_trips(),
            Floor::LoopbackStream => loopback_stream(bytes),
            Floor::MemoryCopy => memory_copy(bytes),
        }
    }

    fn unit(self) -> Unit {
        match self {
            Floor::Fdatasync | Floor::RoundTrip => Unit::Operations,
            Floor::DiskWrite | Floor::LoopbackStream | Floor::MemoryCopy => Unit::Bytes,
        }
    }
}

/// Rounds of all floors, from the beginning of a run and from its end: a disk that others share,
/// or that has a cache, is not the same all the time.
#[derive(Debug, Default)]
pub(crate) struct Floors(BTreeMap<Floor, Vec<Round>>);

impl Floors {
    /// Measures each of them so many times more. Blocks.
    ///
    /// # Errors
    /// The machine refused something.
    pub(crate) fn measure(&mut self, dir: &Path, bytes: u64, rounds: u32) -> io::Result<()> {
        for floor in Floor::ALL {
            for _ in 0..rounds {
                let round = floor.measure(dir, bytes)?;
                self.0.entry(floor).or_default().push(round);
            }
        }
        Ok(())
    }

    /// What all rounds together say.
    ///
    /// # Errors
    /// Never, see [`Measured::new`].
    pub(crate) fn measured(&self) -> io::Result<BTreeMap<Floor, Measured>> {
        let all = self.0.iter();
        all.map(|(floor, rounds)| Ok((*floor, Measured::new(floor.unit(), rounds)?)))
            .collect()
    }
}

const APPENDS: u64 = 200;
const APPEND_LEN: usize = 4096;
const ROUND_TRIPS: u64 = 5000;
const ROUND_TRIP_LEN: usize = 64;
const BUFFER_LEN: usize = 1 << 20;
/// A connection on this machine that is silent for this long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Runs `operation` `count` times, timing each.
fn timed(
    count: u64,
    amount_each: u64,
    mut operation: impl FnMut() -> io::Result<()>,
) -> io::Result<Round> {
    let mut latencies = Latencies::new()?;
    let begin = Instant::now();
    for _ in 0..count {
        let start = Instant::now();
        operation()?;
        latencies.record(start.elapsed());
    }
    Ok(Round {
        amount: count * amount_each,
        elapsed: begin.elapsed(),
        latencies,
    })
}

fn fdatasync(dir: &Path) -> io::Result<Round> {
    let path = dir.join("floor-fdatasync");
    let mut file = local::open_append(&path)?;
    let round = timed(APPENDS, 1, || {
        file.write_all(&[7; APPEND_LEN])?;
        file.sync_data()
    });
    local::remove_file(&path)?;
    round
}

fn disk_write(dir: &Path, bytes: u64) -> io::Result<Round> {
    let path = dir.join("floor-write");
    let mut file = local::open_append(&path)?;
    let buffer = vec![7; BUFFER_LEN];
    let round = timed(1, bytes, || {
        for _ in 0..bytes / BUFFER_LEN as u64 {
            file.write_all(&buffer)?;
        }
        file.sync_all()
    });
    local::remove_file(&path)?;
    round
}

/// Both ends of a connection over loopback.
fn loopback() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
    }
    Ok((near, far))
}

fn round_trips() -> io::Result<Round> {
    let (mut near, mut far) = loopback()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut message = [0; ROUND_TRIP_LEN];
            // Ends when the other side has closed.
            while far.read_exact(&mut message).is_ok() && far.write_all(&message).is_ok() {}
        });
        let mut message = [7; ROUND_TRIP_LEN];
        let round = timed(ROUND_TRIPS, 1, || {
            near.write_all(&message)?;
            near.read_exact(&mut message)
        });
        drop(near);
        round
    })
}

fn loopback_stream(bytes: u64) -> io::Result<Round> {
    let (mut near, mut far) = loopback()?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut buffer = vec![0; BUFFER_LEN];
            let mut left = bytes;
            while left > 0 {
                match far.read(&mut buffer) {
                    Ok(n) if n > 0 => left = left.saturating_sub(n as u64),
                    _ => return,
                }
            }
            // All has arrived; if this cannot be said, the sender times out.
            let _ = far.write_all(b"!");
        });
        let buffer = vec![7; BUFFER_LEN];
        let round = timed(1, bytes, || {
            for _ in 0..bytes / BUFFER_LEN as u64 {
                near.write_all(&buffer)?;
            }
            near.read_exact(&mut [0])
        });
        drop(near);
        round
    })
}

fn memory_copy(bytes: u64) -> io::Result<Round> {
    // Larger than the caches of ordinary machines, so that memory is what is measured.
    const COPIED_LEN: usize = 64 << 20;
    let from = vec![7_u8; COPIED_LEN];
    let mut to = vec![0_u8; COPIED_LEN];
    // The first copy finds no memory behind the addresses.
    to.copy_from_slice(&from);
    let times = bytes.div_ceil(COPIED_LEN as u64).max(4);
    timed(times, COPIED_LEN as u64, || {
        to.copy_from_slice(std::hint::black_box(&from));
        std::hint::black_box(&mut to);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floor_can_be_measured_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        for floor in Floor::ALL {
            let round = floor.measure(dir.path(), 1 << 20).unwrap();
            assert!(round.amount > 0 && !round.elapsed.is_zero(), "{floor:?}");
        }
        assert!(local::list(dir.path()).unwrap().is_empty());
    }
}
