#![allow(clippy::unwrap_used, reason = "a test that is surprised fails")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::JoinHandle;

use super::*;
use crate::testing::{MemoryDisk, test_env};
use crate::types::account::{AccountChange, KeyHash, PasswordHash, Role};
use crate::types::acl::{Acl, AclKind, Named, Rights};
use crate::types::node::{MemberChange, TokenHash};
use crate::types::quota::{Limits, QuotaChange};
use crate::types::{
    Change, ClientId, DfsPath, GroupId, Location, Mode, NodeKey, NodeRole, PolicyChange,
    ReplicationTarget, RequestId, Rev, UserId,
};

const NODE: &str = "/node";
const PLENTY: u64 = 1 << 20;

/// The audit log of a node, on a disk in memory.
struct World {
    disk: MemoryDisk,
    audit: Audit,
    writer: JoinHandle<()>,
}

impl World {
    async fn new(bytes: u64) -> World {
        World::on(MemoryDisk::new(1), bytes).await
    }

    async fn on(disk: MemoryDisk, bytes: u64) -> World {
        let env = test_env(1, &disk);
        let (audit, writing) = Audit::new(&env, Path::new(NODE), (bytes, 0));
        World {
            disk,
            audit,
            writer: tokio::spawn(writing),
        }
    }

    fn ask(&self, deed: Deed) -> Asked {
        self.audit.ask(&alice(), deed)
    }

    async fn done(&self, operation: &'static str) -> Result<(), NotWritten> {
        self.ask(Deed::new(operation)).ended(Ending::done()).await
    }

    /// Until all that is written is on stable storage.
    async fn synced(&self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
    }

    fn files(&self) -> Vec<PathBuf> {
        self.disk.files(Path::new(NODE).join(DIRECTORY))
    }

    fn text(&self) -> String {
        let files = self.files().into_iter();
        let bytes: Vec<u8> = files.flat_map(|file| self.disk.get(file)).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What was asked for and how it ended, line by line.
    fn lines(&self) -> Vec<String> {
        let lines = self.text();
        let parsed = lines.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {}", line["operation"], line["outcome"]).replace('"', "")
        });
        parsed.collect()
    }
}

fn alice() -> Actor {
    Actor::new("u1 alice", "10.0.0.9:1234")
}

fn request() -> RequestId {
    RequestId {
        client: ClientId(7),
        sequence: 3,
        answered_below: 3,
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_says_who_did_what_when_from_where_and_how_it_ended() {
    let world = World::new(PLENTY).await;
    let to: DfsPath = "/b \"c\"\n".parse().unwrap();
    let change = Change::Rename {
        from: "/a".parse::<DfsPath>().unwrap().into(),
        to: to.into(),
        replace: true,
    };
    let asked = world.ask(Deed::of_change(request(), &change).unwrap());
    let rev = Rev { term: 2, index: 9 };
    asked.ended(Ending::done().at(Some(rev))).await.unwrap();
    let line = concat!(
        r#"{"time":"2023-11-14T22:13:20.000000Z","who":"u1 alice","source":"10.0.0.9:1234","#,
        r#""operation":"rename","path":"/a","to":"/b \"c\"\n","request":"s7/3","#,
        r#""outcome":"done","rev":"2.9"}"#,
        "\n"
    );
    assert_eq!(world.text(), line);
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_is_in_the_log_when_the_process_is_killed() {
    let world = World::new(PLENTY).await;
    world.done("mkdir").await.unwrap();
    world.writer.abort();
    world.disk.kill_process();
    let world = World::on(world.disk.clone(), PLENTY).await;
    world.done("create").await.unwrap();
    assert_eq!(world.lines(), ["mkdir done", "create done"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_a_few_seconds_old_outlives_the_loss_of_power() {
    let world = World::new(PLENTY).await;
    world.done("mkdir").await.unwrap();
    world.synced().await;
    world.done("create").await.unwrap();
    world.writer.abort();
    world.disk.cut_power();
    let world = World::on(world.disk.clone(), PLENTY).await;
    assert_eq!(world.lines()[0], "mkdir done");
}

#[tokio::test(start_paused = true)]
async fn every_line_outlives_the_loss_of_power_after_an_orderly_stop() {
    // What is not synced is lost by chance.
    for seed in 0..20 {
        let world = World::on(MemoryDisk::new(seed), PLENTY).await;
        world.done("mkdir").await.unwrap();
        drop(world.ask(Deed::new("create")));
        world.audit.close();
        let World { disk, writer, .. } = world;
        writer.await.unwrap();
        disk.cut_power();
        let world = World::on(disk, PLENTY).await;
        assert_eq!(
            world.lines(),
            ["mkdir done", "create unknown"],
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_process_wrote_outlives_the_loss_of_power_once_another_has_started() {
    // What is not synced is lost by chance.
    for seed in 0..20 {
        let world = World::on(MemoryDisk::new(seed), PLENTY).await;
        world.done("mkdir").await.unwrap();
        world.writer.abort();
        world.disk.kill_process();
        let world = World::on(world.disk.clone(), PLENTY).await;
        world.synced().await;
        world.writer.abort();
        world.disk.cut_power();
        assert_eq!(world.lines(), ["mkdir done"], "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_before_the_answer_leaves_a_line() {
    let world = World::new(PLENTY).await;
    drop(world.ask(Deed::new("unlink")));
    world.ask(Deed::new("stat")).forget();
    world.done("mkdir").await.unwrap();
    assert_eq!(world.lines(), ["unlink unknown", "mkdir done"]);
}

#[tokio::test(start_paused = true)]
async fn who_goes_away_while_the_queue_is_full_is_counted() {
    let disk = MemoryDisk::new(1);
    let env = test_env(1, &disk);
    let (audit, writing) = Audit::new(&env, Path::new(NODE), (PLENTY, 0));
    for _ in 0..QUEUE_LEN {
        drop(audit.ask(&alice(), Deed::new("stat")));
    }
    let waiting = audit
        .ask(&alice(), Deed::new("mkdir"))
        .ended(Ending::done());
    let gone = tokio::time::timeout(Duration::from_secs(1), waiting).await;
    assert!(gone.is_err());
    let world = World {
        disk,
        audit,
        writer: tokio::spawn(writing),
    };
    world.done("create").await.unwrap();
    assert_eq!(world.lines().len(), QUEUE_LEN + 1);
    let text = world.text();
    let last = text.lines().last().unwrap();
    assert!(last.contains(r#""unwritten":1}"#), "{last}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_not_answered_until_it_can() {
    let world = World::new(PLENTY).await;
    world.disk.fail_writes(1);
    assert_eq!(world.done("mkdir").await, Err(NotWritten));
    world.done("mkdir").await.unwrap();
    world.writer.abort();
    assert!(world.writer.await.unwrap_err().is_cancelled());
    let stopped = world.audit.ask(&alice(), Deed::new("create"));
    assert_eq!(stopped.ended(Ending::done()).await, Err(NotWritten));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_failed_a_sync_is_left_and_its_lines_are_written_again() {
    // What is not synced is lost by chance.
    for seed in 0..20 {
        let world = World::on(MemoryDisk::new(seed), PLENTY).await;
        world.disk.fail_syncs(1);
        world.done("mkdir").await.unwrap();
        world.synced().await;
        world.done("create").await.unwrap();
        world.synced().await;
        world.writer.abort();
        world.disk.cut_power();
        let second = world.files().pop().unwrap();
        let text = String::from_utf8(world.disk.get(second)).unwrap();
        let has_both = ["mkdir", "create"].iter().all(|what| text.contains(what));
        assert!(world.files().len() == 2 && has_both, "seed {seed}: {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_was_cut_short_does_not_spoil_the_next() {
    let world = World::new(PLENTY).await;
    world.done("mkdir").await.unwrap();
    world.writer.abort();
    let file = world.files().pop().unwrap();
    world.disk.damage(&file, |bytes| bytes.truncate(20));
    let world = World::on(world.disk.clone(), PLENTY).await;
    world.done("create").await.unwrap();
    let text = world.text();
    let last = text.lines().last().unwrap();
    assert!(last.starts_with('{') && last.contains("create"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_lines_make_room_for_new_ones() {
    const BYTES: u64 = 16 << 10;
    let world = World::new(BYTES).await;
    for _ in 0..1000 {
        world.done("mkdir").await.unwrap();
    }
    world.done("the last").await.unwrap();
    let text = world.text();
    let (least, most) = (BYTES as usize * 3 / 4, BYTES as usize * 9 / 8);
    assert!((least..most).contains(&text.len()), "{}", text.len());
    assert!(text.contains("the last"));
    // Those before a restart count too.
    let world = World::on(world.disk.clone(), BYTES / 4).await;
    for _ in 0..100 {
        world.done("mkdir").await.unwrap();
    }
    assert!(world.text().len() < most / 3, "{}", world.text().len());
}

#[tokio::test(start_paused = true)]
async fn strangers_fill_no_disk_and_their_number_is_known() {
    let world = World::new(PLENTY).await;
    let stranger = Actor::new("somebody", "10.0.0.66:1");
    let refuse = || {
        world
            .audit
            .not_let_in(&stranger, Deed::new("connect"), "no key")
    };
    for _ in 0..1000 {
        refuse().await.unwrap();
    }
    assert_eq!(world.lines().len(), 100);
    tokio::time::sleep(Duration::from_secs(11)).await;
    refuse().await.unwrap();
    let text = world.text();
    assert!(
        text.lines().last().unwrap().contains(r#""unwritten":900"#),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_knocks_at_doors_hides_nobody_who_guesses_passwords() {
    let world = World::new(PLENTY).await;
    let stranger = Actor::new("somebody", "10.0.0.66:1");
    for operation in ["connect", "login"] {
        for _ in 0..1000 {
            let noted = world.audit.not_let_in(&stranger, Deed::new(operation), "");
            noted.await.unwrap();
        }
    }
    let text = world.text();
    let of = |operation: &str| text.lines().filter(|line| line.contains(operation)).count();
    assert_eq!((of("connect"), of("login")), (100, 100));
}

#[tokio::test(start_paused = true)]
async fn a_line_says_what_rights_were_set_to() {
    let at = || Location::from("/a".parse::<DfsPath>().unwrap());
    let acl = Acl {
        mask: Some(Rights::ALL),
        named: Named {
            users: vec![(UserId(1001), Rights::READ)],
            groups: vec![(GroupId(1002), Rights::READ.and(Rights::WRITE))],
        },
        ..Acl::of_mode(Mode::FILE)
    };
    let list = |acl| Change::SetAcl {
        at: at(),
        which: AclKind::Default,
        acl,
    };
    let policy = PolicyChange {
        replicas: Some(ReplicationTarget(1)),
        trash: Some(Duration::ZERO),
        ..PolicyChange::default()
    };
    let user = AccountChange::AddUser {
        name: "backup".parse().unwrap(),
        id: None,
        group: Some(GroupId(7)),
        role: Role::User,
        root: Some(at()),
        read_only: true,
    };
    let token = MemberChange::CreateToken {
        hash: TokenHash([0x5a; 32]),
        role: NodeRole::Master,
        node: Some(NodeKey(9)),
        uses: 2,
        ttl: Duration::from_secs(60),
        label: "new".to_owned(),
    };
    for (change, said) in [
        (
            list(Some(acl)),
            "default: user::rw-,group::r--,other::r--,mask::rwx,user:u1001:r--,group:g1002:rw-",
        ),
        (list(None), "default: taken away"),
        (
            Change::SetPolicy {
                at: at(),
                change: policy,
            },
            "replicas=1 trash=0s",
        ),
        (
            Change::Account(user),
            "role=user group=g7 root=/a read-only=true",
        ),
        (
            Change::Member(token),
            "role=master node=00000000000000000000000000000009 uses=2 ttl=60s",
        ),
    ] {
        let world = World::new(PLENTY).await;
        let asked = world.ask(Deed::of_change(request(), &change).unwrap());
        asked.ended(Ending::done()).await.unwrap();
        let line: serde_json::Value = serde_json::from_str(&world.text()).unwrap();
        assert_eq!(line["detail"], said);
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_says_what_became_part_of_a_file_and_what_was_limited() {
    let at = || Location::from("/a".parse::<DfsPath>().unwrap());
    for (change, said) in [
        (
            Change::Concat {
                to: at(),
                from: vec![at(), at()],
            },
            "2 files: /a /a",
        ),
        (
            Change::Quota {
                at: at(),
                change: QuotaChange::Set {
                    limits: Limits {
                        bytes: Some(7),
                        inodes: None,
                    },
                    force: true,
                },
            },
            "bytes=7 force=true",
        ),
    ] {
        let world = World::new(PLENTY).await;
        let asked = world.ask(Deed::of_change(request(), &change).unwrap());
        asked.ended(Ending::done()).await.unwrap();
        let line: serde_json::Value = serde_json::from_str(&world.text()).unwrap();
        assert_eq!(line["path"], "/a");
        assert_eq!(line["detail"], said);
    }
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_written() {
    let world = World::new(PLENTY).await;
    let secrets = [
        Change::Account(AccountChange::SetPassword {
            user: UserId(5),
            hash: Some(PasswordHash("$argon2id$secret".to_owned())),
        }),
        Change::Account(AccountChange::AddKey {
            user: UserId(5),
            label: "backup".to_owned(),
            hash: KeyHash([0x5a; 32]),
        }),
        Change::Member(MemberChange::CreateToken {
            hash: TokenHash([0x5a; 32]),
            role: NodeRole::DataNode,
            node: None,
            uses: 1,
            ttl: Duration::from_secs(60),
            label: "rack 7".to_owned(),
        }),
    ];
    for change in secrets {
        let asked = world.ask(Deed::of_change(request(), &change).unwrap());
        asked.ended(Ending::done()).await.unwrap();
    }
    let text = world.text();
    for secret in ["argon2id", "90, 90", "5a5a", "WlpaW"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("backup"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_something_long_drives_nothing_out() {
    let world = World::new(PLENTY).await;
    let long = "\u{1}".repeat(4 << 20);
    let change = Change::Symlink {
        at: "/a".parse::<DfsPath>().unwrap().into(),
        target: long.clone(),
        attr: crate::types::change::NewAttr::of_mode(crate::types::Mode::FILE),
    };
    let asked = world.ask(Deed::of_change(request(), &change).unwrap());
    asked.ended(Ending::refused(long)).await.unwrap();
    assert!(world.text().len() < 20 << 10, "{}", world.text().len());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_no_line_for_long_ends_the_writer() {
    let world = World::new(PLENTY).await;
    world.done("mkdir").await.unwrap();
    world.disk.fail_writes(u64::MAX);
    for _ in 0..12 {
        assert_eq!(world.done("create").await, Err(NotWritten));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn room_that_others_need_is_not_taken_by_old_lines() {
    const BYTES: u64 = 64 << 10;
    let disk = MemoryDisk::new(1);
    disk.set_capacity(100 << 10);
    let env = test_env(1, &disk);
    let (audit, writing) = Audit::new(&env, Path::new(NODE), (BYTES, 80 << 10));
    let world = World {
        disk,
        audit,
        writer: tokio::spawn(writing),
    };
    for _ in 0..1000 {
        world.done("mkdir").await.unwrap();
    }
    assert!(world.text().len() < 26 << 10, "{}", world.text().len());
}

#[test]
fn nothing_is_written_under_the_mount_point_of_a_disk_that_is_gone() {
    let disk = MemoryDisk::new(1);
    let (env, node) = (test_env(1, &disk), Path::new(NODE));
    env.disk.create_directory(node).unwrap();
    let directory = node.join(DIRECTORY);
    let mut files = Files::new(Arc::clone(&env.disk), directory.clone(), (PLENTY, 0));
    files.settle().unwrap();
    disk.rename_directory(NODE, "/gone");
    env.disk.create_directory(node).unwrap();

    let written = files.append(b"a line\n");

    assert_eq!(
        written.map_err(|e| e.kind()),
        Err(std::io::ErrorKind::NotFound)
    );
    assert!(!env.disk.exists(&directory).unwrap());
}
