//! A snapshot is what a directory was at a moment, bit by bit, and takes nothing with it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_core::client::Client;
use dfs_core::cluster::{Cluster, Part};
use dfs_core::error::ErrorKind;
use dfs_core::types::acl::{AclKind, Named};
use dfs_core::types::attr::SetTime;
use dfs_core::types::change::Removal;
use dfs_core::types::limits::CHUNK_SIZE_MIN;
use dfs_core::types::quota::Limits;
use dfs_core::types::{
    Acl, Attr, DfsPath, FileKind, GroupId, Mode, Name, PolicyChange, RefusalKind, Rights,
    Timestamp, UserId,
};
use dfs_evidence::checkers::of_all;
use dfs_evidence::history::Recorder;
use dfs_evidence::workloads::{Snapshots, Worker, Workload};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{MIB, TestResult, bytes_on_disk, directory, eventually, impatient, pattern, shifted};

type Error = Box<dyn std::error::Error>;

fn name(text: &str) -> Result<Name, Error> {
    Ok(Name::new(text)?)
}

/// Makes a snapshot, waiting until the directory was gone through.
async fn snapshot(client: &Client, path: &str, called: &str) -> Result<Attr, Error> {
    client.prepare_snapshots(path).await?;
    let called = name(called)?;
    loop {
        match client.make_snapshot(path, &called).await {
            Err(error) if error.refusal().map(|r| r.kind) == Some(RefusalKind::Busy) => {
                sleep(Duration::from_millis(10)).await;
            }
            made => return Ok(made?),
        }
    }
}

/// What there is to say of something: all of it, but when its attributes were changed.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    kind: FileKind,
    mode: Mode,
    owner: (UserId, GroupId),
    links: u32,
    modified: Timestamp,
    contents: Vec<u8>,
    lists: [Option<Acl>; 2],
}

/// All below a directory, by path from there.
async fn tree(client: &Client, top: &str) -> Result<BTreeMap<String, Seen>, Error> {
    let mut found = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(path) = todo.pop() {
        let at = format!("{top}{path}");
        let attr = client.symlink_metadata(&at).await?;
        let contents = match attr.kind {
            FileKind::File => client.read(&at).await?.to_vec(),
            FileKind::Symlink => client.read_link(&at).await?.into_bytes(),
            FileKind::Directory => {
                let mut listing = client.read_dir(&at).await?;
                while let Some(entry) = listing.next_entry().await? {
                    todo.push(format!("{path}/{}", entry.name));
                }
                Vec::new()
            }
        };
        let lists = match attr.kind {
            FileKind::Symlink => [None, None],
            FileKind::File => [client.acl(&at, AclKind::Access).await?, None],
            FileKind::Directory => [
                client.acl(&at, AclKind::Access).await?,
                client.acl(&at, AclKind::Default).await?,
            ],
        };
        let seen = Seen {
            kind: attr.kind,
            mode: attr.mode,
            owner: (attr.owner, attr.group),
            links: attr.links,
            modified: attr.modified,
            contents,
            lists,
        };
        found.insert(path, seen);
    }
    Ok(found)
}

/// Fails with the first difference instead of megabytes of both.
fn same(found: &BTreeMap<String, Seen>, expected: &BTreeMap<String, Seen>) {
    let paths = |tree: &BTreeMap<String, Seen>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(found), paths(expected));
    for (path, seen) in found {
        let expected = &expected[path];
        assert!(seen.contents == expected.contents, "{path} has other bytes");
        let bare = |seen: &Seen| Seen {
            contents: Vec::new(),
            ..seen.clone()
        };
        assert_eq!(bare(seen), bare(expected), "{path}");
    }
}

/// A tree of all there can be: small and large files, copies and stripes, links, lists.
async fn plant(client: &Client) -> TestResult {
    client.create_dir_all("/d/deep/deeper").await?;
    client.create_dir("/d/coded").await?;
    let coded = PolicyChange {
        ec: Some("2+1".parse()?),
        chunk_size: Some(CHUNK_SIZE_MIN * 4),
        ..PolicyChange::default()
    };
    client.set_policy("/d/coded", coded).await?;
    let small_chunks = PolicyChange {
        chunk_size: Some(CHUNK_SIZE_MIN),
        ..PolicyChange::default()
    };
    client.set_policy("/d/deep/deeper", small_chunks).await?;
    client.write("/d/empty", Vec::new()).await?;
    client.write("/d/tiny", "tiny").await?;
    client.write("/d/large", pattern(3 * MIB + 7)).await?;
    client.write("/d/coded/stripe", pattern(MIB + 13)).await?;
    client.write("/d/coded/short", pattern(70_000)).await?;
    // More chunks than one command clones.
    let many = pattern(280 * CHUNK_SIZE_MIN as usize);
    client.write("/d/deep/deeper/many", many).await?;
    client.write("/d/deep/gone", pattern(MIB)).await?;
    client.symlink("../tiny", "/d/deep/link").await?;
    client.hard_link("/d/tiny", "/d/deep/tiny").await?;
    let list = Acl {
        named: Named {
            users: vec![(UserId(1007), Rights::READ)],
            groups: Vec::new(),
        },
        mask: Some(Rights::READ),
        ..Acl::of_mode(Mode::new(0o640))
    };
    client
        .set_acl("/d/large", AclKind::Access, Some(list.clone()))
        .await?;
    client
        .set_acl("/d/deep", AclKind::Default, Some(list))
        .await?;
    client
        .set_permissions("/d/coded", Mode::new(0o2750))
        .await?;
    client
        .set_owner("/d/coded/short", Some(UserId(1007)), Some(GroupId(1008)))
        .await?;
    let then = Some(SetTime::At(Timestamp(1_234_567_890_000_000)));
    client.set_times("/d/deep/gone", then, then).await?;
    client.set_times("/d/deep", then, then).await?;
    Ok(())
}

/// Changes, moves or removes all of it.
async fn ruin(client: &Client) -> TestResult {
    client.write_at("/d/large", 1000, vec![9; 100_000]).await?;
    client.truncate("/d/large", 2 * MIB as u64).await?;
    client.append("/d/tiny", pattern(MIB)).await?;
    client.write("/d/empty", "not any more").await?;
    client.create_dir("/elsewhere").await?;
    client.rename("/d/coded", "/elsewhere/coded").await?;
    client
        .append("/elsewhere/coded/stripe", pattern(MIB))
        .await?;
    client.remove("/elsewhere", Removal::Tree, true).await?;
    client.set_acl("/d/large", AclKind::Access, None).await?;
    client.clone_file("/d/deep/gone", "/d/clone", false).await?;
    client.write("/d/tail", pattern(100_000)).await?;
    client
        .concat("/d/deep/gone", ["/d/tail", "/d/clone"])
        .await?;
    client.remove_file("/d/deep/tiny").await?;
    if let Some(trash) = client.remove_dir_all("/d/deep").await? {
        client.drop_trash(trash).await?;
    }
    client.create_dir("/d/deep").await?;
    client.write("/d/deep/link", "no link").await?;
    client.set_permissions("/d", Mode::new(0o700)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_bit_by_bit_what_was_there_whatever_becomes_of_it() -> TestResult {
    let (directory, (env, clock)) = (directory(), shifted());
    let cluster = impatient().env(env).data_nodes(4).start(&directory).await?;
    let client = cluster.client().await?;
    plant(&client).await?;
    let then = tree(&client, "/d").await?;
    snapshot(&client, "/d", "then").await?;

    ruin(&client).await?;
    let now = tree(&client, "/d").await?;
    snapshot(&client, "/d", "now").await?;
    client.write("/d/tiny", "other").await?;
    same(&tree(&client, "/d/.snapshots/then").await?, &then);
    same(&tree(&client, "/d/.snapshots/now").await?, &now);
    cluster.check().await?;

    // All masters and data nodes are other processes afterwards.
    for part in (0..cluster.masters()).map(Part::Master) {
        cluster.faults().crash(part).await.restart().await?;
    }
    for part in (0..cluster.data_nodes()).map(Part::DataNode) {
        cluster.faults().crash(part).await.restart().await?;
    }
    same(&tree(&client, "/d/.snapshots/then").await?, &then);

    client.remove_snapshot("/d", &name("then")?).await?;
    same(&tree(&client, "/d/.snapshots/now").await?, &now);
    client.remove_snapshot("/d", &name("now")?).await?;
    client.remove("/d", Removal::Tree, true).await?;
    let mut trash = client.list_trash().await?;
    while let Some(item) = trash.next_entry().await? {
        client.drop_trash(item.trash).await?;
    }
    eventually("the map is empty", async || {
        Ok(client.status().await?.chunks.total == 0)
    })
    .await?;
    eventually("the disks are empty", async || {
        clock.put_forward(Duration::from_secs(30));
        Ok(bytes_on_disk(&cluster)? == 0)
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_restored_whole_and_keeps_its_snapshots() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().data_nodes(4).start(&directory).await?;
    let client = cluster.client().await?;
    plant(&client).await?;
    let then = tree(&client, "/d").await?;
    snapshot(&client, "/d", "then").await?;
    ruin(&client).await?;
    let ruined = tree(&client, "/d").await?;
    let path: DfsPath = "/d".parse()?;

    let beside: DfsPath = "/beside".parse()?;
    let restored = client
        .restore_snapshot(&path, &name("then")?, Some(&beside))
        .await?;
    assert_eq!(
        (restored.files, restored.directories, restored.links),
        (8, 3, 1)
    );
    assert_eq!(restored.replaced, None);
    same(&tree(&client, "/beside").await?, &then);
    same(&tree(&client, "/d").await?, &ruined);
    let again = client
        .restore_snapshot(&path, &name("then")?, Some(&beside))
        .await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Exists);

    let restored = client.restore_snapshot(&path, &name("then")?, None).await?;
    same(&tree(&client, "/d").await?, &then);
    let listed = client.snapshots("/d").await?;
    assert_eq!(listed.len(), 1);
    same(&tree(&client, "/d/.snapshots/then").await?, &then);
    let trash = restored.replaced.ok_or("what was there is nowhere")?;
    client.restore(trash, Some("/was")).await?;
    same(&tree(&client, "/was").await?, &ruined);
    // The restored files are files like others.
    client.append("/d/large", "more").await?;
    client.remove_snapshot("/d", &name("then")?).await?;
    client.remove("/was", Removal::Tree, true).await?;
    assert_eq!(client.read("/beside/large").await?, pattern(3 * MIB + 7));
    let left = client.read_dir_names("/").await?;
    assert!(!format!("{left:?}").contains("restore"));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_does_not_fit_its_quota_changes_and_leaves_nothing() -> TestResult {
    let directory = directory();
    let cluster = Cluster::builder().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_dir_all("/q/d").await?;
    for n in 0..5 {
        client.write(&format!("/q/d/f{n}"), pattern(MIB)).await?;
    }
    snapshot(&client, "/q/d", "full").await?;
    for n in 0..5 {
        let path = format!("/q/d/f{n}");
        client.remove(&path, Removal::File, true).await?;
    }
    let limits = Limits {
        bytes: Some(3 * MIB as u64),
        inodes: None,
    };
    client.set_quota("/q", limits, false).await?;
    let before = tree(&client, "/q").await?;

    let path: DfsPath = "/q/d".parse()?;
    let refused = client.restore_snapshot(&path, &name("full")?, None).await;

    assert_eq!(refused.unwrap_err().kind(), ErrorKind::OutOfSpace);
    let after = tree(&client, "/q").await?;
    assert_eq!(
        after.keys().collect::<Vec<_>>(),
        before.keys().collect::<Vec<_>>()
    );
    client.remove_quota("/q").await?;
    client.set_quota("/q/d", limits, false).await?;
    let refused = client.restore_snapshot(&path, &name("full")?, None).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::OutOfSpace);
    client.remove_quota("/q/d").await?;
    client.restore_snapshot(&path, &name("full")?, None).await?;
    assert_eq!(client.read("/q/d/f4").await?, pattern(MIB));
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_removed_in_steps_though_the_leader_is_lost_meanwhile() -> TestResult {
    const FILES: usize = 500;
    let directory = directory();
    let cluster = impatient().start(&directory).await?;
    let client = cluster.client().await?;
    client.create_dir("/d").await?;
    let fill = async |what: &str| -> TestResult {
        for part in 0..FILES / 50 {
            let writes = (0..50).map(|n| {
                let (client, path) = (client.clone(), format!("/d/f{}", part * 50 + n));
                let text = format!("{what} {path}");
                async move { client.write(&path, text).await }
            });
            futures::future::try_join_all(writes).await?;
        }
        Ok(())
    };
    fill("one").await?;
    snapshot(&client, "/d", "one").await?;
    fill("two").await?;
    snapshot(&client, "/d", "two").await?;
    fill("three").await?;
    let one = tree(&client, "/d/.snapshots/one").await?;

    client.remove_snapshot("/d", &name("two")?).await?;
    let down = cluster.faults().crash(cluster.leader().await?).await;
    same(&tree(&client, "/d/.snapshots/one").await?, &one);
    down.restart().await?;
    let down = cluster.faults().crash(cluster.leader().await?).await;
    client.remove_snapshot("/d", &name("one")?).await?;
    down.restart().await?;

    assert_eq!(client.snapshots("/d").await?, Vec::new());
    client.remove("/d", Removal::Tree, true).await?;
    eventually("no inode is left but the root", async || {
        Ok(client.statfs().await?.inodes == 1)
    })
    .await?;
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}

const SEED: u64 = 12;
const WORKERS: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_shows_one_moment_for_ever_while_leaders_come_and_go() -> TestResult {
    let directory = directory();
    let cluster = impatient().start(&directory).await?;
    let workload = Snapshots::default();
    workload.prepare(&cluster.client().await?).await?;
    let began = Instant::now();
    let recorder = Recorder::new(move || began.elapsed().as_nanos() as u64);
    let (actors, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
    let worker = async |number| {
        let client = cluster.client().await?;
        let random = StdRng::seed_from_u64(SEED ^ number);
        let (recorder, stop) = (recorder.clone(), Arc::clone(&stop));
        let actors = Arc::clone(&actors);
        Ok::<_, dfs_core::error::Error>(Worker::new(number, client, random, recorder, actors, stop))
    };
    let mut working = JoinSet::new();
    for number in 0..WORKERS {
        working.spawn(workload.work(worker(number).await?));
    }
    for _ in 0..2 {
        sleep(Duration::from_millis(2000)).await;
        let down = cluster.faults().crash(cluster.leader().await?).await;
        sleep(Duration::from_millis(500)).await;
        down.restart().await?;
    }
    sleep(Duration::from_millis(1000)).await;
    stop.store(true, Ordering::Relaxed);
    working.join_all().await;
    workload.conclude(worker(WORKERS).await?).await;

    let history = recorder.events();
    let found = [workload.check(&history), of_all(&history)].concat();
    assert_eq!(found, Vec::<String>::new(), "seed {SEED}");
    cluster.check().await?;
    Ok(cluster.shutdown().await?)
}
