#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised fails"
)]

use super::*;
use crate::env::{SeededRandom, Timestamp};

const INTERVAL: Duration = Duration::from_secs(1);

fn n(node: u32) -> NodeId {
    NodeId(node)
}

fn named(node: u32) -> NodeAddress {
    NodeAddress {
        node: n(node),
        key: NodeKey(u128::from(node)),
        address: format!("n{node}:1"),
    }
}

fn list(nodes: &[u32]) -> PeerList {
    PeerList {
        version: 7,
        peers: nodes.iter().copied().map(named).collect(),
    }
}

fn table(now: Instant, us: u32, nodes: &[u32]) -> Table {
    let mut table = Table::new(named(us).address, 100);
    table.list(now, n(us), list(nodes));
    table
}

fn record(node: u32, version: u64) -> PeerRecord {
    PeerRecord {
        node: n(node),
        version,
        address: named(node).address,
        streams: 0,
        masters: Sighting::default(),
    }
}

fn told(by: u32, records: Vec<PeerRecord>) -> Gossip {
    Gossip {
        node: n(by),
        records,
    }
}

/// Each tells one other, drawn by lot, and is answered, as long as `may_talk` lets them.
fn gossip(
    tables: &mut [Table],
    now: Instant,
    random: &SeededRandom,
    may_talk: impl Fn(NodeId, NodeId) -> bool,
) {
    for at in 0..tables.len() {
        tables[at].begin(0);
        let us = tables[at].own.node;
        let Some(to) = tables[at].draw(random).filter(|to| may_talk(us, *to)) else {
            continue;
        };
        let other = tables.iter().position(|t| t.own.node == to).unwrap();
        let said = tables[at].tell(random);
        tables[other].hear(now, said);
        let answer = tables[other].tell(random);
        tables[at].hear(now, answer);
    }
}

#[test]
fn all_hear_of_all_in_a_few_rounds() {
    let (now, random) = (Instant::now(), SeededRandom::new(1));
    let all: Vec<u32> = (1..=40).collect();
    let mut tables: Vec<Table> = all.iter().map(|us| table(now, *us, &all)).collect();
    let knows_all = |t: &Table| t.peers.values().all(|peer| peer.record.is_some());
    let mut rounds = 0;
    while !tables.iter().all(knows_all) {
        gossip(&mut tables, now, &random, |_, _| true);
        rounds += 1;
        assert!(rounds < 12, "they do not hear of each other");
    }
}

#[test]
fn one_that_nobody_hears_is_held_for_down_by_all_and_those_that_some_hear_by_none() {
    let (start, random) = (Instant::now(), SeededRandom::new(2));
    let all: Vec<u32> = (1..=9).collect();
    let mut tables: Vec<Table> = all.iter().map(|us| table(start, *us, &all)).collect();
    // 9 is gone; 1 and 2 cannot talk to each other, but to the rest.
    let may_talk = |a: NodeId, b: NodeId| {
        let pair = [a.min(b), a.max(b)];
        b != n(9) && a != n(9) && pair != [n(1), n(2)]
    };
    for round in 1..=60 {
        let now = start + INTERVAL * round;
        gossip(&mut tables, now, &random, may_talk);
        for table in tables.iter().take(8) {
            let expected = if round < 8 { vec![] } else { vec![n(9)] };
            assert_eq!(table.down(now, INTERVAL), expected, "round {round}");
        }
    }
}

#[test]
fn who_hears_nobody_accuses_nobody() {
    let start = Instant::now();
    let table = table(start, 1, &[1, 2, 3, 4]);
    assert_eq!(table.down(start + INTERVAL * 100, INTERVAL), []);
}

#[test]
fn who_is_not_on_the_list_of_the_masters_is_not_kept_nor_passed_on() {
    let (now, random) = (Instant::now(), SeededRandom::new(3));
    let mut table = table(now, 1, &[1, 2, 3]);
    table.hear(now, told(2, vec![record(2, 5), record(3, 5), record(9, 5)]));
    let named = |table: &Table| {
        let mut nodes: Vec<u32> = table
            .tell(&random)
            .records
            .iter()
            .map(|r| r.node.0)
            .collect();
        nodes.sort_unstable();
        nodes
    };
    assert_eq!(named(&table), [1, 2, 3]);
    // It is removed, and somebody has not heard of it yet.
    table.list(now, n(1), list(&[1, 2]));
    table.hear(now, told(2, vec![record(3, 6)]));
    assert_eq!(named(&table), [1, 2]);
    assert!(table.knows(n(2), Some(NodeKey(2))) && table.knows(n(2), None));
    assert!(!table.knows(n(2), Some(NodeKey(3))) && !table.knows(n(3), None));
}

#[test]
fn of_what_is_told_of_a_node_the_newest_counts_and_the_node_knows_best() {
    let (now, random) = (Instant::now(), SeededRandom::new(4));
    let mut table = table(now, 1, &[1, 2, 3]);
    let moved = |version, address: &str| PeerRecord {
        address: address.to_owned(),
        ..record(2, version)
    };
    table.hear(now, told(3, vec![moved(5, "new:1")]));
    table.hear(now, told(3, vec![moved(4, "old:1")]));
    let addresses: Vec<String> = table
        .addresses(n(2))
        .into_iter()
        .map(|a| a.address)
        .collect();
    assert_eq!(addresses, ["n2:1", "new:1"]);
    // Another key is another node, which has told nothing.
    let mut other = list(&[1, 2, 3]);
    other.peers[1].key = NodeKey(99);
    table.list(now, n(1), other);
    assert_eq!(table.addresses(n(2)).len(), 1);
    table.hear(now, told(3, vec![record(1, 900)]));
    assert_eq!(table.tell(&random).records[0].version, 901);
    table.hear(now, told(3, vec![record(1, u64::MAX)]));
    table.begin(0);
    assert_eq!(table.tell(&random).records[0].version, u64::MAX);
}

#[test]
fn a_forged_record_does_not_hide_that_a_node_lives() {
    let start = Instant::now();
    let mut table = table(start, 1, &[1, 2, 3]);
    table.hear(start, told(3, vec![record(2, u64::MAX)]));
    let mut down = Vec::new();
    for round in 1..=20 {
        let now = start + INTERVAL * round;
        table.hear(now, told(2, vec![record(2, u64::from(round))]));
        table.hear(now, told(3, vec![record(3, u64::from(round))]));
        down.extend(table.down(now, INTERVAL));
    }
    assert_eq!(down, []);
}

#[test]
fn the_newest_sighting_of_masters_is_tried_first_and_a_lie_hides_none() {
    let now = Instant::now();
    let mut table = table(now, 1, &[1, 2, 3, 4]);
    let saw = |node, at, addresses: &[&str]| PeerRecord {
        masters: Sighting {
            at: Timestamp(at),
            addresses: addresses.iter().map(|a| (*a).to_owned()).collect(),
        },
        ..record(node, 1)
    };
    table.sight(saw(1, 5, &["a:1"]).masters);
    table.sight(saw(1, 4, &["z:1"]).masters);
    table.hear(now, told(2, vec![saw(2, 7, &["c:1", "a:1"])]));
    table.hear(now, told(3, vec![saw(3, 6, &["b:1"])]));
    assert_eq!(table.rumors(), ["c:1", "a:1", "b:1"]);
    table.hear(now, told(4, vec![saw(4, u64::MAX, &["lie:1"])]));
    assert_eq!(table.rumors(), ["lie:1", "c:1", "a:1", "b:1"]);
    table.suggest(vec!["a:1".to_owned(), "d:1".to_owned()]);
    assert_eq!(table.rumors(), ["lie:1", "c:1", "a:1", "b:1", "d:1"]);
}

#[test]
fn a_message_has_room_for_some_of_many_and_patience_is_longer_for_it() {
    let (now, random) = (Instant::now(), SeededRandom::new(5));
    let all: Vec<u32> = (1..=300).collect();
    let mut table = table(now, 1, &all);
    for node in 2..=300 {
        table.hear(now, told(node, vec![record(node, 1)]));
    }
    let said = table.tell(&random);
    assert_eq!(said.records.len(), RECORDS_MAX);
    assert_eq!(said.validate(), Ok(()));
    let nodes: std::collections::BTreeSet<_> = said.records.iter().map(|r| r.node).collect();
    assert_eq!(nodes.len(), RECORDS_MAX);
    let many = (0..50).flat_map(|_| table.tell(&random).records);
    let nodes: std::collections::BTreeSet<_> = many.map(|r| r.node).collect();
    assert_eq!(nodes.len(), 300, "each has its turn");
    assert_eq!(table.patience(INTERVAL), INTERVAL * 8 * 5);
}

#[test]
fn of_those_that_have_a_chunk_the_idle_are_asked_before_the_busy_and_the_down_last() {
    let begun = Instant::now();
    let mut ours = table(begun, 1, &[1, 2, 3, 4, 5, 6]);
    let now = begun + ours.patience(INTERVAL);
    let busy = |node, streams| PeerRecord {
        streams,
        ..record(node, 1)
    };
    let records = vec![busy(2, 16), busy(3, 8), busy(4, 3), busy(5, 0)];
    ours.hear(now, told(2, records));
    let sorted = |nodes: &[u32]| {
        let mut places: Vec<NodeAddress> = nodes.iter().copied().map(named).collect();
        ours.sort(now, INTERVAL, &mut places);
        places.iter().map(|place| place.node.0).collect::<Vec<_>>()
    };
    assert_eq!(sorted(&[6, 2, 3, 4, 5]), [4, 5, 3, 2, 6]);
    assert_eq!(sorted(&[5, 4]), [5, 4], "both have little to do");
}
