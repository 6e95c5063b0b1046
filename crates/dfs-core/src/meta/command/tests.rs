//! Commands are stored as they were, and nonsense is refused before it is proposed.
#![allow(clippy::too_many_lines, reason = "one table of cases")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at what it did not expect"
)]

use std::time::Duration;

use dfs_raft::state::Value;

use super::*;
use crate::types::account::{
    AccountChange, CredentialEpoch, KeyHash, KeyId, PasswordHash, UserChange,
};
use crate::types::acl::{AclKind, Named};
use crate::types::change::{CloneTarget, Commit, CommitTarget, Piece, Removal, WriteOffset};
use crate::types::node::{MemberChange, TokenId};
use crate::types::quota::{Limits, QuotaChange};
use crate::types::stripe::Code;
use crate::types::{
    Acl, AttrChange, DfsPath, GroupId, InodeId, Location, Mode, NewAttr, NewChunk, NewStripe,
    Permit, PolicyChange, RefusalKind, ReplicationTarget, Rights, Role, StripeShape, TrashId,
    UserId,
};

type Golden = Vec<(Command, &'static str)>;

const ATTR: NewAttr = NewAttr {
    mode: Mode::FILE,
    umask: Mode::new(0),
    owner: Some(UserId(7)),
    group: Some(GroupId(8)),
};

fn at(path: &str) -> Location {
    path.parse::<DfsPath>().unwrap().into()
}

fn client(change: Change) -> Command {
    let request = RequestId {
        client: ClientId(3),
        sequence: 300,
        answered_below: 299,
    };
    Command::Client {
        caller: Caller::System,
        request,
        change,
    }
}

fn commit() -> Commit {
    let new = NewChunk {
        permit: Permit::default(),
        chunk: ChunkId(9),
        length: 1 << 20,
        checksum: 0xdead_beef,
        replicas: vec![NodeId(1), NodeId(2)],
    };
    let piece = Piece::Chunk {
        chunk: ChunkId(9),
        offset: 0,
        length: 1 << 20,
    };
    Commit {
        target: CommitTarget::File(at("/f")),
        offset: WriteOffset::End,
        pieces: vec![piece, Piece::Inline("hi".into())],
        chunks: vec![new],
        revision: Some(5),
        stripes: Vec::new(),
    }
}

/// Changes of names, with the bytes that version 1 of this program wrote. Append-only.
fn golden_names() -> Golden {
    let (f, attr) = (|| at("/f"), ATTR);
    vec![
        (
            client(Change::MakeDirectory {
                at: f(),
                attr,
                parents: true,
            }),
            "03010003ac02ab020001022f66a403000107010801",
        ),
        (
            client(Change::Create {
                at: f(),
                attr,
                exclusive: true,
            }),
            "03010003ac02ab020101022f66a403000107010801",
        ),
        (
            client(Change::Symlink {
                at: f(),
                target: "t".into(),
                attr,
            }),
            "03010003ac02ab020201022f660174a4030001070108",
        ),
        (
            client(Change::Link {
                from: InodeId(300).into(),
                at: f(),
            }),
            "03010003ac02ab0203ac02012f01022f66",
        ),
        (
            client(Change::Rename {
                from: f(),
                to: at("/g"),
                replace: false,
            }),
            "03010003ac02ab020401022f6601022f6700",
        ),
        (
            client(Change::Remove {
                at: f(),
                what: Removal::Tree,
                skip_trash: true,
            }),
            "03010003ac02ab020501022f660201",
        ),
        (
            client(Change::SetAttr {
                at: f(),
                change: AttrChange {
                    mode: Some(Mode::new(0o600)),
                    ..AttrChange::default()
                },
                follow: true,
            }),
            "03010003ac02ab020601022f660180030000000001",
        ),
    ]
}

/// Changes of what names lead to.
fn golden_contents() -> Golden {
    let (f, attr) = (|| at("/f"), ATTR);
    let new = CommitTarget::New {
        at: f(),
        attr,
        replace: true,
    };
    let publish = CommitTarget::Publish {
        upload: InodeId(5),
        at: f(),
        replace: false,
    };
    vec![
        (
            client(Change::Truncate {
                at: f(),
                size: 1000,
            }),
            "03010003ac02ab020701022f66e807",
        ),
        (
            client(Change::SetPolicy {
                at: f(),
                change: PolicyChange {
                    replicas: Some(ReplicationTarget(2)),
                    trash: Some(Duration::from_secs(60)),
                    ec: Some(StripeShape { data: 4, parity: 2 }),
                    ec_after: Some(Duration::from_secs(9)),
                    ..PolicyChange::default()
                },
            }),
            "03010003ac02ab020801022f660102000000013c00010402010900",
        ),
        (
            client(Change::Restore {
                trash: TrashId(4),
                to: Some(f()),
            }),
            "03010003ac02ab0209040101022f66",
        ),
        (
            client(Change::DropTrash { trash: TrashId(4) }),
            "03010003ac02ab020a04",
        ),
        (
            client(Change::BeginUpload { at: f(), attr }),
            "03010003ac02ab020b01022f66a4030001070108",
        ),
        (
            client(Change::AbandonUpload { upload: InodeId(5) }),
            "03010003ac02ab020c05",
        ),
        (
            client(Change::Commit(commit())),
            "03010003ac02ab020d0001022f660102000900808040010268690109808040effdb6f50d\
             020102010500",
        ),
        (
            client(Change::Commit(Commit {
                target: new,
                offset: WriteOffset::At(9),
                stripes: vec![NewStripe {
                    code: Code::Leopard16,
                    shape: StripeShape { data: 4, parity: 2 },
                    shard_length: 128,
                    members: vec![ChunkId(9), ChunkId(300)],
                }],
                ..commit()
            })),
            "03010003ac02ab020d0301022f66a4030001070108010009020009008080400102686901098080\
             40effdb6f50d02010201050100040280010209ac02",
        ),
        (
            client(Change::Commit(Commit {
                target: publish,
                revision: None,
                ..commit()
            })),
            "03010003ac02ab020d020501022f66000102000900808040010268690109808040effdb6\
             f50d0201020000",
        ),
        (client(Change::CloseSession), "03010003ac02ab020e"),
    ]
}

/// What is not a client's.
/// Changes that share the bytes of files. Append-only.
fn golden_clones() -> Golden {
    let (from, attr) = (at("/f"), ATTR);
    let new = CloneTarget::New {
        at: at("/g"),
        attr,
        replace: true,
    };
    vec![
        (
            client(Change::Clone {
                from: from.clone(),
                to: new,
                revision: Some(5),
            }),
            "03010003ac02ab021201022f660001022f67a4030001070108010105",
        ),
        (
            client(Change::Clone {
                from: from.clone(),
                to: CloneTarget::Upload(InodeId(300)),
                revision: None,
            }),
            "03010003ac02ab021201022f6601ac0200",
        ),
        (
            client(Change::Concat {
                to: at("/g"),
                from: vec![from, InodeId(300).into()],
            }),
            "03010003ac02ab021301022f670201022f66ac02012f",
        ),
    ]
}

fn golden_others() -> Golden {
    let space = Space {
        total: 3,
        used: 2,
        available: 1,
    };
    let topology = Topology {
        zone: "z".into(),
        rack: "r".into(),
        host: "h".into(),
    };
    vec![
        (
            Command::OpenSession {
                caller: Caller::System,
            },
            "030000",
        ),
        (Command::ReserveChunkIds { count: 1000 }, "0302e807"),
        (
            Command::RegisterNode {
                key: NodeKey(77),
                node: Some(NodeId(1)),
                address: "a:1".into(),
                topology,
                space,
            },
            "03034d010103613a31017a01720168030201",
        ),
        (
            Command::SetAdminState {
                node: NodeId(1),
                state: AdminState::Draining,
            },
            "03040101",
        ),
        (
            Command::AdoptReplicas {
                node: NodeId(1),
                chunks: vec![ChunkId(1)],
            },
            "0305010101",
        ),
        (
            Command::ReplaceReplica {
                chunk: ChunkId(1),
                remove: Some(NodeId(2)),
                add: NodeId(3),
            },
            "030601010203",
        ),
        (
            Command::DropReplicas {
                node: NodeId(1),
                drops: vec![ReplicaDrop {
                    chunk: ChunkId(1),
                    confirmed: vec![NodeId(2)],
                }],
            },
            "03070101010102",
        ),
        (
            Command::DropOrphans {
                node: NodeId(1),
                chunks: vec![ChunkId(1)],
            },
            "0308010101",
        ),
        (
            Command::Reclaimed {
                node: NodeId(1),
                chunks: vec![ChunkId(1)],
            },
            "0309010101",
        ),
        (Command::Housekeeping, "030a"),
        (
            Command::Account(AccountChange::RemoveUser { user: UserId(300) }),
            "030b03ac02",
        ),
    ]
}

fn golden_accounts() -> Vec<(Command, &'static str)> {
    let (user, group) = (UserId(300), GroupId(300));
    let name = || "bob".parse().unwrap();
    let changes = [
        AccountChange::AddUser {
            name: name(),
            id: Some(user),
            group: Some(group),
            role: Role::Administrator,
            root: Some(at("/f")),
            read_only: true,
        },
        AccountChange::RenameUser { user, name: name() },
        AccountChange::SetUser {
            user,
            change: UserChange {
                group: Some(group),
                role: Some(Role::User),
                enabled: Some(false),
                root: Some(None),
                read_only: Some(true),
            },
        },
        AccountChange::SetPassword {
            user,
            hash: Some(PasswordHash("$a".to_owned())),
        },
        AccountChange::AddKey {
            user,
            label: "ci".to_owned(),
            hash: KeyHash([7; 32]),
        },
        AccountChange::RemoveKey {
            user,
            key: KeyId(2),
        },
        AccountChange::AddGroup {
            name: name(),
            id: Some(group),
        },
        AccountChange::RenameGroup {
            group,
            name: name(),
        },
        AccountChange::RemoveGroup { group },
        AccountChange::AddMember { group, user },
        AccountChange::RemoveMember { group, user },
    ];
    let golden = [
        "030b0003626f6201ac0201ac02010101022f6601",
        "030b01ac0203626f62",
        "030b02ac0201ac020100010001000101",
        "030b04ac0201022461",
        "030b05ac020263690707070707070707070707070707070707070707070707070707070707070707",
        "030b06ac0202",
        "030b0703626f6201ac02",
        "030b08ac0203626f62",
        "030b09ac02",
        "030b0aac02ac02",
        "030b0bac02ac02",
    ];
    let accounts = changes.into_iter().zip(golden);
    let mut all: Vec<_> = accounts
        .map(|(change, golden)| (Command::Account(change), golden))
        .collect();
    let named = Named {
        users: vec![(user, Rights::READ)],
        groups: vec![(group, Rights::WRITE)],
    };
    let acl = Acl {
        mask: Some(Rights::ALL),
        named,
        ..Acl::of_mode(Mode::FILE)
    };
    all.push((
        client(Change::SetAcl {
            at: at("/f"),
            which: AclKind::Default,
            acl: Some(acl),
        }),
        "03010003ac02ab020f01022f660101060404010701ac020401ac0202",
    ));
    let hash = TokenHash([7; 32]);
    let node = NodeKey(300);
    for (change, golden) in [
        (
            MemberChange::CreateToken {
                hash,
                role: NodeRole::DataNode,
                node: Some(node),
                uses: 300,
                ttl: Duration::new(60, 5),
                label: "l".to_owned(),
            },
            concat!(
                "03010003ac02ab02110007070707070707070707070707070707070707070707",
                "070707070707070707070101ac02ac023c05016c"
            ),
        ),
        (
            MemberChange::RevokeToken {
                token: TokenId(300),
            },
            "03010003ac02ab021101ac02",
        ),
        (
            MemberChange::RevokeNode { node },
            "03010003ac02ab021102ac02",
        ),
        (
            MemberChange::Decide {
                node: NodeId(300),
                state: AdminState::Removed,
                plan: Some(300),
                rest: Some(Duration::from_secs(300)),
            },
            "03010003ac02ab021103ac020401ac0201ac0200",
        ),
    ] {
        all.push((client(Change::Member(change)), golden));
    }
    let set = QuotaChange::Set {
        limits: Limits {
            bytes: Some(300),
            inodes: None,
        },
        force: true,
    };
    for (change, golden) in [
        (set, "03010003ac02ab021401022f640001ac020001"),
        (QuotaChange::Remove, "03010003ac02ab021401022f6401"),
    ] {
        let at = at("/d");
        all.push((client(Change::Quota { at, change }), golden));
    }
    let secret = |byte| SecretBytes([byte; 32]);
    let founding = Founding {
        node,
        key: [4; 32],
        authority: secret(1),
        certificate: vec![1, 2],
        handles: secret(2),
        signing: secret(3),
    };
    all.push((
        Command::Found(founding),
        concat!(
            "030cac0204040404040404040404040404040404040404040404040404040404",
            "0404040401010101010101010101010101010101010101010101010101010101",
            "0101010102010202020202020202020202020202020202020202020202020202",
            "0202020202020203030303030303030303030303030303030303030303030303",
            "03030303030303"
        ),
    ));
    all.push((
        Command::AddSigningKey(secret(1)),
        concat!(
            "030d010101010101010101010101010101010101010101010101010101010101",
            "0101"
        ),
    ));
    let (role, token) = (NodeRole::Gateway, hash);
    all.push((
        Command::Enrol {
            node,
            role,
            key: [5; 32],
            token,
        },
        concat!(
            "030eac0202050505050505050505050505050505050505050505050505050505",
            "0505050505070707070707070707070707070707070707070707070707070707",
            "0707070707"
        ),
    ));
    let epoch = CredentialEpoch(300);
    let caller = Caller::User { user, epoch };
    all.push((
        Command::ExchangeSigningKey {
            caller,
            secret: secret(1),
            void_former: true,
        },
        concat!(
            "030f01ac02ac0201010101010101010101010101010101010101010101010101",
            "0101010101010101"
        ),
    ));
    all.push((Command::OpenSession { caller }, "030001ac02ac02"));
    all
}

#[test]
fn commands_are_stored_as_the_first_version_stored_them() {
    let golden = [
        golden_names(),
        golden_contents(),
        golden_clones(),
        golden_others(),
        golden_accounts(),
    ];
    let mut wrong = Vec::new();
    for (command, expected) in golden.concat() {
        let bytes = command.to_bytes().unwrap();
        let shown: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if shown != expected {
            wrong.push(format!("{expected} {shown}"));
        }
        assert_eq!(Command::from_bytes(&bytes).unwrap(), command);
    }
    assert!(wrong.is_empty(), "expected, stored:\n{}", wrong.join("\n"));
}

#[test]
fn a_command_of_a_newer_version_is_a_fault() {
    let mut bytes = Command::Housekeeping.to_bytes().unwrap();
    bytes[0] = 4;
    assert!(Command::from_bytes(&bytes).is_err());
}

#[test]
fn a_path_that_cannot_be_is_a_fault_when_read_from_the_log() {
    let create = Change::Truncate {
        at: at("/xx"),
        size: 0,
    };
    let mut bytes = client(create).to_bytes().unwrap();
    let name = bytes.iter().position(|byte| *byte == b'x').unwrap();
    bytes[name] = b'.';
    bytes[name + 1] = b'.';
    assert!(Command::from_bytes(&bytes).is_err());
}

#[test]
fn a_commit_of_too_much_is_refused_before_it_is_proposed() {
    let pieces = vec![Piece::Inline("x".into()); 257];
    let change = Change::Commit(Commit {
        pieces,
        chunks: Vec::new(),
        ..commit()
    });
    assert_eq!(validate(&change).unwrap_err().kind, RefusalKind::TooLarge);

    let pieces = vec![Piece::Inline(vec![0; 70_000].into())];
    let change = Change::Commit(Commit {
        pieces,
        chunks: Vec::new(),
        ..commit()
    });
    assert_eq!(validate(&change).unwrap_err().kind, RefusalKind::TooLarge);
}

#[test]
fn a_new_chunk_that_no_piece_refers_to_is_refused() {
    let pieces = vec![Piece::Inline("x".into())];
    let change = Change::Commit(Commit { pieces, ..commit() });
    assert_eq!(validate(&change).unwrap_err().kind, RefusalKind::Invalid);
}

#[test]
fn to_concatenate_nothing_or_too_much_is_refused() {
    let refused = |count| {
        let from = vec![at("/f"); count];
        let change = Change::Concat { to: at("/g"), from };
        validate(&change).err().map(|refusal| refusal.kind)
    };
    assert_eq!(refused(0), Some(RefusalKind::Invalid));
    assert_eq!(refused(1), None);
    assert_eq!(refused(64), None);
    assert_eq!(refused(65), Some(RefusalKind::TooLarge));
}

#[test]
fn a_target_longer_than_a_path_is_refused() {
    let attr = ATTR;
    let change = Change::Symlink {
        at: at("/l"),
        target: "x".repeat(4097),
        attr,
    };
    assert_eq!(
        validate(&change).unwrap_err().kind,
        RefusalKind::NameTooLong
    );
}
