//! Those who are nobody yet: who have not said what they want, have only a key, or have shown no
//! permit.
//!
//! They are few, of one source and in all. Who comes when it is full takes the place of the one
//! that has waited longest, of its own source if that has too many. So nobody who waits for
//! nothing keeps others out, and who is many from one place keeps out itself alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Where an address `host:port` is: all ports of a host are one source, and so are all addresses
/// of a network of IPv6, of which whoever has one has 2^64.
pub(crate) fn source_of(address: &str) -> String {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let parsed = address.parse().map(|address: SocketAddr| address.ip());
    match parsed.map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => format!("{}/64", Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Err(_) => host.to_owned(),
    }
}

/// A bounded number of connections, of which the oldest give way.
#[derive(Debug)]
pub(crate) struct Lobby {
    most: usize,
    most_of_source: usize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    by_age: BTreeMap<u64, (String, CancellationToken)>,
}

/// One who waits. Dropping it leaves the lobby.
#[derive(Debug)]
pub(crate) struct Visitor<'a> {
    lobby: &'a Lobby,
    turn: u64,
    gone: CancellationToken,
}

impl Lobby {
    /// For so many, and so many of one source.
    pub(crate) fn new(most: usize, most_of_source: usize) -> Lobby {
        Lobby {
            most: most.max(1),
            most_of_source: most_of_source.max(1),
            waiting: Mutex::default(),
        }
    }

    /// Lets one in, from an address.
    pub(crate) fn enter(&self, address: &str) -> Visitor<'_> {
        let source = source_of(address);
        let mut waiting = self.lock();
        let of_source = waiting
            .by_age
            .iter()
            .filter(|(_, (from, _))| *from == source);
        let oldest_of_source = of_source.clone().next().map(|(turn, _)| *turn);
        let crowded = of_source.count() >= self.most_of_source;
        let full = waiting.by_age.len() >= self.most;
        let oldest = waiting.by_age.keys().next().copied();
        let gives_way = oldest_of_source
            .filter(|_| crowded)
            .or(oldest.filter(|_| full));
        if let Some((_, gone)) = gives_way.and_then(|turn| waiting.by_age.remove(&turn)) {
            gone.cancel();
        }
        let (turn, gone) = (waiting.next, CancellationToken::new());
        waiting.next += 1;
        let entry = (source, gone.clone());
        waiting.by_age.insert(turn, entry);
        Visitor {
            lobby: self,
            turn,
            gone,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Visitor<'_> {
    /// Returns when its place is another's.
    pub(crate) async fn gives_way(&self) {
        self.gone.cancelled().await;
    }
}

impl Drop for Visitor<'_> {
    fn drop(&mut self) {
        self.lobby.lock().by_age.remove(&self.turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_source_and_a_network_of_ipv6_too() {
        for (address, source) in [
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1"),
            ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
            ("[2001:db8:1:2::9]:81", "2001:db8:1:2::/64"),
            ("[2001:db8:1:3::9]:81", "2001:db8:1:3::/64"),
            ("m1:80", "m1"),
        ] {
            assert_eq!(source_of(address), source);
        }
    }

    #[test]
    fn who_is_many_from_one_place_gives_way_to_itself() {
        let lobby = Lobby::new(4, 2);
        let other = lobby.enter("10.0.0.1:1");
        let many: Vec<_> = (0..9)
            .map(|n| lobby.enter(&format!("[2001:db8::{n}]:{n}")))
            .collect();
        assert!(!other.gone.is_cancelled());
        let gone: Vec<bool> = many.iter().map(|one| one.gone.is_cancelled()).collect();
        assert_eq!(
            gone,
            [true, true, true, true, true, true, true, false, false]
        );
    }

    #[test]
    fn the_oldest_gives_way_when_it_is_full_and_who_leaves_makes_room() {
        let lobby = Lobby::new(2, 2);
        let (first, second) = (lobby.enter("a:1"), lobby.enter("b:1"));
        let third = lobby.enter("c:1");
        assert!(first.gone.is_cancelled() && !second.gone.is_cancelled());
        drop(third);
        let _fourth = lobby.enter("d:1");
        assert!(!second.gone.is_cancelled());
    }
}
