//! Erasure-coded files are read as cheaply as can be while members of their stripes are lost.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::time::sleep;

use super::node::{DataNode, Mood};
use super::{Client, World, pattern};
use crate::client::Budgets;
use crate::proto::erasure;
use crate::types::limits::BLOCK_LEN;
use crate::types::stripe::{Code, StripeMember, StripeShape};
use crate::types::{ChunkId, NodeId, Query, StripeLayout};

const MIB: usize = 1 << 20;
const SHAPE: StripeShape = StripeShape { data: 4, parity: 2 };
/// Data nodes: one for each member, and two more.
const NODES: u32 = 8;
/// The file in stripes.
const FILE: &str = "/coded";

/// A world with data nodes for stripes, and a file of two of them: the first with members of
/// `shard` bytes, the second shorter. Gives its bytes too.
async fn world(shard: usize) -> (World, Bytes) {
    let mut world = World::start().await;
    for id in 5..=NODES {
        let node = DataNode::start(&world.network, id, &world.nodes).await;
        world.group().nodes.push(node.address.clone());
        world._data_nodes.push(node);
    }
    let first = SHAPE.data() * shard;
    let bytes = pattern(first + 3 * shard + 1);
    let stripes = [(1000, bytes.slice(..first)), (2000, bytes.slice(first..))];
    let stripes = stripes.map(|(chunk, bytes)| stripe(&world, chunk, bytes));
    world.group().put_stripes(FILE, stripes.to_vec());
    (world, bytes)
}

/// Stores a stripe: member `i` on data node `i + 1`.
fn stripe(world: &World, first: u64, bytes: Bytes) -> StripeLayout {
    let shard_length = SHAPE.shard_length_of(bytes.len() as u64);
    let members = erasure::members(Code::Leopard16, SHAPE, shard_length, [bytes]).unwrap();
    let stored = members.into_iter().enumerate().map(|(i, member)| {
        let (chunk, node) = (ChunkId(first + i as u64), NodeId(i as u32 + 1));
        let length = member.bytes.len() as u64;
        let bytes = member.bytes.clone();
        world.nodes().replicas.insert((node, chunk), bytes);
        StripeMember {
            chunk,
            length,
            checksum: member.checksum,
            replicas: vec![node],
        }
    });
    StripeLayout {
        code: Code::Leopard16,
        shape: SHAPE,
        shard_length,
        members: stored.collect(),
    }
}

fn lose(world: &World, nodes: &[u32]) {
    nodes.iter().for_each(|node| world.mood(*node, Mood::Down));
}

/// The bytes that data nodes were asked for since the last time, and in how many reads.
fn asked(world: &World) -> (u64, usize) {
    let reads = std::mem::take(&mut world.nodes().reads);
    let bytes = reads.iter().map(|(_, read)| read.range.length).sum();
    (bytes, reads.len())
}

/// How often a layout was asked for since the last time.
fn layouts(world: &World) -> usize {
    let queries = std::mem::take(&mut world.group().queries);
    let layouts = queries.iter().filter(|q| matches!(q, Query::Layout { .. }));
    layouts.count()
}

async fn client_with(world: &World, read_bytes: usize) -> Client {
    let mut config = world.client().await.config().clone();
    config.budgets = Budgets {
        write_bytes: MIB as u64,
        read_bytes: read_bytes as u64,
    };
    Client::connect(config, world.network.env()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_column_of_a_stripe_is_read_once_however_much_of_it_is_lost() {
    let shard = MIB;
    let (world, bytes) = world(shard).await;
    // Each of both stripes gives its data for as many bytes as its data has, or as its members.
    let second: u64 = world.group().stripes[1].shard_length;
    let least = (SHAPE.data() as u64) * (shard as u64 + second);
    for lost in [&[1][..], &[4], &[1, 2], &[2, 4], &[1, 4], &[3, 5]] {
        (1..=NODES).for_each(|node| world.mood(node, Mood::Good));
        lose(&world, lost);
        let client = world.client().await;
        client.read(FILE).await.unwrap();
        asked(&world);

        assert!(client.read(FILE).await.unwrap() == bytes, "{lost:?}");

        let (read, _) = asked(&world);
        assert!(read <= least, "{read} of {least} bytes without {lost:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_knows_of_no_loss_finds_out_once_and_then_reads_no_more_than_it_must() {
    let shard = 4 * MIB;
    let (world, bytes) = world(shard).await;
    lose(&world, &[1, 2]);
    let client = world.client().await;

    assert!(client.read(FILE).await.unwrap() == bytes);

    let (read, _) = asked(&world);
    // What was under way from others when the first loss was found out may be read again.
    let ahead = 8 * MIB as u64;
    let must = (SHAPE.data() * shard) as u64 + 4 * world.group().stripes[1].shard_length;
    assert!(read <= must + ahead, "{read} of {must} bytes");
}

#[tokio::test(start_paused = true)]
async fn a_short_range_of_a_lost_member_is_made_of_as_short_ranges_of_others() {
    let (world, bytes) = world(MIB).await;
    lose(&world, &[1, 2]);
    let client = world.client().await;
    client.read(FILE).await.unwrap();
    asked(&world);

    let at = MIB + 3 * BLOCK_LEN + 17;
    let part = client.read_at(FILE, at as u64, 1000).await.unwrap();

    assert!(part == bytes[at..at + 1000]);
    assert_eq!(asked(&world), (4 * BLOCK_LEN as u64, 4));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_the_same_whichever_members_are_lost_and_whatever_is_read() {
    let (world, bytes) = world(3 * BLOCK_LEN + 64).await;
    let end = bytes.len();
    let ranges = [
        (0, end),
        (1, end - 1),
        (70_000, 500_000),
        (200_000, 900_001),
        (end - 300_000, end),
    ];
    for first in 1..=6 {
        for second in first..=6 {
            (1..=NODES).for_each(|node| world.mood(node, Mood::Good));
            lose(&world, &[first, second]);
            for read_bytes in [64 * MIB, MIB] {
                let client = client_with(&world, read_bytes).await;
                for (from, to) in ranges {
                    let read = client.read_at(FILE, from as u64, (to - from) as u64);
                    let read = read.await.unwrap();
                    assert!(read == bytes[from..to], "{from}..{to}: {first} {second}");
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stripe_with_too_little_left_gives_what_is_there_and_an_error() {
    let (world, bytes) = world(MIB).await;
    lose(&world, &[1, 2, 3]);
    let mut config = world.client().await.config().clone();
    config.deadlines.operation = Duration::from_secs(3);
    let client = Client::connect(config, world.network.env()).await.unwrap();

    let error = client.read(FILE).await.unwrap_err();
    let there = client.read_at(FILE, 3 * MIB as u64, MIB as u64).await;

    assert!(error.is_retryable(), "{error}");
    assert!(there.unwrap() == bytes[3 * MIB..4 * MIB]);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_turn_takes_of_the_budget_and_gives_it_back() {
    let (world, bytes) = world(4 * MIB).await;
    lose(&world, &[1]);
    let client = client_with(&world, 8 * MIB).await;
    let budgets = [&client.inner.read_budget, &client.inner.aside_budget];
    let is_all_there = || budgets.map(|budget| budget.try_take(budget.total()).is_some());
    client.read_at(FILE, 0, 1).await.unwrap();
    assert_eq!(is_all_there(), [true, true]);

    let mut file = client.open(FILE).await.unwrap();
    let mut begin = vec![0; 100];
    file.read_exact(&mut begin).await.unwrap();
    sleep(Duration::from_secs(1)).await;

    assert_eq!(is_all_there(), [false, false]);
    let mut rest = Vec::new();
    file.read_to_end(&mut rest).await.unwrap();
    assert!(begin == bytes[..100] && rest == bytes[100..]);
    drop(file);
    assert_eq!(is_all_there(), [true, true]);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_was_made_again_elsewhere_is_read_there_by_who_knew_it_lost() {
    let (world, bytes) = world(MIB).await;
    let client = world.client().await;
    let mut file = client.open(FILE).await.unwrap();
    lose(&world, &[1]);
    assert!(file.read_at(0, 1000).await.unwrap() == bytes[..1000]);
    {
        let [first, second] = [1000, 2000].map(ChunkId);
        for chunk in [first, second] {
            let replica = world.nodes().replicas[&(NodeId(1), chunk)].clone();
            world.nodes().replicas.insert((NodeId(7), chunk), replica);
            world.group().repaired(chunk, NodeId(7));
        }
    }
    sleep(Duration::from_secs(11)).await;

    assert!(file.read_at(0, 1000).await.unwrap() == bytes[..1000]);
    sleep(Duration::from_millis(100)).await;
    let (before, _) = (client.decoded(), asked(&world));
    assert!(file.read_at(0, 1000).await.unwrap() == bytes[..1000]);

    assert_eq!(client.decoded(), before);
    let reads = world.nodes().reads.clone();
    assert!(
        reads.iter().all(|(node, _)| *node == NodeId(7)),
        "{reads:?}"
    );
    let mut all = Vec::new();
    file.read_to_end(&mut all).await.unwrap();
    assert!(all == bytes);
    assert_eq!(client.decoded(), before);
}

#[tokio::test(start_paused = true)]
async fn a_reader_under_way_goes_on_by_the_layout_that_came_meanwhile() {
    let (world, bytes) = world(4 * MIB).await;
    lose(&world, &[1]);
    let client = client_with(&world, 2 * MIB).await;
    let mut file = client.open(FILE).await.unwrap();
    let chunk = ChunkId(1000);
    let replica = world.nodes().replicas[&(NodeId(1), chunk)].clone();
    world.nodes().replicas.insert((NodeId(7), chunk), replica);
    let mut read = vec![0; MIB];
    file.read_exact(&mut read).await.unwrap();
    world.group().repaired(chunk, NodeId(7));
    sleep(Duration::from_secs(11)).await;
    asked(&world);

    file.read_to_end(&mut read).await.unwrap();

    assert!(read == bytes);
    let reads = world.nodes().reads.clone();
    let there: u64 = reads
        .iter()
        .filter(|(node, _)| *node == NodeId(7))
        .map(|(_, read)| read.range.length)
        .sum();
    assert!(there > MIB as u64, "{there} bytes where it is now");
}

#[tokio::test(start_paused = true)]
async fn a_layout_is_asked_for_once_in_a_while_and_not_by_every_read() {
    let (world, bytes) = world(MIB).await;
    lose(&world, &[2]);
    let client = world.client().await;
    let file = client.open(FILE).await.unwrap();
    layouts(&world);

    for _ in 0..600 {
        let read = file.read_at(MIB as u64, 10).await.unwrap();
        assert!(read == bytes[MIB..MIB + 10]);
        sleep(Duration::from_millis(100)).await;
    }

    let asked = layouts(&world);
    assert!((4..=6).contains(&asked), "{asked} times in a minute");
}

#[tokio::test(start_paused = true)]
async fn while_no_master_answers_members_are_made_by_the_old_layout() {
    let (mut world, bytes) = world(MIB).await;
    let client = world.client().await;
    let mut file = client.open(FILE).await.unwrap();
    file.read_at(0, 7 * MIB as u64).await.unwrap();
    lose(&world, &[1, 2]);
    world.masters.clear();

    for _ in 0..90 {
        let read = file.read_at(0, 3000).await.unwrap();
        assert!(read == bytes[..3000]);
        sleep(Duration::from_secs(1)).await;
    }
    let mut all = Vec::new();
    file.read_to_end(&mut all).await.unwrap();
    assert!(all == bytes);
}
