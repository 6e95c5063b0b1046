//! Messages cross the network as the first version sent them, byte by byte. Changes of names and
//! contents are in commands as well, whose bytes are kept in `meta::command`.
#![allow(clippy::too_many_lines, reason = "one table of cases")]
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::fmt::Debug;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::cluster::*;
use super::error::RpcError;
use super::hello::{Hello, HelloReply, Service};
use super::metadata::*;
use super::peers::{Gossip, PeerList, PeerRecord, Sighting};
use crate::security::{PublicKey, SigningKeys};
use crate::types::account::Account;
use crate::types::node::{EnrolledNode, NodeDuties, TokenId};
use crate::types::query::*;
use crate::types::quota::{Limits, QuotaInfo, QuotaPage};
use crate::types::snapshot::{SnapshotInfo, SnapshotPage};
use crate::types::story::*;
use crate::types::stripe::{Code, StripeMember};
use crate::types::{
    AdminState, Attr, ByteRange, Change, Changed, ChunkId, ClientId, ClusterId, DfsPath, FileKind,
    GroupId, Handle, InodeId, Location, Mode, Name, NodeEpoch, NodeId, NodeKey, NodeRole, Permit,
    Policy, Refusal, RefusalKind, ReplicationTarget, RequestId, Rev, Scrub, SnapshotId, Space,
    StripeId, StripeLayout, StripeShape, Timestamp, Topology, TrashId, UserId, Volume, VolumeId,
};

/// What differs from its bytes.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn compare<T>(&mut self, message: T, golden: &str)
    where
        T: Serialize + DeserializeOwned + Debug,
    {
        let bytes = postcard::to_stdvec(&message).unwrap();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if hex != golden {
            self.0.push(format!("{hex} {message:?}"));
        }
        let again: T = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(format!("{again:?}"), format!("{message:?}"));
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

const REV: Rev = Rev {
    term: 2,
    index: 300,
};
const SPACE: Space = Space {
    total: 300,
    used: 2,
    available: 1,
};
const REQUEST: RequestId = RequestId {
    client: ClientId(3),
    sequence: 300,
    answered_below: 299,
};

fn at(path: &str) -> Location {
    path.parse::<DfsPath>().unwrap().into()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn topology() -> Topology {
    Topology {
        zone: "z".to_owned(),
        rack: "r".to_owned(),
        host: "h".to_owned(),
    }
}

fn address(node: u32) -> NodeAddress {
    NodeAddress {
        node: NodeId(node),
        key: NodeKey(u128::from(node)),
        address: format!("n{node}:1"),
    }
}

fn attr() -> Attr {
    Attr {
        handle: None,
        inode: InodeId(5),
        kind: FileKind::File,
        mode: Mode::FILE,
        owner: UserId(7),
        group: GroupId(8),
        size: 300,
        links: 2,
        accessed: Timestamp(1),
        modified: Timestamp(2),
        changed: Timestamp(3),
        created: Timestamp(4),
        policy: Policy {
            replicas: ReplicationTarget(3),
            replicas_min: ReplicationTarget(2),
            chunk_size: 1 << 20,
            inline_max: 4096,
            trash: Duration::new(60, 5),
            ec: Some(StripeShape { data: 4, parity: 2 }),
            ec_after: Some(Duration::from_secs(9)),
        },
        revision: 9,
        inline_bytes: 6,
    }
}

fn stamped<T>(value: T) -> Stamped<T> {
    Stamped { rev: REV, value }
}

fn answered<T>(value: T) -> Answered<T> {
    Answered {
        stamped: stamped(value),
        handle: Some(Handle([9; 32])),
    }
}

fn proofs() -> Proofs {
    Proofs {
        handles: vec![(InodeId(5), Handle([9; 32]))],
        permits: vec![permit()],
    }
}

fn permit() -> Permit {
    Permit(Bytes::from_static(&[7, 8]))
}

fn signing() -> Signing {
    Signing {
        keys: SigningKeys::new([(3, PublicKey([5; 32]))]),
        now: Timestamp(300),
    }
}

#[test]
fn hellos_keep_their_bytes() {
    let mut found = Differences::default();
    let cluster = Some(ClusterId(300));
    for (service, golden) in [
        (Service::Raft, "0001ac0200"),
        (Service::Metadata, "0101ac0200"),
        (Service::Cluster, "0201ac0200"),
        (Service::ChunkStream, "0301ac0200"),
        (Service::Enrol, "0401ac0200"),
        (Service::Login, "0501ac0200"),
        (Service::Peers, "0601ac0200"),
    ] {
        found.compare(Hello::new(service, cluster), golden);
    }
    found.compare(HelloReply::Welcome { cluster: None }, "0000");
    let hello = Hello {
        ticket: Some(vec![7, 8]),
        ..Hello::new(Service::Metadata, cluster)
    };
    found.compare(hello, "0101ac0201020708");
    found.compare(HelloReply::Refused("no".to_owned()), "01026e6f");
    found.compare(HelloReply::LoginRequired, "02");
    found.none();
}

#[test]
fn what_clients_ask_keeps_its_bytes() {
    use MetadataRpcRequest as Ask;
    let mut found = Differences::default();
    let change = Change::CloseSession;
    let request = REQUEST;
    let grant = GrantRequest {
        chunks: 3,
        chunk_size: 1 << 20,
        replicas: ReplicationTarget(3),
        replicas_min: ReplicationTarget(2),
        avoid: vec![NodeId(300)],
        stripe: None,
    };
    let (chunk, node) = (ChunkId(300), NodeId(2));
    for (ask, golden) in [
        (Ask::Leader {}, "00"),
        (Ask::OpenSession {}, "01"),
        (
            Ask::Change {
                request,
                change,
                proofs: proofs(),
            },
            "0203ac02ab020e01050909090909090909090909090909090909090909\
             09090909090909090909090901020708",
        ),
        (Ask::Grant { request: grant }, "0403808040030201ac0200"),
        (Ask::ReportCorrupt { chunk, node }, "05ac0202"),
        (Ask::Nodes {}, "06"),
        (Ask::Status {}, "07"),
    ] {
        found.compare(ask, golden);
    }
    let (limit, follow, attrs) = (300, true, true);
    let range = ByteRange::new(5, 300);
    let (a, trash) = (Some(name("a")), Some(TrashId(300)));
    let f = || at("/f");
    for (query, golden) in [
        (Query::Stat { at: f(), follow }, "030001022f6601010000"),
        (
            Query::List {
                at: f(),
                after: a,
                limit,
                attrs,
            },
            "030101022f66010161ac0201010000",
        ),
        (Query::Layout { at: f(), range }, "030201022f6605ac02010000"),
        (Query::ReadLink { at: f() }, "030301022f66010000"),
        (Query::StatFs, "0304010000"),
        (
            Query::ListTrash {
                after: trash,
                limit,
            },
            "030501ac02ac02010000",
        ),
        (
            Query::EnrolledNodes {
                after: Some(NodeKey(300)),
                limit,
            },
            "030d01ac02ac02010000",
        ),
        (Query::NodeDuties(NodeId(300)), "030eac02010000"),
        (
            Query::Explain { at: f(), range },
            "030f01022f6605ac02010000",
        ),
        (
            Query::NodeChunks {
                node: NodeId(300),
                after: Some(ChunkId(300)),
                limit,
            },
            "0310ac0201ac02ac02010000",
        ),
        (Query::Quotas { at: at("/f") }, "031101022f66010000"),
        (
            Query::Snapshots {
                at: at("/f"),
                after: Some(name("x")),
                limit: 300,
            },
            "031301022f66010178ac02010000",
        ),
        (
            Query::QuotasBelow {
                at: at("/f"),
                after: Some(InodeId(300)),
                limit,
            },
            "031201022f6601ac02ac02010000",
        ),
    ] {
        let consistency = ReadConsistency::Stale;
        let ask = Ask::Query {
            query,
            consistency,
            proofs: Proofs::default(),
        };
        found.compare(ask, golden);
    }
    found.compare(Ask::Backup { number: 300 }, "0aac02");
    found.none();
}

#[test]
fn what_masters_answer_clients_keeps_its_bytes() {
    use MetadataRpcResponse as Reply;
    let mut found = Differences::default();
    let leader = LeaderInfo {
        cluster: Some(ClusterId(300)),
        leader: Some("m:1".to_owned()),
        masters: vec!["m:1".to_owned()],
    };
    let changed = Changed {
        attr: Some(attr()),
        offset: Some(300),
        trash: Some(TrashId(2)),
        account: Some(Account::Group(GroupId(300))),
        token: None,
    };
    let grant = WriteGrant {
        permit: permit(),
        chunks: vec![GrantedChunk {
            chunk: ChunkId(300),
            pipeline: vec![address(1), address(2)],
        }],
        spares: vec![address(3)],
        expires: Timestamp(70_000),
    };
    for (reply, golden) in [
        (Reply::Leader(leader), "0001ac0201036d3a3101036d3a31"),
        (Reply::OpenSession(Ok(stamped(ClientId(3)))), "010002ac0203"),
        (
            Reply::Change(Ok(answered(changed))),
            "020002ac02010500a4030708ac020201020304030280804080203c05010402010900090601ac02010201\
             01ac020001\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Reply::Grant(Ok(grant)),
            "040001ac02020101046e313a310202046e323a31010303046e333a31f0a204020708",
        ),
        (Reply::ReportCorrupt(Ok(())), "0500"),
    ] {
        found.compare(reply, golden);
    }
    for (liveness, golden) in [
        (
            Liveness::Live,
            "060001ac02ac02036e3a3107017a017201680300ac02020104ac0201ac02022f64010345494f\
             ac0202010401ac02070103ac02020101ac020103",
        ),
        (
            Liveness::Suspect,
            "060001ac02ac02036e3a3107017a017201680301ac02020104ac0201ac02022f64010345494f\
             ac0202010401ac02070103ac02020101ac020103",
        ),
        (
            Liveness::Dead,
            "060001ac02ac02036e3a3107017a017201680302ac02020104ac0201ac02022f64010345494f\
             ac0202010401ac02070103ac02020101ac020103",
        ),
    ] {
        found.compare(Reply::Nodes(Ok(vec![node_info(liveness)])), golden);
    }
    let piece = Some(Bytes::from_static(b"hi"));
    found.compare(Reply::Backup(Ok(piece)), "0a0001026869");
    let status = ClusterStatus {
        cluster: ClusterId(300),
        term: 6,
        masters: vec![MasterInfo {
            member: 2,
            address: "m:1".to_owned(),
            leader: true,
            voter: false,
            log_index: Some(300),
        }],
        nodes: vec![node_info(Liveness::Live)],
        chunks: ChunkHealth {
            surveyed: true,
            total: 300,
            under_replicated: 4,
            missing: 3,
            repairing: 2,
            reclaiming: 1,
            moving: 5,
            repair_bytes: 300,
            repair_bytes_per_second: 301,
        },
        inodes: 9,
    };
    found.compare(
        Reply::Status(Ok(status)),
        "0700ac02060102036d3a31010001ac0201ac02ac02036e3a3107017a017201680300ac020201\
             04ac0201ac02022f64010345494fac0202010401ac02070103ac02020101ac02010301ac02040302\
             0105ac02ad0209",
    );
    found.none();
}

fn node_info(liveness: Liveness) -> NodeInfo {
    NodeInfo {
        key: NodeKey(300),
        node: NodeId(300),
        address: "n:1".to_owned(),
        epoch: NodeEpoch(7),
        topology: topology(),
        admin: AdminState::Maintenance,
        liveness,
        space: SPACE,
        replicas: 4,
        bytes: 300,
        volumes: vec![volume()],
        rests_until: Some(Timestamp(300)),
        held_down_by: vec![NodeId(3)],
    }
}

fn volume() -> Volume {
    Volume {
        id: VolumeId(300),
        directory: "/d".to_owned(),
        failed: Some("EIO".to_owned()),
        space: SPACE,
        replicas: 4,
        scrub: Scrub {
            unchecked: Some(Duration::new(300, 7)),
            reading: true,
            replicas: 3,
            bytes: 300,
            corrupt: 2,
        },
        leaving: true,
    }
}

/// Chunks in every state.
fn stories() -> Vec<ChunkStory> {
    let (from, to, again) = (NodeId(1), NodeId(300), Duration::new(60, 5));
    let doings = [
        Doing::Nothing,
        Doing::Waiting { ahead: 300, again },
        Doing::Copying { to },
        Doing::Moving { from, to },
        Doing::Recording,
    ];
    let states = [
        ReplicaState::Good,
        ReplicaState::Unconfirmed,
        ReplicaState::Suspect,
        ReplicaState::Leaving,
        ReplicaState::Resting,
        ReplicaState::Missing,
        ReplicaState::Corrupt,
        ReplicaState::Dead,
        ReplicaState::Stray,
    ];
    let replicas = states.map(|state| ReplicaStory { node: to, state });
    let story = |doing| ChunkStory {
        chunk: ChunkId(300),
        length: 5,
        target: ReplicationTarget(3),
        replicas: replicas.to_vec(),
        doing,
        stripe: (doing == Doing::Nothing).then(|| StripeStory {
            stripe: StripeId(300),
            shape: StripeShape { data: 4, parity: 2 },
            others: vec![MemberStory {
                chunk: ChunkId(301),
                replicas: replicas[..1].to_vec(),
            }],
        }),
    };
    doings.map(story).to_vec()
}

#[test]
fn answers_to_queries_keep_their_bytes() {
    let mut found = Differences::default();
    let entries = EntryPage {
        entries: vec![Entry {
            name: name("a"),
            inode: InodeId(300),
            kind: FileKind::Directory,
            attr: Some(attr()),
        }],
        more: true,
    };
    let chunk = LayoutSource::Chunk {
        chunk: ChunkId(300),
        offset: 1,
        length: 2,
        replicas: vec![NodeId(1), NodeId(2)],
    };
    let inline = LayoutSource::Inline(Bytes::from_static(b"hi"));
    let extents = [chunk, inline].map(|source| LayoutExtent {
        offset: 0,
        length: 2,
        source,
    });
    let layout = Layout {
        permit: permit(),
        stripes: vec![StripeLayout {
            code: Code::Leopard16,
            shape: StripeShape { data: 4, parity: 2 },
            shard_length: 128,
            members: vec![StripeMember {
                chunk: ChunkId(300),
                length: 5,
                checksum: 7,
                replicas: vec![NodeId(2)],
            }],
        }],
        attr: attr(),
        extents: extents.to_vec(),
        more: false,
    };
    let explained_layout = Layout {
        extents: Vec::new(),
        ..layout.clone()
    };
    let stories = stories();
    let totals = StatFs {
        inodes: 300,
        chunks: 2,
        chunk_bytes: 1,
        space: SPACE,
    };
    let trash = TrashPage {
        entries: vec![TrashItem {
            trash: TrashId(300),
            inode: InodeId(5),
            kind: FileKind::Symlink,
            path: "/l".to_owned(),
            removed: Timestamp(1),
            expires: Timestamp(2),
        }],
        more: false,
    };
    let enrolled = EnrolledNode {
        key: NodeKey(300),
        role: NodeRole::DataNode,
        since: Timestamp(2),
        token: Some(TokenId(3)),
        registered: Some(NodeId(4)),
        revoked: true,
    };
    let quota = QuotaInfo {
        inode: InodeId(300),
        path: "/a".to_owned(),
        limits: Limits {
            bytes: Some(300),
            inodes: None,
        },
        bytes: 2,
        inodes: 3,
        counting: true,
    };
    for (answer, golden) in [
        (
            Answer::Attr(attr()),
            "030002ac02000500a4030708ac020201020304030280804080203c05010402010900090601\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Entries(entries),
            "030002ac0201010161ac0201010500a4030708ac020201020304030280804080203c05010402010900\
             09060101\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Layout(layout),
            "030002ac02020500a4030708ac020201020304030280804080203c05010402010900090602000200ac02\
             01020201\
             020002010268690002070801000402800101ac020507010201\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Target("/a".to_owned()),
            "030002ac0203022f6101\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::StatFs(totals),
            "030002ac0204ac020201ac02020101\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Trash(trash),
            "030002ac020501ac020502022f6c01020001\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Quotas(vec![quota.clone()]),
            "030002ac021001ac02022f6101ac020002030101\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Snapshots(SnapshotPage {
                snapshots: vec![SnapshotInfo {
                    name: name("x"),
                    number: SnapshotId(300),
                    inode: InodeId(5).within(SnapshotId(300)),
                    created: Timestamp(300),
                    by: UserId(7),
                }],
                more: true,
            }),
            "030002ac0212010178ac02858080808080ac02ac020701010909090909090909090909090909\
             090909090909090909090909090909090909",
        ),
        (
            Answer::QuotaPage(QuotaPage {
                quotas: vec![quota],
                last: Some(InodeId(300)),
                more: true,
            }),
            "030002ac021101ac02022f6101ac020002030101ac020101\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::EnrolledNodes(vec![enrolled]),
            "030002ac020c01ac0201020103010401\
             010909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::NodeDuties(NodeDuties {
                plan: 300,
                state: AdminState::Draining,
                replicas: 5,
                bytes: 300,
                others: 4,
                widest: 3,
                widest_chunks: 2,
            }),
            "030002ac020dac020105ac0204030201\
             0909090909090909090909090909090909090909090909090909090909090909",
        ),
        (
            Answer::Explained(Explained {
                layout: explained_layout,
                chunks: stories.clone(),
            }),
            "030002ac020e0500a4030708ac020201020304030280804080203c0501040201090009060000\
             02070801000402800101ac020507010205ac02050309ac0200ac0201ac0202ac0203ac0204ac\
             0205ac0206ac0207ac02080001ac02040201ad0201ac0200ac02050309ac0200ac0201ac0202\
             ac0203ac0204ac0205ac0206ac0207ac020801ac023c0500ac02050309ac0200ac0201ac0202\
             ac0203ac0204ac0205ac0206ac0207ac020802ac0200ac02050309ac0200ac0201ac0202ac02\
             03ac0204ac0205ac0206ac0207ac02080301ac0200ac02050309ac0200ac0201ac0202ac0203\
             ac0204ac0205ac0206ac0207ac02080400010909090909090909090909090909090909090909\
             090909090909090909090909",
        ),
        (
            Answer::Chunks(stories),
            "030002ac020f05ac02050309ac0200ac0201ac0202ac0203ac0204ac0205ac0206ac0207ac02\
             080001ac02040201ad0201ac0200ac02050309ac0200ac0201ac0202ac0203ac0204ac0205ac\
             0206ac0207ac020801ac023c0500ac02050309ac0200ac0201ac0202ac0203ac0204ac0205ac\
             0206ac0207ac020802ac0200ac02050309ac0200ac0201ac0202ac0203ac0204ac0205ac0206\
             ac0207ac02080301ac0200ac02050309ac0200ac0201ac0202ac0203ac0204ac0205ac0206ac\
             0207ac0208040001090909090909090909090909090909090909090909090909090909090909\
             0909",
        ),
    ] {
        let reply = MetadataRpcResponse::Query(Ok(answered(answer)));
        found.compare(reply, golden);
    }
    found.none();
}

#[test]
fn errors_keep_their_bytes() {
    let mut found = Differences::default();
    let why = || "w".to_owned();
    for (error, golden) in [
        (
            Refusal::new(RefusalKind::Exists, "/a").into(),
            "0001022f6100",
        ),
        (
            RpcError::Refused {
                refusal: Refusal::new(RefusalKind::Exists, "/a"),
                rev: Some(REV),
            },
            "0001022f610102ac02",
        ),
        (
            RpcError::NotLeader {
                leader: Some(why()),
            },
            "01010177",
        ),
        (RpcError::Unknown(why()), "020177"),
        (RpcError::Unavailable(why()), "030177"),
        (RpcError::OutOfSpace(why()), "040177"),
        (RpcError::Fenced(why()), "050177"),
        (RpcError::Internal(why()), "060177"),
    ] {
        found.compare(error, golden);
    }
    found.none();
}

fn tasks() -> Vec<Task> {
    let chunk = ChunkId(300);
    vec![
        Task::Copy {
            chunk,
            length: 10,
            checksum: 0xdead_beef,
            sources: vec![address(2)],
        },
        Task::Delete {
            chunks: vec![chunk],
        },
        Task::Verify { chunk },
        Task::Scrub,
    ]
}

#[test]
fn what_data_nodes_say_keeps_its_bytes() {
    use ClusterRpcRequest as Say;
    let mut found = Differences::default();
    let (node, epoch) = (NodeId(300), NodeEpoch(7));
    let registration = Registration {
        key: NodeKey(0x0102),
        node: Some(node),
        address: "n:1".to_owned(),
        topology: topology(),
        space: SPACE,
    };
    let heartbeat = Heartbeat {
        node,
        epoch,
        space: SPACE,
        replicas: 4,
        streams: 5,
        failed: Some("EIO".to_owned()),
        volumes: vec![volume()],
        peers: 300,
        down: vec![NodeId(3)],
    };
    let report = |kind| ChunkReport {
        node,
        epoch,
        kind,
        present: vec![ReplicaSummary {
            chunk: ChunkId(300),
            length: 10,
            checksum: 0xdead_beef,
        }],
        absent: vec![ChunkId(2)],
        corrupt: vec![ChunkId(3)],
    };
    let full = ReportKind::Full {
        from: ChunkId(1),
        until: Some(ChunkId(300)),
    };
    let ended = |task| TaskResult {
        stored: Vec::new(),
        task,
        result: Err("w".to_owned()),
    };
    let tasks = tasks().into_iter().map(ended).collect();
    for (say, golden) in [
        (
            Say::Register { registration },
            "00820201ac02036e3a31017a01720168ac020201",
        ),
        (
            Say::Heartbeat { heartbeat },
            "01ac0207ac0202010405010345494f01ac02022f64010345494fac0202010401ac02070103ac\
             020201ac020103",
        ),
        (
            Say::Report {
                report: report(full),
            },
            "02ac0207000101ac0201ac020aeffdb6f50d01020103",
        ),
        (
            Say::Report {
                report: report(ReportKind::Delta),
            },
            "02ac02070101ac020aeffdb6f50d01020103",
        ),
        (
            Say::Finished { node, epoch, tasks },
            "03ac02070400ac020aeffdb6f50d010202046e323a31010177000101ac020101770002ac0201\
             0177000301017700",
        ),
    ] {
        found.compare(say, golden);
    }
    found.none();
}

#[test]
fn what_masters_answer_data_nodes_keeps_its_bytes() {
    use ClusterRpcResponse as Reply;
    let mut found = Differences::default();
    let masters = || vec!["m:1".to_owned()];
    let registered = Registered {
        signing: signing(),
        cluster: ClusterId(300),
        node: NodeId(2),
        epoch: NodeEpoch(7),
        heartbeat_interval_ms: 1000,
        masters: masters(),
        peers: vec![address(3)],
    };
    let heard = HeartbeatReply {
        rewrites: Vec::new(),
        peers: Some(PeerList {
            version: 300,
            peers: vec![address(3)],
        }),
        permits: vec![(ChunkId(300), permit())],
        signing: signing(),
        term: 300,
        report: true,
        tasks: tasks(),
        masters: masters(),
    };
    for (reply, golden) in [
        (
            Reply::Register(Ok(registered)),
            "0000ac020207e80701036d3a31010303046e333a3101030505050505050505050505050505050505\
             050505050505050505050505050505ac02",
        ),
        (
            Reply::Heartbeat(Ok(heard)),
            "0100ac02010400ac020aeffdb6f50d010202046e323a310101ac0202ac020301ac0202070801\
             030505050505050505050505050505050505050505050505050505050505050505ac0201036d\
             3a310001ac02010303046e333a31",
        ),
        (Reply::Report(Ok(ReportReply { term: 300 })), "0200ac02"),
        (Reply::Finished(Ok(())), "0300"),
    ] {
        found.compare(reply, golden);
    }
    found.none();
}

#[test]
fn gossip_keeps_its_bytes() {
    let mut found = Differences::default();
    let record = PeerRecord {
        node: NodeId(2),
        version: 300,
        address: "n:1".to_owned(),
        streams: 3,
        masters: Sighting {
            at: Timestamp(300),
            addresses: vec!["m:1".to_owned()],
        },
    };
    let gossip = Gossip {
        node: NodeId(2),
        records: vec![record],
    };
    found.compare(gossip, "020102ac02036e3a3103ac0201036d3a31");
    found.none();
}

#[test]
fn tasks_about_stripes_keep_their_bytes() {
    let mut found = Differences::default();
    let nodes = vec![address(2)];
    let (code, shape) = (Code::Leopard16, StripeShape { data: 4, parity: 2 });
    let rebuild = Task::Rebuild {
        chunk: ChunkId(300),
        length: 10,
        checksum: 7,
        index: 5,
        code,
        shape,
        shard_length: 128,
        sources: vec![RebuildSource {
            index: 1,
            chunk: ChunkId(2),
            length: 128,
            checksum: 9,
            nodes: nodes.clone(),
        }],
    };
    let rewrite = Task::Rewrite {
        inode: InodeId(300),
        sources: vec![RewriteSource {
            chunk: ChunkId(2),
            offset: 1,
            length: 10,
            chunk_length: 11,
            checksum: 9,
            nodes: nodes.clone(),
        }],
        targets: vec![RewriteTarget {
            chunk: ChunkId(3),
            nodes,
        }],
        stripe: Some(StripePlan {
            code,
            shape,
            shard_length: 128,
        }),
    };
    let stored = StoredChunk {
        chunk: ChunkId(3),
        length: 10,
        checksum: 9,
        nodes: vec![NodeId(2)],
    };
    found.compare(
        rebuild,
        "04ac020a07050004028001010102800109010202046e323a31",
    );
    found.compare(
        rewrite,
        "05ac020102010a0b09010202046e323a310103010202046e323a31010004028001",
    );
    found.compare(stored, "030a090102");
    found.none();
}
