//! Frames that come late, twice, in another order or not at all.
//!
//! The kernel hands what passes between bad pairs to a TAP device that is a port of the bridge.
//! What is read from it is written back when its time has come, and the bridge takes it on.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{Error, Result};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep_until};
use tokio_tun::Tun;

use super::network::Pair;
use super::tool;

/// The largest frame, and room for what comes before it.
const FRAME_MAX: usize = 65_536 + 64;
/// More frames than these do not wait: a switch has an end, too.
const WAITING_MAX: usize = 20_000;
const DEVICE: &str = "late";

/// How badly frames pass.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Quality {
    /// Every frame waits at least so long.
    pub(super) delay: Duration,
    /// And up to so much longer, in order.
    pub(super) jitter: Duration,
    /// This share of frames is lost.
    pub(super) loss: f64,
    /// This share of frames comes twice.
    pub(super) duplicate: f64,
    /// This share of frames is overtaken by others.
    pub(super) reorder: f64,
}

impl Quality {
    /// Both at once.
    pub(super) fn and(self, other: Quality) -> Quality {
        Quality {
            delay: self.delay + other.delay,
            jitter: self.jitter + other.jitter,
            loss: self.loss.max(other.loss),
            duplicate: self.duplicate.max(other.duplicate),
            reorder: self.reorder.max(other.reorder),
        }
    }
}

type Qualities = Arc<Mutex<BTreeMap<Pair, Quality>>>;

/// The device and who serves it.
pub(super) struct Switch {
    qualities: Qualities,
    serving: tokio::task::JoinHandle<()>,
}

impl Switch {
    /// Makes the device, a port of `bridge`, and serves it.
    pub(super) async fn open(bridge: &str) -> Result<Switch> {
        let tun = Tun::builder().name(DEVICE).tap().up();
        let tun = tun
            .build()
            .map_err(|e| Error::other(format!("TAP device: {e}")))?;
        let tun = tun.into_iter().next();
        let tun = tun.ok_or_else(|| Error::other("no TAP device"))?;
        tool::run(&format!("ip link set {DEVICE} master {bridge} up")).await?;
        // Frames that come back here are not from here, and others need not come.
        tool::run(&format!(
            "bridge link set dev {DEVICE} learning off flood off"
        ))
        .await?;
        let qualities = Qualities::default();
        let serving = tokio::spawn(serve(tun, Arc::clone(&qualities)));
        Ok(Switch { qualities, serving })
    }

    /// The name of the device.
    pub(super) fn device(&self) -> &'static str {
        DEVICE
    }

    /// Sets how frames pass, for every pair that is not well.
    ///
    /// # Errors
    /// Nobody passes them on any more.
    pub(super) fn set(&self, qualities: BTreeMap<Pair, Quality>) -> Result<()> {
        if self.serving.is_finished() {
            return Err(Error::other("the switch passes no frames any more"));
        }
        *lock(&self.qualities) = qualities;
        Ok(())
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(qualities: &Qualities) -> std::sync::MutexGuard<'_, BTreeMap<Pair, Quality>> {
    qualities.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Frames that wait, by when they are due and in which order they came.
type Waiting = BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>;

async fn serve(tun: Tun, qualities: Qualities) {
    let mut random = StdRng::seed_from_u64(1);
    let mut waiting = Waiting::new();
    let mut latest: BTreeMap<Pair, Instant> = BTreeMap::new();
    let (mut buffer, mut count) = (vec![0; FRAME_MAX], 0);
    loop {
        let due = waiting.peek().map(|Reverse((due, ..))| *due);
        tokio::select! {
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some(Reverse((_, _, frame))) = waiting.pop() {
                    // A port that is going away is no reason to stop.
                    let _ = tun.send(&frame).await;
                }
            }
            read = tun.recv(&mut buffer) => {
                let Ok(length) = read else { return };
                let frame = buffer.get(..length).unwrap_or_default();
                let pair = pair(frame);
                let quality = pair.and_then(|pair| lock(&qualities).get(&pair).copied());
                let quality = quality.unwrap_or_default();
                if waiting.len() >= WAITING_MAX || random.random_bool(quality.loss) {
                    continue;
                }
                let copies = 1 + u32::from(random.random_bool(quality.duplicate));
                for _ in 0..copies {
                    let mut due = Instant::now() + quality.delay;
                    due += quality.jitter.mul_f64(random.random());
                    if random.random_bool(quality.reorder) {
                        due += Duration::from_millis(random.random_range(1..20));
                    } else if let Some(pair) = pair {
                        let last = latest.entry(pair).or_insert(due);
                        due = due.max(*last);
                        *last = due;
                    }
                    count += 1;
                    waiting.push(Reverse((due, count, frame.to_vec())));
                }
            }
        }
    }
}

/// From whom and to whom a frame with an IPv4 packet is.
fn pair(frame: &[u8]) -> Option<Pair> {
    let is_ipv4 = frame.get(12..14) == Some(&[8, 0]);
    let address = |at: usize| <[u8; 4]>::try_from(frame.get(at..at + 4)?).ok();
    let (from, to) = (address(26)?, address(30)?);
    is_ipv4.then(|| (Ipv4Addr::from(from), Ipv4Addr::from(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_from_whom_and_to_whom() {
        let mut frame = vec![0; 60];
        frame[12] = 8;
        frame[26..30].copy_from_slice(&[10, 77, 0, 1]);
        frame[30..34].copy_from_slice(&[10, 77, 0, 2]);
        let (from, to) = (Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2));
        assert_eq!(pair(&frame), Some((from, to)));
        assert_eq!(pair(&frame[..33]), None);
        frame[13] = 6;
        assert_eq!(pair(&frame), None, "that is ARP");
    }
}
