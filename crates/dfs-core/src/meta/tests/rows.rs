//! Rows are stored as the first version stored them: key and value of every table, byte by byte.
//! Append-only, like the forms.
#![allow(clippy::too_many_lines, reason = "one table of cases")]

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use dfs_raft::state::{Table, Value};

use crate::meta::accounts::acl::{Acls, Extended};
use crate::meta::accounts::group::Group;
use crate::meta::accounts::user::{Key, User};
use crate::meta::chunks::concat::Part;
use crate::meta::chunks::extents::{Extent, Source};
use crate::meta::chunks::grant::ChunkRange;
use crate::meta::chunks::stripes::{Membership, Stripe};
use crate::meta::command::{SecretBytes, SigningKeyId};
use crate::meta::counters::counting::Counting;
use crate::meta::counters::uses::{Sum, Use};
use crate::meta::members::enrolled::Enrolled;
use crate::meta::members::secrets::{Secret, SecretId};
use crate::meta::members::tokens::JoinToken;
use crate::meta::namespace::dirent::Dirent;
use crate::meta::namespace::inode::{Body, Directory};
use crate::meta::namespace::purge::Purge;
use crate::meta::namespace::trash::TrashEntry;
use crate::meta::sessions::{Remembered, Session};
use crate::meta::tables::*;
use crate::meta::{Chunk, Inode, Node, NodeLoad};
use crate::types::account::{
    Account, Confinement, CredentialEpoch, KeyHash, KeyId, KeyInfo, PasswordHash,
};
use crate::types::acl::Named;
use crate::types::node::{TokenHash, TokenId};
use crate::types::quota::Limits;
use crate::types::stripe::Code;
use crate::types::{
    AccountName, Acl, AdminState, Attr, Changed, ChunkId, ClientId, FileKind, GroupId, InodeId,
    Mode, Name, NodeEpoch, NodeId, NodeKey, NodeRole, Policy, Refusal, RefusalKind,
    ReplicationTarget, Rev, Rights, Role, Space, StripeId, StripeShape, Timestamp, Topology,
    TrashId, UserId,
};

const T: Timestamp = Timestamp(300);
const LATER: Timestamp = Timestamp(70_000);

#[derive(Default)]
struct Rows {
    seen: BTreeSet<&'static str>,
    wrong: Vec<String>,
}

impl Rows {
    fn row<K: dfs_raft::state::Key, V: Value>(
        &mut self,
        (name, _): (&'static str, Table<K, V>),
        (key, value): (K, V),
        golden: (&str, &str),
    ) {
        self.seen.insert(name);
        let (key, value) = (key.to_bytes(), value.to_bytes().unwrap());
        let stored = (hex(&key), hex(&value));
        if stored != (golden.0.to_owned(), golden.1.to_owned()) {
            self.wrong.push(format!("{name} {} {}", stored.0, stored.1));
        }
        assert_eq!(K::from_bytes(&key).unwrap().to_bytes(), key, "{name}");
        let again = V::from_bytes(&value).unwrap().to_bytes().unwrap();
        assert_eq!(again, value, "{name}");
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn inode(body: Body) -> Inode {
    Inode {
        mode: Mode::FILE,
        owner: UserId(7),
        group: GroupId(8),
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
        has_acl: true,
        body,
        charged: Some(InodeId(300)),
    }
}

fn attr() -> Attr {
    let body = Body::File {
        size: 10,
        inline_bytes: 3,
        allocated: 300,
    };
    inode(body).attr(InodeId(5))
}

fn topology() -> Topology {
    Topology {
        zone: "z".to_owned(),
        rack: "r".to_owned(),
        host: "h".to_owned(),
    }
}

macro_rules! table {
    ($name:ident) => {
        (stringify!($name), $name)
    };
}

fn names(rows: &mut Rows) {
    for (key, golden) in [
        (Meta::Format, "666f726d6174"),
        (Meta::NextInode, "6e6578745f696e6f6465"),
        (Meta::NextChunk, "6e6578745f6368756e6b"),
        (Meta::NextNode, "6e6578745f6e6f6465"),
        (Meta::NextClient, "6e6578745f636c69656e74"),
        (Meta::NextTrash, "6e6578745f7472617368"),
        (Meta::NextUser, "6e6578745f75736572"),
        (Meta::NextGroup, "6e6578745f67726f7570"),
        (Meta::NextToken, "6e6578745f746f6b656e"),
        (Meta::NextSigningKey, "6e6578745f7369676e696e675f6b6579"),
        (Meta::LoginsVoided, "6c6f67696e735f766f69646564"),
        (Meta::Inodes, "696e6f646573"),
        (Meta::Chunks, "6368756e6b73"),
        (Meta::ChunkBytes, "6368756e6b5f6279746573"),
    ] {
        rows.row(table!(META), (key, 300), (golden, "01ac02"));
    }
    let file = Body::File {
        size: 300,
        inline_bytes: 5,
        allocated: 300,
    };
    let directory = |place| {
        Body::Directory(Directory {
            place,
            entries: 3,
            subdirectories: 1,
        })
    };
    let target = "/a".to_owned();
    for (body, golden) in [
        (
            file,
            "03a40307080201020304030280804080203c05010402010900090100ac0205ac0201ac02",
        ),
        (
            directory(None),
            "03a40307080201020304030280804080203c0501040201090009010100030101ac02",
        ),
        (
            directory(Some((InodeId(1), name("d")))),
            "03a40307080201020304030280804080203c0501040201090009010101010164030101ac02",
        ),
        (
            Body::Symlink { target },
            "03a40307080201020304030280804080203c05010402010900090102022f6101ac02",
        ),
    ] {
        rows.row(
            table!(INODES),
            (InodeId(258), inode(body)),
            ("0000000000000102", golden),
        );
    }
    for (kind, golden) in [
        (FileKind::File, "01ac0200"),
        (FileKind::Directory, "01ac0201"),
        (FileKind::Symlink, "01ac0202"),
    ] {
        let inode = InodeId(300);
        let row = ((InodeId(258), name("a")), Dirent { inode, kind });
        rows.row(table!(DIRENTS), row, ("000000000000010261", golden));
    }
    let entry = TrashEntry {
        inode: InodeId(300),
        kind: FileKind::File,
        path: "/d/a".to_owned(),
        removed: T,
        expires: LATER,
        by: UserId(300),
        root: InodeId(300),
    };
    rows.row(
        table!(TRASH),
        (TrashId(258), entry),
        ("0000000000000102", "02ac0200042f642f61ac02f0a204ac02ac02"),
    );
    let expiry = ((Moment(T), TrashId(258)), ());
    rows.row(
        table!(TRASH_EXPIRY),
        expiry,
        ("000000000000012c0000000000000102", "01"),
    );
    let upload = ((ClientId(258), InodeId(5)), ());
    rows.row(
        table!(UPLOADS),
        upload,
        ("00000000000001020000000000000005", "01"),
    );
    rows.row(
        table!(PURGE),
        (InodeId(258), Purge::Tree),
        ("0000000000000102", "0100"),
    );
    rows.row(
        table!(PURGE),
        (InodeId(258), Purge::Data),
        ("0000000000000102", "0101"),
    );
}

fn contents(rows: &mut Rows) {
    let chunk = ChunkId(300);
    for (source, golden) in [
        (Source::Chunk { chunk, offset: 5 }, "010200ac0205"),
        (Source::Inline(Bytes::from_static(b"hi")), "010201026869"),
    ] {
        let extent = Extent { length: 2, source };
        rows.row(
            table!(EXTENTS),
            ((InodeId(258), 300), extent),
            ("0000000000000102000000000000012c", golden),
        );
    }
    rows.row(
        table!(TRIMS),
        (InodeId(258), 300),
        ("0000000000000102", "01ac02"),
    );
    let row = Chunk {
        inode: InodeId(300),
        length: 1 << 20,
        checksum: 0xdead_beef,
        references: 2,
        target: ReplicationTarget(3),
        replicas: [1, 2, 300].map(NodeId).to_vec(),
        stripe: Some(Membership {
            stripe: StripeId(299),
            index: 1,
        }),
    };
    rows.row(
        table!(CHUNKS),
        (chunk, row),
        (
            "000000000000012c",
            "02ac02808040effdb6f50d0203030102ac0201ab0201",
        ),
    );
    let stripe = Stripe {
        code: Code::Leopard16,
        shape: StripeShape { data: 2, parity: 1 },
        shard_length: 128,
        members: vec![(ChunkId(300), 128), (ChunkId(301), 5), (ChunkId(302), 128)],
        live: 2,
    };
    rows.row(
        table!(STRIPES),
        (StripeId(300), stripe),
        ("000000000000012c", "01000201800103ac028001ad0205ae02800102"),
    );
    let held = ((NodeId(258), chunk), ());
    rows.row(
        table!(NODE_CHUNKS),
        held,
        ("00000102000000000000012c", "01"),
    );
    let range = ChunkRange {
        end: ChunkId(4096),
        expires: LATER,
    };
    rows.row(
        table!(RANGES),
        (chunk, range),
        ("000000000000012c", "018020f0a204"),
    );
    rows.row(table!(SPENT), (chunk, ()), ("000000000000012c", "01"));
    let reclaim = ((chunk, NodeId(258)), Moment(T));
    rows.row(
        table!(RECLAIM),
        reclaim,
        ("000000000000012c00000102", "01ac02"),
    );
    let reclaim = ((NodeId(258), Moment(T), chunk), ());
    rows.row(
        table!(NODE_RECLAIM),
        reclaim,
        ("00000102000000000000012c000000000000012c", "01"),
    );
}

fn shared(rows: &mut Rows) {
    rows.row(
        table!(SHARES),
        ((ChunkId(300), InodeId(258)), 300),
        ("000000000000012c0000000000000102", "01ac02"),
    );
    let part = Part {
        source: InodeId(300),
        length: 2,
    };
    rows.row(
        table!(CONCATS),
        ((InodeId(258), 300), part),
        ("0000000000000102000000000000012c", "01ac0202"),
    );
}

fn counted(rows: &mut Rows) {
    let row = Use {
        above: Some(InodeId(300)),
        sum: Sum {
            bytes: 300,
            inodes: 2,
            pending: 1,
        },
        height: 3,
        limits: Limits {
            bytes: Some(300),
            inodes: None,
        },
        gone: true,
    };
    let dir = InodeId(258);
    let key = "0000000000000102";
    rows.row(
        table!(USES),
        (dir, row),
        (key, "0101ac02ac0202010301ac020001"),
    );
    rows.row(table!(QUOTAS), (dir, ()), (key, "01"));
    let after = Some(name("n"));
    rows.row(
        table!(COUNTING),
        (dir, Counting { after }),
        (key, "0101016e"),
    );
}

fn others(rows: &mut Rows) {
    rows.row(table!(WIDTHS), (3, 300), ("0000000000000003", "01ac02"));
    rows.row(table!(DEPARTED), (NodeId(258), ()), ("00000102", "01"));
    for (admin, golden) in [
        (
            AdminState::InService,
            "018202036e3a31017a017201680700ac020201ac0201ac02",
        ),
        (
            AdminState::Draining,
            "018202036e3a31017a017201680701ac020201ac0201ac02",
        ),
        (
            AdminState::Drained,
            "018202036e3a31017a017201680702ac020201ac0201ac02",
        ),
        (
            AdminState::Maintenance,
            "018202036e3a31017a017201680703ac020201ac0201ac02",
        ),
        (
            AdminState::Removed,
            "018202036e3a31017a017201680704ac020201ac0201ac02",
        ),
    ] {
        let node = Node {
            key: NodeKey(0x0102),
            address: "n:1".to_owned(),
            topology: topology(),
            epoch: NodeEpoch(7),
            admin,
            space: Space {
                total: 300,
                used: 2,
                available: 1,
            },
            registered: T,
            rests_until: Some(T),
        };
        rows.row(table!(NODES), (NodeId(258), node), ("00000102", golden));
    }
    let key = (NodeKey(0x0102), NodeId(300));
    rows.row(
        table!(NODE_KEYS),
        key,
        ("00000000000000000000000000000102", "01ac02"),
    );
    let load = NodeLoad {
        replicas: 2,
        bytes: 300,
    };
    rows.row(
        table!(NODE_LOADS),
        (NodeId(258), load),
        ("00000102", "0102ac02"),
    );
    let session = Session {
        active: T,
        closed: true,
        forgotten_below: 5,
        user: UserId(300),
    };
    rows.row(
        table!(SESSIONS),
        (ClientId(258), session),
        ("0000000000000102", "02ac020105ac02"),
    );
    let age = ((Moment(T), ClientId(258)), ());
    rows.row(
        table!(SESSION_AGES),
        age,
        ("000000000000012c0000000000000102", "01"),
    );
    let changed = Changed {
        attr: Some(attr()),
        offset: Some(300),
        trash: Some(TrashId(2)),
        account: Some(Account::Key(UserId(300), KeyId(2))),
        token: Some(TokenId(300)),
    };
    for (outcome, golden) in [
        (
            Ok(changed),
            "0300010500a40307080a0201020304030280804080203c05010402010900090301ac02010201\
             02ac020201ac0203ac02",
        ),
        (
            Err(Refusal::new(RefusalKind::NotFound, "/a")),
            "030100022f6103ac02",
        ),
    ] {
        let row = (
            (ClientId(258), 300),
            Remembered {
                outcome,
                rev: Rev {
                    term: 3,
                    index: 300,
                },
            },
        );
        rows.row(
            table!(REPLIES),
            row,
            ("0000000000000102000000000000012c", golden),
        );
    }
}

fn accounts(rows: &mut Rows) {
    let name: AccountName = "bob".parse().unwrap();
    let key = Key {
        info: KeyInfo {
            id: KeyId(2),
            label: "ci".to_owned(),
            created: T,
        },
        hash: KeyHash([7; 32]),
    };
    let user = User {
        groups: vec![GroupId(300)],
        role: Role::Administrator,
        confinement: Confinement {
            root: Some(InodeId(300)),
            read_only: true,
        },
        removed: true,
        epoch: CredentialEpoch(300),
        password: Some(PasswordHash("$a".to_owned())),
        keys: vec![key],
        keys_made: 2,
        ..User::new(name.clone(), GroupId(100), T)
    };
    let golden = concat!(
        "0103626f626401ac020101ac02010101ac02010224610102026369ac02070707",
        "070707070707070707070707070707070707070707070707070707070702ac02"
    );
    let row = (UserId(258), user);
    rows.row(table!(USERS), row, ("00000102", golden));
    rows.row(
        table!(USER_NAMES),
        (name.clone(), UserId(300)),
        ("626f62", "01ac02"),
    );
    let group = Group::new(name.clone());
    rows.row(
        table!(GROUPS),
        (GroupId(258), group),
        ("00000102", "0103626f6200"),
    );
    rows.row(
        table!(GROUP_NAMES),
        (name, GroupId(300)),
        ("626f62", "01ac02"),
    );
    let member = ((GroupId(258), UserId(5)), ());
    rows.row(table!(MEMBERS), member, ("0000010200000005", "01"));
    let named = Named {
        users: vec![(UserId(300), Rights::READ)],
        groups: vec![(GroupId(300), Rights::WRITE)],
    };
    let default = Acl {
        mask: Some(Rights::ALL),
        named: named.clone(),
        ..Acl::of_mode(Mode::DIRECTORY)
    };
    let lists = Acls {
        access: Some(Extended {
            group: Rights::EXECUTE,
            named,
        }),
        default: Some(default),
    };
    rows.row(
        table!(ACLS),
        (InodeId(258), lists),
        (
            "0000000000000102",
            "01010101ac020401ac020201070505010701ac020401ac0202",
        ),
    );
    let removed = ((UserId(258), TrashId(5)), ());
    rows.row(
        table!(TRASH_OWNERS),
        removed,
        ("000001020000000000000005", "01"),
    );
}

fn members(rows: &mut Rows) {
    let seven = "07".repeat(32);
    let token = JoinToken {
        hash: TokenHash([7; 32]),
        role: NodeRole::Gateway,
        node: Some(NodeKey(300)),
        uses: 300,
        expires: LATER,
        label: "l".to_owned(),
        by: UserId(300),
        created: T,
    };
    let golden = format!("01{seven}0201ac02ac02f0a204016cac02ac02");
    let row = (TokenId(258), token);
    rows.row(table!(JOIN_TOKENS), row, ("00000102", &golden));
    let hash = (TokenHash([7; 32]), TokenId(300));
    rows.row(table!(TOKEN_HASHES), hash, (&seven, "01ac02"));
    let enrolled = Enrolled {
        role: NodeRole::DataNode,
        key: [7; 32],
        token: Some((TokenHash([7; 32]), LATER)),
        since: T,
        revoked: true,
    };
    let golden = format!("0101{seven}01{seven}f0a204ac0201");
    let key = "00000000000000000000000000000102";
    rows.row(
        table!(ENROLLED),
        (NodeKey(0x0102), enrolled),
        (key, &golden),
    );
    for (id, key) in [
        (SecretId::Authority, "0000000000"),
        (SecretId::Handles, "0100000000"),
        (SecretId::Signing(SigningKeyId(258)), "0200000102"),
    ] {
        let secret = Secret {
            secret: SecretBytes([7; 32]),
            public: vec![1, 2],
            since: T,
        };
        let golden = format!("01{seven}020102ac02");
        rows.row(table!(SECRETS), (id, secret), (key, &golden));
    }
}

#[test]
fn every_row_is_stored_as_the_first_version_stored_it() {
    let mut rows = Rows::default();
    names(&mut rows);
    contents(&mut rows);
    shared(&mut rows);
    counted(&mut rows);
    others(&mut rows);
    accounts(&mut rows);
    members(&mut rows);
    assert!(rows.wrong.is_empty(), "{}", rows.wrong.join("\n"));
    let all: BTreeSet<_> = TABLES.iter().copied().collect();
    assert_eq!(rows.seen, all, "a table without its bytes here");
}

#[test]
fn refusals_keep_their_numbers() {
    use RefusalKind::*;
    let all = [
        NotFound,
        Exists,
        NotADirectory,
        IsADirectory,
        NotAFile,
        NotASymlink,
        NotEmpty,
        IntoItself,
        SymlinkLoop,
        TooManyLinks,
        NameTooLong,
        TooLarge,
        Invalid,
        NotPermitted,
        Conflict,
        SessionExpired,
        GrantExpired,
        Busy,
        TooFewReplicas,
        AccessDenied,
        LoginRequired,
        StillNeeded,
        OverQuota,
        OtherQuota,
    ];
    let bytes = postcard::to_stdvec(&all).unwrap();
    assert_eq!(
        hex(&bytes),
        "000102030405060708090a0b0c0d0e0f1011121314151617"
    );
}

#[test]
fn tables_keep_their_places() {
    let first = "META INODES DIRENTS TRASH TRASH_EXPIRY UPLOADS PURGE EXTENTS TRIMS CHUNKS \
                 NODE_CHUNKS RANGES SPENT RECLAIM NODE_RECLAIM NODES NODE_KEYS NODE_LOADS \
                 SESSIONS SESSION_AGES REPLIES USERS USER_NAMES GROUPS GROUP_NAMES MEMBERS \
                 ACLS TRASH_OWNERS JOIN_TOKENS TOKEN_HASHES ENROLLED SECRETS WIDTHS DEPARTED \
                 SHARES CONCATS USES QUOTAS COUNTING STRIPES";
    assert_eq!(TABLES.join(" "), first);
}
